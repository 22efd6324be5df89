"""Whose backend is which, and which are not ours."""

from __future__ import annotations

import pytest

from haproxy import policy
from haproxy.model import HOLD, HOLD_ADDRESS, HOLD_PORT, Admin, ServerRow
from haproxy.observation import Observation
from haproxy.places import Places, PoolExhausted
from haproxy.plan import Place
from haproxy.settings import Settings

SPARES = ("s1", "s2", "s3")


def rows(backend: str, *names: str) -> dict[str, ServerRow]:
    return {
        name: ServerRow(backend, name, policy.HOLD_ID, HOLD_ADDRESS, HOLD_PORT, 1, Admin(0), True, False)
        for name in names
    }


def pool(**placement: str) -> Observation:
    return Observation({name: rows(name, HOLD) for name in SPARES}, placement)


def test_spares_are_given_in_order_and_the_longest_free_one_again_last() -> None:
    places, seen = Places(SPARES), pool()
    assert places.place("a", True, seen) == Place("s1", False, True, rows("s1", HOLD))
    assert places.place("a", True, seen) == places.place("a", True, seen)
    assert places.place("a", False, seen) is None
    assert [places.place(name, True, seen).physical for name in "bcd"] == ["s2", "s3", "s1"]  # type: ignore[union-attr]
    with pytest.raises(PoolExhausted):
        places.place("e", True, seen)
    places.resize((*SPARES, "s4"))
    with pytest.raises(PoolExhausted):  # until HAProxy has it
        places.place("e", True, seen)
    seen.servers["s4"] = rows("s4", HOLD)
    assert places.place("e", True, seen) == Place("s4", False, True, rows("s4", HOLD))


def test_a_row_that_is_lost_or_wrong_does_not_move_the_backend() -> None:
    places = Places(SPARES)
    places.adopt(pool(a="s2", b="s1"))
    assert places.place("a", True, pool()) == Place("s2", False, True, rows("s2", HOLD))
    wrong = places.place("a", True, pool(a="s1", b="s1"))
    assert wrong == Place("s2", False, True, rows("s2", HOLD), misplaced=True)
    assert places.logical("s1") == "b"


def test_a_row_to_what_is_no_spare_is_not_believed() -> None:
    places, seen = Places(SPARES), pool(a="theirs")
    seen.servers["theirs"] = rows("theirs", "mine")
    places.adopt(seen)
    place = places.place("a", True, seen)
    assert place == Place("s1", False, True, rows("s1", HOLD), misplaced=True)
    places.forget("a")
    assert places.place("a", False, seen) == Place("theirs", True, False)


def test_what_a_cut_plan_left_is_an_orphan_and_what_others_have_is_not() -> None:
    places, seen = Places(SPARES), pool()
    seen.servers["s2"] = rows("s2", HOLD, "t1.aa")
    seen.servers["theirs"] = rows("theirs", "mine")
    assert places.orphans(seen, seen.servers) == {"s2"}
    assert places.place("s2", False, seen) == Place("s2", False, True, rows("s2", HOLD, "t1.aa"))
    seen.servers["s2"] = rows("s2", HOLD)
    assert places.place("s2", False, seen) is None


def test_a_backend_made_at_run_time_bears_its_own_name_and_others_are_foreign() -> None:
    places = Places(None)
    seen = Observation({"web": rows("web", "mine"), "blank": {}, "left": rows("left", HOLD)}, {})
    assert places.place("new", True, seen) == Place("new", False, False)
    assert places.place("web", True, seen) == Place("web", False, True, rows("web", "mine"), foreign=True)
    assert places.place("blank", True, seen) == Place("blank", False, True, {}, foreign=True)
    assert places.place("web", False, seen) is None
    assert places.orphans(seen, seen.servers) == {"left"}
    assert places.place("left", False, seen) == Place("left", False, True, rows("left", HOLD))


def test_ours_stays_ours_without_its_placeholder() -> None:
    places = Places(None)
    places.adopt(Observation({"a": rows("a", "t1.aa")}, {"a": "a"}))
    seen = Observation({"a": rows("a", "t1.aa")}, {"a": "b"})
    assert places.place("a", True, seen) == Place("a", False, True, rows("a", "t1.aa"), misplaced=True)


def test_a_pool_that_has_grown_is_adopted_whole() -> None:
    names = list(policy.spare_names(Settings(spare_backends=4)))
    seen = Observation({name: rows(name, HOLD) for name in (*names, "spare-of-somebody")}, {"a": names[2]})
    places = Places(names[:1])
    places.adopt(seen)
    assert places.place("a", True, seen) == Place(names[2], True, True, rows(names[2], HOLD))
    given = {places.place(name, True, seen).physical for name in "bcd"}  # type: ignore[union-attr]
    assert given == {names[0], names[1], names[3]}
    with pytest.raises(PoolExhausted):
        places.place("e", True, seen)
