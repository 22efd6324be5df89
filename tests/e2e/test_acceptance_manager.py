"""Acceptance: the manager on which core runs loses its power, on a real Swarm of three managers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from testbed.swarm import Swarm
from testbed.system import CORE, EXTENSION, PROXY
from tests.e2e.fleet import FleetSystem, load

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]

HOST = "web.local"
LOST = 0
"""The node that is lost: Swarm's leader, with core and the extension service on it."""
LEFT = (1, 2)
ELSEWHERE = f"--constraint=node.hostname!=node{LOST}"
WITHIN = 60.0
"""Seconds until core runs on another manager."""


@pytest.fixture
def system() -> Iterator[FleetSystem]:
    """Proxies and applications on the two nodes that stay; core may go there, too, but has no reason yet."""
    table = {
        "ServiceName": EXTENSION,
        "ProxyServiceName": PROXY,
        "Constraints": ["node.labels.core==yes"],
        "ProxyConstraints": [f"node.hostname!=node{LOST}"],
        "PublishMode": "host",
    }
    with Swarm.up(nodes=3, managers=3) as swarm:
        fleet = FleetSystem(swarm, {"default": table})
        fleet.prepare()
        with fleet:
            fleet.settle()
            for node in LEFT:
                fleet.cli("node", "update", "--label-add=core=yes", f"node{node}")
            yield fleet


@pytest.mark.acceptance(12)
def test_a_manager_is_lost_and_nobody_but_core_moves(system: FleetSystem) -> None:
    system.create("web", HOST, 4, ELSEWHERE)
    for node in LEFT:
        system.answers(node, HOST)
    system.quiet()
    assert nodes_of(system, CORE) == nodes_of(system, EXTENSION) == {f"node{LOST}"}
    before = {name: told(system, name) for name in (EXTENSION, PROXY)}
    proxies = system.task_ids(PROXY)
    with load(system, HOST, LEFT, rate=100) as reports:
        system.swarm.power_off(LOST)
        began = time.monotonic()
        system.manager = LEFT[0]
        system.until("another core", lambda: system.status()["ready"], WITHIN)
        print(f"core was ready elsewhere {time.monotonic() - began:.1f} s after its manager was lost")
        system.create("late", "late.local", 1, ELSEWHERE)
        for node in LEFT:
            system.answers(node, "late.local")
        system.quiet()
    print(f"{reports[0].sent} requests, {reports[0].failed} failed")
    assert reports[0].sent > 1000
    assert (reports[0].failed, reports[0].stale_keepalive) == (0, 0), (reports[0].by_kind, reports[0].failures)
    assert system.task_ids(PROXY) == proxies
    assert {name: told(system, name) for name in before} == before
    assert len(nodes_of(system, CORE)) == len(nodes_of(system, EXTENSION)) == 1
    assert system.managed() == {EXTENSION, PROXY}


def told(system: FleetSystem, service: str) -> dict[str, Any]:
    """What clients of Swarm's API have told it of a service. Whoever updates it leaves the specification of before,
    even where nothing is changed; the version alone says less: a new leader writes services anew, too."""
    client: Any = system.swarm.docker(system.manager)
    found = client.inspect_service(service)
    return {key: value for key, value in found.items() if key not in ("Version", "UpdatedAt")}


def nodes_of(system: FleetSystem, service: str) -> set[str]:
    """Names of the nodes where Swarm wants tasks of a service."""
    names = system.cli("service", "ps", "--filter=desired-state=running", "--format={{.Node}}", service)
    return set(names.split())
