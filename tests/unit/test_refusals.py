"""What was refused stays refused until it is looked at again, is said once, and is tried again with what waits."""

from __future__ import annotations

from haproxy.refusals import ROUTES, Refusals


def test_a_refusal_is_kept_while_others_converge() -> None:
    refusals = Refusals()
    refusals.settle(({"a", "b"}, set()), {"a": "no"})
    refusals.looked_at(["b"])
    refusals.settle(({"b"}, set()), {})

    assert refusals.reasons == {"a": "no"}


def test_a_backend_that_is_looked_at_and_goes_well_is_forgotten() -> None:
    refusals = Refusals(reasons={"a": "no"})
    refusals.looked_at(["a"])
    refusals.settle(({"a"}, set()), {})

    assert not refusals


def test_refused_routes_keep_their_hosts_for_the_next_try() -> None:
    refusals = Refusals()
    refusals.settle((set(), {"a.test"}), {ROUTES: "bad row"})
    refusals.withhold({"new"}, {"b.test"})

    assert refusals.again() == ({"new"}, {"a.test", "b.test"})
    assert refusals.again() == (set(), set())


def test_routes_that_go_well_are_no_longer_refused() -> None:
    refusals = Refusals(reasons={ROUTES: "bad row"})
    refusals.settle((set(), {"a.test"}), {})

    assert not refusals


def test_the_same_refusal_is_news_once_per_revision() -> None:
    refusals = Refusals(reasons={"b": "no", ROUTES: "bad row"})

    assert refusals.news("r1") == "routes: bad row; b: no"
    assert refusals.news("r1") is None
    assert refusals.news("r2") == "routes: bad row; b: no"
    refusals.forget_said()
    assert refusals.news("r2") is not None
