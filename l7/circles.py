"""Redirects of a whole cluster that would send clients in circles. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from urllib.parse import urlsplit

from l7.labels.redirects import endless
from l7.labels.spec import RedirectSpec
from l7.model import Redirect, RouteKey


def hosts_of(redirects: Iterable[tuple[RouteKey, Redirect]]) -> frozenset[str]:
    """Hosts that a redirected client comes by, with the wildcards that may answer for them: no route of any
    other host has a say in whether it arrives."""
    return frozenset(host for key, redirect in redirects for host in _hosts(key, redirect))


def _hosts(key: RouteKey, redirect: Redirect) -> tuple[str, ...]:
    hosts = (key[0], urlsplit(redirect.location).hostname or "")
    return (*hosts, *("*." + host.partition(".")[2] for host in hosts))


def circles(
    redirects: Sequence[tuple[RouteKey, Redirect]],
    forwarded: Collection[RouteKey],
    secured: Collection[RouteKey] = (),
) -> frozenset[RouteKey]:
    """Keys of the redirects to leave out so that every client arrives: each that closes a circle with those before
    it. `forwarded`: the keys where a client arrives; `secured`: those of them that send http to https."""
    # A wildcard's own name is no host that a client could be sent to.
    names = sorted(key for key in secured if not key[0].startswith("*"))
    fixed = [RedirectSpec("http", host, path, f"https://{host}") for host, path in names]
    specs = [RedirectSpec(redirect.scheme, *key, redirect.location) for key, redirect in redirects]
    refused = set(endless([*fixed, *specs], forwarded)) - set(fixed)
    return frozenset((each.host, each.path) for each in refused)
