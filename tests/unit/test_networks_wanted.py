"""The applications' networks that proxies join, where core keeps the proxies."""

from __future__ import annotations

from dataclasses import replace

import pytest

from l7.config import Cluster, Settings
from l7.host_policy import HostPolicy
from l7.joined import Joined
from l7.model import Network, Problem, PublishedPort, Service, Task, TaskState
from l7.swarm.cache import Kind
from tests.fakes.swarm_state import RUNNING, SHUTDOWN, World, labels, proxy, service, spec, task

WEB = labels(hosts="a.example", port="80")
STACK = {"com.docker.stack.namespace": "shop"}
HOST = PublishedPort(80, 0, "tcp", "host")


def joining(settings: Settings | None = None) -> World:
    """Proxies that are always on l7, and on the control network; applications' networks a, b and c."""
    world = World(settings, shared="l7", with_proxy=False)
    world.put(*(Network(name, 1, name) for name in ("l7", "l7-control", "a", "b", "c")))
    world.put(proxy(("l7-control", "l7")))
    return world


def on(networks: str, **given: str) -> Service:
    """Service "web" on these networks, one letter each, or "l7"."""
    attached = ("l7",) if networks == "l7" else tuple(networks)
    return service("web", spec(WEB | labels(**given), attached))


def wanted(world: World, cluster: str = "") -> str:
    return " ".join(sorted(world.build.networks_wanted(cluster)))


def roll(world: World, *networks: str, version: int = 2) -> None:
    """The proxy service is on these networks, its task as well."""
    made = proxy(("l7-control", "l7", *networks))
    addresses = tuple((each, "10.0.0.9") for each in made.spec.networks)
    world.put(replace(made, version=version), task("p1", "proxy", addresses=addresses, version=version))


# ---------------------------------------------------------------- which


@pytest.mark.parametrize(
    ("networks", "given", "joined"),
    [
        ("a", {}, "a"),
        ("l7", {}, ""),
        ("ba", {}, "a"),
        ("ab", {"network": "b"}, "b"),
        ("ab", {"network": "c"}, ""),
        ("a", {"network": "nowhere"}, ""),
        ("a", {"hosts": "a;b"}, ""),
        ("a", {"service_cluster": "nowhere"}, ""),
        ("", {}, ""),
    ],
)
@pytest.mark.acceptance(37)
@pytest.mark.acceptance(38)
@pytest.mark.specification
def test_the_network_of_a_service(networks: str, given: dict[str, str], joined: str) -> None:
    world = joining()
    world.put(on(networks, **given))
    assert wanted(world) == joined
    world.remove(Kind.SERVICE, "id-web")
    assert wanted(world) == ""


def test_the_short_name_of_a_stack() -> None:
    world = joining()
    world.put(Network("shop_a", 1, "shop_a"))
    world.put(service("web", spec(WEB | STACK | labels(network="a"), ("shop_a", "b"))))
    assert wanted(world) == "shop_a"


def test_what_the_proxies_are_on_already_is_enough() -> None:
    world = joining()
    world.put(service("web", spec(WEB, ("a", "l7"))))
    assert (wanted(world), world.routes()) == ("", {"a.example/": "web"})
    world.put(service("web", spec(WEB | labels(network="a"), ("a", "l7")), version=2))
    assert wanted(world) == "a"


@pytest.mark.parametrize("network", [Network("a", 2, "a", True), Network("a", 2, "a", driver="macvlan")])
def test_what_proxies_cannot_join(network: Network) -> None:
    world = joining()
    world.put(network, on("a"))
    assert wanted(world) == ""
    [problem] = world.problems("web")
    assert problem.message.startswith("the service is on no network that the proxies can join")
    assert problem.remedy == "attach it to l7, or publish its port in mode=host"
    world.put(on("ab"))
    assert wanted(world) == "b"


