"""One Swarm with core and a proxy of each HAProxy series, for all acceptance tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from testbed import app
from testbed.swarm import Node, Swarm
from tests.conftest import HAPROXY_SERIES
from tests.e2e.installation import Installation

Create = Callable[..., str]
WITNESS = "witness.local"


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
    assert installation.workers() == before, "HAProxy was reloaded or started again"
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
    made: list[str] = []

    def create(name: str, *words: object, **more: object) -> str:
        made.append(name)
        return l7.create(name, *words, **more)  # type: ignore[arg-type]

    yield create
    there = l7.cli("service", "ls", "--format={{.Name}}").split()
    if left := [name for name in made if name in there]:
        l7.remove(*left)
