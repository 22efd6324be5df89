"""What a backend is to have, server by server: under which name, with which keywords. Pure.

A name is a digest of what is fixed about a server. `Targets` keeps what it came to until the server, or what its
service says, changes: one task of thousands costs one.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from haproxy.capabilities import Capabilities
from haproxy.model import Backend, Protocol, Server
from haproxy.policy import server_keywords, server_name
from haproxy.settings import Settings
from haproxy.tls import authority_store, identity_store


@dataclass(frozen=True, slots=True)
class Target:
    """A server that is wanted, its name in HAProxy, and the keywords that it is to be added with. `stores`: those
    that they name."""

    name: str
    server: Server
    keywords: tuple[str, ...]
    stores: frozenset[str] = frozenset()


def targets_of(want: Backend, settings: Settings, capabilities: Capabilities) -> dict[str, Target]:
    """What `want` is to have, by the servers' names in HAProxy."""
    return known_of(want, settings, capabilities).targets


def stores_of(settings: Settings, backend: Backend, service: int) -> frozenset[str]:
    """Names of the stores without which HAProxy takes no server of one service of `backend` (its index)."""
    own = backend.settings_for(service)
    if backend.tcp or own.protocol is not Protocol.HTTPS:
        return frozenset()
    authority = (authority_store(settings, own.tls_ca),) if own.tls_ca is not None else ()
    identity = (identity_store(settings, own.tls_certificate),) if own.tls_certificate is not None else ()
    return frozenset((*authority, *identity))


def blocked(targets: Mapping[str, Target], loaded: Container[str]) -> frozenset[str]:
    """Names of the servers that name a store which is not there."""
    return frozenset(
        name for name, target in targets.items() if not all(store in loaded for store in target.stores)
    )


@dataclass(frozen=True, slots=True)
class Known:
    """Of one backend: `targets` and `servers` by names in HAProxy. Made for `want` by `settings`."""

    want: Backend
    settings: Settings
    targets: dict[str, Target]
    servers: dict[str, Server]
    tasks: dict[str, Target]

    def successor(self, task: str) -> str | None:
        """Name of the server that a task is to have; None: it is not wanted."""
        target = self.tasks.get(task)
        return None if target is None else target.name


@dataclass(slots=True)
class Targets:
    """Of the backends that were asked for, by key; the same objects as long as nothing changes."""

    capabilities: Capabilities
    _known: dict[str, Known] = field(default_factory=dict)

    def of(self, key: str, want: Backend, settings: Settings) -> Known:
        """What `want` is to have."""
        known = self._known.get(key)
        if known is None or known.want is not want or known.settings is not settings:
            known = self._known[key] = known_of(want, settings, self.capabilities, known)
        return known

    def forget(self, key: str) -> None:
        """The backend is no more."""
        self._known.pop(key, None)


def known_of(
    want: Backend, settings: Settings, capabilities: Capabilities, before: Known | None = None
) -> Known:
    """`before`: of the same backend, a change ago; what did not change is taken from there."""
    old = before.tasks if before is not None else {}
    services: dict[int, tuple[tuple[str, ...], frozenset[str]]] = {}
    tasks: dict[str, Target] = {}
    for task, server in want.servers.items():
        said = services.get(server.service)
        if said is None:
            words = server_keywords(settings, capabilities, want, server.service)
            said = services[server.service] = words, stores_of(settings, want, server.service)
        target = old.get(task)
        if target is None or target.server is not server or (target.keywords, target.stores) != said:
            target = Target(server_name(server, said[0]), server, *said)
        tasks[task] = target
    targets = {target.name: target for target in tasks.values()}
    return Known(want, settings, targets, {name: each.server for name, each in targets.items()}, tasks)
