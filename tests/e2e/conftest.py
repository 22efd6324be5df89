"""One Swarm with core and a proxy of each HAProxy series, for all acceptance tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testbed import app
from testbed.swarm import Node, Swarm
from tests.conftest import HAPROXY_SERIES
from tests.e2e import file_mode
from tests.e2e.file_mode import Edge
from tests.e2e.fleet import FleetSystem
from tests.e2e.installation import WITNESS, Create, Installation, creating

__all__ = ["WITNESS", "Create"]


@pytest.fixture(scope="session")
def installation() -> Iterator[Installation]:
    """The whole of l7, and a service that no test touches, at `WITNESS`."""
    with Swarm.up() as swarm:
        system = Installation.started(swarm, HAPROXY_SERIES)
        system.create("witness", WITNESS)
        system.answered(WITNESS, timeout=60)
        yield system
        logs = {name: system.log_of(name) for name in system.services}
    lost = [line for text in logs.values() for line in text.splitlines() if "Too many pings" in line]
    assert not lost, "core ended streams on which nothing happened"


@pytest.fixture
def l7(installation: Installation) -> Iterator[Installation]:
    """The installation, for one test. Whatever it does, HAProxy goes on as the process that it was."""
    before = installation.workers()
    yield installation
    after = installation.workers()
    assert after == before, f"HAProxy was reloaded, or it or its sidecar started again\n{installation.logs(400)}"
    assert len(installation.answered(WITNESS)) == len(installation.series)


@pytest.fixture
def second(installation: Installation) -> Iterator[Node]:
    """One more node; gone at the end."""
    node = installation.swarm.join()
    installation.swarm.load_image(app.image(), [node.index])
    yield node
    installation.swarm.forget(node.index)


@pytest.fixture
def create(l7: Installation) -> Iterator[Create]:
    """`System.create`; what was made is removed at the end."""
    yield from creating(l7)


@pytest.fixture(scope="session")
def file_mode_fleet() -> Iterator[FleetSystem]:
    """A Swarm of two nodes with a cluster of two NGINX and one of an HAProxy, both in file mode."""
    with file_mode.started() as fleet:
        yield fleet


@pytest.fixture
def edge(file_mode_fleet: FleetSystem) -> Edge:
    """Its NGINX."""
    return Edge(file_mode_fleet)


@pytest.fixture
def create_on_edge(edge: Edge) -> Iterator[Create]:
    yield from creating(edge)
