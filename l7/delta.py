"""Arithmetic of changes: apply them to a snapshot, and join several into one. Pure.

Within one update removals count before upserts: a backend that is both removed and present starts empty.
That is what makes every sequence of changes joinable into a single one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Generic, TypeVar

from l7.kit.errors import ProtocolError
from l7.model import Backend, BackendChange, Changes, Delta, Route, RouteKey, Rules, Server, Snapshot, TlsHost

Key = TypeVar("Key", str, RouteKey)
Value = TypeVar("Value")


def apply(snapshot: Snapshot, delta: Delta) -> Snapshot:
    """The snapshot that `delta` leads to. Raises ProtocolError when the delta does not start from it."""
    if delta.applies_to != snapshot.revision:
        raise ProtocolError(f"delta from {delta.applies_to}, snapshot at {snapshot.revision}")
    changes = delta.changes
    backends, routes = apply_changes(snapshot.backends, snapshot.routes, changes)
    return replace(
        snapshot,
        revision=delta.results_in,
        backends=backends,
        routes=routes,
        rules=_updated(snapshot.rules, changes.removed_rules, ((each.name, each) for each in changes.rules)),
        config=_newer(snapshot.config, changes.config),
        tls_hosts=_updated(
            snapshot.tls_hosts, changes.removed_tls_hosts, ((each.host, each) for each in changes.tls_hosts)
        ),
        challenges=_updated(snapshot.challenges, changes.removed_challenges, changes.challenges),
        secret_sources=_newer(snapshot.secret_sources, changes.secret_sources),
    )


def snapshot_of(cluster: str, revision: str, changes: Changes) -> Snapshot:
    """The state that these changes to nothing make. Raises ProtocolError for a backend without settings."""
    return apply(Snapshot(cluster, "", {}, {}), Delta("", revision, changes))


def apply_changes(
    backends: Mapping[str, Backend], routes: Mapping[RouteKey, Route], changes: Changes
) -> tuple[dict[str, Backend], dict[RouteKey, Route]]:
    """Backends and routes after the changes. Raises ProtocolError for a new backend without settings."""
    removed = set(changes.removed_backends)
    left = {name: backend for name, backend in backends.items() if name not in removed}
    for change in changes.backends:
        left[change.name] = _apply_backend(left.get(change.name), change)
    return left, _updated(routes, changes.removed_routes, ((route.key, route) for route in changes.routes))


def _updated(
    table: Mapping[Key, Value], removed: Iterable[Key], upserts: Iterable[tuple[Key, Value]]
) -> dict[Key, Value]:
    gone = set(removed)
    return {key: value for key, value in table.items() if key not in gone} | dict(upserts)


def _newer(old: Value, new: Value | None) -> Value:
    return old if new is None else new


def join(deltas: Sequence[Delta]) -> Delta:
    """One delta that leads where the sequence leads. Raises ProtocolError for an empty or broken chain.

    `observed` is that of the first change which has one: the oldest news in it.
    """
    if not deltas:
        raise ProtocolError("nothing to join")
    for before, after in pairwise(deltas):
        if before.results_in != after.applies_to:
            raise ProtocolError(f"chain broken: {before.results_in} is followed by {after.applies_to}")
    return Delta(
        applies_to=deltas[0].applies_to,
        results_in=deltas[-1].results_in,
        changes=join_changes(delta.changes for delta in deltas),
        observed=next((delta.observed for delta in deltas if delta.observed), 0),
    )


@dataclass(slots=True)
class _Joined(Generic[Key, Value]):
    """What a sequence of upserts and removals of one kind comes to: by key, None for a removal."""

    last: dict[Key, Value | None] = field(default_factory=dict)

    def add(self, removed: Iterable[Key], upserts: Iterable[tuple[Key, Value]]) -> None:
        for key in removed:
            self.last[key] = None
        self.last.update(upserts)

    @property
    def upserts(self) -> tuple[Value, ...]:
        return tuple(value for _, value in self.pairs)

    @property
    def pairs(self) -> tuple[tuple[Key, Value], ...]:
        return tuple((key, value) for key in sorted(self.last) if (value := self.last[key]) is not None)

    @property
    def removed(self) -> tuple[Key, ...]:
        return tuple(key for key in sorted(self.last) if self.last[key] is None)


def join_changes(sequence: Iterable[Changes]) -> Changes:
    """One set of changes with the effect of all, in order; sorted by key."""
    backends: dict[str, BackendChange] = {}
    removed_backends: set[str] = set()
    routes: _Joined[RouteKey, Route] = _Joined()
    rules: _Joined[str, Rules] = _Joined()
    tls_hosts: _Joined[str, TlsHost] = _Joined()
    challenges: _Joined[str, str] = _Joined()
    config: bytes | None = None
    sources: tuple[str, ...] | None = None
    for changes in sequence:
        removed_backends.update(changes.removed_backends)
        _join_backends(backends, changes)
        routes.add(changes.removed_routes, ((each.key, each) for each in changes.routes))
        rules.add(changes.removed_rules, ((each.name, each) for each in changes.rules))
        tls_hosts.add(changes.removed_tls_hosts, ((each.host, each) for each in changes.tls_hosts))
        challenges.add(changes.removed_challenges, changes.challenges)
        config = config if changes.config is None else changes.config
        sources = sources if changes.secret_sources is None else changes.secret_sources
    return Changes(
        backends=tuple(backends[name] for name in sorted(backends)),
        removed_backends=tuple(sorted(removed_backends)),
        routes=routes.upserts,
        removed_routes=routes.removed,
        rules=rules.upserts,
        removed_rules=rules.removed,
        config=config,
        tls_hosts=tls_hosts.upserts,
        removed_tls_hosts=tls_hosts.removed,
        challenges=challenges.pairs,
        removed_challenges=challenges.removed,
        secret_sources=sources,
    )


def everything(snapshot: Snapshot) -> Changes:
    """The whole snapshot as changes to nothing, sorted by key."""
    backends = (snapshot.backends[name] for name in sorted(snapshot.backends))
    return Changes(
        backends=tuple(
            BackendChange(each.name, each.settings, tuple(each.servers[task] for task in sorted(each.servers)))
            for each in backends
        ),
        routes=tuple(snapshot.routes[key] for key in sorted(snapshot.routes)),
        rules=tuple(snapshot.rules[name] for name in sorted(snapshot.rules)),
        config=snapshot.config,
        tls_hosts=tuple(snapshot.tls_hosts[host] for host in sorted(snapshot.tls_hosts)),
        challenges=tuple(sorted(snapshot.challenges.items())),
        secret_sources=snapshot.secret_sources,
    )


def _apply_backend(old: Backend | None, change: BackendChange) -> Backend:
    settings = change.settings or (old.settings if old else None)
    if settings is None:
        raise ProtocolError(f"backend {change.name} is new and has no settings")
    before: Mapping[str, Server] = old.servers if old else {}
    gone = set(change.removed_servers)
    servers = {task: server for task, server in before.items() if task not in gone}
    return Backend(change.name, settings, servers | {server.task: server for server in change.servers})


def _join_backends(backends: dict[str, BackendChange], changes: Changes) -> None:
    for name in changes.removed_backends:
        backends.pop(name, None)
    for change in changes.backends:
        earlier = backends.get(change.name)
        backends[change.name] = _join_backend(earlier, change) if earlier else change


def _join_backend(first: BackendChange, second: BackendChange) -> BackendChange:
    servers: dict[str, Server | None] = {}
    for change in (first, second):
        servers.update(dict.fromkeys(change.removed_servers))
        servers.update({server.task: server for server in change.servers})
    return BackendChange(
        name=first.name,
        settings=second.settings or first.settings,
        servers=tuple(server for _, server in sorted(servers.items()) if server is not None),
        removed_servers=tuple(task for task, server in sorted(servers.items()) if server is None),
    )
