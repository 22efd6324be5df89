"""One route: which claims to it come to what. Pure.

Claims are given with the service created first in front; it decides about everything that can be only once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from l7.conflicts import Clash, clash, guard, guarded, overruled, settings_clashes
from l7.fragment import DEFAULT_KEY, Claim, Kind, Pooled, is_sni, is_tcp
from l7.labels.table import PREFIX
from l7.model import Canary, Redirect, Route, RouteKey


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for on a route. `claims`: who wants to answer; `redirects`: who redirects it; both with the
    oldest in front. `circling`: the redirect would send clients in circles. `ends`: TLS of the host ends
    here, while that of its wildcard is passed on."""

    claims: Sequence[Claim] = ()
    redirects: Sequence[Claim] = ()
    circling: bool = False
    ends: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """`route` None: there is none. `backends`: those that it leads to."""

    route: Route | None = None
    backends: tuple[Pooled, ...] = ()
    clashes: tuple[Clash, ...] = ()


def decide(key: RouteKey, asked: Asked) -> Outcome:
    """The route of a key, and what its claimants are to be told."""
    decides = first(asked.claims)
    if is_tcp(key):
        return _connections(key, asked)
    if decides is not None and decides.passthrough:
        return _to_https(key, asked, decides)
    clashes = [*_https_clashes(key, asked.claims, decides), *_guarded(key, asked.claims, decides)]
    claims = [each for each in asked.claims if not each.passthrough and not _kept_away(decides, each)]
    base = _base(key, claims)
    clashes += [*_default_clashes(key, claims, base), *_settings_clashes(key, claims, base)]
    pooled = _pooled(key, base)
    backends = (pooled,) if pooled else ()
    name = pooled.name if pooled else ""
    canaries = _canaries(key, claims, clashes)
    redirect = _redirect(key, asked, clashes)
    if decides is None:
        route = Route(*key, "", redirect=redirect) if redirect else None
        return Outcome(route, (), tuple(clashes))
    strip = decides.spec.strip_path and key[1] != "/"
    rules = decides.service if decides.rules else ""
    route = Route(*key, name, strip, rules, redirect, tuple(canaries))
    return Outcome(route, (*backends, *canaries.values()), tuple(clashes))


def _connections(key: RouteKey, asked: Asked) -> Outcome:
    """A TCP port, or TLS of a host."""
    base = _base(key, asked.claims)
    clashes = (*_default_clashes(key, asked.claims, base), *_settings_clashes(key, asked.claims, base))
    pooled = _pooled(key, base)
    route = Route(*key, pooled.name if pooled else "") if asked.claims or asked.ends else None
    return Outcome(route, (pooled,) if pooled else (), clashes)


# ---------------------------------------------------------------- where TLS is passed on


def _to_https(key: RouteKey, asked: Asked, decides: Claim) -> Outcome:
    """Plain HTTP of a host whose TLS is passed on: no task answers it, but it leads there."""
    clashes: list[Clash] = []
    redirect = _redirect(key, asked, clashes)
    reason = f"service {decides.service}, created first, sends http to https there, and has TLS passed through"
    remedy = f"use other hosts, or take {PREFIX}{_https_label(decides)} away from {decides.service}"
    clashes.extend(overruled(key, each, reason, remedy) for each in asked.claims if not each.passthrough)
    return Outcome(Route(*key, "", rules=decides.service, redirect=redirect), (), tuple(clashes))


def _https_clashes(key: RouteKey, claims: Sequence[Claim], decides: Claim | None) -> Iterator[Clash]:
    """Who has TLS passed on, and would have http sent there, where another answers it."""
    for other in claims:
        if decides is not None and other.passthrough and not decides.spec.rules.https_redirect:
            reason = f"service {decides.service}, created first, answers there"
            remedy = f"use another host, or set {PREFIX}https_redirect on {decides.service}"
            yield clash(key, other, _https_label(other), reason, remedy)


def _https_label(claim: Claim) -> str:
    return "ssl_only" if PREFIX + "ssl_only" in dict(claim.spec.written) else "https_redirect"


# ---------------------------------------------------------------- who answers


def _kept_away(decides: Claim | None, claim: Claim) -> bool:
    """Whether others would come in to it than it wants, by the rules of the one that decides."""
    return decides is not None and claim is not decides and bool(guard(decides, claim))


def _guarded(key: RouteKey, claims: Sequence[Claim], decides: Claim | None) -> Iterator[Clash]:
    for other in claims:
        if decides is not None and _kept_away(decides, other):
            yield guarded(key, decides, other, guard(decides, other))


def _base(key: RouteKey, claims: Sequence[Claim]) -> list[Claim]:
    """Those whose tasks take a share of all requests."""
    base = [claim for claim in claims if claim.spec.weight != 0]
    return base[:1] if key == DEFAULT_KEY else base


def _pooled(key: RouteKey, base: Sequence[Claim]) -> Pooled | None:
    services = tuple(sorted({claim.service for claim in base}))
    kind = Kind.TLS if is_sni(key) else Kind.TCP if is_tcp(key) else Kind.BASE
    return Pooled(services, kind) if services else None


