"""One service cluster: fragments of services in, routes, backends and rules out, changes as a delta. Pure.

Services that claim the same host and path are pooled: the route leads to one backend with the tasks of them
all. There is one backend per distinct set of services and kind; rules exist while a route refers to them.

Here is only what is in effect, so that a change costs what changes: `claims` knows who asks for what, `routing`
decides a route, `assembly` makes a backend.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from itertools import chain

from l7 import conflicts
from l7.assembly import assemble, diff_backend
from l7.claims import Claims
from l7.conflicts import Clash
from l7.fragment import Fragment, Pooled
from l7.model import (
    Backend,
    BackendChange,
    Changes,
    Delta,
    Problem,
    Route,
    RouteKey,
    Rules,
    Secret,
    Snapshot,
    TlsHost,
)
from l7.revision import Revision
from l7.routing import decide
from l7.tally import Tally

ANY_HOST = "*"
"""Of the default certificate: it sorts before every other host."""


@dataclass(slots=True)
class _Backend:
    """A backend in use. `users`: the routes that lead to it."""

    pooled: Pooled
    users: set[RouteKey] = field(default_factory=set)
    built: Backend | None = None


@dataclass(slots=True)
class _Batch:
    """What one settling comes across: backends and rules that may have changed, routes that did."""

    backends: set[str] = field(default_factory=set)
    rules: set[str] = field(default_factory=set)
    routes: list[Route] = field(default_factory=list)
    removed: list[RouteKey] = field(default_factory=list)
    tls: dict[str, tuple[TlsHost | None, TlsHost | None]] = field(default_factory=dict)


class Pool:
    """Routes, backends and rules of one cluster, kept up to date fragment by fragment.

    `config`: the operator's settings of its proxies, a JSON object.
    """

    def __init__(self, cluster: str, config: bytes = b"{}") -> None:
        self.cluster = cluster
        self._config = self._wanted_config = config
        self._claims = Claims()
        self._routes: dict[RouteKey, Route] = {}
        self._backends: dict[str, _Backend] = {}
        self._backends_of: dict[str, set[str]] = {}
        self._rules: dict[str, Rules] = {}
        self._ruled: dict[str, set[RouteKey]] = {}
        self._clashes: dict[RouteKey, tuple[Clash, ...]] = {}
        self._tls_hosts: dict[str, TlsHost] = {}
        self._default: TlsHost | None = None
        self._challenges: dict[str, str] = {}
        self._sources: tuple[str, ...] = ()
        self._wanted_challenges: Mapping[str, str] = {}
        self._wanted_sources: tuple[str, ...] = ()
        self._secrets = Tally()
        self._revision = Revision(config)
        self._snapshot: Snapshot | None = None

    @property
    def revision(self) -> str:
        """32 hex digits."""
        return str(self._revision)

    def change(self, old: Fragment | None, new: Fragment | None) -> None:
        """A service's contribution is new (`old` None), another, or gone (`new` None)."""
        self._claims.change(old, new)

    def set_config(self, config: bytes) -> None:
        """The operator's settings of its proxies are others now."""
        self._wanted_config = config

    def set_default(self, tls: TlsHost | None) -> None:
        """The operator's certificate for clients that name no host, or an unknown one."""
        self._default = tls

    def set_challenges(self, challenges: Mapping[str, str]) -> None:
        """All answers to an ACME server: token -> key authorization."""
        self._wanted_challenges = dict(challenges)

    def set_sources(self, sources: tuple[str, ...]) -> None:
        """Where secrets are fetched."""
        self._wanted_sources = sources

    @property
    def secrets(self) -> AbstractSet[Secret]:
        """All secrets and configs that the state names."""
        return self._secrets.named

    @property
    def ordered(self) -> Mapping[str, str]:
        """Hosts that are to have a certificate from an ACME server, and the services that want it."""
        return self._claims.ordered

    def settle(self, observed: int) -> Delta | None:
        """Work out what the changes since the last time come to; None: nothing."""
        before = self.revision
        changes = self._extras(self._settle_claims())
        if not changes:
            return None
        self._snapshot = None
        return Delta(before, self.revision, changes, observed)

    def _settle_claims(self) -> Changes:
        claims, batch = self._claims, _Batch()
        if not claims.dirty and not claims.stirred:
            return Changes()
        batch.tls = claims.secure()
        claims.close_circles()
        for key in sorted(claims.dirty):
            self._resolve(key, batch)
        for service in claims.stirred:
            batch.backends |= self._backends_of.get(service, set())
        claims.dirty.clear()
        claims.stirred.clear()
        return self._changes(batch)

    def snapshot(self) -> Snapshot:
        """The whole, as it is now: later changes don't show in it. Made once per revision."""
        if self._snapshot is None:
            backends = {name: each.built for name, each in self._backends.items() if each.built is not None}
            self._snapshot = Snapshot(
                self.cluster,
                self.revision,
                backends,
                dict(self._routes),
                dict(self._rules),
                self._config,
                dict(self._tls_hosts),
                dict(self._challenges),
                self._sources,
            )
        return self._snapshot

    def problems(self) -> Iterator[Problem]:
        """Of services that share a route, or a host, and do not agree on it."""
        on_routes = (clash for clashes in self._clashes.values() for clash in clashes)
        return conflicts.problems(chain(on_routes, self._claims.tls_clashes()))

    # ------------------------------------------------------------ routes

    def _resolve(self, key: RouteKey, batch: _Batch) -> None:
        outcome = decide(key, self._claims.asked(key))
        old, new = self._routes.get(key), outcome.route
        self._refer(key, old, new, outcome.backends, batch)
        if outcome.clashes:
            self._clashes[key] = outcome.clashes
        else:
            self._clashes.pop(key, None)
        if old == new:
            return
        self._revision.route(old, new)
        if new is not None:
            self._routes[key] = new
            batch.routes.append(new)
        else:
            del self._routes[key]
            batch.removed.append(key)

    def _refer(
        self, key: RouteKey, old: Route | None, new: Route | None, backends: Iterable[Pooled], batch: _Batch
    ) -> None:
        """Note what the route referred to, and what it refers to now."""
        for name in _backends(old):
            self._backends[name].users.discard(key)
            batch.backends.add(name)
        for pooled in backends:
            self._use(pooled).users.add(key)
            batch.backends.add(pooled.name)
        if old is not None and old.rules:
            self._ruled[old.rules].discard(key)
            batch.rules.add(old.rules)
        if new is not None and new.rules:
            self._ruled.setdefault(new.rules, set()).add(key)
            batch.rules.add(new.rules)

    def _use(self, pooled: Pooled) -> _Backend:
        if pooled.name not in self._backends:
            self._backends[pooled.name] = _Backend(pooled)
            for service in pooled.services:
                self._backends_of.setdefault(service, set()).add(pooled.name)
        return self._backends[pooled.name]

    # ------------------------------------------------------------ TLS, and what is no service's

    def _tls(self, changed: Iterable[tuple[str, TlsHost | None]]) -> tuple[list[TlsHost], list[str]]:
        """Note how TLS ends for these hosts now; what is new or changed, and what is gone. Both sorted."""
        upserts, removed = [], []
        for host, new in sorted(changed, key=lambda each: each[0]):
            old = self._tls_hosts.get(host)
            if old == new:
                continue
            self._revision.tls_host(old, new)
            self._secrets.change(old, new)
            if new is not None:
                self._tls_hosts[host] = new
                upserts.append(new)
            else:
                del self._tls_hosts[host]
                removed.append(host)
        return upserts, removed

    def _extras(self, changes: Changes) -> Changes:
        """With the default certificate, challenges, sources and settings, as far as they changed."""
        upserts, removed = self._tls([(ANY_HOST, self._default)])
        tokens = sorted(self._challenges.keys() | self._wanted_challenges.keys())
        moved = [token for token in tokens if self._challenges.get(token) != self._wanted_challenges.get(token)]
        sources = self._wanted_sources if self._wanted_sources != self._sources else None
        config = self._wanted_config if self._wanted_config != self._config else None
        if not (upserts or removed or moved) and sources is None and config is None:
            return changes
        for token in moved:
            self._revision.challenge(token, self._challenges.get(token), self._wanted_challenges.get(token))
        self._challenges = dict(self._wanted_challenges)
        if sources is not None:
            self._revision.sources(self._sources, sources)
            self._sources = sources
        if config is not None:
            self._revision.config(self._config, config)
            self._config = config
        return replace(
            changes,
            config=config,
            tls_hosts=(*upserts, *changes.tls_hosts),
            removed_tls_hosts=(*removed, *changes.removed_tls_hosts),
            challenges=tuple((token, self._challenges[token]) for token in moved if token in self._challenges),
            removed_challenges=tuple(token for token in moved if token not in self._challenges),
            secret_sources=sources,
        )

    # ------------------------------------------------------------ what they refer to

    def _changes(self, batch: _Batch) -> Changes:
        names = sorted(batch.backends)
        used = [name for name in names if self._backends[name].users]
        gone = [name for name in names if not self._backends[name].users and self._retire(name)]
        rules = [self._rule(name) for name in sorted(batch.rules)]
        tls_hosts, removed_tls_hosts = self._tls((host, new) for host, (_, new) in batch.tls.items())
        return Changes(
            backends=tuple(change for name in used if (change := self._assemble(self._backends[name]))),
            removed_backends=tuple(gone),
            routes=tuple(batch.routes),
            removed_routes=tuple(batch.removed),
            rules=tuple(new for _, old, new in rules if new is not None and new != old),
            removed_rules=tuple(name for name, old, new in rules if old is not None and new is None),
            tls_hosts=tuple(tls_hosts),
            removed_tls_hosts=tuple(removed_tls_hosts),
        )

    def _assemble(self, backend: _Backend) -> BackendChange | None:
        """Bring a backend that is in use up to date; what changed."""
        pooled = backend.pooled
        old, new = backend.built, assemble(pooled, [self._claims.members(each) for each in pooled.services])
        change = diff_backend(old, new)
        if change is not None:
            backend.built = new
            self._count(old, change)
        return change

    def _retire(self, name: str) -> bool:
        """Forget a backend to which no route leads any more; whether anybody was told of it."""
        backend = self._backends.pop(name)
        for service in backend.pooled.services:
            names = self._backends_of[service]
            names.discard(name)
            if not names:
                del self._backends_of[service]
        old = backend.built
        if old is None:
            return False
        self._revision.settings(name, old.settings, None)
        self._secrets.change(old.settings, None)
        for server in old.servers.values():
            self._revision.server(name, server, None)
        return True

    def _count(self, old: Backend | None, change: BackendChange) -> None:
        name, servers = change.name, old.servers if old else {}
        if change.settings is not None:
            self._revision.settings(name, old.settings if old else None, change.settings)
            self._secrets.change(old.settings if old else None, change.settings)
        for server in change.servers:
            self._revision.server(name, servers.get(server.task), server)
        for task in change.removed_servers:
            self._revision.server(name, servers[task], None)

    def _rule(self, name: str) -> tuple[str, Rules | None, Rules | None]:
        """(name, rules before, rules now); None while no route refers to them."""
        old, new = self._rules.get(name), None
        if self._ruled.get(name):
            new = next(each.claim.rules for each in self._claims.members(name) if each.claim.rules)
            self._rules[name] = new
        else:
            self._ruled.pop(name, None)
            self._rules.pop(name, None)
        if old != new:
            self._revision.rules(old, new)
            self._secrets.change(old, new)
        return name, old, new


def _backends(route: Route | None) -> Iterator[str]:
    """Names of the backends that a route leads to, perhaps twice."""
    if route is None:
        return
    if route.backend:
        yield route.backend
    for canary in route.canaries:
        yield canary.backend
