"""When a certificate is ordered, renewed, tried again and removed."""

from __future__ import annotations

import pytest

from l7.acme.orders import DAY, MINUTE, SERVER, Attempt, failed, orders, renewal
from l7.issued import Issued

NOW = 1_000_000_000.0
LIFE = 90 * DAY


def certificate(host: str = "a.test", id: str = "i1", age: float = 0.0, life: float = LIFE) -> Issued:
    begin = int(NOW - age)
    return Issued(id, f"l7-acme-{id}", host, begin, begin + int(life))


def wanted(*hosts: str) -> dict[str, tuple[str, ...]]:
    return {"": hosts}


def test_a_host_without_certificate_is_ordered_at_once() -> None:
    assert orders(wanted("a.test"), [], {}, {}, NOW).get == ("a.test",)


def test_a_host_of_two_clusters_is_ordered_once() -> None:
    assert orders({"": ["a.test"], "blue": ["a.test"]}, [], {}, {}, NOW).get == ("a.test",)


def test_a_wildcard_is_never_ordered() -> None:
    found = orders(wanted("*.a.test"), [], {}, {}, NOW)
    assert (found.get, found.wake) == ((), None)


@pytest.mark.parametrize(("age", "due"), [(0.0, False), (59 * DAY, False), (60 * DAY, True), (100 * DAY, True)])
def test_renewal_is_at_a_third_of_life_left(age: float, due: bool) -> None:
    each = certificate(age=age)
    found = orders(wanted("a.test"), [each], {}, {}, NOW)
    assert found.get == (("a.test",) if due else ())
    assert found.wake == (None if due else renewal(each))
    assert found.remove == ()


@pytest.mark.parametrize(
    ("failures", "pause"),
    [(1, MINUTE), (2, 2 * MINUTE), (5, 16 * MINUTE), (11, 1024 * MINUTE), (12, DAY), (10_000, DAY)],
)
def test_failures_are_tried_again_with_growing_pauses(failures: int, pause: float) -> None:
    attempts = {"a.test": Attempt(failures, NOW)}
    assert orders(wanted("a.test"), [], attempts, {}, NOW + pause - 1).get == ()
    assert orders(wanted("a.test"), [], attempts, {}, NOW).wake == NOW + pause
    assert orders(wanted("a.test"), [], attempts, {}, NOW + pause).get == ("a.test",)


def test_the_servers_own_word_on_when_to_come_back_counts() -> None:
    attempts = {"a.test": failed(None, NOW, until=NOW + 7200)}
    assert orders(wanted("a.test"), [], attempts, {}, NOW + 3600).get == ()
    assert orders(wanted("a.test"), [], attempts, {}, NOW).wake == NOW + 7200
    early = {"a.test": failed(None, NOW, until=NOW + 1)}
    assert orders(wanted("a.test"), [], early, {}, NOW).wake == NOW + MINUTE


def test_a_server_that_is_away_is_not_asked_for_any_host() -> None:
    attempts = {SERVER: failed(None, NOW), "b.test": Attempt(3, NOW)}
    found = orders(wanted("a.test", "b.test"), [], attempts, {}, NOW)
    assert (found.get, found.wake) == ((), NOW + MINUTE)


def test_the_failures_of_one_host_hold_up_no_other() -> None:
    attempts = {"a.test": Attempt(9, NOW)}
    assert orders(wanted("a.test", "b.test"), [], attempts, {}, NOW).get == ("b.test",)


def test_what_has_none_or_ends_first_comes_first() -> None:
    late, soon = certificate("a.test", "1", age=61 * DAY), certificate("b.test", "2", age=89 * DAY)
    found = orders(wanted("a.test", "b.test", "c.test"), [late, soon], {}, {}, NOW)
    assert found.get == ("c.test", "b.test", "a.test")


def test_what_was_renewed_goes_and_a_refusal_is_asked_again_later() -> None:
    old, new = certificate(id="old", age=70 * DAY), certificate(id="new")
    assert orders(wanted("a.test"), [old, new], {}, {}, NOW).remove == (old,)
    refused = orders(wanted("a.test"), [old, new], {}, {"old": failed(None, NOW)}, NOW)
    assert (refused.remove, refused.wake) == ((), NOW + MINUTE)


def test_what_nobody_wants_stays_until_it_expires() -> None:
    each = certificate(age=LIFE - 10)
    assert orders({}, [each], {}, {}, NOW).remove == ()
    assert orders({}, [each], {}, {}, NOW).wake == NOW + 10
    assert orders({}, [each], {}, {}, NOW + 10).remove == (each,)


def test_the_last_certificate_of_a_host_stays_even_expired() -> None:
    each = certificate(age=LIFE + DAY)
    found = orders(wanted("a.test"), [each], {}, {}, NOW)
    assert (found.get, found.remove) == (("a.test",), ())
