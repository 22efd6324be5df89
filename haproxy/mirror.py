"""The sidecar's copy of the desired state, kept up to date from the chunks of the Sync stream. Pure.

Nothing of an update counts until its last chunk has arrived; an update that does not continue the revision
held is refused (BrokenChain), and the caller asks core for a COMPLETE.

A COMPLETE mostly says what is known: the fast path's table reads its bytes, and says which backends differ. Only
these become values anew, all others stay the objects that they were; and so do routes.

A policy is fixed when a backend is made. So the key of a logical backend is core's name for it and, unless its
policy is the default one, the policy's kind: another policy is another key, and a change of it looks to the planner
like routes that move from one backend to another.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TypeVar

from haproxy.model import Backend, Desired, Route, RouteKey, Server, TlsHost
from haproxy.policy import DEFAULT, POLICIES, policy_of
from haproxy.wire import route_from, server_from, tls_host_from, with_settings
from l7.fastpath import Table
from l7.kit.errors import BrokenChain, ProtocolError
from l7.v1 import sync_pb2 as pb

K = TypeVar("K")
V = TypeVar("V")

_KINDS = frozenset(policy.kind for policy in POLICIES)


@dataclass(frozen=True, slots=True)
class Touched:
    """What an update changed: keys of backends, hosts whose routes changed, names of rules, the configuration,
    hosts whose TLS changed, tokens of challenges, where secrets are fetched."""

    backends: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()
    rules: frozenset[str] = frozenset()
    config: bool = False
    tls_hosts: frozenset[str] = frozenset()
    challenges: frozenset[str] = frozenset()
    sources: bool = False


def key_of(backend: Backend) -> str:
    """Key of a logical backend: `shop`, or `shop.http-leastconn`. Names of Swarm's services have no dot."""
    policy = policy_of(backend)
    return backend.name if policy == DEFAULT else f"{backend.name}.{policy.kind}"


def name_of(key: str) -> str:
    """Core's name of the backend with this key, wanted or not."""
    name, dot, kind = key.rpartition(".")
    return name if dot and kind in _KINDS and name else key


