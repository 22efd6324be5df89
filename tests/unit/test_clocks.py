"""The reconciler's memory of when things happened: what it says when, and that it forgets."""

from __future__ import annotations

import pytest

from haproxy import drain
from haproxy.clocks import Clocks
from haproxy.model import HOLD, Admin, Backend, Server, ServerRow, ServerSettings, ServerState
from haproxy.plan import Situation
from haproxy.settings import Settings

SETTINGS = Settings(hold_deadline=60_000, drain_timeout=10_000)
LEAVING = Server("t1", 1, "10.0.0.1", 80, state=ServerState.LEAVING, stop_in=3000)
WANT = Backend("a", expected=True, servers={"t1": LEAVING})


def row(name: str, enabled: bool = True, up: bool = True) -> ServerRow:
    return ServerRow("a", name, 1, "10.0.0.1", 80, 64, Admin(0 if enabled else 1), up and enabled, True)


def situation(clocks: Clocks, now: float, want: Backend | None = WANT, *rows: ServerRow) -> Situation:
    return clocks.situation("a", want, {each.name: each for each in rows}, frozenset(), SETTINGS, now)


def test_a_leaving_task_is_due_shortly_before_its_stop_in_all_of_its_generations() -> None:
    clocks = Clocks()
    (due,) = clocks.left("a", [LEAVING], 100.0)
    assert due == pytest.approx(103.0 - drain.STOP_MARGIN)
    rows = (row("t1.aa"), row("t1.bb"), row("t2.aa"))
    assert situation(clocks, due - 0.001, WANT, *rows).due == frozenset()
    assert situation(clocks, due, WANT, *rows).due == {"t1.aa", "t1.bb"}


def test_hearing_again_of_a_leaving_task_does_not_put_its_stop_off() -> None:
    clocks = Clocks()
    clocks.left("a", [LEAVING], 100.0)
    assert clocks.left("a", [LEAVING], 102.0) == []
    assert situation(clocks, 103.0, WANT, row("t1.aa")).due == {"t1.aa"}


def test_a_task_that_no_longer_leaves_is_forgotten() -> None:
    clocks = Clocks()
    clocks.left("a", [LEAVING], 100.0)
    clocks.left("a", [], 101.0)
    assert situation(clocks, 110.0, WANT, row("t1.aa")).due == frozenset()


def test_holds_from_the_loss_of_the_last_server_until_the_deadline() -> None:
    clocks = Clocks()
    assert clocks.usable("a", WANT, {"t1.aa": row("t1.aa")}, 100.0) is False
    assert clocks.usable("a", WANT, {"t1.aa": row("t1.aa", up=False), HOLD: row(HOLD)}, 101.0) is True
    assert clocks.usable("a", WANT, {}, 102.0) is False
    assert situation(clocks, 160.9).hold
    assert not situation(clocks, 161.0).hold
    clocks.usable("a", WANT, {"t1.aa": row("t1.aa")}, 162.0)
    assert situation(clocks, 162.0).hold
    assert not situation(clocks, 162.0, None).hold


def test_a_service_that_is_scaled_up_from_zero_holds_however_long_it_had_none() -> None:
    clocks, zero = Clocks(), Backend("a", expected=False)
    assert clocks.usable("a", zero, {}, 100.0) is False
    assert clocks.usable("a", WANT, {}, 500.0) is True
    assert situation(clocks, 559.9).hold
    assert not situation(clocks, 560.0).hold


def test_a_refused_deletion_is_tried_again_ever_more_patiently_and_cut_past_the_deadline() -> None:
    clocks = Clocks()
    gone = row("t9.aa", enabled=False)
    tries = [clocks.refused("a", "t9.aa", 100.0) for _ in range(8)]
    assert tries == pytest.approx([100.1, 100.2, 100.4, 100.8, 101.6, 103.2, 105.0, 105.0])
    assert situation(clocks, 104.9, WANT, gone).waiting == {"t9.aa"}
    assert situation(clocks, 105.0, WANT, gone).waiting == frozenset()
    assert situation(clocks, 109.9, WANT, gone).overdue == frozenset()
    assert situation(clocks, 110.0, WANT, gone).overdue == {"t9.aa"}


