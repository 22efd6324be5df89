"""Arithmetic of changes: apply them to a snapshot, and join several into one. Pure.

Within one update removals count before upserts: a backend that is both removed and present starts empty.
That is what makes every sequence of changes joinable into a single one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from l7.kit.errors import ProtocolError
from l7.model import Backend, BackendChange, Changes, Delta, Route, RouteKey, Rules, Server, Snapshot


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
        rules=_apply_rules(snapshot.rules, changes),
        config=snapshot.config if changes.config is None else changes.config,
    )


def snapshot_of(cluster: str, revision: str, changes: Changes) -> Snapshot:
    """The state that these changes to nothing make. Raises ProtocolError for a backend without settings."""
    return apply(Snapshot(cluster, "", {}, {}), Delta("", revision, changes))


def _apply_rules(rules: Mapping[str, Rules], changes: Changes) -> dict[str, Rules]:
    gone = set(changes.removed_rules)
    kept = {name: each for name, each in rules.items() if name not in gone}
    return kept | {each.name: each for each in changes.rules}


def apply_changes(
    backends: Mapping[str, Backend], routes: Mapping[RouteKey, Route], changes: Changes
) -> tuple[dict[str, Backend], dict[RouteKey, Route]]:
    """Backends and routes after the changes. Raises ProtocolError for a new backend without settings."""
    removed = set(changes.removed_backends)
    left = {name: backend for name, backend in backends.items() if name not in removed}
    for change in changes.backends:
        left[change.name] = _apply_backend(left.get(change.name), change)
    gone = set(changes.removed_routes)
    kept = {key: route for key, route in routes.items() if key not in gone}
    return left, kept | {route.key: route for route in changes.routes}


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


def join_changes(sequence: Iterable[Changes]) -> Changes:
    """One set of changes with the effect of all, in order; sorted by key."""
    backends: dict[str, BackendChange] = {}
    removed_backends: set[str] = set()
    routes: dict[RouteKey, Route | None] = {}
    rules: dict[str, Rules | None] = {}
    config: bytes | None = None
    for changes in sequence:
        removed_backends.update(changes.removed_backends)
        for name in changes.removed_backends:
            backends.pop(name, None)
        for change in changes.backends:
            earlier = backends.get(change.name)
            backends[change.name] = _join_backend(earlier, change) if earlier else change
        routes.update(dict.fromkeys(changes.removed_routes))
        routes.update({route.key: route for route in changes.routes})
        rules.update(dict.fromkeys(changes.removed_rules))
        rules.update({each.name: each for each in changes.rules})
        config = config if changes.config is None else changes.config
    return Changes(
        backends=tuple(backends[name] for name in sorted(backends)),
        removed_backends=tuple(sorted(removed_backends)),
        routes=tuple(route for _, route in sorted(routes.items()) if route is not None),
        removed_routes=tuple(key for key, route in sorted(routes.items()) if route is None),
        rules=tuple(each for _, each in sorted(rules.items()) if each is not None),
        removed_rules=tuple(name for name, each in sorted(rules.items()) if each is None),
        config=config,
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
    )


def _apply_backend(old: Backend | None, change: BackendChange) -> Backend:
    settings = change.settings or (old.settings if old else None)
    if settings is None:
        raise ProtocolError(f"backend {change.name} is new and has no settings")
    before: Mapping[str, Server] = old.servers if old else {}
    gone = set(change.removed_servers)
    servers = {task: server for task, server in before.items() if task not in gone}
    return Backend(change.name, settings, servers | {server.task: server for server in change.servers})


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