@dataclass(slots=True)
class Mirror:
    """Desired state, changed in place by `apply` so that cost follows change.

    `backends` by key and `hosts` (routes by host) are what is planned from: routes in them name keys.
    `named` and `routes` are the same in core's names. `leading`: core's name of a backend -> the routes that lead
    to it. `config`: JSON.
    """

    revision: str = ""
    backends: dict[str, Backend] = field(default_factory=dict)
    hosts: dict[str, dict[RouteKey, Route]] = field(default_factory=dict)
    rules: dict[str, pb.Rules] = field(default_factory=dict)
    config: bytes = b"{}"
    named: dict[str, Backend] = field(default_factory=dict)
    routes: dict[RouteKey, Route] = field(default_factory=dict)
    leading: dict[str, set[RouteKey]] = field(default_factory=dict)
    tls_hosts: dict[str, TlsHost] = field(default_factory=dict)
    challenges: dict[str, str] = field(default_factory=dict)
    secret_sources: tuple[str, ...] = ()
    _staged: list[tuple[pb.SyncResponse, bytes]] = field(default_factory=list)
    _table: Table | None = field(default=None, compare=False, repr=False)
    """None: it has not what is wanted."""
    _rows: dict[bytes, Route] = field(default_factory=dict, compare=False, repr=False)
    """Routes of the last COMPLETE, by their messages' bytes."""

    @property
    def desired(self) -> Desired:
        """A live view, in core's names."""
        return Desired(self.revision, self.named, self.routes, self.rules, self.config, *self._tls)

    @property
    def keyed(self) -> Desired:
        """The same by keys, as HAProxy is to have it. All routes are copied."""
        routes = {key: route for of_host in self.hosts.values() for key, route in of_host.items()}
        return Desired(self.revision, self.backends, routes, self.rules, self.config, *self._tls)

    @property
    def _tls(self) -> tuple[dict[str, TlsHost], dict[str, str], tuple[str, ...]]:
        return self.tls_hosts, self.challenges, self.secret_sources

    @property
    def everything(self) -> Touched:
        parts = (frozenset(self.backends), frozenset(self.hosts), frozenset(self.rules))
        return Touched(*parts, True, frozenset(self.tls_hosts), frozenset(self.challenges), True)

    def apply(self, chunk: pb.SyncResponse, data: bytes = b"") -> Touched | None:
        """Take one chunk; `data`: the same as it came, b"" when it never was bytes. None until the update is whole;
        then what it touched.

        Raises BrokenChain, and ProtocolError for a message that makes no sense; the state is unchanged then.
        """
        if self._staged and _update_of(self._staged[0][0]) != _update_of(chunk):
            self._staged.clear()
        self._staged.append((chunk, data))
        if not chunk.last:
            return None
        staged, self._staged = self._staged, []
        chunks = [chunk for chunk, _ in staged]
        if chunk.kind == pb.UPDATE_KIND_COMPLETE:
            return self._replace(chunks, [data or chunk.SerializeToString() for chunk, data in staged])
        if chunk.kind == pb.UPDATE_KIND_INCREMENTAL:
            return self._change(chunks)
        raise ProtocolError(f"update of unknown kind {chunk.kind}")

    def load(self, revision: str, changes: pb.Changes) -> Touched:
        """Start from a state kept earlier (`haproxy.wire.changes_from`)."""
        update = pb.SyncResponse(results_in=revision, changes=changes)
        return self._replace([update], [update.SerializeToString()])

    def _replace(self, chunks: list[pb.SyncResponse], content: list[bytes]) -> Touched:
        changes = [chunk.changes for chunk in chunks]
        tls_hosts = _tls_hosts(changes)
        rows = self._converted(changes)
        removed, merged = self._ingest(changes, content)  # the last that may raise: nothing is changed till here
        routes = {(route.host, route.path): route for route in rows.values()}
        self._rows = rows
        hosts, backends = self._replace_routes(routes, removed, merged)
        rules, challenges = _rules(changes), _challenges(changes)
        config, sources = _config(changes) or b"{}", _sources(changes) or ()
        touched = Touched(
            frozenset(backends), frozenset(hosts), frozenset(_different(self.rules, rules)), self.config != config,
            frozenset(_different(self.tls_hosts, tls_hosts)), frozenset(_different(self.challenges, challenges)),
            self.secret_sources != sources,
        )  # fmt: skip
        self.revision, self.rules, self.config = chunks[-1].results_in, rules, config
        self.tls_hosts, self.challenges, self.secret_sources = tls_hosts, challenges, sources
        return touched

    def _converted(self, changes: Iterable[pb.Changes]) -> dict[bytes, Route]:
        """All routes, by their messages' bytes; of two for the same host and path the last one counts."""
        rows: dict[bytes, Route] = {}
        for row in (row for each in changes for row in each.routes):
            data = row.SerializeToString(deterministic=True)
            route = self._rows.get(data) or route_from(row)
            rows.pop(data, None)
            rows[data] = route
        return rows

    def _ingest(self, changes: list[pb.Changes], content: list[bytes]) -> tuple[set[str], dict[str, Backend]]:
        """Names of backends that are gone, and those that differ, when all that is wanted is in `changes`."""
        messages: dict[str, list[pb.Backend]] = {}
        for message in (message for each in changes for message in each.backends):
            messages.setdefault(message.name, []).append(message)
        table, different = self._read(content, messages)
        merged = _merge_all({}, set(), [each for name in different for each in messages[name]])
        self._table = table
        changed = {name: backend for name, backend in merged.items() if self.named.get(name) != backend}
        return self.named.keys() - messages.keys(), changed

    def _read(
        self, content: list[bytes], messages: Mapping[str, list[pb.Backend]]
    ) -> tuple[Table | None, list[str]]:
        """The table, with what is wanted now, and names of backends that may differ. Where it does not take what
        some backend is to have, HAProxy will not either: that is that backend's matter alone, and told then."""
        table, self._table = Table() if self._table is None else self._table, None
        try:
            different = set(table.ingest(content)) | (messages.keys() - self.named.keys())
        except ValueError:
            return None, sorted(messages)
        # Settings that are absent are not those of an empty message, while the table does not tell them apart.
        bare = {name for name, of in messages.items() if not any(each.settings.ByteSize() for each in of)}
        return table, sorted(messages.keys() & (different | bare))

    def _replace_routes(
        self, routes: dict[RouteKey, Route], removed: Collection[str], merged: Mapping[str, Backend]
    ) -> tuple[set[str], set[str]]:
        """Hosts and keys of backends that are touched."""
        backends = {self._key(name) for name in self.named.keys() & {*removed, *merged}}
        backends |= set(map(key_of, merged.values()))
        _, moved = self._put_backends(removed, merged)
        gone = self.routes.keys() - routes.keys()
        held = ((self.routes.get(key), route) for key, route in routes.items())
        new = [route for before, route in held if before is not route and before != route]
        hosts = {route.host for route in new} | {host for host, _ in gone}
        hosts |= {host for name in moved for host, _ in self.leading.get(name, ())}
        before = {host: dict(self.hosts.get(host, {})) for host in hosts}
        for key in gone:
            self._drop_route(key)
        self._put_routes(new)
        self._rekey(moved)
        return {host for host, rows in before.items() if self.hosts.get(host, {}) != rows}, backends

    def _change(self, chunks: list[pb.SyncResponse]) -> Touched:
        if chunks[0].applies_to != self.revision:
            raise BrokenChain(f"an update from {chunks[0].applies_to}, while {self.revision or 'none'} is held")
        changes = [chunk.changes for chunk in chunks]
        removed = {name for each in changes for name in each.removed_backends}
        routes = [route_from(row) for each in changes for row in each.routes]
        tls_hosts = _tls_hosts(changes)
        messages = [message for each in changes for message in each.backends]
        merged = _merge_all(self.named, removed, messages)  # the last that may raise: nothing is changed till here
        self._tell(removed, messages)
        gone = [(row.host, row.path) for each in changes for row in each.removed_routes]
        backends, moved = self._put_backends(removed, merged)
        for key in gone:
            self._drop_route(key)
        self._put_routes(routes)
        again = self._rekey(moved)
        self.revision = chunks[-1].results_in
        hosts = {route.host for route in routes} | {host for host, _ in (*gone, *again)}
        rules = _put(self.rules, _rules(changes), (name for each in changes for name in each.removed_rules))
        return Touched(
            frozenset(backends), frozenset(hosts), rules, self._put_config(changes),
            _put(self.tls_hosts, tls_hosts, (host for each in changes for host in each.removed_tls_hosts)),
            _put(self.challenges, _challenges(changes), (t for each in changes for t in each.removed_challenges)),
            self._put_sources(changes),
        )  # fmt: skip

    def _tell(self, removed: Iterable[str], messages: list[pb.Backend]) -> None:
        """The table has the same."""
        table, self._table = self._table, None
        if table is not None:
            with suppress(ValueError):  # as in _read: the next COMPLETE is read anew
                _tell(table, removed, messages)
                self._table = table

    def _put_config(self, changes: Iterable[pb.Changes]) -> bool:
        before, new = self.config, _config(changes)
        self.config = before if new is None else new
        return self.config != before

    def _put_sources(self, changes: Iterable[pb.Changes]) -> bool:
        before, new = self.secret_sources, _sources(changes)
        self.secret_sources = before if new is None else new
        return self.secret_sources != before

    def _put_backends(self, removed: Collection[str], merged: Mapping[str, Backend]) -> tuple[set[str], set[str]]:
        """Keys that are touched, and names of backends that have another key now, or none."""
        touched, moved = set(), set()
        for name in {*removed, *merged}:
            before, new = self._key(name), merged.get(name)
            self.named.pop(name, None)
            self.backends.pop(before, None)
            if new is not None:
                self.named[name] = self.backends[key_of(new)] = new
            touched |= {before, self._key(name)}
            if self._key(name) != before:
                moved.add(name)
        return touched, moved

    def _key(self, name: str) -> str:
        backend = self.named.get(name)
        return name if backend is None else key_of(backend)

    # -------------------------------------------------------------- routes

    def _put_routes(self, routes: Iterable[Route]) -> None:
        for route in routes:
            key = (route.host, route.path)
            self._drop_route(key)
            self.routes[key] = route
            self.hosts.setdefault(route.host, {})[key] = self._keyed(route)
            for name in backends_of(route):
                self.leading.setdefault(name, set()).add(key)

    def _rekey(self, moved: Iterable[str]) -> set[RouteKey]:
        """Routes that nobody sent, and whose backends have other keys now."""
        again = {key for name in moved for key in self.leading.get(name, ())}
        self._put_routes([self.routes[key] for key in sorted(again)])
        return again

    def _keyed(self, route: Route) -> Route:
        """`route` with keys of backends: the same one, mostly."""
        backend = self._key(route.backend) if route.backend else ""
        canaries = tuple(replace(each, backend=self._key(each.backend)) for each in route.canaries)
        if (backend, canaries) == (route.backend, route.canaries):
            return route
        return replace(route, backend=backend, canaries=canaries)

    def _drop_route(self, key: RouteKey) -> None:
        old = self.routes.pop(key, None)
        if old is None:
            return
        of_host = self.hosts[key[0]]
        del of_host[key]
        if not of_host:
            del self.hosts[key[0]]
        for name in backends_of(old):
            self.leading[name].discard(key)
            if not self.leading[name]:
                del self.leading[name]


