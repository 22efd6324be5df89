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
    """A Swarm node. `address` is what it advertises to its peers, "" when unknown.

    `availability`: "active"; "pause" (keeps its tasks, gets no new ones); or "drain". `os` and `arch` are its own
    words ("linux", "x86_64"), "" when unknown. `labels` and `engine_labels` are sorted by key.
    """

    id: str
    version: int
    hostname: str
    state: NodeState
    address: str = ""
    manager: bool = False
    availability: str = "active"
    os: str = ""
    arch: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    engine_labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Network:
    """A swarm-scoped network. `ingress` marks the routing mesh, which is never a route to a task.

    `subnets`: what addresses are taken from, as "10.0.1.0/24"; none before Swarm has chosen.
    """

    id: str
    version: int
    name: str
    ingress: bool = False
    driver: str = "overlay"
    attachable: bool = False
    internal: bool = False
    encrypted: bool = False
    subnets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """A Docker secret, or a config, without its content. `labels` sorted by key."""

    id: str
    version: int
    name: str
    config: bool = False
    labels: tuple[tuple[str, str], ...] = ()


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

    `labels` are the service's own labels, sorted by key; `container_labels` those of its containers that begin
    with "interlock.", where Interlock 1 wants them. `networks` are the ids in the task template's order.
    `replicas` is None for a global service. `endpoint_mode` is vip or dnsrr.
    """

    labels: tuple[tuple[str, str], ...] = ()
    networks: tuple[str, ...] = ()
    replicas: int | None = 1
    ports: tuple[PublishedPort, ...] = ()
    endpoint_mode: str = "vip"
    container_labels: tuple[tuple[str, str], ...] = ()


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

    `weight` is 0..256. `service` is the index of its service in the backend's `services`.
    `stop_in` (milliseconds, LEAVING only): SIGTERM comes this long after Swarm's decision, at the earliest.
    """

    task: str
    id: int
    address: str
    port: int
    weight: int = 64
    state: ServerState = ServerState.READY
    stop_in: int = 0
    service: int = 0


class Balance(IntEnum):
    """How a server is chosen. Values are those of the wire, as in all enumerations below."""

    ROUND_ROBIN = 0
    LEAST_CONNECTIONS = 1
    RANDOM = 2
    FIRST = 3
    HASH = 4


class RetryOn(IntEnum):
    """Which requests may be sent a second time: those that reached no task; harmless ones; all."""

    CONNECT = 0
    SAFE = 1
    ALL = 2


class Protocol(IntEnum):
    """How to speak to a task."""

    HTTP = 0
    H2C = 1
    HTTPS = 2


class ProxyHeader(IntEnum):
    """Version of the PROXY protocol."""

    NONE = 0
    V1 = 1
    V2 = 2


class ClientCertificate(IntEnum):
    """Whether clients prove who they are by a certificate."""

    NONE = 0
    OPTIONAL = 1
    REQUIRED = 2


@dataclass(frozen=True, slots=True, order=True)
class Secret:
    """A Docker secret, or a config, whose content an extension needs; an id always has the same content."""

    id: str
    name: str
    config: bool = False


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Certificate and private key, PEM. `key` None: it stands in `certificate`, too."""

    certificate: Secret
    key: Secret | None = None


@dataclass(frozen=True, slots=True)
class TlsHost:
    """How TLS is terminated for a host (as in a RouteKey; "*": clients that name no host, or an unknown one).

    `service`: name of the one whose labels say so, "" for the operator.
    """

    host: str
    service: str
    certificate: KeyPair
    client_certificate: ClientCertificate = ClientCertificate.NONE
    client_ca: Secret | None = None


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """An HTTP check. `statuses` sorted; empty: 200 to 399. `host` "": a name of the proxy's choice."""

    path: str
    host: str = ""
    statuses: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Settings of one service's servers; fields as in l7.v1.ServerSettings, times in milliseconds."""

    protocol: Protocol = Protocol.HTTP
    check_port: int = 0
    check_interval: int = 0
    check_rise: int = 0
    check_fall: int = 0
    slow_start: int = 0
    max_connections: int = 0
    max_fails: int = 0
    fail_timeout: int = 0
    drain_timeout: int = 0
    tls_ca: Secret | None = None
    tls_name: str = ""
    tls_certificate: KeyPair | None = None
    proxy_header: ProxyHeader = ProxyHeader.NONE


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """Everything about a backend but its servers. `expected`: replicas wanted > 0.

    `servers` is parallel to `services`, or empty when all are default. `check` None: TCP.
    """

    services: tuple[str, ...] = ()
    expected: bool = True
    balance: Balance = Balance.ROUND_ROBIN
    retry_on: RetryOn = RetryOn.CONNECT
    check: HealthCheck | None = None
    servers: tuple[ServerSettings, ...] = ()
    tcp: bool = False


