"""How a service is reached: by its virtual IP, and by ports of its nodes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from l7.fragment import wanted_id
from l7.model import Node, NodeState, PublishedPort, Server, ServerState, Service, Task, TaskState
from l7.swarm.cache import Kind
from tests.fakes.swarm_state import RUNNING, SHUTDOWN, World, labels, proxy, service, spec, task

VIP = labels(hosts="a.example", port="80", backend_mode="vip")
HOST = labels(hosts="a.example", port="8080")
PORT = PublishedPort(8080, 0, "tcp", "host")


VIPS = (("ingress", "10.255.0.2"), ("front", "10.1.0.2"))


def virtual(
    replicas: int | None = 2,
    version: int = 1,
    networks: tuple[str, ...] = ("front",),
    vips: tuple[tuple[str, str], ...] = VIPS,
    mode: str = "vip",
) -> Service:
    """Service "web" with a virtual IP on front and on the ingress network."""
    wanted = replace(spec(VIP, networks, replicas), endpoint_mode=mode)
    return replace(service("web", wanted, version=version), vips=vips)


# ---------------------------------------------------------------- virtual IP


@pytest.mark.acceptance(78)
@pytest.mark.specification
def test_one_server_with_the_virtual_address_on_the_chosen_network() -> None:
    world = World()
    world.put(virtual())
    assert world.servers("web") == {"id-web": Server("id-web", wanted_id("id-web"), "10.1.0.2", 80)}
    assert world.backend("web").settings.expected


@pytest.mark.acceptance(79)
@pytest.mark.specification
def test_nothing_that_happens_to_the_tasks_changes_anything() -> None:
    world = World()
    world.put(virtual(), task("t1", "web"))
    revision = world.snapshot().revision
    assert world.put(virtual(4, 2), task("t2", "web")) == {}
    assert world.put(task("t1", "web", TaskState.FAILED, SHUTDOWN, version=2)) == {}
    assert world.put(task("t3", "web", TaskState.STARTING, version=3)) == {}
    assert world.put(Node("n1", 2, "host1", NodeState.DOWN)) == {}
    assert world.put(virtual(None, 5)) == {}
    assert world.snapshot().revision == revision


@pytest.mark.acceptance(80)
@pytest.mark.specification
def test_scaled_to_zero_there_is_no_server_and_none_is_expected() -> None:
    world = World()
    world.put(virtual())
    before = world.snapshot()
    world.put(virtual(0, 2))
    assert world.servers("web") == {}
    assert not world.backend("web").settings.expected
    world.put(virtual(2, 3))
    assert world.snapshot() == before
    world.remove(Kind.SERVICE, "id-web")
    assert world.routes() == {}


@pytest.mark.acceptance(80)
@pytest.mark.specification
def test_another_network_is_another_address() -> None:
    world = World(with_proxy=False)
    world.put(proxy(("back", "front")), virtual())
    vips = (("front", "10.1.0.2"), ("back", "10.2.0.2"))
    world.put(virtual(2, 2, networks=("front", "back"), vips=vips))
    assert world.servers("web")["id-web"].address == "10.2.0.2"


def test_while_swarm_has_no_virtual_address_on_the_new_network_the_old_one_serves() -> None:
    world = World(with_proxy=False)
    world.put(proxy(("front", "back")), virtual())
    assert world.put(virtual(2, 2, networks=("back",))) == {}
    world.put(virtual(2, 3, networks=("back",), vips=(("back", "10.2.0.2"),)))
    assert world.servers("web")["id-web"].address == "10.2.0.2"


@pytest.mark.acceptance(32)
def test_dns_round_robin_has_no_virtual_ip() -> None:
    world = World()
    world.put(virtual(mode="dnsrr", vips=()))
    [problem] = world.problems("web")
    assert (problem.label, problem.value, problem.fatal) == ("com.docker.lb.backend_mode", "vip", True)
    assert "dnsrr" in problem.message
    assert world.routes() == {}


def test_dns_round_robin_in_task_mode_works() -> None:
    world = World()
    wanted = replace(spec(labels(hosts="a.example", port="80")), endpoint_mode="dnsrr")
    world.put(service("web", wanted), task("t1", "web"))
    assert set(world.servers("web")) == {"t1"}


def test_no_virtual_ip_on_any_network_of_the_proxies() -> None:
    world = World()
    world.put(virtual(vips=(("ingress", "10.255.0.2"), ("front", ""))))
    [problem] = world.problems("web")
    assert problem.fatal
    assert "front" in problem.message


def test_ports_on_nodes_have_no_virtual_ip() -> None:
    world = World()
    given = spec(VIP, (), 1, PublishedPort(80, 0, "tcp", "host"))
    world.put(service("web", given))
    [problem] = world.problems("web")
    assert (problem.label, problem.fatal) == ("com.docker.lb.backend_mode", True)


def test_a_mode_that_cannot_be_had_leaves_the_service_in_the_old_one() -> None:
    world = World()
    before = replace(spec(labels(hosts="a.example", port="80")), endpoint_mode="dnsrr")
    world.put(service("web", before), task("t1", "web"))
    now = replace(before, labels=tuple(sorted(VIP.items())))
    assert world.put(service("web", now, previous=before, version=2)) == {}
    assert set(world.servers("web")) == {"t1"}


def test_behind_virtual_ips_services_share_half_and_half() -> None:
    world = World()
    two = replace(virtual(4), id="id-two", name="two", vips=(("front", "10.1.0.3"),))
    world.put(virtual(1), two)
    assert [(each.address, each.weight) for each in world.servers("two:web").values()] == [
        ("10.1.0.3", 64),
        ("10.1.0.2", 64),
    ]


# ---------------------------------------------------------------- ports on nodes


def node(name: str, address: str, version: int = 1) -> Node:
    return Node(name, version, f"host-{name}", NodeState.READY, address)


def published(name: str, at: str, port: int = 32768, **more: object) -> Task:
    ports = (PublishedPort(8080, port, "tcp", "host"),) if port else ()
    return task(name, "web", addresses=(), node=at, ports=ports, **more)  # type: ignore[arg-type]


def on_nodes() -> World:
    world = World()
    world.put(node("n1", "192.0.2.1"), node("n2", "2001:db8::2"), service("web", spec(HOST, (), 2, PORT)))
    return world


def test_a_port_on_a_node_is_reached_at_the_nodes_address() -> None:
    world = on_nodes()
    world.put(published("t1", "n1"), published("t2", "n2", 40000))
    servers = {name: (server.address, server.port) for name, server in world.servers("web").items()}
    assert servers == {"t1": ("192.0.2.1", 32768), "t2": ("2001:db8::2", 40000)}
    assert world.build.problems() == ()
    world.serve("other", hosts="b.example")
    assert world.servers("other")["t-other-0"].address == "10.0.0.9"


def test_rescheduling_moves_it() -> None:
    world = on_nodes()
    world.put(published("t1", "n1"))
    world.put(published("t1", "n1", state=RUNNING, desired=SHUTDOWN, version=2))
    assert [(each.state, each.stop_in) for each in world.servers("web").values()] == [(ServerState.LEAVING, 1000)]
    world.put(published("t1", "n1", state=SHUTDOWN, desired=SHUTDOWN, version=3), published("t2", "n2", 40000))
    assert {server.address for server in world.servers("web").values()} == {"2001:db8::2"}


def test_a_port_that_is_not_allocated_yet_is_no_server() -> None:
    world = on_nodes()
    world.put(published("t1", "n1", 0, state=TaskState.STARTING))
    assert world.servers("web") == {}
    world.put(published("t1", "n1", 32768, version=2))
    assert set(world.servers("web")) == {"t1"}


def test_a_network_in_common_is_preferred() -> None:
    world = World()
    world.put(node("n1", "192.0.2.1"), service("web", spec(HOST, ("front",), 1, PORT)))
    world.put(task("t1", "web", ports=(PublishedPort(8080, 32768, "tcp", "host"),)))
    assert [(each.address, each.port) for each in world.servers("web").values()] == [("10.0.0.9", 8080)]


def test_a_network_that_the_label_names_is_not_replaced_by_a_port() -> None:
    world = World()
    world.put(service("web", spec(HOST | labels(network="elsewhere"), (), 1, PORT)))
    [problem] = world.problems("web")
    assert problem.label == "com.docker.lb.network"


@pytest.mark.parametrize(
    "port",
    [PublishedPort(8081, 0, "tcp", "host"), PublishedPort(8080, 0, "udp", "host"), PublishedPort(8080, 80)],
    ids=["another target", "udp", "ingress"],
)
def test_only_the_applications_port_in_host_mode_counts(port: PublishedPort) -> None:
    world = World()
    world.put(node("n1", "192.0.2.1"), service("web", spec(HOST, (), 1, port)))
    [problem] = world.problems("web")
    assert problem.label == "com.docker.lb.network"
    assert "mode=host" in problem.remedy


@pytest.mark.parametrize("address", ["", "0.0.0.0"])
def test_a_node_without_address_is_told_and_the_other_nodes_serve(address: str) -> None:
    world = on_nodes()
    world.put(node("n2", address, 2), published("t1", "n1"), published("t2", "n2"))
    assert set(world.servers("web")) == {"t1"}
    [problem] = world.problems("web")
    assert "host-n2" in problem.message
    assert not problem.fatal
    world.put(node("n2", "192.0.2.7", 3))
    assert world.servers("web")["t2"].address == "192.0.2.7"
    assert world.build.problems() == ()


def test_a_nodes_new_address_reaches_its_services() -> None:
    world = on_nodes()
    world.put(published("t1", "n1"))
    [delta] = world.put(node("n1", "192.0.2.9", 2)).values()
    [change] = delta.changes.backends
    assert [server.address for server in change.servers] == ["192.0.2.9"]
