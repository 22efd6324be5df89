"""From Swarm's state to routes, backends and servers: rule by rule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from l7.config import Cluster, Settings
from l7.fragment import MAX_ID, Candidate, assign_ids, backend_name, wanted_id
from l7.model import (
    BackendSettings,
    Network,
    Node,
    NodeState,
    PublishedPort,
    Route,
    Server,
    ServerState,
    TaskState,
)
from l7.swarm.cache import Kind
from l7.upstreams import server_state, stop_in
from tests.fakes.swarm_state import RUNNING, SHUTDOWN, World, labels, proxy, service, spec, task

WEB = labels(hosts="a.example", port="8000")
HTTPS = {"com.docker.lb.hosts": "a.example", "com.docker.lb.port": "abc"}


# ---------------------------------------------------------------- tasks


@pytest.mark.parametrize(
    ("state", "desired", "node", "expected"),
    [
        (TaskState.RUNNING, TaskState.RUNNING, NodeState.READY, ServerState.READY),
        (TaskState.RUNNING, TaskState.RUNNING, NodeState.UNKNOWN, ServerState.READY),
        (TaskState.RUNNING, TaskState.RUNNING, NodeState.DISCONNECTED, ServerState.READY),
        (TaskState.RUNNING, TaskState.RUNNING, NodeState.DOWN, None),
        (TaskState.ASSIGNED, TaskState.RUNNING, NodeState.READY, ServerState.PENDING),
        (TaskState.STARTING, TaskState.RUNNING, NodeState.READY, ServerState.PENDING),
        (TaskState.PREPARING, TaskState.READY, NodeState.READY, ServerState.PENDING),
        (TaskState.STARTING, TaskState.RUNNING, NodeState.DOWN, None),
        (TaskState.PENDING, TaskState.RUNNING, NodeState.READY, None),
        (TaskState.NEW, TaskState.RUNNING, NodeState.READY, None),
        (TaskState.RUNNING, TaskState.SHUTDOWN, NodeState.READY, ServerState.LEAVING),
        (TaskState.RUNNING, TaskState.REMOVE, NodeState.READY, ServerState.LEAVING),
        (TaskState.RUNNING, TaskState.SHUTDOWN, NodeState.DOWN, None),
        (TaskState.STARTING, TaskState.SHUTDOWN, NodeState.READY, None),
        (TaskState.SHUTDOWN, TaskState.SHUTDOWN, NodeState.READY, None),
        (TaskState.FAILED, TaskState.RUNNING, NodeState.READY, None),
        (TaskState.COMPLETE, TaskState.RUNNING, NodeState.READY, None),
    ],
)
def test_server_state(state: TaskState, desired: TaskState, node: NodeState, expected: ServerState | None) -> None:
    assert server_state(task("t", "web", state, desired), Node("n1", 1, "h", node)) is expected


def test_a_node_that_is_not_known_is_not_down() -> None:
    assert server_state(task("t", "web"), None) is ServerState.READY


def test_sigterm_comes_earlier_without_networks() -> None:
    assert stop_in(task("t", "web")) == 3000
    assert stop_in(task("t", "web", addresses=())) == 1000


def test_the_life_of_a_task() -> None:
    world = World()
    world.put(service("web", spec(WEB)), task("t1", "web", TaskState.STARTING))
    assert world.servers("web") == {"t1": Server("t1", wanted_id("t1"), "10.0.0.9", 8000, 64, ServerState.PENDING)}
    world.put(task("t1", "web", version=2))
    assert world.servers("web")["t1"].state is ServerState.READY
    [delta] = world.put(task("t1", "web", RUNNING, SHUTDOWN, version=3)).values()
    [change] = delta.changes.backends
    assert (change.settings, change.removed_servers) == (None, ())
    assert [(each.state, each.stop_in) for each in change.servers] == [(ServerState.LEAVING, 3000)]
    [delta] = world.put(task("t1", "web", SHUTDOWN, SHUTDOWN, version=4)).values()
    assert delta.changes.backends[0].removed_servers == ("t1",)
    assert world.servers("web") == {}


def test_a_node_that_goes_down_takes_its_servers_and_brings_them_back() -> None:
    world = World()
    world.put(service("web", spec(WEB)), task("t1", "web"))
    world.put(Node("n1", 2, "host1", NodeState.DOWN))
    assert world.servers("web") == {}
    assert world.put(Node("n1", 3, "host1", NodeState.UNKNOWN)) != {}
    assert set(world.servers("web")) == {"t1"}


@pytest.mark.parametrize(("replicas", "expected"), [(0, False), (1, True), (None, True)])
def test_a_successor_is_expected_while_replicas_are_wanted(replicas: int | None, expected: bool) -> None:
    world = World()
    world.put(service("web", spec(WEB, ("front",), replicas)))
    assert world.backend("web").settings == BackendSettings(("web",), expected)


def test_server_ids_are_in_range_and_clashes_go_by_age() -> None:
    assert all(1 <= wanted_id(f"task{number}") <= MAX_ID for number in range(1000))
    candidates = [
        Candidate(3, Server("young", MAX_ID, "10.0.0.3", 80)),
        Candidate(1, Server("old", MAX_ID, "10.0.0.1", 80)),
        Candidate(2, Server("next", 1, "10.0.0.2", 80)),
    ]
    ids = {name: server.id for name, server in assign_ids(candidates).items()}
    assert ids == {"old": MAX_ID, "next": 1, "young": 2}
    assert assign_ids(reversed(candidates)) == assign_ids(candidates)


# ---------------------------------------------------------------- sharing


def test_services_that_share_a_host_share_one_backend() -> None:
    world = World()
    world.put(service("one", spec(WEB)), task("t1", "one"))
    world.put(service("two", spec(labels(hosts="a.example, b.example", port="9000"))), task("t2", "two"))
    assert world.routes() == {"a.example/": "one:two", "b.example/": "two"}
    assert {name: server.port for name, server in world.servers("one:two").items()} == {"t1": 8000, "t2": 9000}
    assert set(world.servers("two")) == {"t2"}
    world.remove(Kind.SERVICE, "id-two")
    assert world.routes() == {"a.example/": "one"}
    assert set(world.snapshot().backends) == {"one"}


def test_a_shared_backend_expects_a_successor_while_any_of_its_services_does() -> None:
    world = World()
    world.put(service("one", spec(WEB, ("front",), 0)), service("two", spec(WEB, ("front",), 2)))
    assert world.backend("one:two").settings.expected
    world.put(service("two", spec(WEB, ("front",), 0), version=2))
    assert not world.backend("one:two").settings.expected


def test_the_service_created_first_decides_a_shared_route() -> None:
    world = World()
    rewriting = labels(hosts="a.example", port="80", context_root="/app", context_root_rewrite="true")
    plain = labels(hosts="a.example", port="80", context_root="/app")
    world.put(service("late", spec(rewriting), created=2), task("t1", "late"))
    assert world.snapshot().routes["a.example", "/app"].strip_path
    world.put(service("early", spec(plain), created=1), task("t2", "early"))
    assert world.snapshot().routes["a.example", "/app"] == Route("a.example", "/app", "early:late", False)
    assert set(world.servers("early:late")) == {"t1", "t2"}
    [problem] = world.problems("late")
    assert (problem.label, problem.value, problem.fatal) == ("com.docker.lb.context_root_rewrite", "true", False)
    assert world.problems("early") == []
    world.remove(Kind.SERVICE, "id-early")
    assert world.problems("late") == []
    assert world.snapshot().routes["a.example", "/app"].strip_path


def test_long_names_are_cut_and_stay_apart() -> None:
    services = tuple(f"service-with-a-long-name-{number}" for number in range(8))
    name, other = backend_name(services), backend_name((*services[:-1], "z"))
    assert len(name) == 120
    assert name != other
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_:.")


# ---------------------------------------------------------------- paths


def test_each_path_has_a_backend_of_its_own() -> None:
    world = World()
    for name, root in (("a", "/a"), ("b", "b/"), ("rest", "/")):
        world.put(service(name, spec(labels(hosts="a.example", port="80", context_root=root))))
    assert world.routes() == {"a.example/a": "a", "a.example/b": "b", "a.example/": "rest"}


@pytest.mark.parametrize(("rewrite", "strip"), [("true", True), ("false", False)])
def test_context_root_rewrite(rewrite: str, strip: bool) -> None:
    world = World()
    given = labels(hosts="a.example", port="80", context_root="/app", context_root_rewrite=rewrite)
    world.put(service("web", spec(given)))
    assert world.snapshot().routes == {("a.example", "/app"): Route("a.example", "/app", "web", strip)}


# ---------------------------------------------------------------- networks


BOTH = (("back", "10.2.0.1"), ("front", "10.1.0.1"))


def world_on_both() -> World:
    world = World(with_proxy=False)
    world.put(proxy(("front", "back")))
    return world


@pytest.mark.parametrize(("network", "address"), [("front", "10.1.0.1"), ("back", "10.2.0.1")])
def test_the_network_label_chooses_the_address(network: str, address: str) -> None:
    world = world_on_both()
    world.put(
        service("web", spec(WEB | labels(network=network), ("front", "back"))), task("t", "web", addresses=BOTH)
    )
    assert world.servers("web")["t"].address == address


def test_without_a_label_the_common_network_that_the_proxies_have_been_on_for_longest() -> None:
    world = World(with_proxy=False)
    world.put(proxy(("back", "front")))
    world.put(service("web", spec(WEB, ("front", "back"))), task("t", "web", addresses=BOTH))
    assert world.servers("web")["t"].address == "10.2.0.1"
    world.put(service("proxy", proxy(("front",)).spec, version=2))
    assert world.servers("web")["t"].address == "10.1.0.1"
    world.put(service("proxy", proxy(("front", "back")).spec, version=3))
    assert world.servers("web")["t"].address == "10.1.0.1"


@pytest.mark.acceptance(39)
def test_the_short_name_of_a_stack_network() -> None:
    world = World(with_proxy=False)
    world.put(Network("shop_net", 1, "shop_net"), proxy(("shop_net",)))
    stack = {"com.docker.stack.namespace": "shop"}
    given = WEB | labels(network="net")
    world.put(service("web", spec(given | stack, ("shop_net",))))
    assert world.routes() == {"a.example/": "web"}
    world.put(service("bare", spec(labels(hosts="b.example", port="80", network="net"), ("shop_net",))))
    [problem] = world.problems("bare")
    assert problem.label == "com.docker.lb.network"
    assert "shop_net" in problem.message + problem.remedy


@pytest.mark.acceptance(40)
def test_a_network_that_the_service_is_not_on() -> None:
    world = world_on_both()
    world.put(service("good", spec(labels(hosts="b.example", port="80"))))
    world.put(service("web", spec(WEB | labels(network="elsewhere"), ("front", "back"))))
    [problem] = world.problems("web")
    assert (problem.label, problem.value, problem.fatal) == ("com.docker.lb.network", "elsewhere", True)
    assert "back, front" in problem.message
    assert world.routes() == {"b.example/": "good"}


def test_a_network_that_the_proxies_are_not_on() -> None:
    world = World()
    world.put(service("web", spec(WEB | labels(network="back"), ("front", "back"))))
    [problem] = world.problems("web")
    assert "front" in problem.message
    assert "front" in problem.remedy
    assert world.routes() == {}


@pytest.mark.acceptance(41)
def test_the_ingress_network_is_never_chosen() -> None:
    world = World(with_proxy=False)
    world.put(proxy(("ingress", "front")))
    ports = PublishedPort(8000, 80)
    world.put(service("web", spec(labels(hosts="a.example"), ("front", "ingress"), 1, ports)))
    world.put(task("t", "web", addresses=(("ingress", "10.255.0.7"), ("front", "10.1.0.1"))))
    assert world.servers("web")["t"].address == "10.1.0.1"
    world.put(service("mesh", spec(labels(hosts="b.example", port="80"), ("ingress",))))
    world.put(task("u", "mesh", addresses=(("ingress", "10.255.0.8"),)))
    assert [problem.label for problem in world.problems("mesh")] == ["com.docker.lb.network"]
    assert world.routes() == {"a.example/": "web"}


def test_no_common_network() -> None:
    world = World()
    world.put(service("web", spec(WEB, ("back",))))
    [problem] = world.problems("web")
    assert "back" in problem.message
    assert "front" in problem.message
    assert problem.remedy


def test_a_problem_names_the_proxies_networks_as_soon_as_they_are_known() -> None:
    world = World(with_proxy=False)
    world.put(proxy(("later",)), service("web", spec(WEB, ("back",))))
    world.put(Network("later", 1, "later"))
    [problem] = world.problems("web")
    assert "proxies (later)" in problem.message


def test_proxies_change_networks_and_every_service_of_the_cluster_follows() -> None:
    world = World()
    world.put(service("web", spec(WEB, ("back",))), task("t", "web", addresses=BOTH[:1]))
    assert world.routes() == {}
    moved = service("proxy", proxy(("front", "back")).spec, version=2)
    world.put(moved)
    assert world.routes() == {"a.example/": "web"}
    assert world.problems("web") == []
    world.remove(Kind.SERVICE, "id-proxy")
    assert world.routes() == {}
    [problem] = world.problems("web")
    assert "com.docker.l7.cluster" in problem.remedy


def test_a_new_network_of_the_proxies_counts_once_all_their_tasks_are_on_it() -> None:
    """A proxy task from before could not connect there."""
    world = World()
    world.put(task("p1", "proxy", addresses=BOTH[1:]), task("p2", "proxy", addresses=BOTH[1:]))
    world.put(service("web", spec(WEB, ("front", "back"))), task("t", "web", addresses=BOTH))
    world.put(service("proxy", proxy(("back", "front")).spec, version=2))
    world.put(task("p1", "proxy", RUNNING, SHUTDOWN, BOTH[1:], version=2), task("p3", "proxy", addresses=BOTH))
    world.put(task("p1", "proxy", SHUTDOWN, SHUTDOWN, BOTH[1:], version=3))
    assert world.servers("web")["t"].address == "10.1.0.1"
    world.put(task("p2", "proxy", SHUTDOWN, SHUTDOWN, BOTH[1:], version=3))
    assert world.servers("web")["t"].address == "10.2.0.1"


def test_only_what_all_proxy_services_of_a_cluster_are_on_counts() -> None:
    world = world_on_both()
    world.put(service("web", spec(WEB, ("back",))), proxy(("front",), name="second"))
    assert world.routes() == {}


def test_proxies_without_a_network_in_common_are_not_the_services_fault() -> None:
    world = World()
    world.put(service("web", spec(WEB, ("front",))), proxy(("back",), name="second"))
    [problem] = world.problems("web")
    assert problem.message == "there is no network that all proxies of the service cluster are on"
    assert "before the old one goes" in problem.remedy


def test_networks_of_the_settings() -> None:
    world = World(Settings(clusters={"": Cluster(networks=("back",))}))
    world.put(service("web", spec(WEB, ("front", "back"))), task("t", "web", addresses=BOTH))
    assert world.servers("web")["t"].address == "10.2.0.1"
    world.put(service("other", spec(labels(hosts="b.example", port="80"), ("front",))))
    assert [problem.fatal for problem in world.problems("other")] == [True]


def test_a_task_from_before_a_change_of_networks_serves_until_its_successor_is_there() -> None:
    world = world_on_both()
    world.put(service("web", spec(WEB, ("front",))), task("old", "web", addresses=BOTH[1:]))
    world.put(service("web", spec(WEB, ("back",)), version=2), task("new", "web", addresses=BOTH[:1]))
    assert {name: server.address for name, server in world.servers("web").items()} == {
        "old": "10.1.0.1",
        "new": "10.2.0.1",
    }


# ---------------------------------------------------------------- problems


BAD = [
    {"port": "abc"}, {"hosts": ""}, {"hosts": "a b{.example"}, {"hosts": "a;b"}, {"hosts": "a\nb"},
    {"hosts": "x" * 300}, {"context_root": "/a;b"}, {"network": "a|b"}, {"service_cluster": "nowhere"},
]  # fmt: skip


@pytest.mark.acceptance(26)
@pytest.mark.parametrize("bad", BAD, ids=str)
def test_only_the_service_with_bad_labels_is_skipped(bad: dict[str, str]) -> None:
    world = World()
    world.put(service("good", spec(labels(hosts="good.example", port="80"))), task("t1", "good"))
    before = world.snapshot()
    assert world.put(service("bad", spec(WEB | labels(**bad))), task("t2", "bad")) == {}
    assert world.snapshot() == before
    [problem] = world.problems("bad")
    assert problem.fatal
    assert problem.label == "com.docker.lb." + next(iter(bad))
    assert problem.remedy
    assert world.problems("good") == []


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_bad_labels_leave_a_service_on_its_previous_ones(bad: dict[str, str]) -> None:
    world = World()
    good = spec(WEB)
    world.put(service("web", good), task("t1", "web"))
    before = world.snapshot()
    assert world.put(service("web", spec(WEB | labels(**bad)), previous=good, version=2)) == {}
    assert world.snapshot() == before
    [problem] = world.problems("web")
    assert "previous labels" in problem.message
    assert world.put(service("web", spec(WEB), version=3)) == {}
    assert world.problems("web") == []


def test_previous_labels_go_with_the_current_replicas() -> None:
    world = World()
    world.put(service("web", spec(HTTPS, ("front",), 0), previous=spec(WEB, ("front",), 3)))
    assert not world.backend("web").settings.expected


def test_previous_labels_that_are_bad_too_leave_the_service_out() -> None:
    world = World()
    world.put(service("web", spec(HTTPS), previous=spec(HTTPS)))
    assert world.routes() == {}
    [problem] = world.problems("web")
    assert "previous" not in problem.message


def test_labels_come_and_go() -> None:
    world = World()
    plain = spec({})
    world.put(service("web", plain), task("t", "web"))
    assert world.routes() == {}
    world.put(service("web", spec(WEB), previous=plain, version=2))
    assert set(world.servers("web")) == {"t"}
    world.put(service("web", plain, previous=spec(WEB), version=3))
    assert world.routes() == {}
    assert world.build.problems() == ()


def test_taking_hosts_away_unpublishes_although_the_previous_labels_had_them() -> None:
    world = World()
    world.put(service("web", spec(WEB)), task("t", "web"))
    world.put(service("web", spec(labels(port="abc")), previous=spec(WEB), version=2))
    assert world.routes() == {}


# ---------------------------------------------------------------- clusters


def two_clusters() -> World:
    world = World(Settings(clusters={"": Cluster(), "east": Cluster("east", "east")}))
    world.put(proxy(("back",), "east", "proxy-east"))
    return world


def test_a_service_belongs_to_one_cluster() -> None:
    world = two_clusters()
    deltas = world.put(service("web", spec(WEB | labels(service_cluster="east"), ("back",))))
    assert set(deltas) == {"east"}
    assert world.routes("east") == {"a.example/": "web"}
    assert world.routes("") == {}
    deltas = world.put(service("web", spec(WEB, ("front",)), version=2))
    assert set(deltas) == {"", "east"}
    assert world.routes("east") == {}
    assert world.routes("") == {"a.example/": "web"}


def test_an_unknown_cluster_is_told() -> None:
    world = two_clusters()
    world.put(service("web", spec(WEB | labels(service_cluster="west"))))
    [problem] = world.problems("web")
    assert (problem.label, problem.value, problem.cluster) == ("com.docker.lb.service_cluster", "west", "west")
    assert "east" in problem.remedy


# ---------------------------------------------------------------- change


def test_a_task_event_changes_only_its_backend() -> None:
    world = World()
    for number in range(20):
        name = f"web{number}"
        world.put(service(name, spec(labels(hosts=f"{name}.example", port="80"))), task(f"t{number}", name))
    before = world.snapshot()
    world.put(task("extra", "web7"))
    after = world.snapshot()
    changed = {name for name in after.backends if after.backends[name] is not before.backends[name]}
    assert changed == {"web7"}


def test_a_task_event_reads_no_label_and_decides_no_route(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.put(service("web", spec(WEB | labels(weight="50"))), service("other", spec(WEB)), task("t1", "web"))
    monkeypatch.setattr("l7.build.parse_labels", None)
    monkeypatch.setattr("l7.pool.decide", None)
    [delta] = world.put(task("t2", "web"), task("u1", "other")).values()
    assert delta.changes.routes == ()
    weights = {name: each.weight for name, each in world.servers("other:web").items()}
    assert weights == {"t1": 64, "t2": 64, "u1": 256}


def test_nothing_in_nothing_out() -> None:
    world = World()
    web, one = service("web", spec(WEB)), task("t1", "web")
    world.put(web, one)
    revision = world.snapshot().revision
    assert world.put(web, one) == {}
    assert world.put(Node("n1", 9, "host1", NodeState.UNKNOWN)) == {}
    assert world.snapshot().revision == revision
    assert world.build.update(world.cache, _Everything()) == {}


class _Everything:
    services: frozenset[str] = frozenset()
    all = True


def test_going_back_gives_the_revision_back() -> None:
    world = World()
    empty = world.snapshot().revision
    world.put(service("web", spec(WEB)), task("t1", "web"))
    revision = world.snapshot().revision
    world.put(task("t2", "web"))
    assert world.snapshot().revision != revision
    world.remove(Kind.TASK, "t2")
    assert world.snapshot().revision == revision
    world.remove(Kind.SERVICE, "id-web")
    assert world.snapshot().revision == empty


# ---------------------------------------------------------------- the operator's settings


OLD = (("interlock.domain", "example"), ("interlock.hostname", "old"), ("interlock.port", "80"))


@pytest.mark.parametrize(("legacy", "routes"), [(True, {"old.example/": "web"}), (False, {})])
def test_labels_of_interlock_1_on_containers_count_when_the_settings_say_so(
    legacy: bool, routes: dict[str, str]
) -> None:
    world = World(Settings(legacy_labels=legacy))
    world.put(service("web", replace(spec({}), container_labels=OLD)), task("t1", "web"))
    assert world.routes() == routes
    assert world.build.problems() == ()


def test_previous_labels_are_those_of_the_containers_too() -> None:
    world = World(Settings(legacy_labels=True))
    before = replace(spec({}), container_labels=OLD)
    world.put(service("web", before), task("t1", "web"))
    assert world.put(service("web", spec(HTTPS), previous=before, version=2)) == {}
    assert world.routes() == {"old.example/": "web"}


def test_the_extensions_settings_are_in_the_snapshot_and_in_its_revision() -> None:
    plain, told = World(), World(Settings(clusters={"": Cluster(config=b'{"A":1}')}))
    assert (plain.snapshot().config, told.snapshot().config) == (b"{}", b'{"A":1}')
    assert plain.snapshot().revision != told.snapshot().revision
