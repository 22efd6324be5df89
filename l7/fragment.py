"""What one service contributes to its cluster: a claim, and the tasks behind it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import blake2b

from l7.labels.spec import RouteSpec
from l7.model import ClientCertificate, KeyPair, Redirect, RouteKey, Rules, Secret, Server

MAX_ID = (1 << 20) - 1
"""HAProxy's consistent hashing takes the low 20 bits of a server's id."""

MAX_NAME = 120
DEFAULT_KEY: RouteKey = ("*", "/")
"""Where a default backend answers."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A server before it has met the others of its backend: `server.id` is the one it would like."""

    created: int
    server: Server


@dataclass(frozen=True, slots=True)
class TlsClaim:
    """What a service has of TLS. `certificates`: by host, sorted; only those that there are.

    `ordered`: hosts that an ACME server is to make certificates for, `waiting`: those of them for which it has not
    yet. `client`: whether clients need a certificate of `client_ca`.
    """

    certificates: tuple[tuple[str, KeyPair], ...] = ()
    ordered: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    client: ClientCertificate = ClientCertificate.NONE
    client_ca: Secret | None = None

    def certificate(self, host: str) -> KeyPair | None:
        """That of a host."""
        return dict(self.certificates).get(host)


NO_TLS = TlsClaim()


@dataclass(frozen=True, slots=True)
class Claim:
    """What a service asks for. `created`: nanoseconds. `keys`: the routes that it wants to answer, HTTP and TCP.

    `redirects`: those of the specification that stay, by key, at most one each. A service that has TLS passed on
    answers no request: what it wants of routes for HTTP is that they lead to https.
    """

    cluster: str
    service: str
    service_id: str
    created: int
    spec: RouteSpec
    keys: tuple[RouteKey, ...]
    redirects: tuple[tuple[RouteKey, Redirect], ...] = ()
    tls: TlsClaim = NO_TLS

    @property
    def seniority(self) -> tuple[int, str]:
        """The smallest decides where services disagree."""
        return (self.created, self.service_id)

    @property
    def rules(self) -> Rules:
        """Its rules, under its name."""
        return replace(self.spec.rules, name=self.service)

    @property
    def touches(self) -> frozenset[RouteKey]:
        """All routes that depend on it."""
        return frozenset((*self.keys, *(key for key, _ in self.redirects)))

    @property
    def passthrough(self) -> bool:
        """Whether it has TLS passed on."""
        return self.spec.tls.passthrough

    def passes(self, host: str) -> bool:
        """Whether it has TLS of this host passed on."""
        return self.passthrough and host in self.spec.hosts

    @property
    def secured(self) -> frozenset[str]:
        """Hosts of which it has a say in TLS."""
        if self.passthrough or self.tls.client_ca is not None:
            return frozenset(self.spec.hosts)
        return frozenset((*(host for host, _ in self.tls.certificates), *self.tls.ordered))

    def redirect(self, key: RouteKey) -> Redirect | None:
        """Where it redirects this route to."""
        return dict(self.redirects).get(key)


@dataclass(frozen=True, slots=True)
class Fragment:
    """A claim with the servers for it. `expected`: replicas wanted > 0."""

    claim: Claim
    expected: bool = True
    candidates: tuple[Candidate, ...] = ()


def claim_of(spec: RouteSpec, service: str, service_id: str, created: int, tls: TlsClaim = NO_TLS) -> Claim:
    """The claim of a service with these labels."""
    keys = _connections(spec) if spec.tls.passthrough else [(host, spec.path) for host in spec.hosts]
    if spec.default_backend:
        keys.append(DEFAULT_KEY)
    if spec.tcp_port:
        keys.append((f":{spec.tcp_port}", "/"))
    redirects: dict[RouteKey, Redirect] = {}
    for each in spec.redirects:
        # Requests by https never come this far on a host whose TLS is passed on.
        scheme = "http" if spec.tls.passthrough and not each.scheme and each.host in spec.hosts else each.scheme
        redirects.setdefault((each.host, each.path), Redirect(scheme, each.location))
    ordered = tuple(sorted(redirects.items(), key=lambda item: item[0]))
    return Claim(spec.cluster, service, service_id, created, spec, tuple(sorted(keys)), ordered, tls)


def _connections(spec: RouteSpec) -> list[RouteKey]:
    keys = [(f"@{host}", "/") for host in spec.hosts]
    return keys + [(host, "/") for host in spec.hosts] if spec.rules.https_redirect else keys


def is_tcp(key: RouteKey) -> bool:
    """Whether connections are routed, not requests: a port for raw TCP, or TLS that is passed on."""
    return key[0].startswith((":", "@"))


def is_sni(key: RouteKey) -> bool:
    """Whether it is TLS that is passed on."""
    return key[0].startswith("@")


# ---------------------------------------------------------------- names and numbers


class Kind(StrEnum):
    """The kinds of backend that the same services may have; the value ends its name."""

    BASE = ""
    CANARY = ".canary"
    TCP = ".tcp"
    TLS = ".tls"


@dataclass(frozen=True, slots=True)
class Pooled:
    """Which backend: that of these services (sorted, by name) of a kind."""

    services: tuple[str, ...]
    kind: Kind = Kind.BASE

    @property
    def name(self) -> str:
        return backend_name(self.services, self.kind)


def backend_name(services: tuple[str, ...], kind: Kind = Kind.BASE) -> str:
    """Name of the backend of these services (sorted): joined by ":", long ones cut and told apart by digest.

    A dot marks a cut name and a kind: Swarm allows none in a service's name, and no digest reads like a kind.
    """
    name = ":".join(services)
    if len(name) <= MAX_NAME:
        return name + kind
    digest = blake2b(name.encode(), digest_size=8).hexdigest()
    return f"{name[: MAX_NAME - len(digest) - 1]}.{digest}{kind}"


def wanted_id(task: str) -> int:
    """1..2^20-1, from the task's id alone, so that every core and proxy comes to the same."""
    return 1 + int.from_bytes(blake2b(task.encode(), digest_size=8).digest(), "big") % MAX_ID


def assign_ids(candidates: Iterable[Candidate]) -> dict[str, Server]:
    """Servers by task, with ids unique among them: the task created first keeps the id that it wants."""
    taken: set[int] = set()
    servers: dict[str, Server] = {}
    for candidate in sorted(candidates, key=lambda each: (each.created, each.server.task))[:MAX_ID]:
        server = candidate.server
        number = server.id
        while number in taken:
            number = number % MAX_ID + 1
        taken.add(number)
        servers[server.task] = server if number == server.id else replace(server, id=number)
    return dict(sorted(servers.items()))
