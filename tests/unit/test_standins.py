"""Who serves in the place of a successor, and when that is worth a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from haproxy.model import HOLD, Admin, Backend, HealthCheck, Server, ServerRow, ServerState
from haproxy.observation import Observation
from haproxy.standins import LOOKS, StandIns, stand_ins

TASKS = {task: Server(task, 1, "10.0.0.1", 80) for task in ("t1", "t2")}
SHOP = Backend("shop", ("shop",), servers=TASKS)
NEW = {"shop": ("t1.new", "t2.new"), "shop.http-checked": ("t1.new", "t2.new")}


def rows(*names: str, out: tuple[str, ...] = ()) -> dict[str, ServerRow]:
    """Servers in rotation, and some that are not."""
    enabled = {name: ServerRow("b", name, 1, "a", 80, 64, Admin(0), True, True) for name in names}
    return enabled | {name: ServerRow("b", name, 1, "a", 80, 64, Admin(1), False, True) for name in out}


def found(servers: Mapping[str, Mapping[str, ServerRow]], named: Mapping[str, Backend]) -> dict[str, int]:
    seen = Observation({name: dict(each) for name, each in servers.items()}, {name: name for name in servers})
    return dict(stand_ins(servers, seen, named.get("shop"), lambda key: NEW[key]))


def test_a_generation_that_waits_for_its_successor_stands_in() -> None:
    assert found({"shop": rows("t1.old", "t2.new", "t2.old", HOLD, out=("t1.new",))}, {"shop": SHOP}) == {"shop": 1}


def test_nobody_stands_in_where_all_is_as_it_should_be() -> None:
    assert found({"shop": rows("t1.new", "t2.new", HOLD)}, {"shop": SHOP}) == {}
    assert found({"shop": rows("t1.new", "t2.new", "t1.old", HOLD)}, {"shop": SHOP}) == {}


def test_a_task_that_leaves_has_no_successor() -> None:
    leaving = {"t1": Server("t1", 1, "10.0.0.1", 80, state=ServerState.LEAVING)}
    wanted = {"shop": Backend("shop", ("shop",), servers=leaving)}
    assert found({"shop": rows("t1.old", out=("t1.new",))}, wanted) == {}


def test_the_backend_of_another_policy_stands_in_until_the_new_one_is_ready() -> None:
    wanted = {"shop": replace(SHOP, check=HealthCheck("/"))}
    before = rows("t1.old", "t2.old")
    assert found({"shop": before, "shop.http-checked": rows(out=("t1.new", "t2.new"))}, wanted) == {"shop": 2}
    assert found({"shop": before, "shop.http-checked": rows("t1.new", "t2.new")}, wanted) == {}


def test_a_backend_that_nobody_wants_stands_in_for_none() -> None:
    assert found({"shop": rows("t1.old", out=("t1.new",))}, {}) == {}


def test_what_lasts_is_told_once_and_taken_back() -> None:
    last = StandIns()
    last.note("shop", Counter({"shop": 1}))
    assert [last.look(60) for _ in range(LOOKS)] == [False] * (LOOKS - 1) + [True]
    assert [problem.service for problem in last.problems] == ["shop"]
    assert "60 s" in last.problems[0].message
    last.note("shop", Counter({"shop": 2}))
    assert not last.look(60)
    last.note("shop", Counter())
    assert last.look(60)
    assert last.problems == ()


def test_what_passes_is_not_told() -> None:
    last = StandIns()
    for found in ({"a": 1}, {"a": 1}, {}, {"a": 1}, {"a": 1}, {}):
        last.note("a", Counter(found))
        assert not last.look(60)


def test_a_service_of_which_more_is_known_is_left_to_that() -> None:
    last = StandIns()
    last.note("a:b", Counter({"a": 1, "b": 1}))
    for _ in range(LOOKS):
        last.look(60, apart={"a"})
    assert [problem.service for problem in last.problems] == ["b"]
