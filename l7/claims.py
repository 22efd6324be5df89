"""Who asks for what in a service cluster, and which routes that puts in question. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from l7 import circles
from l7.conflicts import Clash
from l7.fragment import Claim, Fragment, is_sni, is_tcp
from l7.model import Redirect, RouteKey, TlsHost
from l7.routing import Asked, first, redirecting
from l7.tls_hosts import NOTHING, HostOutcome, decide_host

Key = TypeVar("Key", str, RouteKey)
Value = TypeVar("Value", str, RouteKey)


class Claims:
    """The fragments of a cluster's services, indexed. `dirty`: routes to decide anew; `stirred`: services, by
    name, of which only the tasks changed. Whoever has dealt with them empties both. `ordered`: hosts that an ACME
    server is to make certificates for, and who wants them; another object when they are others."""

    def __init__(self) -> None:
        self.dirty: set[RouteKey] = set()
        self.stirred: set[str] = set()
        self._fragments: dict[str, Fragment] = {}
        self._named: dict[str, set[str]] = {}
        self._claimants: dict[RouteKey, set[str]] = {}
        self._redirecting: dict[RouteKey, set[str]] = {}
        self._by_host: dict[str, set[RouteKey]] = {}
        self._sources: dict[str, set[RouteKey]] = {}
        self._passing: dict[str, set[RouteKey]] = {}
        self._circling: set[RouteKey] = set()
        self._stale: set[str] = set()
        self._securing: dict[str, set[str]] = {}
        self._hosts_of_tls: dict[str, HostOutcome] = {}
        self._below: dict[str, set[str]] = {}
        self._insecure: set[str] = set()
        self.ordered: Mapping[str, str] = {}

    def change(self, old: Fragment | None, new: Fragment | None) -> None:
        """A service's contribution is new (`old` None), another, or gone (`new` None)."""
        was, now = (each.claim if each else None for each in (old, new))
        if new is not None:
            self._fragments[new.claim.service_id] = new
        elif old is not None:
            del self._fragments[old.claim.service_id]
        if new is not None and was == now:
            self.stirred.add(new.claim.service)
            return
        if was is not None:
            self._forget(was)
        if now is not None:
            self._note(now)
        if _course(was) != _course(now):
            self._stale |= self._hosts(was) | self._hosts(now)

    def asked(self, key: RouteKey) -> Asked:
        """What is asked for on a route."""
        redirects = self._claims(self._redirecting.get(key))
        return Asked(self._claiming(key), redirects, key in self._circling, self._ends(key))

    def members(self, service: str) -> list[Fragment]:
        """The fragments of a service, by name, the oldest first. There is one, except for a moment, when a service
        was made again under the same name."""
        found = (self._fragments[each] for each in self._named.get(service, ()))
        return sorted(found, key=lambda fragment: fragment.claim.seniority)

    # ------------------------------------------------------------ TLS

    def secure(self) -> dict[str, tuple[TlsHost | None, TlsHost | None]]:
        """Decide anew about TLS of the hosts that were touched; before and after, by host. Routes that depend on it
        are dirty."""
        changed: dict[str, tuple[TlsHost | None, TlsHost | None]] = {}
        ordered: dict[str, str] = {}
        for host in self._in_question():
            above = self._hosts_of_tls.get(_wildcard(host), NOTHING).tls
            old = self._hosts_of_tls.get(host, NOTHING)
            new = decide_host(host, self._claims(self._securing.get(host)), above)
            if new == NOTHING:
                self._hosts_of_tls.pop(host, None)
            else:
                self._hosts_of_tls[host] = new
            self._follow(host, old, new)
            if old.tls != new.tls:
                changed[host] = (old.tls, new.tls)
            if old.ordered_by != new.ordered_by:
                ordered[host] = new.ordered_by
        if ordered:
            self.ordered = {host: by for host, by in {**self.ordered, **ordered}.items() if by}
        return changed

    def _in_question(self) -> Iterator[str]:
        """Hosts that were touched, wildcards ahead of those below them, which may be touched by these."""
        wild = sorted(host for host in self._insecure if host.startswith("*"))
        self._insecure -= {*wild}
        yield from wild
        yield from sorted(self._insecure)
        self._insecure.clear()

    def tls_clashes(self) -> Iterable[Clash]:
        """Of services that share a host and do not agree on its TLS."""
        return (clash for outcome in self._hosts_of_tls.values() for clash in outcome.clashes)

    def _follow(self, host: str, old: HostOutcome, new: HostOutcome) -> None:
        if old.withheld != new.withheld:
            self.dirty |= self._by_host.get(host, set())
            self._stale.add(host)
        below = self._below.get(host, set())
        if old.tls != new.tls:
            self._insecure |= below
        if (old.tls is None, old.passed) != (new.tls is None, new.passed):
            self.dirty.add(_sni(host))
            self.dirty.update(map(_sni, below))

    def _ends(self, key: RouteKey) -> bool:
        """Whether TLS of the host ends here although it would be passed on by what else there is."""
        host = key[0][1:]
        if not is_sni(key) or self._hosts_of_tls.get(host, NOTHING).tls is None:
            return False
        return self._hosts_of_tls.get(_wildcard(host), NOTHING).passed

    # ------------------------------------------------------------ circles

    def close_circles(self) -> None:
        """Find anew which redirects go round in circles, among those that have to do with what was touched; what
        comes out differently is dirty."""
        hosts, keys = self._neighbourhood(self._stale)
        self._stale.clear()
        before = {key for key in self._circling if key in keys or key not in self._redirecting}
        redirects = self._effective(keys)
        answered = (key for host in hosts for key in self._by_host.get(host, ())) if redirects else ()
        forwarded = [key for key in answered if self._claiming(key)]
        secured = [key for key in forwarded if self._secured(key)]
        now = circles.circles([*redirects.items()], forwarded, secured) if redirects else frozenset()
        self.dirty |= before ^ now
        self._circling = self._circling - before | now

    def _neighbourhood(self, hosts: Iterable[str]) -> tuple[set[str], set[RouteKey]]:
        """All hosts that clients redirected by way of these may come by, in either direction, and the redirects."""
        reached, keys, waiting = set[str](), set[RouteKey](), [*hosts]
        while waiting:
            host = waiting.pop()
            if host in reached:
                continue
            reached.add(host)
            for key in self._passing.get(host, set()) - keys:
                keys.add(key)
                waiting += self._passed(self._wishes(key))
        return reached, keys

    def _hosts(self, claim: Claim | None) -> set[str]:
        """Where it answers or redirects, and where its redirects lead."""
        if claim is None:
            return set()
        return {host for host, _ in claim.touches}.union(self._passed(claim.redirects))

    def _passed(self, redirects: Iterable[tuple[RouteKey, Redirect]]) -> list[str]:
        """Hosts that they connect. A wildcard that nobody has connects nothing."""
        passed = circles.hosts_of(redirects)
        return [each for each in passed if each[0] != "*" or each in self._by_host or each in self._sources]

    def _wishes(self, key: RouteKey) -> list[tuple[RouteKey, Redirect]]:
        """What any service asks for as the redirect of a route."""
        asked = (self._fragments[each].claim.redirect(key) for each in self._redirecting[key])
        return [(key, redirect) for redirect in asked if redirect is not None]

    # ------------------------------------------------------------ inside

    def _effective(self, keys: Iterable[RouteKey]) -> dict[RouteKey, Redirect]:
        """The redirect of each of these routes, were there no circles; those of the oldest services first."""
        found: list[tuple[tuple[int, str], RouteKey, Redirect]] = []
        for key in keys:
            asked = self.asked(key)
            owner = redirecting(asked.claims, asked.redirects)
            redirect = owner.redirect(key) if owner else None
            if owner is not None and redirect is not None:
                found.append((owner.seniority, key, redirect))
        return {key: redirect for _, key, redirect in sorted(found, key=lambda each: each[:2])}

    def _secured(self, key: RouteKey) -> bool:
        decides = first(self._claiming(key))
        return decides is not None and decides.spec.rules.https_redirect

    def _claiming(self, key: RouteKey) -> list[Claim]:
        """Who wants to answer on a route, without those whom TLS of the host keeps from it."""
        claims = self._claims(self._claimants.get(key))
        if not is_tcp(key):
            away = self._hosts_of_tls.get(key[0], NOTHING).withheld
            return [each for each in claims if each.service_id not in away] if away else claims
        ends = is_sni(key) and self._hosts_of_tls.get(key[0][1:], NOTHING).tls is not None
        return [] if ends else claims

    def _claims(self, ids: Iterable[str] | None) -> list[Claim]:
        if not ids:
            return []
        return sorted((self._fragments[each].claim for each in ids), key=lambda claim: claim.seniority)

    def _note(self, claim: Claim) -> None:
        for key in claim.keys:
            _add(self._claimants, key, claim.service_id)
            if not is_tcp(key):
                _add(self._by_host, key[0], key)
        for host in claim.secured:
            _add(self._securing, host, claim.service_id)
            _add(self._below, _wildcard(host), host)
        for key, redirect in claim.redirects:
            _add(self._redirecting, key, claim.service_id)
            _add(self._sources, key[0], key)
            for host in circles.hosts_of([(key, redirect)]):
                _add(self._passing, host, key)
        _add(self._named, claim.service, claim.service_id)
        self._touch(claim)

    def _forget(self, claim: Claim) -> None:
        for key in claim.keys:
            _discard(self._claimants, key, claim.service_id)
            if key not in self._claimants:
                _discard(self._by_host, key[0], key)
        for host in claim.secured:
            _discard(self._securing, host, claim.service_id)
            if host not in self._securing:
                _discard(self._below, _wildcard(host), host)
        for key, redirect in claim.redirects:
            _discard(self._redirecting, key, claim.service_id)
            left = circles.hosts_of(self._wishes(key)) if key in self._redirecting else frozenset()
            if not left:
                _discard(self._sources, key[0], key)
            for host in circles.hosts_of([(key, redirect)]) - left:
                _discard(self._passing, host, key)
        _discard(self._named, claim.service, claim.service_id)
        self._touch(claim)

    def _touch(self, claim: Claim) -> None:
        self.dirty |= claim.touches
        self._insecure |= claim.secured
        for namesake in self._named.get(claim.service, ()):
            if namesake != claim.service_id:
                self.dirty |= self._fragments[namesake].claim.touches


def _course(claim: Claim | None) -> object:
    """What of a claim has a say in where redirects lead."""
    if claim is None:
        return None
    spec = claim.spec
    return (claim.keys, claim.redirects, claim.seniority, spec.weight == 0, spec.rules.https_redirect)


def _add(table: dict[Key, set[Value]], key: Key, value: Value) -> None:
    table.setdefault(key, set()).add(value)


def _discard(table: dict[Key, set[Value]], key: Key, value: Value) -> None:
    """Remove an entry of a table of sets; sets that become empty vanish."""
    inner = table.get(key, set())
    inner.discard(value)
    if not inner:
        table.pop(key, None)


def _sni(host: str) -> RouteKey:
    return (f"@{host}", "/")


def _wildcard(host: str) -> str:
    """The one that answers for a host, "" for a wildcard."""
    return "" if host.startswith("*") else "*." + host.partition(".")[2]
