"""Redirects of a whole cluster that would send clients in circles. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from urllib.parse import urlsplit

from l7.labels.redirects import Redirector, endless
from l7.labels.spec import RedirectSpec
from l7.model import Redirect, RouteKey


def hosts_of(redirects: Mapping[RouteKey, Redirect]) -> frozenset[str]:
    """Hosts that a redirected client comes by, with the wildcards that may answer for them: no route of any
    other host has a say in whether it arrives."""
    return frozenset(host for key, redirect in redirects.items() for host in _hosts(key, redirect))


def circles(
    redirects: Sequence[tuple[RouteKey, Redirect]], forwarded: Collection[RouteKey]
) -> frozenset[RouteKey]:
    """Keys of the redirects to leave out so that every client arrives: each that closes a circle with those before
    it. `forwarded`: the keys where a client arrives."""
    specs = [RedirectSpec(redirect.scheme, *key, redirect.location) for key, redirect in redirects]
    everything = Redirector(specs, forwarded)
    circling = {host for each in specs if everything.loops(each) for host in _of(each)}
    if not circling:
        return frozenset()
    suspects = _connected(specs, circling)
    return frozenset((each.host, each.path) for each in endless(suspects, forwarded))


def _connected(specs: Sequence[RedirectSpec], hosts: set[str]) -> list[RedirectSpec]:
    """Those that share hosts with the circling ones, also by way of others: the rest can't matter."""
    found: list[RedirectSpec] = []
    left = list(specs)
    while joined := [each for each in left if not hosts.isdisjoint(_of(each))]:
        hosts = hosts.union(*map(_of, joined))
        found += joined
        left = [each for each in left if each not in joined]
    return [each for each in specs if each in set(found)]


def _of(spec: RedirectSpec) -> Iterable[str]:
    return _hosts((spec.host, spec.path), Redirect(spec.scheme, spec.location))


def _hosts(key: RouteKey, redirect: Redirect) -> tuple[str, ...]:
    hosts = (key[0], urlsplit(redirect.location).hostname or "")
    return (*hosts, *("*." + host.partition(".")[2] for host in hosts))
