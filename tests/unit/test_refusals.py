"""What was refused stays refused until it is looked at again, is said once, and is tried again with what waits."""

from __future__ import annotations

from haproxy.refusals import Refusals
from haproxy.work import ROUTES, Work, rules_owner


def test_a_refusal_is_kept_while_others_converge() -> None:
    refusals = Refusals()
    refusals.settle(Work({"a", "b"}), {"a": "no"})
    refusals.looked_at(["b"])
    refusals.settle(Work({"b"}), {})

    assert refusals.reasons == {"a": "no"}


def test_a_backend_that_is_looked_at_and_goes_well_is_forgotten() -> None:
    refusals = Refusals(reasons={"a": "no"})
    refusals.looked_at(["a"])
    refusals.settle(Work({"a"}), {})

    assert not refusals


def test_refused_routes_keep_their_hosts_for_the_next_try() -> None:
    refusals = Refusals()
    refusals.settle(Work(hosts={"a.test"}), {ROUTES: "bad row"})
    refusals.withhold({"new"}, {"b.test"})

    assert refusals.again() == Work({"new"}, {"a.test", "b.test"})
    assert refusals.again() == Work()


def test_rules_are_tried_again_as_rules() -> None:
    refusals = Refusals()
    refusals.settle(Work(rules={"shop"}), {rules_owner("shop"): "too long", "a": "no"})

    assert refusals.again() == Work({"a"}, set(), {"shop"})


def test_routes_that_go_well_are_no_longer_refused() -> None:
    refusals = Refusals(reasons={ROUTES: "bad row"})
    refusals.settle(Work(hosts={"a.test"}), {})

    assert not refusals


def test_the_same_refusal_is_news_once_per_revision() -> None:
    refusals = Refusals(reasons={"b": "no", ROUTES: "bad row"})

    assert refusals.news("r1") == "routes: bad row; b: no"
    assert refusals.news("r1") is None
    assert refusals.news("r2") == "routes: bad row; b: no"
    refusals.forget_said()
    assert refusals.news("r2") is not None
