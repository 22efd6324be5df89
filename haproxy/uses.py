"""Which secrets are needed, and for what. Pure; kept up to date from what an update touched."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from haproxy.mirror import Mirror, Touched
from haproxy.model import Backend, KeyPair, Protocol, Secret, TlsHost
from haproxy.wire import secret_from
from l7.v1 import sync_pb2 as pb


class Part(Enum):
    """What of the mirror names secrets."""

    HOST = "host"
    RULES = "rules"
    BACKEND = "backend"


User = tuple[Part, str]
"""A host with TLS, rules by name, or a logical backend by key."""


@dataclass(slots=True)
class Uses:
    """`users`: id of a secret -> whoever needs its content."""

    users: dict[str, set[User]] = field(default_factory=dict)
    _needs: dict[User, frozenset[str]] = field(default_factory=dict)

    @property
    def ids(self) -> Collection[str]:
        """All that are needed, a live view."""
        return self.users.keys()

    def update(self, touched: Touched, mirror: Mirror) -> bool:
        """The mirror has changed; whether other secrets are needed now."""
        needs: dict[User, Iterable[Secret]] = {}
        for host in touched.tls_hosts:
            needs[Part.HOST, host] = secrets_of_host(mirror.tls_hosts.get(host))
        for name in touched.rules:
            needs[Part.RULES, name] = secrets_of_rules(mirror.rules.get(name))
        for key in touched.backends:
            needs[Part.BACKEND, key] = secrets_of_backend(mirror.backends.get(key))
        changed = [self._put(user, frozenset(secret.id for secret in needs[user])) for user in needs]
        return any(changed)

    def _put(self, user: User, ids: frozenset[str]) -> bool:
        """Whether a secret is needed that was not, or the other way round."""
        number = len(self.users)
        before = self._needs.pop(user, frozenset())
        if ids:
            self._needs[user] = ids
        new = {each for each in ids if each not in self.users}
        for each in ids - before:
            self.users.setdefault(each, set()).add(user)
        for each in before - ids:
            self.users[each].discard(user)
            if not self.users[each]:
                del self.users[each]
        return bool(new) or len(self.users) < number

    def touched(self, ids: Iterable[str]) -> Touched:
        """What needs any of these."""
        users = {user for each in ids for user in self.users.get(each, ())}

        def of(part: Part) -> frozenset[str]:
            return frozenset(key for kind, key in users if kind is part)

        return Touched(backends=of(Part.BACKEND), rules=of(Part.RULES), tls_hosts=of(Part.HOST))


def secrets_of_host(host: TlsHost | None) -> Iterator[Secret]:
    if host is None:
        return
    yield from secrets_of_pair(host.certificate)
    if host.client_ca is not None:
        yield host.client_ca


def secrets_of_rules(rules: pb.Rules | None) -> Iterator[Secret]:
    if rules is not None and rules.HasField("basic_auth"):
        yield secret_from(rules.basic_auth)


def secrets_of_backend(backend: Backend | None) -> Iterator[Secret]:
    """Of servers that are spoken to by TLS: to others nobody shows or proves anything."""
    if backend is None or backend.tcp:
        return
    for settings in backend.settings:
        if settings.protocol is not Protocol.HTTPS:
            continue
        if settings.tls_ca is not None:
            yield settings.tls_ca
        if settings.tls_certificate is not None:
            yield from secrets_of_pair(settings.tls_certificate)


def secrets_of_pair(pair: KeyPair) -> Iterator[Secret]:
    yield pair.certificate
    if pair.key is not None:
        yield pair.key
