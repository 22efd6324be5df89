"""What a service's labels ask for, validated: the outcome of `l7.labels.parse`, as values. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from l7.model import Balance, ClientCertificate, HealthCheck, RetryOn, Rules, ServerSettings

DEFAULT_SERVER = ServerSettings()
NO_RULES = Rules()


@dataclass(frozen=True, slots=True, order=True)
class RedirectSpec:
    """One pair of `redirects`: requests of `scheme` ("" for any) to `host` and below `path` go to `location`.

    `host` and `path` as in a RouteKey; `location` as in Redirect.
    """

    scheme: str
    host: str
    path: str
    location: str


@dataclass(frozen=True, slots=True)
class TlsSpec:
    """What the labels say about TLS and passwords. Names of secrets, "" for none; `client_ca` and `backend_ca` may
    be names of configs, too.

    `certificate` and `key`: of the hosts; `acme`: l7 is to get one. `passthrough`: TLS goes to the tasks as it
    is. `client`: whether clients need a certificate of `client_ca`. `backend_...`: of connections to the tasks.
    """

    certificate: str = ""
    key: str = ""
    acme: bool = False
    passthrough: bool = False
    client: ClientCertificate = ClientCertificate.NONE
    client_ca: str = ""
    backend_ca: str = ""
    backend_certificate: str = ""
    backend_key: str = ""
    basic_auth: str = ""


NO_TLS = TlsSpec()


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """What a service's labels ask for, validated.

    `hosts` sorted, empty when only `default_backend`, `redirects` or `tcp_port` publish the service; `path` as
    in Route; `network` None when the service leaves the choice to us, else as written; `stack` is the stack that
    the service was deployed with, "" for none.
    `vip`: one server, the service's virtual address. `weight` None: by task. `canary_header` and
    `canary_cookie` are (name, value), value "" for any; header names lower case. `tcp_port` 0: none. `rules` has
    no name yet. `written`: the supported labels that the service carries, by full name, as it wrote them (for
    messages), sorted.
    """

    hosts: tuple[str, ...]
    port: int
    path: str = "/"
    strip_path: bool = False
    network: str | None = None
    cluster: str = ""
    stack: str = ""
    default_backend: bool = False
    redirects: tuple[RedirectSpec, ...] = ()
    vip: bool = False
    weight: int | None = None
    canary_header: tuple[str, str] | None = None
    canary_cookie: tuple[str, str] | None = None
    tcp_port: int = 0
    balance: Balance = Balance.ROUND_ROBIN
    retry_on: RetryOn = RetryOn.CONNECT
    check: HealthCheck | None = None
    server: ServerSettings = DEFAULT_SERVER
    rules: Rules = NO_RULES
    tls: TlsSpec = NO_TLS
    written: tuple[tuple[str, str], ...] = ()
