"""The words of the system as frozen values: what Swarm says (top), and what core makes of it (bottom).

Everything here is immutable, hashable where it is used as a key, and free of IO. The wire form of the
lower half is `proto/l7/v1/sync.proto`; `l7.serve.wire` is the only converter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

# ---------------------------------------------------------------- what Swarm says


class TaskState(IntEnum):
    """SwarmKit's task states; a task's observed state only moves forward (swarmkit design/task_model.md)."""

    NEW = 0
    PENDING = 64
    ASSIGNED = 192
    ACCEPTED = 256
    PREPARING = 320
    READY = 384
    STARTING = 448
    RUNNING = 512
    COMPLETE = 576
    SHUTDOWN = 640
    FAILED = 704
    REJECTED = 768
    REMOVE = 800
    ORPHANED = 832


class NodeState(IntEnum):
    """UNKNOWN is what every node passes through after a change of leader: it is not DOWN."""

    UNKNOWN = 0
    DOWN = 1
    READY = 2
    DISCONNECTED = 3


@dataclass(frozen=True, slots=True)
class Node:
    """A Swarm node. `address` is what it advertises to its peers, "" when unknown."""

    id: str
    version: int
    hostname: str
    state: NodeState
    address: str = ""


@dataclass(frozen=True, slots=True)
class Network:
    """A swarm-scoped network. `ingress` marks the routing mesh, which is never a route to a task."""

    id: str
    version: int
    name: str
    ingress: bool = False


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A port as a service wants it (spec) or as a task got it (status); mode is "ingress" or "host"."""

    target: int
    published: int
    protocol: str = "tcp"
    mode: str = "ingress"


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """The part of a service's specification that routing depends on.

    `labels` are the service's own labels (not the container's), sorted by key. `networks` are the ids in
    the task template's order. `replicas` is None for a global service. `endpoint_mode` is vip or dnsrr.
    """

    labels: tuple[tuple[str, str], ...] = ()
    networks: tuple[str, ...] = ()
    replicas: int | None = 1
    ports: tuple[PublishedPort, ...] = ()
    endpoint_mode: str = "vip"


@dataclass(frozen=True, slots=True)
class Service:
    """A Swarm service. `previous` is the specification before the last update, None when there is none.

    `created` is nanoseconds of Unix time; `vips` pairs (network id, address without prefix length).
    """

    id: str
    version: int
    name: str
    created: int
    spec: ServiceSpec
    previous: ServiceSpec | None = None
    vips: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """A Swarm task. `addresses` pairs (network id, address without prefix length), final from ASSIGNED on.

    `ports` are the host-mode ports that the node allocated, from the task's status, deduplicated.
    """

    id: str
    version: int
    service: str
    node: str
    slot: int
    state: TaskState
    desired: TaskState
    created: int
    addresses: tuple[tuple[str, str], ...] = ()
    ports: tuple[PublishedPort, ...] = ()


# ---------------------------------------------------------------- what core makes of it


class ServerState(IntEnum):
    """Where a task is in its life, as far as traffic is concerned. Values are those of the wire."""

    PENDING = 1
    READY = 2
    LEAVING = 3


@dataclass(frozen=True, slots=True)
class Server:
    """A task as a target. `id` is 1..2^20-1, unique in its backend, the same on every proxy.

    `stop_in` (milliseconds, LEAVING only): SIGTERM comes this long after Swarm's decision, at the earliest.
    """

    task: str
    id: int
    address: str
    port: int
    weight: int = 64
    state: ServerState = ServerState.READY
    stop_in: int = 0


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """Everything about a backend but its servers. `expected`: replicas wanted > 0."""

    services: tuple[str, ...] = ()
    expected: bool = True


@dataclass(frozen=True, slots=True)
class Backend:
    """The tasks of one service, or of all services that share a route. Servers are keyed by task id."""

    name: str
    settings: BackendSettings
    servers: Mapping[str, Server] = field(default_factory=dict)


RouteKey = tuple[str, str]
"""(host, path): host lower case, "*.example.org" for one label; path "/" or without trailing slash."""


@dataclass(frozen=True, slots=True)
class Route:
    """Host and path prefix lead to a backend; `strip_path` removes the prefix before forwarding."""

    host: str
    path: str
    backend: str
    strip_path: bool = False

    @property
    def key(self) -> RouteKey:
        return (self.host, self.path)


@dataclass(frozen=True, slots=True)
class BackendChange:
    """Change of one backend. `settings` None: unchanged. A new backend has settings and all its servers."""

    name: str
    settings: BackendSettings | None = None
    servers: tuple[Server, ...] = ()
    removed_servers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """Upserts and removals; sorted by key, so that the same change is the same value."""

    backends: tuple[BackendChange, ...] = ()
    removed_backends: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    removed_routes: tuple[RouteKey, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.backends or self.removed_backends or self.routes or self.removed_routes)


@dataclass(frozen=True, slots=True)
class Delta:
    """Changes that lead from one revision of a cluster to another.

    `observed` is when core learnt of the first of them, nanoseconds of Unix time, 0 when unknown.
    """

    applies_to: str
    results_in: str
    changes: Changes
    observed: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The complete desired state of a cluster. `revision` is a digest of the content."""

    cluster: str
    revision: str
    backends: Mapping[str, Backend]
    routes: Mapping[RouteKey, Route]


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A user's error as a value: which service and label, what was found, and what to do about it.

    `fatal`: the service is not routed by its current labels because of it. `value` is escaped and cut.
    """

    service: str
    label: str
    value: str
    message: str
    remedy: str
    cluster: str = ""
    service_id: str = ""
    fatal: bool = True