def test_a_service_with_ports_of_its_nodes_needs_none() -> None:
    world = joining()
    world.put(replace(on("a"), spec=replace(on("a").spec, ports=(HOST,))))
    assert (wanted(world), world.problems("web")) == ("", [])
    named = replace(on("a", network="a"), version=2)
    world.put(replace(named, spec=replace(named.spec, ports=(HOST,))))
    assert wanted(world) == "a"
    virtual = replace(on("a", backend_mode="vip"), version=3)
    world.put(replace(virtual, spec=replace(virtual.spec, ports=(HOST,))))
    assert wanted(world) == "a"


def test_what_is_not_to_be_routed_draws_no_proxies() -> None:
    world = joining(Settings(host_policies=(HostPolicy(("a.example",), networks=("b",)),)))
    world.put(on("a"))
    assert wanted(world) == ""
    assert [problem.label for problem in world.problems("web")] == ["com.docker.lb.hosts"]
    world.put(replace(on("b"), version=2))
    assert wanted(world) == "b"
    no_vip = replace(on("a", hosts="b.example", backend_mode="vip"), version=3)
    world.put(replace(no_vip, spec=replace(no_vip.spec, endpoint_mode="dnsrr")))
    assert wanted(world) == ""
    assert [problem.label for problem in world.problems("web")] == ["com.docker.lb.backend_mode"]


@pytest.mark.acceptance(42)
@pytest.mark.specification
def test_networks_of_the_settings_are_all() -> None:
    world = joining(Settings(clusters={"": Cluster("", "main", networks=("a", "b"))}))
    world.put(on("c"))
    assert wanted(world) == ""
    [problem] = world.problems("web")
    assert problem.message == "service (c) and proxies (a, b) share no network"
    assert problem.remedy.endswith("or add its network to Extensions.main.Networks")
    world.put(replace(on("ac", network="c"), version=2))
    assert wanted(world) == ""
    [problem] = world.problems("web")
    assert problem.remedy == "name one of: a"
    world.put(replace(on("c", network="c"), version=3))
    [problem] = world.problems("web")
    assert problem.remedy == "add it to Extensions.main.Networks"


def test_each_cluster_has_its_own() -> None:
    world = joining(Settings(clusters={"": Cluster(), "east": Cluster("east", "east")}))
    world.put(on("a"), service("other", spec(labels(hosts="b", port="80", service_cluster="east"), ("b",))))
    assert (wanted(world), wanted(world, "east")) == ("a", "b")
    world.put(replace(on("a", service_cluster="east"), version=2))
    assert (wanted(world), wanted(world, "east")) == ("", "a b")


def test_it_is_the_same_object_until_it_changes() -> None:
    joined = Joined(["", "east"])
    joined.change({}, {"": frozenset({"a"})})
    before = joined.networks("")
    joined.change({}, {"": frozenset({"a"}), "east": frozenset()})
    joined.change({"": frozenset({"a"})}, {"": frozenset({"a", "b"})})
    joined.change({"": frozenset({"a", "b"})}, {})
    assert joined.networks("") == before
    assert joined.networks("east") == frozenset()
    joined.change({}, {"": frozenset({"a"})})
    kept = joined.networks("")
    joined.change({"": frozenset({"a"})}, {"": frozenset({"a"})})
    assert joined.networks("") is kept


def test_without_core_s_own_proxies_none_is_joined() -> None:
    world = World()
    world.put(service("web", spec(WEB, ("back",))))
    assert wanted(world) == ""


# ---------------------------------------------------------------- meanwhile


def test_the_service_waits_and_is_told_how_not_to() -> None:
    world = joining()
    world.put(on("a"))
    assert world.problems("web") == [
        Problem(
            "web", "com.docker.lb.network", "a",
            "the proxies are being put on network a, one after the other: some seconds for each",
            "it is served as soon as they are on it; a service on l7, which they are always on, does not wait, "
            "nor one on a network that Extensions.default.Networks lists",
            "", "id-web",
        )
    ]  # fmt: skip
    assert world.routes() == {}
    roll(world, "a")
    assert (world.routes(), world.problems("web"), wanted(world)) == ({"a.example/": "web"}, [], "a")


