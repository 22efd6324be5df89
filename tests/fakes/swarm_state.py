"""A Swarm in a few words: builders for its objects, and a cache with a build behind it."""

from __future__ import annotations

from dataclasses import replace

from l7.build import Build
from l7.config import Settings
from l7.model import (
    Backend,
    Delta,
    Network,
    Node,
    NodeState,
    Problem,
    PublishedPort,
    Route,
    Server,
    Service,
    ServiceSpec,
    Snapshot,
    StoredSecret,
    Task,
    TaskState,
)
from l7.swarm.cache import Cache, Event, Kind, Object, Remove, Touched, Upsert

PREFIX = "com.docker.lb."
PROXY_LABELS = {"type": "com.docker.interlock.core.proxy", "com.docker.l7.cluster": ""}
RUNNING, SHUTDOWN = TaskState.RUNNING, TaskState.SHUTDOWN


def labels(**short: str) -> dict[str, str]:
    """Labels by their short names."""
    return {PREFIX + name: value for name, value in short.items()}


def spec(
    given: dict[str, str], networks: tuple[str, ...] = ("front",), replicas: int | None = 1, *ports: PublishedPort
) -> ServiceSpec:
    """A specification; networks by id, which here are their names."""
    return ServiceSpec(tuple(sorted(given.items())), networks, replicas, ports)


def service(
    name: str, given: ServiceSpec, previous: ServiceSpec | None = None, created: int = 1, version: int = 1
) -> Service:
    """A service whose id is `id-<name>`."""
    return Service(f"id-{name}", version, name, created, given, previous)


def task(
    name: str,
    of: str,
    state: TaskState = RUNNING,
    desired: TaskState = RUNNING,
    addresses: tuple[tuple[str, str], ...] = (("front", "10.0.0.9"),),
    **more: object,
) -> Task:
    """A task of service `of` on node n1."""
    fields: dict[str, object] = {"version": 1, "node": "n1", "slot": 1, "created": 1, **more}
    return Task(id=name, service=f"id-{of}", state=state, desired=desired, addresses=addresses, **fields)  # type: ignore[arg-type]


def proxy(networks: tuple[str, ...] = ("front",), cluster: str = "", name: str = "proxy") -> Service:
    """A proxy service."""
    return service(name, spec({**PROXY_LABELS, "com.docker.l7.cluster": cluster}, networks))


class World:
    """A cache, the build that follows it, and the last deltas. Node n1, networks front, back and ingress."""

    def __init__(self, settings: Settings | None = None, *, with_proxy: bool = True, shared: str = "") -> None:
        """`shared`: the proxies of every cluster are always on this network, and join those of applications."""
        self.cache = Cache()
        settings = settings or Settings()
        self.build = Build(settings, dict.fromkeys(settings.clusters, shared) if shared else None)
        self.put(Node("n1", 1, "host1", NodeState.READY))
        self.put(*(Network(name, 1, name) for name in ("front", "back")), Network("ingress", 1, "ingress", True))
        if with_proxy:
            self.put(proxy())

    def serve(self, name: str, created: int = 1, tasks: int = 1, **given: str) -> dict[str, Delta]:
        """A service with these labels, on port 80, new or changed; its running tasks are t-<name>-0, 1, ..."""
        made = service(name, spec(labels(port="80", **given), ("front",), tasks), created=created)
        old = self.cache.services.get(made.id)
        wanted = {f"t-{name}-{number}" for number in range(tasks)}
        gone = self.cache.tasks_of(made.id).keys() - wanted
        return self.take(
            Upsert(replace(made, version=old.version + 1 if old else 1, created=old.created if old else created)),
            *(Upsert(task(each, name)) for each in sorted(wanted)),
            *(Remove(Kind.TASK, each) for each in sorted(gone)),
        )

    def put(self, *objects: Object) -> dict[str, Delta]:
        """New or changed objects, as one change."""
        return self.take(*(Upsert(each) for each in objects))

    def store(self, *names: str, config: bool = False) -> dict[str, Delta]:
        """Secrets, or configs, of these names, each with the id `id-<name>`."""
        return self.put(*(StoredSecret(f"id-{name}", 1, name, config) for name in names))

    def remove(self, kind: Kind, id_: str) -> dict[str, Delta]:
        """An object is gone."""
        return self.take(Remove(kind, id_))

    def take(self, *events: Event) -> dict[str, Delta]:
        """Events, coalesced into one change."""
        touched = Touched()
        for event in events:
            touched |= self.cache.apply(event)
        return self.build.update(self.cache, touched)

    def snapshot(self, cluster: str = "") -> Snapshot:
        return self.build.snapshot(cluster)

    def route(self, host: str, path: str = "/") -> Route:
        return self.snapshot().routes[host, path]

    def routes(self, cluster: str = "") -> dict[str, str]:
        """host + path → backend."""
        return {route.host + route.path: route.backend for route in self.snapshot(cluster).routes.values()}

    def backend(self, name: str) -> Backend:
        return self.snapshot().backends[name]

    def servers(self, backend: str) -> dict[str, Server]:
        return dict(self.backend(backend).servers)

    def problems(self, of: str) -> list[Problem]:
        """The problems of a service."""
        return [problem for problem in self.build.problems() if problem.service == of]
