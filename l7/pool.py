"""One service cluster: fragments of services in, routes and backends out, changes as a delta. Pure.

A `Fragment` is what one service contributes. Those that claim the same host and path are pooled: the route
leads to one backend with the tasks of them all. There is one backend per distinct set of services.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TypeVar

from l7.model import (
    Backend,
    BackendChange,
    BackendSettings,
    Changes,
    Delta,
    Problem,
    Route,
    RouteKey,
    Server,
    Snapshot,
)

MAX_ID = (1 << 20) - 1
"""HAProxy's consistent hashing takes the low 20 bits of a server's id."""

MAX_NAME = 120
REWRITE = "com.docker.lb.context_root_rewrite"

_MODULUS = 1 << 128
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A server before it has met the others of its backend: `server.id` is the one it would like."""

    created: int
    server: Server


@dataclass(frozen=True, slots=True)
class Fragment:
    """What one service contributes to its cluster. `created`: nanoseconds; `expected`: replicas wanted > 0."""

    cluster: str
    service: str
    service_id: str
    created: int
    keys: tuple[RouteKey, ...]
    strip_path: bool
    expected: bool
    candidates: tuple[Candidate, ...]


def wanted_id(task: str) -> int:
    """1..2^20-1, from the task's id alone, so that every core and proxy comes to the same."""
    return 1 + int.from_bytes(blake2b(task.encode(), digest_size=8).digest(), "big") % MAX_ID


def backend_name(services: tuple[str, ...]) -> str:
    """Name of the backend of these services (sorted): joined by ":", long ones cut and told apart by digest.

    The dot marks a cut name: Swarm allows none in a service's name.
    """
    name = ":".join(services)
    if len(name) <= MAX_NAME:
        return name
    digest = blake2b(name.encode(), digest_size=8).hexdigest()
    return f"{name[: MAX_NAME - len(digest) - 1]}.{digest}"


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


def diff_backend(old: Backend | None, new: Backend) -> BackendChange | None:
    """What leads from `old` to `new`, None when nothing does."""
    if old is None:
        return BackendChange(new.name, new.settings, tuple(new.servers.values()))
    settings = new.settings if new.settings != old.settings else None
    servers = tuple(server for task, server in new.servers.items() if old.servers.get(task) != server)
    removed = tuple(task for task in old.servers if task not in new.servers)
    if settings is None and not servers and not removed:
        return None
    return BackendChange(new.name, settings, servers, removed)


