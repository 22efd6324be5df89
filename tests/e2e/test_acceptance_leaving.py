"""Proxies that go: on a real Swarm, with Interlock's own stop signal and its short time to stop."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Create
from tests.e2e.installation import Installation, nothing_failed

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]

GRACE = 5_000


@pytest.fixture
def leaving(l7: Installation) -> Iterator[str]:
    """A service of one proxy, the last one, that is about to leave."""
    name = l7.add_proxy(l7.series[-1], 85, grace=GRACE)
    yield name
    l7.remove_proxy(name)


@pytest.mark.acceptance(93)
def test_a_proxy_that_leaves_finishes_what_it_has(l7: Installation, create: Create, leaving: str) -> None:
    """Requests under way are answered, new connections answered or refused; a WebSocket is cut in time, by us."""
    create("stays", "stays.local", 2)
    l7.published("stays", "stays.local", 2)
    (task,) = l7.task_ids(leaving)
    with l7.load("stays.local") as reports, l7.sessions("stays.local", websockets=2) as sessions:
        slow = slowly(l7, l7.ports[-1])
        l7.update(leaving, "--force")
        l7.ended(leaving, {task})
        l7.running(leaving, 1)
        l7.answered("stays.local")
    assert slow.communicate()[0] == "200"
    assert nothing_failed(reports[:-1])
    assert (set(reports[-1].by_kind), reports[-1].stale_keepalive) == ({"connect"}, 0), reports[-1].failures
    assert [each.cut for each in sessions] == [0] * (len(sessions) - 1) + [2]
    assert exit_code(l7, leaving, task) == 0


def exit_code(l7: Installation, service: str, task: str) -> int:
    (found,) = (each for each in l7.tasks(service, running=False) if each["ID"] == task)
    return int(found["Status"]["ContainerStatus"]["ExitCode"])


def slowly(l7: Installation, port: int) -> subprocess.Popen[str]:
    """A request that is under way when Swarm's signal comes, some 3 s after its decision; prints its status."""
    url = f"http://{l7.swarm.node(0).address}:{port}/slow?ms=5500"
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Host: stays.local", url]
    return l7.swarm.run(None, command, stdout=subprocess.PIPE, text=True)
