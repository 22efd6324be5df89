"""Addresses of networks: how many are in use, who waits for one, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from l7.addresses import Addresses, size
from l7.config import Cluster, Settings
from l7.model import Network, PublishedPort, Service, Task, TaskState
from l7.swarm.cache import Kind
from tests.fakes.swarm_state import RUNNING, SHUTDOWN, World, labels, proxy, service, spec, task

SMALL = Network("small", 1, "small", subnets=("10.99.0.0/28",))


@pytest.mark.parametrize(
    ("subnets", "addresses"),
    [
        (("10.99.0.0/28",), 14),
        (("10.99.0.0/24", "10.98.0.0/28"), 268),
        (("10.99.0.4/30",), 2),
        (("10.99.0.1/16",), 65534),
        (("fd00::/64", "10.99.0.0/28"), 14),
        ((), 1 << 24),
        (("fd00::/64",), 1 << 24),
    ],
)
def test_what_a_network_has_to_give(subnets: tuple[str, ...], addresses: int) -> None:
    assert size(replace(SMALL, subnets=subnets)) == addresses


def member(number: int, *, vip: bool = True) -> Service:
    """A service on the small network."""
    made = service(f"s{number}", spec(labels(hosts=f"s{number}.example", port="80"), ("small",)))
    return replace(made, vips=(("small", f"10.99.0.{2 * number}"),) if vip else ())


def running(number: int, node: str, state: TaskState = RUNNING, version: int = 1) -> Task:
    addresses = (("small", f"10.99.0.{2 * number + 1}"), ("small", "fd00::1"))
    return task(f"t{number}", f"s{number}", state, RUNNING, addresses, node=node, version=version)


def fresh(number: int) -> Task:
    """Not yet with an address."""
    return task(f"t{number}", f"s{number}", TaskState.NEW, RUNNING, (), node="")


def test_gateway_virtual_addresses_tasks_and_nodes_count() -> None:
    """As measured: a /28 is full with six services, five of whose tasks run on two nodes."""
    found = Addresses()
    for number in range(5):
        tasks = [running(number, f"n{number % 2}")]
        assert found.note(f"id-s{number}", member(number), tasks) == {"small"}
        assert found.note(f"id-s{number}", member(number), tasks) == set()
    assert (found.used(SMALL), found.free(SMALL), found.full(SMALL), found.scarce(SMALL)) == (13, 1, False, True)
    found.note("id-s5", member(5), [fresh(5)])
    assert (found.used(SMALL), found.full(SMALL)) == (14, True)
    assert set(found.waiting) == {"id-s5"}
    assert found.note("id-s0", None, [running(0, "n0", TaskState.SHUTDOWN)]) == {"small"}
    assert found.used(SMALL) == 12, "the node has other tasks there"
    found.note("id-s1", None, [])
    found.note("id-s3", None, [])
    assert found.used(SMALL) == 7, "one node has none any more"


def test_of_an_attachable_network_plain_containers_may_have_the_rest() -> None:
    found, attachable = Addresses(), replace(SMALL, attachable=True)
    for number in range(5):
        found.note(f"id-s{number}", member(number), [running(number, f"n{number % 2}")])
    assert (found.full(SMALL), found.full(attachable)) == (False, True)


def crowded(settings: Settings | None = None, services: int = 5) -> World:
    """A small network with services, and proxies that are on it."""
    world = World(settings, with_proxy=False)
    world.put(SMALL, proxy(("small",)))
    for number in range(services):
        world.put(member(number), running(number, "n1"))
    return world


@pytest.mark.acceptance(46)
@pytest.mark.specification
def test_a_service_that_gets_no_address_is_told_and_the_others_are_served() -> None:
    world = crowded(services=6)
    world.put(member(6, vip=False), fresh(6))
    [problem] = world.problems("s6")
    assert (problem.label, problem.value, problem.fatal) == ("com.docker.lb.network", "small", False)
    assert problem.message == (
        "has no address left for 1 of its tasks: 14 of the 14 addresses of 10.99.0.0/28 are in use"
    )
    assert "a /16: docker network create" in problem.remedy
    assert problem.service_id == "id-s6"
    assert set(world.routes().values()) == {f"s{number}" for number in range(7)}
    world.remove(Kind.SERVICE, "id-s0")
    world.put(running(0, "n1", TaskState.SHUTDOWN, 2), replace(running(6, "n1"), version=2))
    assert world.problems("s6") == []


def test_what_waits_where_there_is_room_is_not_told() -> None:
    world = crowded(services=2)
    world.put(member(2), fresh(2))
    assert world.problems("s2") == []


def test_of_services_that_are_not_routed_nothing_is_said() -> None:
    world = crowded(services=7)
    world.put(service("plain", spec({}, ("small",))), task("t", "plain", TaskState.NEW, RUNNING, ()))
    assert world.problems("plain") == []


def test_proxies_that_get_no_address_are_told_of() -> None:
    world = crowded(services=7)
    world.put(task("p", "proxy", TaskState.NEW, RUNNING, ()))
    [problem] = world.problems("proxy")
    assert problem.value == "small"


def test_a_network_of_the_proxies_that_is_nearly_full() -> None:
    """From nine addresses in ten on; here 13 of 14."""
    settings = Settings(clusters={"": Cluster("", "main")})
    assert [each.value for each in crowded(settings, 5).build.problems()] == []
    world = crowded(settings, 6)
    [problem] = world.build.problems()
    assert (problem.service, problem.label, problem.value) == ("", "Extensions.main.Networks", "small")
    assert problem.message.startswith("is nearly full: 14 of the 14 addresses of 10.99.0.0/28 are in use")
    world.put(replace(proxy(("front",)), version=2))
    assert [each.label for each in world.build.problems() if not each.service] == []


# ---------------------------------------------------------------- joining


def joining(services: int, size: str = "10.99.0.0/28") -> World:
    """Proxies that are always on l7; services on a small network, which two proxies may join."""
    world = World(with_proxy=False, shared="l7")
    proxies = proxy(("l7",))
    world.put(Network("l7", 1, "l7"), replace(SMALL, subnets=(size,)))
    world.put(replace(proxies, spec=replace(proxies.spec, replicas=2)))
    for number in range(services):
        world.put(member(number), running(number, "n1"))
    return world


def test_a_network_without_room_for_the_proxies_is_not_joined() -> None:
    """Their tasks would wait for addresses, and with them every later change of the proxies."""
    world = joining(4)
    assert world.build.networks_wanted("") == frozenset()
    [problem] = world.problems("s0")
    assert problem.message == (
        "has no room for the proxies, which may take 6 addresses: 10 of the 14 addresses of 10.99.0.0/28 are in use"
    )
    assert problem.fatal
    world.remove(Kind.SERVICE, "id-s3")
    assert world.build.networks_wanted("") == frozenset()
    world.remove(Kind.TASK, "t3")
    assert world.build.networks_wanted("") == {"small"}
    assert "are being put on" in world.problems("s0")[0].message


def test_where_the_proxies_are_they_stay_however_full_it_gets() -> None:
    world = joining(3)
    assert world.build.networks_wanted("") == {"small"}
    world.put(replace(proxy(("l7", "small")), version=2))
    for number in range(3, 7):
        world.put(member(number), running(number, "n1"))
    assert world.build.networks_wanted("") == {"small"}


def test_ports_of_nodes_and_other_networks_need_no_room() -> None:
    world = joining(6)
    port = PublishedPort(80, 0, "tcp", "host")
    given = spec(labels(hosts="h.example", port="80"), ("small",), 1, port)
    world.put(service("host", given))
    assert world.problems("host") == []
    world.put(service("both", spec(labels(hosts="b.example", port="80"), ("small", "l7"))))
    assert world.problems("both") == []


def test_a_task_that_ends_gives_its_address_back() -> None:
    found = Addresses()
    found.note("id-s0", member(0, vip=False), [running(0, "n0")])
    assert found.used(SMALL) == 3
    ended = replace(running(0, "n0", TaskState.FAILED), desired=SHUTDOWN)
    assert found.note("id-s0", member(0, vip=False), [ended]) == {"small"}
    assert found.used(SMALL) == 1
