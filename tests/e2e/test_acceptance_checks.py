"""Health as labels have it checked: acceptance items 28 and 33, on a real Swarm."""

from __future__ import annotations

import time

import pytest

from tests.e2e.conftest import Create
from tests.e2e.installation import Installation, nothing_failed

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]

CHECKED = {"health_check_path": "/healthz", "health_check_interval": "500ms"}


def unhealthy(l7: Installation, tasks: set[str]) -> bool:
    """Waits until each proxy tells core that it finds just these tasks unhealthy."""

    def told() -> bool:
        found = [{each["task"] for each in proxy["unhealthy"]} for proxy in l7.status()["extensions"]]
        return found == [tasks] * len(l7.series)

    return l7.until(f"{tasks} to be unhealthy", told)


@pytest.mark.acceptance(28)
def test_a_task_that_fails_our_checks_is_not_asked(l7: Installation, create: Create) -> None:
    """Of two tasks, both sick from their start, first one becomes well, then both; then one is sick again."""
    host = "checked28.local"
    create("checked28", host, 2, labels=CHECKED, environment={"SICK": "1"})
    l7.running("checked28", 2)
    one, two = sorted(l7.task_ids("checked28"))
    with l7.load(host, rate=10, path="/healthz") as reports:
        l7.held()
        assert unhealthy(l7, {one, two})
        l7.tell(one, "/well")
        l7.reach(host, {one})
        assert unhealthy(l7, {two})
        l7.tell(two, "/well")
        l7.reach(host, {one, two})
        assert unhealthy(l7, set())
    assert nothing_failed(reports)
    l7.tell(one, "/sick")
    l7.reach(host, {two})
    l7.label("checked28", health_check_path=None)
    l7.reach(host, {one, two})


def fails(l7: Installation, host: str) -> dict[str, int]:
    """How many of a few requests fail, of those through each proxy."""
    answers = l7.by_series(l7.ask(host, times=12))
    return {name: sum(each.status == 500 for each in found) for name, found in answers.items()}


@pytest.mark.acceptance(33)
def test_a_task_that_fails_too_often_is_left_out_for_a_while(l7: Installation, create: Create) -> None:
    """3 failures at each proxy, then no more for 15 s; another service keeps failing every third request."""
    names = {"passive33": {"max_fails": "3", "fail_timeout": "15s"}, "other33": {}}
    for name, labels in names.items():
        create(name, f"{name}.local", 3, labels=labels)
    failing = {}
    for name in names:
        l7.published(name, f"{name}.local", 3)
        l7.reach(f"{name}.local", l7.task_ids(name))
        failing[name] = min(l7.task_ids(name))
        l7.tell(failing[name], "/fail?n=100000")
    began = time.monotonic()
    assert fails(l7, "passive33.local") == dict.fromkeys(l7.series, 3)
    assert fails(l7, "passive33.local") == dict.fromkeys(l7.series, 0)
    assert fails(l7, "other33.local") == dict.fromkeys(l7.series, 4)
    l7.tell(failing["passive33"], "/fail?n=0")
    l7.reach("passive33.local", l7.task_ids("passive33"), timeout=25)
    assert time.monotonic() - began > 14, "tried again too early"
    l7.label("passive33", max_fails="0")
    l7.converged()
    l7.tell(failing["passive33"], "/fail?n=100000")
    for _ in range(2):
        assert fails(l7, "passive33.local") == dict.fromkeys(l7.series, 4)
