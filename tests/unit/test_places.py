"""Whose backend is which, and which are not ours."""

from __future__ import annotations

import pytest

from haproxy import policy
from haproxy.model import HOLD, HOLD_ADDRESS, HOLD_PORT, Admin, Balance, ServerRow
from haproxy.observation import Observation
from haproxy.places import Places, PoolExhausted
from haproxy.plan import Place
from haproxy.policy import DEFAULT
from haproxy.settings import CHECK_PATH_MAP, Settings

SPARES = tuple(policy.spare_names(Settings(spare_backends=3)))
S1, S2, S3 = SPARES
S4 = "spare-http-0004"
OTHER = policy.Policy(Balance.LEAST_CONNECTIONS)


def rows(backend: str, *names: str) -> dict[str, ServerRow]:
    return {
        name: ServerRow(backend, name, policy.HOLD_ID, HOLD_ADDRESS, HOLD_PORT, 1, Admin(0), True, False)
        for name in names
    }


def pool(**placement: str) -> Observation:
    return Observation({name: rows(name, HOLD) for name in SPARES}, placement)


def test_spares_are_given_in_order_and_the_longest_free_one_again_last() -> None:
    places, seen = Places(SPARES), pool()
    assert places.place("a", DEFAULT, seen) == Place(S1, False, True, rows(S1, HOLD))
    assert places.place("a", DEFAULT, seen) == places.place("a", DEFAULT, seen)
    assert places.place("a", None, seen) is None
    assert [places.place(name, DEFAULT, seen).physical for name in "bcd"] == [S2, S3, S1]  # type: ignore[union-attr]
    with pytest.raises(PoolExhausted):
        places.place("e", DEFAULT, seen)
    places.resize((*SPARES, S4))
    with pytest.raises(PoolExhausted):  # until HAProxy has it
        places.place("e", DEFAULT, seen)
    seen.servers[S4] = rows(S4, HOLD)
    assert places.place("e", DEFAULT, seen) == Place(S4, False, True, rows(S4, HOLD))


def test_a_row_that_is_lost_or_wrong_does_not_move_the_backend() -> None:
    places = Places(SPARES)
    places.adopt(pool(a=S2, b=S1))
    assert places.place("a", DEFAULT, pool()) == Place(S2, False, True, rows(S2, HOLD))
    wrong = places.place("a", DEFAULT, pool(a=S1, b=S1))
    assert wrong == Place(S2, False, True, rows(S2, HOLD), misplaced=True)
    assert places.logical(S1) == "b"


def test_a_row_to_what_is_no_spare_is_not_believed() -> None:
    places, seen = Places(SPARES), pool(a="theirs")
    seen.servers["theirs"] = rows("theirs", "mine")
    places.adopt(seen)
    place = places.place("a", DEFAULT, seen)
    assert place == Place(S1, False, True, rows(S1, HOLD), misplaced=True)
    places.forget("a")
    assert places.place("a", None, seen) == Place("theirs", True, False)


def test_what_a_cut_plan_left_is_an_orphan_and_what_others_have_is_not() -> None:
    places, seen = Places(SPARES), pool()
    seen.servers[S2] = rows(S2, HOLD, "t1.aa")
    seen.servers["theirs"] = rows("theirs", "mine")
    assert places.orphans(seen, seen.servers) == {S2}
    assert places.place(S2, None, seen) == Place(S2, False, True, rows(S2, HOLD, "t1.aa"))
    seen.servers[S2] = rows(S2, HOLD)
    assert places.place(S2, None, seen) is None


def test_a_backend_made_at_run_time_bears_its_own_name_and_others_are_foreign() -> None:
    places = Places(None)
    seen = Observation({"web": rows("web", "mine"), "blank": {}, "left": rows("left", HOLD)}, {})
    assert places.place("new", DEFAULT, seen) == Place("new", False, False)
    assert places.place("web", DEFAULT, seen) == Place("web", False, True, rows("web", "mine"), foreign=True)
    assert places.place("blank", DEFAULT, seen) == Place("blank", False, True, {}, foreign=True)
    assert places.place("web", None, seen) is None
    assert places.orphans(seen, seen.servers) == {"left"}
    assert places.place("left", None, seen) == Place("left", False, True, rows("left", HOLD))


def test_ours_stays_ours_without_its_placeholder() -> None:
    places = Places(None)
    places.adopt(Observation({"a": rows("a", "t1.aa")}, {"a": "a"}))
    seen = Observation({"a": rows("a", "t1.aa")}, {"a": "b"})
    assert places.place("a", DEFAULT, seen) == Place("a", False, True, rows("a", "t1.aa"), misplaced=True)


def test_a_pool_that_has_grown_is_adopted_whole() -> None:
    names = list(policy.spare_names(Settings(spare_backends=4)))
    seen = Observation({name: rows(name, HOLD) for name in (*names, "spare-of-somebody")}, {"a": names[2]})
    places = Places(names[:1])
    places.adopt(seen)
    assert places.place("a", DEFAULT, seen) == Place(names[2], True, True, rows(names[2], HOLD))
    given = {places.place(name, DEFAULT, seen).physical for name in "bcd"}  # type: ignore[union-attr]
    assert given == {names[0], names[1], names[3]}
    with pytest.raises(PoolExhausted):
        places.place("e", DEFAULT, seen)


def test_each_policy_has_spares_of_its_own() -> None:
    settings = Settings(spare_backends=1, spare_backends_other=1)
    places = Places(policy.spares(settings))
    seen = Observation({name: rows(name, HOLD) for name in policy.spares(settings)}, {})
    first = places.place("a", DEFAULT, seen)
    second = places.place("a.http-leastconn", OTHER, seen)
    assert first is not None
    assert second is not None
    assert (first.physical, second.physical) == ("spare-http-0001", "spare-http-leastconn-0001")
    with pytest.raises(PoolExhausted) as missing:
        places.place("b.http-leastconn", OTHER, seen)
    assert missing.value.policies == {OTHER}


def test_a_spare_of_another_policy_is_left() -> None:
    other = "spare-http-leastconn-0001"
    places, seen = Places((*SPARES, other)), pool(a=other)
    seen.servers[other] = rows(other, HOLD, "t1.aa")
    places.adopt(seen)
    assert places.place("a", DEFAULT, seen) == Place(S1, False, True, rows(S1, HOLD), misplaced=True)
    assert places.orphans(seen, seen.servers) == {other}


def test_what_a_spares_last_tenant_said_of_its_checks_is_seen() -> None:
    places, seen = Places(SPARES), pool()
    seen.table(CHECK_PATH_MAP)[S1] = {S1: "/old"}
    place = places.place("a", DEFAULT, seen)
    assert place is not None
    assert place.checks == {CHECK_PATH_MAP: {S1: "/old"}}
