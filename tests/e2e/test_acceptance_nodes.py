"""Nodes that come and go: acceptance items 31 and 32, on a real Swarm."""

from __future__ import annotations

import pytest

from testbed.swarm import Node
from tests.e2e.conftest import Create
from tests.e2e.installation import Installation, nothing_failed

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]


def tasks_on(l7: Installation, name: str, node: Node) -> set[str]:
    """Ids of a service's tasks that Swarm wants to run there."""
    there = l7.swarm.docker(0).inspect_node(node.name)["ID"]
    return {task["ID"] for task in l7.tasks(name) if task["NodeID"] == there}


def left(l7: Installation, name: str, node: Node) -> None:
    """Waits until Swarm wants none of the service's tasks there."""
    l7.until(f"{name} to leave {node.name}", lambda: not tasks_on(l7, name, node))


def available(l7: Installation, node: Node, availability: str) -> None:
    l7.cli("node", "update", f"--availability={availability}", node.name)


@pytest.mark.acceptance(31)
@pytest.mark.acceptance(32)
def test_a_node_is_drained_and_comes_back(l7: Installation, create: Create, request: pytest.FixtureRequest) -> None:
    """The node's task of a global service comes and goes with it; no request fails."""
    create("global32", "global32.local", None)
    l7.published("global32", "global32.local")
    second = request.getfixturevalue("second")
    l7.reach("global32.local", l7.published("global32", "global32.local", 2))
    create("spread31", "spread31.local", 4)
    l7.published("spread31", "spread31.local", 4)
    leaving = {name: tasks_on(l7, name, second) for name in ("global32", "spread31")}
    assert {name: len(tasks) for name, tasks in leaving.items()} == {"global32": 1, "spread31": 2}
    with l7.load("global32.local", "spread31.local") as reports:
        available(l7, second, "drain")
        for name, replicas in (("global32", 1), ("spread31", 4)):
            left(l7, name, second)
            l7.running(name, replicas)
            l7.ended(name, leaving[name])
            l7.reach(f"{name}.local", l7.task_ids(name))
        available(l7, second, "active")
        l7.reach("global32.local", l7.published("global32", "global32.local", 2))
    assert nothing_failed(reports)


@pytest.mark.acceptance(31)
def test_a_node_loses_power(l7: Installation, create: Create, second: Node) -> None:
    """The proxies' own checks find it out, before Swarm does. From then on nothing fails, and when Swarm has
    others started elsewhere, nothing of the old tasks is left."""
    create("power31", "power31.local", 4)
    tasks = l7.published("power31", "power31.local", 4)
    lost = tasks_on(l7, "power31", second)
    assert len(lost) == 2
    l7.reach("power31.local", tasks)
    l7.swarm.power_off(second.index)
    proxies = range(len(l7.series))
    l7.until("the proxies to find it out", lambda: all(down(l7, proxy) >= lost for proxy in proxies))
    l7.reach("power31.local", tasks - lost)
    with l7.load("power31.local") as reports:
        l7.until("Swarm to find it out", lambda: not l7.task_ids("power31") & lost)
        l7.reach("power31.local", l7.published("power31", "power31.local", 4))
    assert nothing_failed(reports)
    l7.until("the old servers to be removed", lambda: all(not servers(l7, proxy) & lost for proxy in proxies))


def servers(l7: Installation, proxy: int) -> set[str]:
    """The tasks that a proxy has servers for."""
    return {row["svname"].partition(".")[0] for row in l7.rows(proxy)}


def down(l7: Installation, proxy: int) -> set[str]:
    """The tasks that a proxy finds down."""
    return {row["svname"].partition(".")[0] for row in l7.rows(proxy) if row["status"].startswith("DOWN")}


@pytest.mark.acceptance(32)
def test_a_service_without_a_virtual_address(l7: Installation, create: Create) -> None:
    create("dnsrr32", "dnsrr32.local", 2, "--endpoint-mode=dnsrr")
    l7.reach("dnsrr32.local", l7.published("dnsrr32", "dnsrr32.local", 2))