def backends_of(route: Route) -> set[str]:
    """Names of all backends that a route leads to."""
    return {each for each in (route.backend, *(canary.backend for canary in route.canaries)) if each}


def _put(have: dict[str, V], new: Mapping[str, V], removed: Iterable[str]) -> frozenset[str]:
    """Changes `have` in place; keys that are touched."""
    touched = {*removed}
    for key in touched:
        have.pop(key, None)
    have |= new
    return frozenset(touched | new.keys())


def _rules(changes: Iterable[pb.Changes]) -> dict[str, pb.Rules]:
    return {rules.name: rules for each in changes for rules in each.rules}


def _tls_hosts(changes: Iterable[pb.Changes]) -> dict[str, TlsHost]:
    """Raises ProtocolError for what makes no sense."""
    return {message.host: tls_host_from(message) for each in changes for message in each.tls_hosts}


def _challenges(changes: Iterable[pb.Changes]) -> dict[str, str]:
    return {row.token: row.key_authorization for each in changes for row in each.challenges}


def _sources(changes: Iterable[pb.Changes]) -> tuple[str, ...] | None:
    """The newest, None when none of them has any."""
    found = [each.secret_sources.addresses for each in changes if each.HasField("secret_sources")]
    return tuple(found[-1]) if found else None


def _config(changes: Iterable[pb.Changes]) -> bytes | None:
    """The newest, None when none of them has one."""
    found = [each.config.json for each in changes if each.HasField("config")]
    return found[-1] if found else None