def test_of_several_networks_without_a_label_it_is_said_which() -> None:
    world = joining()
    world.put(on("ba"))
    [problem] = world.problems("web")
    assert problem.message.endswith("; the service is on a, b, and names none")


def test_before_there_are_proxies() -> None:
    world = World(shared="l7", with_proxy=False)
    world.put(*(Network(name, 1, name) for name in ("l7", "a", "b")), service("web", spec(WEB, ("a", "l7"))))
    assert wanted(world) == ""
    assert [problem.message for problem in world.problems("web")] == ["the service cluster has no proxies yet"]


def test_no_way_changes_while_proxies_join_or_leave_others() -> None:
    """Of b and a, what came first is in use; nor does it go with the service that it came for."""
    world = joining()
    both = (("a", "10.1.0.1"), ("b", "10.2.0.1"))
    world.put(service("first", spec(labels(hosts="b.example", port="80"), ("b",))))
    roll(world, "b")
    world.put(on("ab"), task("t", "web", addresses=both))
    assert (wanted(world), world.servers("web")["t"].address) == ("b", "10.2.0.1")
    world.put(service("second", spec(labels(hosts="c.example", port="80"), ("a",))))
    assert wanted(world) == "a b"
    roll(world, "b", "a", version=3)
    assert (wanted(world), world.servers("web")["t"].address) == ("a b", "10.2.0.1")
    world.remove(Kind.SERVICE, "id-first")
    assert wanted(world) == "a b"
    world.remove(Kind.SERVICE, "id-second")
    assert wanted(world) == "b"
    world.remove(Kind.SERVICE, "id-web")
    assert wanted(world) == ""


def test_a_changed_label_waits_on_the_way_of_before() -> None:
    world = joining()
    world.put(on("ab", network="a"))
    roll(world, "a")
    world.put(replace(on("ab", network="b"), version=2, previous=on("ab", network="a").spec))
    assert (wanted(world), world.routes()) == ("a b", {"a.example/": "web"})
    assert "meanwhile the service's previous labels are in effect" in world.problems("web")[0].message
    roll(world, "a", "b", version=3)
    assert (wanted(world), world.problems("web")) == ("b", [])


def old(state: TaskState = RUNNING, version: int = 1) -> Task:
    return task("old", "web", RUNNING, state, (("a", "10.1.0.1"),), version=version)


def new(version: int = 1) -> Task:
    return task("new", "web", addresses=(("b", "10.2.0.1"),), version=version)


def test_a_service_that_moves_to_another_network_is_served_where_its_tasks_are() -> None:
    """The network of before stays until the last task that is reached there has gone."""
    world = joining()
    world.put(on("a"), old())
    roll(world, "a")
    world.put(replace(on("b"), version=2))
    assert wanted(world) == "a b"
    [problem] = world.problems("web")
    assert (problem.fatal, problem.value) == (False, "b")
    assert problem.message.endswith("; meanwhile it is reached on a, where it was before")
    world.put(new())
    assert {name: each.address for name, each in world.servers("web").items()} == {"old": "10.1.0.1"}
    roll(world, "a", "b", version=3)
    assert {name: each.address for name, each in world.servers("web").items()} == {
        "old": "10.1.0.1",
        "new": "10.2.0.1",
    }
    assert (wanted(world), world.problems("web")) == ("a b", [])
    world.put(old(SHUTDOWN, 4))
    assert wanted(world) == "a b"
    world.put(task("old", "web", SHUTDOWN, SHUTDOWN, version=5))
    assert wanted(world) == "b"


@pytest.mark.acceptance(24)
@pytest.mark.specification
def test_a_removed_service_lets_go_of_its_network_at_once() -> None:
    """Its tasks end seconds later: `docker network rm` is not to wait for them."""
    world = joining()
    world.put(on("a"), old())
    roll(world, "a")
    world.remove(Kind.SERVICE, "id-web")
    assert (wanted(world), world.routes()) == ("", {})


def test_scaled_to_zero_the_network_stays() -> None:
    world = joining()
    world.put(replace(on("a"), spec=replace(on("a").spec, replicas=0)))
    assert wanted(world) == "a"
