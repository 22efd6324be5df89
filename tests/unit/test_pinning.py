"""Pinned service clusters: what is compiled from then, and what waits."""

from __future__ import annotations

from l7.build import Build
from l7.config import Cluster, Settings
from l7.inputs import Inputs, Written
from l7.model import Network, Node, NodeState, Service, ServiceSpec, Task, TaskState
from l7.pinning import Pin
from l7.swarm.cache import Cache, Kind, Remove, Touched, Upsert

SETTINGS = Settings(
    clusters={name: Cluster(name, name or "default", ("front",), b'{"MaxConnections":9}') for name in ("", "east")}
)


def labels(host: str, **more: str) -> tuple[tuple[str, str], ...]:
    own = {"hosts": host, "port": "80", **more}
    return tuple(sorted((f"com.docker.lb.{key}", value) for key, value in own.items()))


def service(name: str, *own: tuple[str, str], id: str = "", version: int = 1, **more: object) -> Service:
    spec = ServiceSpec(labels=own, networks=("n1",))
    return Service(id or f"s-{name}", version, name, version, spec, **more)  # type: ignore[arg-type]


class World:
    """A Swarm, and a build that is told of everything."""

    def __init__(self) -> None:
        self.cache, self.build = Cache(), Build(SETTINGS)
        self.put(Network("n1", 1, "front"), Node("node", 1, "h", NodeState.READY))

    def put(self, *objects: object) -> None:
        touched = Touched()
        for each in objects:
            touched |= self.cache.apply(Upsert(each))  # type: ignore[arg-type]
        self.build.update(self.cache, touched)

    def remove(self, id: str) -> None:
        self.build.update(self.cache, self.cache.apply(Remove(Kind.SERVICE, id)))

    def task(self, name: str, id: str, service_id: str = "") -> None:
        addresses = (("n1", "10.0.0.9"),)
        running = TaskState.RUNNING
        self.put(Task(id, 1, service_id or f"s-{name}", "node", 1, running, running, 1, addresses))

    def pin(self, cluster: str = "") -> Inputs:
        """To what it is now."""
        inputs = self.build.inputs(cluster, self.build.snapshot(cluster).revision)
        assert inputs is not None
        self.set({cluster: Pin("ab" * 16, inputs)})
        return inputs

    def set(self, pins: dict[str, Pin]) -> None:
        self.build.pin(pins)
        self.build.update(self.cache, Touched(all=True))

    def hosts(self, cluster: str = "") -> set[str]:
        return {host for host, _ in self.build.snapshot(cluster).routes}

    def told(self) -> list[tuple[str, str, str]]:
        return [(each.cluster, each.message.partition("; ")[2], each.remedy) for each in self.build.problems()]


def test_labels_wait_and_tasks_do_not() -> None:
    world = World()
    world.put(service("web", *labels("web.test")))
    world.pin()
    assert world.told() == [("", "no service's labels wait", "l7 unpin")]
    world.put(service("web", *labels("other.test"), version=2), service("new", *labels("new.test")))
    world.task("web", "t1")
    assert world.hosts() == {"web.test"}
    assert list(world.build.snapshot("").backends["web"].servers) == ["t1"]
    assert world.told() == [("", "labels of these wait: new, web", "l7 unpin")]
    world.put(service("web", *labels("web.test"), version=3))
    assert world.told() == [("", "labels of these wait: new", "l7 unpin")]
    world.set({})
    assert world.hosts() == {"web.test", "new.test"}
    assert world.told() == []


def test_what_is_not_read_does_not_wait() -> None:
    world = World()
    world.put(service("web", *labels("web.test")), service("db"))
    world.pin()
    world.put(service("web", *labels("web.test"), ("team", "shop"), version=2))
    world.put(service("db", ("x", "y"), version=2))
    assert world.told() == [("", "no service's labels wait", "l7 unpin")]


def test_the_operators_settings_are_those_of_then() -> None:
    world = World()
    world.put(service("web", *labels("web.test")))
    world.set({"": Pin("ab", Inputs(b'{"MaxConnections":5}', services={"web": Written(labels("old.test"))}))})
    assert world.build.snapshot("").config == b'{"MaxConnections":5}'
    assert world.hosts() == {"old.test"}
    world.set({})
    assert world.build.snapshot("").config == b'{"MaxConnections":9}'


def test_other_clusters_go_on() -> None:
    world = World()
    world.put(service("web", *labels("web.test", service_cluster="east")))
    world.pin("east")
    world.put(service("new", *labels("new.test")), service("more", *labels("more.test", service_cluster="east")))
    assert (world.hosts(), world.hosts("east")) == ({"new.test"}, {"web.test"})
    assert world.told() == [("east", "labels of these wait: more", "l7 unpin --cluster east")]


def test_a_service_that_moves_to_a_pinned_cluster_waits_and_one_that_leaves_it_stays() -> None:
    world = World()
    world.put(service("a", *labels("a.test")), service("b", *labels("b.test", service_cluster="east")))
    world.pin("east")
    world.put(service("a", *labels("a.test", service_cluster="east"), version=2))
    world.put(service("b", *labels("b.test"), version=2))
    assert (world.hosts(), world.hosts("east")) == (set(), {"b.test"})


def test_labels_of_before_do_not_lead_into_a_pinned_cluster() -> None:
    """Bad labels now, good ones before: those are not of then either."""
    world = World()
    world.put(service("web", *labels("web.test", service_cluster="east")))
    world.pin("east")
    before = ServiceSpec(labels=labels("new.test", service_cluster="east"), networks=("n1",))
    world.put(service("new", *labels("new.test", port="x"), previous=before))
    assert (world.hosts(), world.hosts("east")) == (set(), {"web.test"})


def test_a_service_that_is_made_again_is_the_same_by_its_name() -> None:
    world = World()
    world.put(service("web", *labels("web.test")))
    world.put(service("web", *labels("web.test"), id="other", version=5))
    world.remove("s-web")
    world.pin()
    world.put(service("web", *labels("changed.test"), id="third", version=9))
    world.remove("other")
    assert world.hosts() == {"web.test"}


def test_a_service_that_is_gone_has_no_servers_and_its_labels_are_none_of_the_next_pin() -> None:
    world = World()
    world.put(service("web", *labels("web.test")), service("db", *labels("db.test")))
    world.remove("s-db")
    assert set(world.pin().services) == {"web"}
    world.remove("s-web")
    assert world.hosts() == set()


def test_a_cluster_that_the_settings_do_not_have_is_not_pinned() -> None:
    world = World()
    world.set({"nowhere": Pin("ab", Inputs())})
    assert world.told() == []
