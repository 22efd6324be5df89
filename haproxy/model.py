"""What core wants (Desired, top) and what the running HAProxy answers of a server (bottom), as values.

Commands that lead from one to the other are in `haproxy.ops`; `haproxy.plan` chooses them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Generic, TypeVar

from l7.v1 import sync_pb2 as pb

HOLD = "hold"
"""Name of the placeholder server of each backend: refuses connections, so that requests wait (design: hold)."""

HOLD_ADDRESS = "127.0.0.1"
HOLD_PORT = 1


# ---------------------------------------------------------------- what core wants


class ServerState(IntEnum):
    """Where a task is in its life. Values are those of l7.v1.ServerState."""

    PENDING = 1
    READY = 2
    LEAVING = 3


@dataclass(frozen=True, slots=True)
class Server:
    """A task as a target; fields as in l7.v1.Server, times in milliseconds."""

    task: str
    id: int
    address: str
    port: int
    weight: int = 64
    state: ServerState = ServerState.READY
    stop_in: int = 0
    service: int = 0


class Balance(IntEnum):
    """How a server is chosen. Values are those of l7.v1, as in the enumerations below."""

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
    """How HAProxy speaks to a task."""

    HTTP = 0
    H2C = 1
    HTTPS = 2


class ProxyHeader(IntEnum):
    """Version of the PROXY protocol that a server is spoken to with."""

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
    """A Docker secret, or a config, by id; an id always has the same content, which `haproxy.vault` has."""

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
    """How TLS is terminated for a host; fields as in l7.v1.TlsHost."""

    host: str
    service: str
    certificate: KeyPair
    client_certificate: ClientCertificate = ClientCertificate.NONE
    client_ca: Secret | None = None


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """An HTTP check. `statuses` sorted; empty: 200 to 399. `host` "": a name of our choice."""

    path: str
    host: str = ""
    statuses: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Settings of one service's servers; fields as in l7.v1.ServerSettings, times in milliseconds, 0: default."""

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
class Backend:
    """A logical backend: servers keyed by task id. `expected`: one without a server will have one again.

    `settings` is parallel to `services`, or empty when all are default. `check` None: TCP.
    """

    name: str
    services: tuple[str, ...] = ()
    expected: bool = True
    servers: Mapping[str, Server] = field(default_factory=dict)
    balance: Balance = Balance.ROUND_ROBIN
    retry_on: RetryOn = RetryOn.CONNECT
    check: HealthCheck | None = None
    settings: tuple[ServerSettings, ...] = ()
    tcp: bool = False

    def settings_of(self, server: Server) -> ServerSettings:
        """Settings of one of its servers."""
        return self.settings_for(server.service)

    def settings_for(self, service: int) -> ServerSettings:
        """Settings of the servers of one service, by its index."""
        return self.settings[service] if service < len(self.settings) else ServerSettings()


@dataclass(frozen=True, slots=True)
class Redirect:
    """302 to `location` + path and query. `scheme` "http" or "https": only requests of that; "": all."""

    scheme: str
    location: str


@dataclass(frozen=True, slots=True)
class Canary:
    """Requests with a header or cookie (`source` "header" or "cookie") go to a backend of their own.

    `value` "": any. All canaries of a route agree on the name of the header, and on that of the cookie.
    """

    backend: str
    source: str
    name: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """Host ("*.example.org": one label; "*": any that no route names) and path ("/" or no trailing slash) lead to
    a logical backend, "" for none. (":5432", "/") is a TCP port, ("@host", "/") TLS that is passed on as it is, by
    SNI. `rules`: name of those that apply, "" for none.
    """

    host: str
    path: str
    backend: str
    strip_path: bool = False
    rules: str = ""
    redirect: Redirect | None = None
    canaries: tuple[Canary, ...] = ()


RouteKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Desired:
    """The complete desired state of a cluster at a revision.

    `rules` by name: messages as core sent them, which nobody changes. `config`: the operator's settings, JSON.
    `tls_hosts` by host; `challenges`: token -> key authorization; `secret_sources` as in l7.v1.SecretSources.
    """

    revision: str = ""
    backends: Mapping[str, Backend] = field(default_factory=dict)
    routes: Mapping[RouteKey, Route] = field(default_factory=dict)
    rules: Mapping[str, pb.Rules] = field(default_factory=dict)
    config: bytes = b"{}"
    tls_hosts: Mapping[str, TlsHost] = field(default_factory=dict)
    challenges: Mapping[str, str] = field(default_factory=dict)
    secret_sources: tuple[str, ...] = ()


# ---------------------------------------------------------------- what HAProxy answered


class Admin(IntFlag):
    """`srv_admin_state` of `show servers state` (HAProxy management guide, section 9.3, "show servers state")."""

    FORCED_MAINT = 0x01
    INHERITED_MAINT = 0x02
    CONFIG_MAINT = 0x04
    FORCED_DRAIN = 0x08
    INHERITED_DRAIN = 0x10
    RESOLUTION_MAINT = 0x20
    HOSTNAME_CHANGED = 0x40

    MAINT = FORCED_MAINT | INHERITED_MAINT | RESOLUTION_MAINT
    """Without CONFIG_MAINT: that bit only remembers `disabled` in the configuration, and stays when enabled."""
    DRAIN = FORCED_DRAIN | INHERITED_DRAIN


_OUT = int(Admin.MAINT | Admin.DRAIN)
"""A number: operators of flags make a flag each, and this is asked of every server again and again."""


@dataclass(frozen=True, slots=True)
class ServerRow:
    """One server as `show servers state` has it. `up`: operational state is RUNNING or STARTING."""

    backend: str
    name: str
    id: int
    address: str
    port: int
    weight: int
    admin: Admin
    up: bool
    check_enabled: bool

    @property
    def enabled(self) -> bool:
        """Not taken out of rotation on purpose."""
        return not int(self.admin) & _OUT

    @property
    def usable(self) -> bool:
        """Takes new requests now."""
        return self.enabled and self.up


@dataclass(frozen=True, slots=True)
class StoredCertificate:
    """A store as `show ssl cert NAME` has it: "" and 0 of one that is empty.

    `sha1`: of the certificate itself, hexadecimal, upper case; `chain`: how many others are sent with it. The key
    is not shown. `used`: by a crt-list, `bind` or server.
    """

    sha1: str = ""
    chain: int = 0
    used: bool = False


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stored(Generic[T]):
    """Stores of one kind by name. `transaction`: the one with a change that is not committed yet, "" for none."""

    stores: Mapping[str, T] = field(default_factory=dict)
    transaction: str = ""


@dataclass(frozen=True, slots=True)
class CrtListRow:
    """A line of `show ssl crt-list -n LIST`; of two for the same host the first one counts."""

    store: str
    line: int
    options: str
    hosts: tuple[str, ...]
