"""Applications that publish a port of their node: acceptance item 90, on a real Swarm."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testbed import app
from testbed.swarm import Node
from tests.e2e.conftest import Create
from tests.e2e.installation import Installation, T, nothing_failed

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]


def on(node: Node) -> str:
    """A constraint that places a task there."""
    return f"node.hostname=={node.name}"


@pytest.fixture
def published(l7: Installation) -> Iterator[str]:
    """A service on no network at all, with a port of its node."""
    labels = ("--label=com.docker.lb.hosts=host90.local", f"--label=com.docker.lb.port={app.PORT}")
    fixed = ("--detach", "--no-resolve-image", "--name=host90", "--restart-delay=0s")
    options = (*fixed, "--env=INSTANCE={{.Task.ID}}", f"--constraint={on(l7.swarm.node(0))}")
    port = f"--publish=mode=host,target={app.PORT}"
    l7.cli("service", "create", *options, port, *labels, app.TAG)
    yield "host90"
    l7.remove("host90")


def places(l7: Installation, service: str, node: Node) -> set[str]:
    """Address and port of a service's tasks, as Swarm allocated them on that node."""
    ports = [port for task in l7.tasks(service) for port in task["Status"]["PortStatus"]["Ports"]]
    return {f"{node.address}:{port['PublishedPort']}" for port in ports}


@pytest.mark.acceptance(90)
def test_the_nodes_address_and_port(l7: Installation, create: Create, published: str, second: Node) -> None:
    """Beside services on a network; when the task moves, its new place is what is asked."""
    create("overlay90", "overlay90.local")
    overlay = l7.published("overlay90", "overlay90.local")
    with l7.load("overlay90.local") as reports:
        l7.published(published, "host90.local")
        for node in (l7.swarm.node(0), second):
            l7.update(published, f"--constraint-rm={on(l7.swarm.node(0))}", f"--constraint-add={on(node)}")
            runs_on(l7, published, node)
            l7.reach("host90.local", l7.task_ids(published), timeout=2 * T)
            assert {each.upstream for each in l7.ask("host90.local")} == places(l7, published, node)
        assert {each.instance for each in l7.ask("overlay90.local")} == overlay
    assert nothing_failed(reports)
    l7.solved(published)


def runs_on(l7: Installation, service: str, node: Node) -> None:
    """Waits until the service's only task runs there."""
    wanted = [("running", l7.swarm.docker(0).inspect_node(node.name)["ID"])]
    l7.until(
        f"a task on {node.name}",
        lambda: [(each["Status"]["State"], each["NodeID"]) for each in l7.tasks(service)] == wanted,
    )