def _merge_all(
    backends: Mapping[str, Backend], removed: Collection[str], messages: Iterable[pb.Backend]
) -> dict[str, Backend]:
    """Removals count before upserts, whichever chunk they are in: a backend or server that went and came back
    within an update starts anew."""
    merged: dict[str, Backend] = {}
    messages = list(messages)
    for message in messages:
        name = message.name
        old = merged.get(name, None if name in removed else backends.get(name))
        merged[name] = _without(old or Backend(name), message.removed_servers)
    for message in messages:
        merged[message.name] = _merge(merged[message.name], message)
    return merged


def _tell(table: Table, removed: Iterable[str], messages: Iterable[pb.Backend]) -> None:
    """As `_merge_all`. Raises ValueError for what it does not take; a part may be done then."""
    for name in removed:
        table.remove_backend(name)
    for message in messages:
        for task in message.removed_servers:
            table.remove(message.name, task)
    for message in messages:
        if message.HasField("settings"):
            table.settings(message.name, message.settings.SerializeToString())
        for row in message.servers:
            table.upsert(
                message.name, row.task, row.id, row.address, row.port, row.weight, row.state,
                row.stop_in_milliseconds, row.service,
            )  # fmt: skip


def _without(backend: Backend, tasks: Collection[str]) -> Backend:
    if not tasks:
        return backend
    return replace(backend, servers={t: s for t, s in backend.servers.items() if t not in tasks})


def _merge(backend: Backend, message: pb.Backend) -> Backend:
    """`backend` with the upserts of `message`."""
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
