"""Who asks for what in a service cluster, and which routes that puts in question. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from l7 import circles
from l7.fragment import Claim, Fragment, is_tcp
from l7.model import Redirect, RouteKey
from l7.routing import Asked, first, redirecting

Key = TypeVar("Key", str, RouteKey)
Value = TypeVar("Value", str, RouteKey)


class Claims:
    """The fragments of a cluster's services, indexed. `dirty`: routes to decide anew; `stirred`: services, by
    name, of which only the tasks changed. Whoever has dealt with them empties both."""

    def __init__(self) -> None:
        self.dirty: set[RouteKey] = set()
        self.stirred: set[str] = set()
        self._fragments: dict[str, Fragment] = {}
        self._named: dict[str, set[str]] = {}
        self._claimants: dict[RouteKey, set[str]] = {}
        self._redirecting: dict[RouteKey, set[str]] = {}
        self._by_host: dict[str, set[RouteKey]] = {}
        self._circling: frozenset[RouteKey] = frozenset()
        self._watched: frozenset[str] = frozenset()
        self._stale = False

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
            self._stale = self._stale or self._matters(was) or self._matters(now)

    def asked(self, key: RouteKey) -> Asked:
        """What is asked for on a route."""
        claims, redirects = self._claims(self._claimants.get(key)), self._claims(self._redirecting.get(key))
        return Asked(claims, redirects, key in self._circling)

    def members(self, service: str) -> list[Fragment]:
        """The fragments of a service, by name, the oldest first. There is one, except for a moment, when a service
        was made again under the same name."""
        found = (self._fragments[each] for each in self._named.get(service, ()))
        return sorted(found, key=lambda fragment: fragment.claim.seniority)

    def close_circles(self) -> None:
        """Find the redirects that go round in circles anew, if a route that has a say in it was touched; what
        comes out differently is dirty."""
        if not self._stale:
            return
        self._stale = False
        redirects = self._effective()
        reached = circles.hosts_of(redirects)
        self._watched = reached | {host for host, _ in self._redirecting}
        forwarded = [key for host in self._watched for key in self._by_host.get(host, ())]
        secured = [key for key in forwarded if self._secured(key)]
        circling = circles.circles([*redirects.items()], forwarded, secured)
        self.dirty |= circling ^ self._circling
        self._circling = circling

    # ------------------------------------------------------------ inside

    def _effective(self) -> dict[RouteKey, Redirect]:
        """The redirect of each route, were there no circles; those of the oldest services first."""
        found: list[tuple[tuple[int, str], RouteKey, Redirect]] = []
        for key in self._redirecting:
            asked = self.asked(key)
            owner = redirecting(asked.claims, asked.redirects)
            redirect = owner.redirect(key) if owner else None
            if owner is not None and redirect is not None:
                found.append((owner.seniority, key, redirect))
        return {key: redirect for _, key, redirect in sorted(found, key=lambda each: each[:2])}

    def _secured(self, key: RouteKey) -> bool:
        decides = first(self._claims(self._claimants.get(key)))
        return decides is not None and decides.spec.rules.https_redirect

    def _claims(self, ids: Iterable[str] | None) -> list[Claim]:
        if not ids:
            return []
        return sorted((self._fragments[each].claim for each in ids), key=lambda claim: claim.seniority)

    def _note(self, claim: Claim) -> None:
        for key in claim.keys:
            _add(self._claimants, key, claim.service_id)
            if not is_tcp(key):
                _add(self._by_host, key[0], key)
        for key, _ in claim.redirects:
            _add(self._redirecting, key, claim.service_id)
        _add(self._named, claim.service, claim.service_id)
        self._touch(claim)

    def _forget(self, claim: Claim) -> None:
        for key in claim.keys:
            _discard(self._claimants, key, claim.service_id)
            if key not in self._claimants:
                _discard(self._by_host, key[0], key)
        for key, _ in claim.redirects:
            _discard(self._redirecting, key, claim.service_id)
        _discard(self._named, claim.service, claim.service_id)
        self._touch(claim)

    def _touch(self, claim: Claim) -> None:
        self.dirty |= claim.touches
        for namesake in self._named.get(claim.service, ()):
            if namesake != claim.service_id:
                self.dirty |= self._fragments[namesake].claim.touches

    def _matters(self, claim: Claim | None) -> bool:
        """Whether redirected clients may come by it."""
        if claim is None:
            return False
        return bool(claim.redirects) or not self._watched.isdisjoint(host for host, _ in claim.keys)


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