@dataclass(frozen=True, slots=True)
class Backend:
    """The tasks of one service, or of all services that share a route. Servers are keyed by task id."""

    name: str
    settings: BackendSettings
    servers: Mapping[str, Server] = field(default_factory=dict)


RouteKey = tuple[str, str]
"""(host, path): host lower case, "*.example.org" for one label, "*" for any that no route names; path "/" or
without trailing slash. (":5432", "/") is a port of the proxies for raw TCP, and ("@app.example.org", "/") TLS
connections to that host that are passed on as they are."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """302 to `location` + path and query. `scheme` "http" or "https": only requests of that; "": all."""

    scheme: str
    location: str


@dataclass(frozen=True, slots=True)
class Canary:
    """Requests with a header or cookie (`source` "header" or "cookie") go to a backend of their own.

    `value` "": any. Header names are lower case.
    """

    backend: str
    source: str
    name: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """Host and path prefix lead to a backend; `strip_path` removes the prefix before forwarding.

    `backend` "": only a redirect or a canary answers. `rules`: name of the Rules that apply, "" for none.
    """

    host: str
    path: str
    backend: str
    strip_path: bool = False
    rules: str = ""
    redirect: Redirect | None = None
    canaries: tuple[Canary, ...] = ()

    @property
    def key(self) -> RouteKey:
        return (self.host, self.path)


class HeaderAction(IntEnum):
    """What to do to a header."""

    SET = 1
    ADD = 2
    REMOVE = 3


@dataclass(frozen=True, slots=True)
class HeaderChange:
    """`value` is printable ASCII, "" for REMOVE."""

    action: HeaderAction
    name: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Requests per client address in a period of 1000, 10000, 60000 or 3600000 milliseconds."""

    requests: int
    period: int


@dataclass(frozen=True, slots=True)
class Cors:
    """Fields as in l7.v1.Cors; `max_age` in seconds."""

    origins: tuple[str, ...]
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    credentials: bool = False
    max_age: int = 0


class HashSource(IntEnum):
    """The part of a request that decides its server."""

    ADDRESS = 1
    URI = 2
    HEADER = 3
    COOKIE = 4


@dataclass(frozen=True, slots=True)
class HashKey:
    """`name` of the header (lower case) or cookie."""

    source: HashSource
    name: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """What applies to the requests of a route on their way; fields as in l7.v1.Rules, times in milliseconds.

    `name` is that of the service which set them.
    """

    name: str = ""
    https_redirect: bool = False
    hsts: str = ""
    allow: tuple[str, ...] = ()
    rate_limit: RateLimit | None = None
    max_body: int = 0
    compression: bool = False
    cors: Cors | None = None
    request_headers: tuple[HeaderChange, ...] = ()
    response_headers: tuple[HeaderChange, ...] = ()
    hash_key: HashKey | None = None
    timeout_server: int = 0
    timeout_tunnel: int = 0
    timeout_connect: int = 0
    queue_timeout: int = 0
    basic_auth: Secret | None = None
    basic_auth_realm: str = ""
    client_certificate: ClientCertificate = ClientCertificate.NONE

    def __bool__(self) -> bool:
        """Whether anything but the name is set."""
        return self != Rules(self.name)


@dataclass(frozen=True, slots=True)
class BackendChange:
    """Change of one backend. `settings` None: unchanged. A new backend has settings and all its servers."""

    name: str
    settings: BackendSettings | None = None
    servers: tuple[Server, ...] = ()
    removed_servers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """Upserts and removals; sorted by key, so that the same change is the same value. None: unchanged.

    `challenges` are pairs (token, key authorization); `secret_sources` as in Snapshot.
    """

    backends: tuple[BackendChange, ...] = ()
    removed_backends: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    removed_routes: tuple[RouteKey, ...] = ()
    rules: tuple[Rules, ...] = ()
    removed_rules: tuple[str, ...] = ()
    config: bytes | None = None
    tls_hosts: tuple[TlsHost, ...] = ()
    removed_tls_hosts: tuple[str, ...] = ()
    challenges: tuple[tuple[str, str], ...] = ()
    removed_challenges: tuple[str, ...] = ()
    secret_sources: tuple[str, ...] | None = None

    def __bool__(self) -> bool:
        """Whether anything changes."""
        return self != _NO_CHANGES


_NO_CHANGES = Changes()


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
    """The complete desired state of a cluster. `revision` is a digest of the content.

    `rules` by name, `tls_hosts` by host. `config`: the operator's settings of the proxies, a JSON object.
    `challenges`: token -> key authorization. `secret_sources`: "address:port" of the running tasks of the
    cluster's extension service, the newest first.
    """

    cluster: str
    revision: str
    backends: Mapping[str, Backend]
    routes: Mapping[RouteKey, Route]
    rules: Mapping[str, Rules] = field(default_factory=dict)
    config: bytes = b"{}"
    tls_hosts: Mapping[str, TlsHost] = field(default_factory=dict)
    challenges: Mapping[str, str] = field(default_factory=dict)
    secret_sources: tuple[str, ...] = ()


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
