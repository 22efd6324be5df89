"""When Docker is asked for tasks."""

from __future__ import annotations

from l7.model import Task, TaskState
from l7.swarm.pace import AFTER_CHANGE, IN_TRANSITION, MANY, Pace, Poll, in_transition

ALL = Poll(None)


def task(state: TaskState, desired: TaskState = TaskState.RUNNING, version: int = 1) -> Task:
    return Task("t1", version, "s1", "n1", 1, state, desired, 1)


def quiet(now: float = 100.0) -> Pace:
    """Everything was asked for at `now`, and nothing goes on."""
    pace = Pace(slow=3.0, fast=0.1)
    assert pace.due(now) == ALL
    pace.polled(ALL, (), now, now)
    return pace


def test_when_quiet_all_tasks_are_asked_for_at_the_slow_interval() -> None:
    pace = quiet()
    assert pace.delay(100.0) == 3.0
    assert pace.due(102.9) is None
    assert pace.due(103.0) == ALL


def test_a_changed_service_is_asked_for_at_once_and_often_for_a_while() -> None:
    pace = quiet()
    pace.hint("s1", 101.0)
    assert pace.delay(101.0) == 0.0
    assert pace.due(101.0) == Poll(frozenset({"s1"}))
    pace.polled(Poll(frozenset({"s1"})), (), 101.0, 101.0)
    assert pace.due(101.05) is None
    assert pace.due(101.11) == Poll(frozenset({"s1"}))
    pace.polled(ALL, (), 101.0 + AFTER_CHANGE, 101.0 + AFTER_CHANGE)
    assert pace.due(101.2 + AFTER_CHANGE) is None


def test_a_task_on_its_way_keeps_its_service_in_focus_until_it_is_stuck() -> None:
    pace = quiet()
    pace.polled(ALL, [task(TaskState.STARTING)], 101.0, 101.0)
    assert pace.due(101.2) == Poll(frozenset({"s1"}))
    pace.polled(ALL, [task(TaskState.STARTING)], 120.0, 120.0)
    assert pace.due(120.2) == Poll(frozenset({"s1"}))
    late = 101.0 + IN_TRANSITION
    pace.polled(ALL, [task(TaskState.STARTING)], late, late)
    assert pace.due(late + 0.2) is None
    pace.polled(ALL, [task(TaskState.STARTING, version=2)], late + 3, late + 3)
    assert pace.due(late + 3.2) == Poll(frozenset({"s1"}))


def test_many_services_are_asked_for_all_together_and_so_is_everything_after_a_node() -> None:
    pace = quiet()
    for number in range(MANY + 1):
        pace.hint(f"s{number}", 101.0)
    assert pace.due(101.0) == ALL
    pace = quiet()
    pace.hint_all(101.0)
    assert pace.due(101.0) == ALL


def test_asking_takes_a_quarter_of_the_time_at_most() -> None:
    pace = quiet()
    pace.hint("s1", 101.0)
    pace.polled(Poll(frozenset({"s1"})), (), 101.0, 101.5)
    assert pace.due(102.9) is None
    assert pace.due(103.0) is not None


def test_what_is_in_transition() -> None:
    assert in_transition(task(TaskState.PENDING))
    assert in_transition(task(TaskState.READY, TaskState.READY))
    assert in_transition(task(TaskState.RUNNING, TaskState.SHUTDOWN))
    assert not in_transition(task(TaskState.RUNNING))
    assert not in_transition(task(TaskState.FAILED))