def _default_clashes(key: RouteKey, claims: Sequence[Claim], base: Sequence[Claim]) -> Iterator[Clash]:
    """A default backend is not pooled: nobody asked that two applications answer in turn for all the world."""
    if key != DEFAULT_KEY:
        return
    for other in claims:
        if base and other not in base and other.spec.weight != 0:
            reason = f"service {base[0].service}, created first, is the default backend"
            yield clash(key, other, "default_backend", reason, "take the label away from one of the two")


def _settings_clashes(key: RouteKey, claims: Sequence[Claim], base: Sequence[Claim]) -> Iterator[Clash]:
    """Of services on whose requests the first one decides; a second default backend gets none."""
    decides = first(claims)
    for other in claims:
        if decides is not None and other is not decides and (key != DEFAULT_KEY or other.spec.weight == 0):
            yield from settings_clashes(key, decides, other, pooled=other in base)


# ---------------------------------------------------------------- canaries


def _canaries(key: RouteKey, claims: Sequence[Claim], clashes: list[Clash]) -> dict[Canary, Pooled]:
    """By what requests are told apart, in the order of asking: headers, cookies; a value before any value."""
    names: dict[str, tuple[str, Claim]] = {}
    taken: dict[tuple[str, str], Claim] = {}
    found: dict[Canary, Pooled] = {}
    for claim, source, name, value in _wishes(claims):
        held, owner = names.setdefault(source, (name, claim))
        label = f"canary_{source}"
        if held != name:
            reason = f"service {owner.service}, created first, chooses by {source} {held}, and all share one name"
            clashes.append(clash(key, claim, label, reason, f"use {source} {held}, with a value of your own"))
        elif (rival := taken.setdefault((source, value), claim)) is not claim:
            reason = f"service {rival.service}, created first, has the same {source} and value"
            clashes.append(clash(key, claim, label, reason, "use a value of your own"))
        else:
            pooled = Pooled((claim.service,), Kind.CANARY)
            found[Canary(pooled.name, source, name, value)] = pooled
    order = sorted(found, key=lambda canary: (canary.source != "header", not canary.value, canary.value))
    return {canary: found[canary] for canary in order}


def _wishes(claims: Sequence[Claim]) -> Iterator[tuple[Claim, str, str, str]]:
    for claim in claims:
        for source, wish in (("header", claim.spec.canary_header), ("cookie", claim.spec.canary_cookie)):
            if wish is not None:
                yield claim, source, *wish


# ---------------------------------------------------------------- redirects


def redirecting(claims: Sequence[Claim], redirects: Sequence[Claim]) -> Claim | None:
    """Whose redirect a route gets: that of the service which decides the route, or of an older one. A younger one
    can't take requests away."""
    decides = first(claims)
    owner = redirects[0] if redirects else None
    if owner is None or decides is None or owner.seniority <= decides.seniority:
        return owner
    return None


def first(claims: Sequence[Claim]) -> Claim | None:
    """Who decides a route: the oldest of those whose tasks answer, else of all."""
    return next((claim for claim in claims if claim.spec.weight != 0), claims[0] if claims else None)


def _redirect(key: RouteKey, asked: Asked, clashes: list[Clash]) -> Redirect | None:
    """The redirect of a route; whoever wrote another one, or is redirected by somebody else, is told."""
    owner = redirecting(asked.claims, asked.redirects)
    clashes.extend(_redirect_clashes(key, asked, owner))
    redirect = owner.redirect(key) if owner else None
    if owner is None or redirect is None or asked.circling:
        return None
    if asked.claims and owner not in asked.claims:
        requests = f"{redirect.scheme} requests" if redirect.scheme else "all requests"
        reason = f"service {owner.service}, created first, redirects {requests} to {redirect.location}"
        remedy = f"use other hosts or paths, or take the redirect away from {owner.service}"
        clashes.extend(overruled(key, claim, reason, remedy) for claim in asked.claims)
    return redirect


def _redirect_clashes(key: RouteKey, asked: Asked, owner: Claim | None) -> Iterator[Clash]:
    redirect = owner.redirect(key) if owner else None
    for claim in asked.redirects:
        if claim is owner:
            if asked.circling:
                reason = "clients would be redirected in a circle"
                yield clash(key, claim, "redirects", reason, "change it, or the redirect that it leads to")
        elif claim.redirect(key) != redirect:
            yield clash(key, claim, "redirects", *_outvoted(asked, owner, redirect))


def _outvoted(asked: Asked, owner: Claim | None, redirect: Redirect | None) -> tuple[str, str]:
    if owner is not None and redirect is not None:
        reason = f"service {owner.service}, created first, redirects it to {redirect.location}"
        return reason, "let one of the two services redirect it"
    decides = first(asked.claims)
    reason = f"service {decides.service if decides else ''}, created first, answers there"
    return reason, "redirect hosts that no other service has, or let that service redirect"
