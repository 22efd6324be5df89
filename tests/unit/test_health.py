"""Verdicts on tasks, and what of them is worth telling."""

from __future__ import annotations

import pytest

from haproxy import health
from haproxy.model import HOLD, Admin, Backend, Server, ServerRow, ServerState
from l7.v1 import sync_pb2 as pb

UP, DOWN, MAINT, GONE = (
    pb.HEALTH_STATUS_UP,
    pb.HEALTH_STATUS_DOWN,
    pb.HEALTH_STATUS_MAINTENANCE,
    pb.HEALTH_STATUS_GONE,
)


def row(name: str, admin: int = 0, up: bool = True) -> ServerRow:
    return ServerRow("be", name, 1, "10.0.0.1", 80, 64, Admin(admin), up, True)


def test_verdicts_of_tasks_by_logical_backend() -> None:
    rows = [row("t1.aa"), row("t2.aa", up=False), row("t3.aa", admin=1, up=False), row(HOLD)]
    placement = {"a": "spare-1", "lost": "nowhere"}
    found = health.verdicts(placement, {"spare-1": {each.name: each for each in rows}}, {})
    assert found == {("a", "t1"): UP, ("a", "t2"): DOWN, ("a", "t3"): MAINT}


@pytest.mark.parametrize(
    ("state", "verdict"),
    [(ServerState.PENDING, MAINT), (ServerState.READY, DOWN), (ServerState.LEAVING, MAINT)],
)
def test_a_task_that_runs_and_never_passed_a_check_is_down(state: ServerState, verdict: pb.HealthStatus) -> None:
    wanted = {"a": Backend("a", servers={"t1": Server("t1", 1, "10.0.0.1", 80, state=state)})}
    rows = {"t1.aa": row("t1.aa", admin=1, up=False)}
    assert health.verdicts({"a": "a"}, {"a": rows}, wanted) == {("a", "t1"): verdict}


def test_the_better_of_two_generations_counts() -> None:
    rows = {"t1.aa": row("t1.aa", admin=1, up=False), "t1.bb": row("t1.bb"), "t2.aa": row("t2.aa", up=False)}
    assert health.verdicts({"a": "a"}, {"a": rows}, {}) == {("a", "t1"): UP, ("a", "t2"): DOWN}


def test_only_what_changed_is_told_and_what_went() -> None:
    before = {("a", "t1"): UP, ("a", "t2"): UP, ("a", "t3"): DOWN}
    now = {("a", "t1"): UP, ("a", "t2"): DOWN, ("b", "t1"): UP}
    told = [(each.backend, each.task, each.status) for each in health.changed(before, now)]
    assert told == [("a", "t2", DOWN), ("a", "t3", GONE), ("b", "t1", UP)]
    assert health.changed(now, now) == []


def test_core_hears_its_own_names_and_the_better_of_two_keys() -> None:
    servers = {"x": {"t1.aa": row("t1.aa", admin=1, up=False)}, "y": {"t1.bb": row("t1.bb")}}
    assert health.verdicts({"a": "x", "a.http-leastconn": "y"}, servers, {}) == {("a", "t1"): UP}
