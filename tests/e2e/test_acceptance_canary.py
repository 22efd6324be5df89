"""Services that share a host: acceptance items 81 and 82, shares, and canaries by choice, on a real Swarm."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Create
from tests.e2e.installation import Installation, nothing_failed

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]


def share(l7: Installation, host: str, tasks: set[str], times: int = 500) -> dict[str, float]:
    """The part of the requests through each proxy that these tasks answer."""
    answers = l7.by_series(l7.ask(host, times=times))
    return {name: sum(each.instance in tasks for each in found) / times for name, found in answers.items()}


def about(shares: dict[str, float], wanted: float, margin: float) -> bool:
    assert [each for each in shares.values() if abs(each - wanted) > margin] == [], shares
    return True


@pytest.mark.acceptance(81)
@pytest.mark.acceptance(82)
def test_the_traffic_follows_the_tasks(l7: Installation, create: Create) -> None:
    """A fifth for one task of five, then everything for the new version, then everything for the old."""
    host = "canary81.local"
    create("old81", host, 4)
    create("new81", host, 1)
    l7.published("old81", host, 4)
    l7.published("new81", host, 1)
    l7.reach(host, l7.task_ids("old81") | l7.task_ids("new81"))
    assert about(share(l7, host, l7.task_ids("new81")), 0.2, 0.04)
    with l7.load(host) as reports:
        for old, new in ((0, 4), (4, 0)):
            for name, replicas in sorted((("old81", old), ("new81", new)), key=lambda each: -each[1]):
                l7.scale(name, replicas)
                l7.running(name, replicas)
            l7.reach(host, l7.task_ids("old81") | l7.task_ids("new81"))
    assert nothing_failed(reports)


@pytest.mark.acceptance(81)
def test_a_flip_there_and_back(l7: Installation, create: Create) -> None:
    """By weights, whatever the number of tasks; before it, the new version answers those who choose it."""
    host = "flip81.local"
    create("blue81", host, 3, labels={"weight": "100"})
    choice = {"canary_header": "X-Lane=green", "canary_cookie": "lane"}
    create("green81", host, 1, labels={"weight": "0"} | choice)
    blue, green = l7.published("blue81", host, 3), l7.published("green81", host, 1)
    l7.reach(host, blue)
    chosen = ({"X-Lane": "green"}, {"Cookie": "a=b; lane=any"})
    with l7.load(host) as reports:
        for headers in chosen:
            answered_by(l7, host, headers, green)
        for headers in ({"X-Lane": "blue"}, {"Cookie": "xlane=1"}, {"X-Lane": "GREEN"}):
            assert answerers(l7, host, headers) == blue
        l7.label("green81", weight="100")
        l7.reach(host, blue | green)
        assert about(share(l7, host, green), 0.5, 0.05)
        l7.label("blue81", weight="0")
        l7.reach(host, green)
        l7.label("blue81", weight="100")
        l7.reach(host, blue | green)
        l7.label("green81", weight="0")
        l7.reach(host, blue)
        l7.label("blue81", weight="90")
        l7.label("green81", weight="10")
        l7.reach(host, blue | green, timeout=10)
        assert about(share(l7, host, green), 0.1, 0.03)
        l7.label("green81", weight="0")
        l7.reach(host, blue)
        l7.scale("green81", 0)
        l7.running("green81", 0)
        for headers in chosen:
            answered_by(l7, host, headers, blue)
    assert nothing_failed(reports)
    for name in ("blue81", "green81"):
        l7.solved(name)


def answerers(l7: Installation, host: str, headers: dict[str, str]) -> set[str]:
    """The tasks that answer a few requests with these headers."""
    answers = l7.ask(host, times=12, headers=headers)
    assert {each.status for each in answers} == {200}
    return {each.instance for each in answers}


def answered_by(l7: Installation, host: str, headers: dict[str, str], tasks: set[str]) -> None:
    """Waits until such requests are answered by these tasks."""
    l7.until(f"{headers} to lead to {tasks}", lambda: answerers(l7, host, headers) == tasks)