class Pool:
    """Routes and backends of one cluster, kept up to date fragment by fragment.

    The revision is the sum, modulo 2^128, of the digests of all items: it is the same in whatever order they
    came, and a change costs the items changed. (A sum is no defence against forgery; none is needed.)
    """

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster
        self._claims: dict[RouteKey, dict[str, Fragment]] = {}
        self._members: dict[str, dict[str, Fragment]] = {}
        self._routes: dict[RouteKey, Route] = {}
        self._backends: dict[str, Backend] = {}
        self._users: dict[str, set[RouteKey]] = {}
        self._conflicts: dict[RouteKey, tuple[Problem, ...]] = {}
        self._dirty: set[RouteKey] = set()
        self._sum = _digest("l7 state", 1)
        self._snapshot: Snapshot | None = None

    @property
    def revision(self) -> str:
        """32 hex digits."""
        return f"{self._sum:032x}"

    def put(self, fragment: Fragment) -> None:
        """A service's contribution, new or changed (then `drop` the old one first)."""
        self._members.setdefault(fragment.service, {})[fragment.service_id] = fragment
        for key in fragment.keys:
            self._claims.setdefault(key, {})[fragment.service_id] = fragment
        self._dirty.update(fragment.keys)

    def drop(self, fragment: Fragment) -> None:
        """A contribution that was put is gone."""
        _discard(self._members, fragment.service, fragment.service_id)
        for key in fragment.keys:
            _discard(self._claims, key, fragment.service_id)
        self._dirty.update(fragment.keys)

    def settle(self, observed: int) -> Delta | None:
        """Work out what the fragments put and dropped since the last time change; None: nothing."""
        if not self._dirty:
            return None
        before = self.revision
        affected: dict[str, tuple[str, ...]] = {}
        routes = [self._resolve(key, affected) for key in sorted(self._dirty)]
        removed = tuple(key for key, kept, _ in routes if not kept)
        self._dirty.clear()
        backends = [change for name in sorted(affected) if (change := self._assemble(name, affected[name]))]
        gone = tuple(name for name in sorted(affected) if self._retire(name))
        changes = Changes(
            tuple(backends), gone, tuple(route for _, _, route in routes if route is not None), removed
        )
        if not changes:
            return None
        self._snapshot = None
        return Delta(before, self.revision, changes, observed)

    def snapshot(self) -> Snapshot:
        """The whole, as it is now: later changes don't show in it. Made once per revision."""
        if self._snapshot is None:
            self._snapshot = Snapshot(self.cluster, self.revision, dict(self._backends), dict(self._routes))
        return self._snapshot

    def problems(self) -> Iterable[Problem]:
        """Of services that share a route and do not agree on it."""
        for problems in self._conflicts.values():
            yield from problems

    # ------------------------------------------------------------ inside

    def _resolve(self, key: RouteKey, affected: dict[str, tuple[str, ...]]) -> tuple[RouteKey, bool, Route | None]:
        """(key, whether there still is a route, the route if it is new or changed).

        Names the backends that it led and leads to in `affected`, with the services behind them.
        """
        claims = self._claims.get(key)
        old, new = self._routes.get(key), None
        if old is not None:
            affected.setdefault(old.backend, self._backends[old.backend].settings.services)
        if claims:
            first = min(claims.values(), key=_seniority)
            services = tuple(sorted({fragment.service for fragment in claims.values()}))
            new = Route(*key, backend_name(services), first.strip_path)
            affected[new.backend] = services
        self._note_conflicts(key, claims or {})
        if old != new:
            self._replace_route(key, old, new)
        return key, new is not None or old is None, new if new != old else None

    def _replace_route(self, key: RouteKey, old: Route | None, new: Route | None) -> None:
        if old is not None:
            self._users[old.backend].discard(key)
            del self._routes[key]
        if new is not None:
            self._users.setdefault(new.backend, set()).add(key)
            self._routes[key] = new
        self._count(_route_digest(old) if old else None, _route_digest(new) if new else None)

    def _note_conflicts(self, key: RouteKey, claims: Mapping[str, Fragment]) -> None:
        """Settings of a shared route are those of the service created first; the others get a problem."""
        self._conflicts.pop(key, None)
        if len(claims) < 2:
            return
        first, *others = sorted(claims.values(), key=_seniority)
        losers = [other for other in others if other.strip_path != first.strip_path]
        if losers:
            self._conflicts[key] = tuple(_conflict(key, first, loser) for loser in losers)

    def _assemble(self, name: str, services: tuple[str, ...]) -> BackendChange | None:
        """Bring a backend that is in use up to date; what changed."""
        if not self._users.get(name):
            return None
        members = [fragment for service in services for fragment in self._members[service].values()]
        settings = BackendSettings(services, any(fragment.expected for fragment in members))
        candidates = (candidate for fragment in members for candidate in fragment.candidates)
        new = Backend(name, settings, assign_ids(candidates))
        old = self._backends.get(name)
        change = diff_backend(old, new)
        if change is not None:
            self._backends[name] = new
            self._count_backend(old, change)
        return change

    def _retire(self, name: str) -> bool:
        """Forget a backend to which no route leads any more; whether there was one."""
        if self._users.get(name):
            return False
        self._users.pop(name, None)
        old = self._backends.pop(name, None)
        if old is None:
            return False
        self._count(_settings_digest(name, old.settings), None)
        for server in old.servers.values():
            self._count(_server_digest(name, server), None)
        return True

    def _count_backend(self, old: Backend | None, change: BackendChange) -> None:
        name, servers = change.name, old.servers if old else {}
        if change.settings is not None:
            before = _settings_digest(name, old.settings) if old else None
            self._count(before, _settings_digest(name, change.settings))
        for server in change.servers:
            was = servers.get(server.task)
            self._count(_server_digest(name, was) if was else None, _server_digest(name, server))
        for task in change.removed_servers:
            self._count(_server_digest(name, servers[task]), None)

    def _count(self, old: int | None, new: int | None) -> None:
        self._sum = (self._sum - (old or 0) + (new or 0)) % _MODULUS


def _seniority(fragment: Fragment) -> tuple[int, str]:
    return (fragment.created, fragment.service_id)


def _conflict(key: RouteKey, first: Fragment, loser: Fragment) -> Problem:
    host, path = key
    wanted, held = str(loser.strip_path).lower(), str(first.strip_path).lower()
    return Problem(
        loser.service,
        REWRITE,
        wanted,
        f"is {held} for {host}{path}: service {first.service}, created first, shares the route and decides",
        f"give both services the same {REWRITE}, or different paths",
        loser.cluster,
        loser.service_id,
        fatal=False,
    )


def _discard(table: dict[Key, dict[str, Fragment]], key: Key, service_id: str) -> None:
    """Remove an entry of a table of tables; tables that become empty vanish."""
    inner = table.get(key, {})
    inner.pop(service_id, None)
    if not inner:
        table.pop(key, None)


# Items of the revision. repr() of a tuple of strings and numbers is unambiguous, and the same everywhere.


def _digest(*item: object) -> int:
    return int.from_bytes(blake2b(repr(item).encode("utf-8", "backslashreplace"), digest_size=16).digest(), "big")


def _route_digest(route: Route) -> int:
    return _digest("route", route.host, route.path, route.backend, route.strip_path)


def _settings_digest(name: str, settings: BackendSettings) -> int:
    return _digest("backend", name, settings.services, settings.expected)


def _server_digest(name: str, s: Server) -> int:
    return _digest("server", name, s.task, s.id, s.address, s.port, s.weight, int(s.state), s.stop_in)