def test_seconds_from_out_of_rotation_to_deleted() -> None:
    clocks = Clocks()
    assert clocks.gone("a", "t1.aa", 1.0) is None
    clocks.disabled("a", "t1.aa", 100.0)
    clocks.disabled("a", "t1.aa", 105.0)
    assert clocks.gone("a", "t1.aa", 107.0) == 7.0
    assert clocks.gone("a", "t1.aa", 108.0) is None


def test_a_backend_wanted_again_is_not_one_whose_deletion_waits() -> None:
    clocks = Clocks()
    clocks.refused("a", HOLD, 100.0)
    assert situation(clocks, 100.0, None).waiting == {HOLD}
    assert situation(clocks, 100.0, WANT).waiting == frozenset()
    assert situation(clocks, 100.0, None).waiting == frozenset()


def test_memory_follows_what_there_is() -> None:
    clocks = Clocks()
    for number in range(1000):
        name = f"t{number}.aa"
        clocks.left("a", [Server(f"t{number}", 1, "10.0.0.1", 80, state=ServerState.LEAVING)], 100.0)
        clocks.disabled("a", name, 100.0)
        clocks.refused("a", name, 100.0)
        situation(clocks, 101.0, WANT, row(name, enabled=False))
    (of_backend,) = clocks._servers.values()
    assert [len(each) for each in (of_backend.closing, of_backend.leaving, of_backend.draining)] == [1, 1, 1]
    clocks.usable("a", WANT, {}, 101.0)
    clocks.forget("a")
    assert clocks == Clocks()


def test_an_earlier_generation_has_as_much_time_as_a_backend_without_servers() -> None:
    clocks = Clocks()
    rows = {"t1.aa": row("t1.aa"), HOLD: row(HOLD)}
    assert clocks.supersede("a", {"t1.bb"}, rows, 100.0) == ["t1.aa"]
    assert clocks.supersede("a", {"t1.bb"}, rows, 101.0) == []
    assert situation(clocks, 159.9, WANT, row("t1.aa")).expired == frozenset()
    assert situation(clocks, 160.0, WANT, row("t1.aa")).expired == {"t1.aa"}
    clocks.supersede("a", {"t1.aa"}, rows, 161.0)
    assert situation(clocks, 162.0, WANT, row("t1.aa")).expired == frozenset()


def test_a_service_says_how_long_its_tasks_may_drain_and_that_outlives_them() -> None:
    clocks = Clocks()
    own = (ServerSettings(drain_timeout=2000), ServerSettings())
    tasks = {"t1": Server("t1", 1, "10.0.0.1", 80), "t2": Server("t2", 2, "10.0.0.2", 80, service=1)}
    rows = (row("t1.aa"), row("t2.aa"))
    situation(clocks, 99.0, Backend("a", ("x", "y"), servers=tasks, settings=own), *rows)
    for task in ("t1.aa", "t2.aa"):
        clocks.refused("a", task, 100.0)
    assert situation(clocks, 101.9, None, *rows).overdue == frozenset()
    assert situation(clocks, 102.0, None, *rows).overdue == {"t1.aa"}
    assert situation(clocks, 110.0, None, *rows).overdue == {"t1.aa", "t2.aa"}
    situation(clocks, 111.0, None)
    (of_backend,) = clocks._servers.values()
    assert of_backend.timeouts == {}


def test_routes_wait_for_a_backend_until_the_deadline() -> None:
    clocks = Clocks()
    assert clocks.patient("b", 100.0, 60.0)
    assert clocks.wait("b", 100.0)
    assert not clocks.wait("b", 101.0)
    assert clocks.patient("b", 159.9, 60.0)
    assert not clocks.patient("b", 160.0, 60.0)
    clocks.forget("b")
    assert clocks == Clocks()


def test_the_time_of_a_successor_begins_when_it_can_be_added() -> None:
    clocks, rows = Clocks(), {"t1.aa": row("t1.aa"), "t2.aa": row("t2.aa")}
    assert clocks.supersede("a", {"t1.bb", "t2.bb"}, rows, 100.0, blocked={"t1.bb"}) == ["t2.aa"]
    assert situation(clocks, 160.0, WANT, *rows.values()).expired == {"t2.aa"}
    assert clocks.supersede("a", {"t1.bb", "t2.bb"}, rows, 200.0) == ["t1.aa"]
    assert situation(clocks, 259.9, WANT, *rows.values()).expired == {"t2.aa"}
    assert situation(clocks, 260.0, WANT, *rows.values()).expired == {"t1.aa", "t2.aa"}
