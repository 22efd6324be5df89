"""The sidecar's copy of the desired state, kept up to date from the chunks of the Sync stream. Pure.

Nothing of an update counts until its last chunk has arrived; an update that does not continue the revision
held is refused (BrokenChain), and the caller asks core for a COMPLETE.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from haproxy.model import Backend, Desired, Route, RouteKey, Server
from haproxy.wire import route_from, server_from, with_settings
from l7.kit.errors import ProtocolError
from l7.v1 import sync_pb2 as pb

K = TypeVar("K")
V = TypeVar("V")


class BrokenChain(ProtocolError):
    """An INCREMENTAL that does not start from the revision held."""


@dataclass(frozen=True, slots=True)
class Touched:
    """What an update changed: names of backends, and hosts whose routes changed."""

    backends: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()


@dataclass(slots=True)
class Mirror:
    """Desired state, changed in place by `apply` so that cost follows change; `desired` is a live view."""

    revision: str = ""
    backends: dict[str, Backend] = field(default_factory=dict)
    routes: dict[RouteKey, Route] = field(default_factory=dict)
    hosts: dict[str, dict[RouteKey, Route]] = field(default_factory=dict)
    _staged: list[pb.SyncResponse] = field(default_factory=list)

    @property
    def desired(self) -> Desired:
        return Desired(self.revision, self.backends, self.routes)

    def apply(self, chunk: pb.SyncResponse) -> Touched | None:
        """Take one chunk. None until the update is whole; then what it touched.

        Raises BrokenChain, and ProtocolError for a message that makes no sense; the state is unchanged then.
        """
        if self._staged and _update_of(self._staged[0]) != _update_of(chunk):
            self._staged.clear()
        self._staged.append(chunk)
        if not chunk.last:
            return None
        chunks, self._staged = self._staged, []
        if chunk.kind == pb.UPDATE_KIND_COMPLETE:
            return self._replace(chunks)
        if chunk.kind == pb.UPDATE_KIND_INCREMENTAL:
            return self._change(chunks)
        raise ProtocolError(f"update of unknown kind {chunk.kind}")

    def load(self, revision: str, changes: pb.Changes) -> Touched:
        """Start from a state kept earlier (`haproxy.wire.changes_from`)."""
        return self._replace([pb.SyncResponse(results_in=revision, changes=changes)])

    def _replace(self, chunks: list[pb.SyncResponse]) -> Touched:
        backends: dict[str, Backend] = {}
        routes: dict[RouteKey, Route] = {}
        for chunk in chunks:
            for message in chunk.changes.backends:
                backends[message.name] = _merge(backends.get(message.name), message)
            for row in chunk.changes.routes:
                routes[(row.host, row.path)] = route_from(row)
        touched = Touched(
            frozenset(_different(self.backends, backends)),
            frozenset(host for host, _ in _different(self.routes, routes)),
        )
        self.revision, self.backends, self.routes = chunks[-1].results_in, backends, routes
        self.hosts = {}
        for key, route in routes.items():
            self.hosts.setdefault(key[0], {})[key] = route
        return touched

    def _change(self, chunks: list[pb.SyncResponse]) -> Touched:
        if chunks[0].applies_to != self.revision:
            raise BrokenChain(f"an update from {chunks[0].applies_to}, while {self.revision or 'none'} is held")
        removed = {name for chunk in chunks for name in chunk.changes.removed_backends}
        merged = _merge_all(self.backends, removed, chunks)  # may raise: before anything is changed
        hosts: set[str] = set()
        for name in removed:
            self.backends.pop(name, None)
        for row in (row for chunk in chunks for row in chunk.changes.removed_routes):
            self._drop_route((row.host, row.path))
            hosts.add(row.host)
        for message in (message for chunk in chunks for message in chunk.changes.routes):
            self._put_route(route_from(message))
            hosts.add(message.host)
        self.backends.update(merged)
        self.revision = chunks[-1].results_in
        return Touched(frozenset(removed | merged.keys()), frozenset(hosts))

    def _put_route(self, route: Route) -> None:
        key = (route.host, route.path)
        self.routes[key] = route
        self.hosts.setdefault(route.host, {})[key] = route

    def _drop_route(self, key: RouteKey) -> None:
        self.routes.pop(key, None)
        of_host = self.hosts.get(key[0], {})
        of_host.pop(key, None)
        if not of_host:
            self.hosts.pop(key[0], None)


def _merge_all(
    backends: Mapping[str, Backend], removed: set[str], chunks: list[pb.SyncResponse]
) -> dict[str, Backend]:
    """Removals count before upserts, whichever chunk they are in: a backend or server that went and came back
    within an update starts anew."""
    merged: dict[str, Backend] = {}
    messages = [message for chunk in chunks for message in chunk.changes.backends]
    for message in messages:
        name = message.name
        old = merged.get(name, None if name in removed else backends.get(name))
        merged[name] = _without(old or Backend(name), message.removed_servers)
    for message in messages:
        merged[message.name] = _merge(merged[message.name], message)
    return merged


def _without(backend: Backend, tasks: Collection[str]) -> Backend:
    if not tasks:
        return backend
    return replace(backend, servers={t: s for t, s in backend.servers.items() if t not in tasks})


def _merge(old: Backend | None, message: pb.Backend) -> Backend:
    """`old` with the upserts of `message`."""
    backend = old if old is not None else Backend(message.name)
    servers: dict[str, Server] = dict(backend.servers)
    for server in map(server_from, message.servers):
        servers[server.task] = server
    if message.HasField("settings"):
        backend = with_settings(backend, message.settings)
    return replace(backend, servers=servers)


def _update_of(chunk: pb.SyncResponse) -> tuple[object, ...]:
    """What the chunks of one update have in common: a stream may end in the midst of them."""
    return chunk.kind, chunk.applies_to, chunk.results_in


def _different(old: Mapping[K, V], new: Mapping[K, V]) -> Iterable[K]:
    return (key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
