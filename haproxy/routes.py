"""Routes as rows of routes.map, which HAProxy asks with `map_beg` on `host/path/`. Pure.

The key ends with a slash, and so does what is looked up, so `/app` matches `/app` and `/app/x` but not
`/apple`; `map_beg` returns the longest prefix (configuration manual, section 7.3.1, "map_beg").
The value is `logical backend|operation|argument|rules|header|cookie|key`, without the empty fields at its end:

* backend: `-` where only a redirect or a canary answers
* operation: see `operation`; argument: the location of a redirect
* rules: the name under which the rest is found (`haproxy.features`)
* header, cookie: names that a canary of the route goes by; then key: the row's own, by which canary.map is asked
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes

from haproxy.model import Route, RouteKey

ANY_HOST = "*"
NO_BACKEND = "-"

CLOSED = "!"
"""Of sni.map: connections for this host are refused. No backend has such a name."""

STRIP_BITS = 6
MAX_STRIPPED = (1 << STRIP_BITS) - 1
"""Segments that can be removed from the front of a path: the rules remove 1, 2, 4 ... 32 of them."""

NO_ROUTE = "-|404"
"""Value of the sentinel: the host is known and has no route for the path, so that the request does not fall
to a wildcard."""

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`~-]+")
"""Names of headers and cookies that fit into a field; `|`, which the standard allows, does not."""

_ENCODED_SLASH = re.compile("%2f", re.IGNORECASE)


def rows(routes: Mapping[RouteKey, Route]) -> dict[str, str]:
    """All rows of routes.map for `routes`, sorted by key. Connections that are passed on are none of them."""
    ordered = sorted(
        (route for route in routes.values() if not is_connection(route.host)),
        key=lambda route: (route.host, route.path),
    )
    result = {row_key(route.host, route.path): row_value(route) for route in ordered}
    for host in {route.host for route in ordered} - {ANY_HOST}:
        result.setdefault(row_key(host, "/"), NO_ROUTE)
    return dict(sorted(result.items()))


def rows_for_host(host: str, routes: Mapping[RouteKey, Route]) -> dict[str, str]:
    """The rows of one host, when `routes` has all of its routes (those of others don't matter); {} for none."""
    return rows({key: route for key, route in routes.items() if route.host == host})


def is_tcp(host: str) -> bool:
    """Whether this host of a route is no host but a port for raw TCP: `:5432`."""
    return host.startswith(":") and host[1:].isdigit()


def is_sni(host: str) -> bool:
    """Whether this host of a route is TLS that is passed on as it is: `@app.example.org`."""
    return host.startswith("@")


def sni_host(host: str) -> str:
    """What stands for the connections of a host by TLS."""
    return f"@{host}"


def is_connection(host: str) -> bool:
    """Whether connections are routed, not requests."""
    return is_tcp(host) or is_sni(host)


def row_key(host: str, path: str) -> str:
    """`host/path/`; the root of a host is `host/`."""
    return host + look_up_path(path).rstrip("/") + "/"


def row_host(key: str) -> str:
    """The host of a row's key."""
    return key.partition("/")[0]


def row_value(route: Route) -> str:
    sources = {canary.source: canary.name for canary in reversed(route.canaries) if _NAME.fullmatch(canary.name)}
    argument = _argument(route.redirect.location) if route.redirect else ""
    fields = (
        route.backend or NO_BACKEND,
        operation(route),
        argument,
        route.rules,
        sources.get("header", ""),
        sources.get("cookie", ""),
        row_key(route.host, route.path) if route.canaries else "",
    )
    rest = "|".join(fields[1:]).rstrip("|")
    return f"{fields[0]}|{rest}"


def operation(route: Route) -> str:
    """Empty to forward as it is; `s<n>` to remove n segments first; `r302` to redirect, `r302http` and
    `r302https` requests of this scheme only. `s<n>+r302http`: redirect, or remove and forward.

    Raises ValueError past MAX_STRIPPED.
    """
    redirect = f"r302{route.redirect.scheme}" if route.redirect else ""
    return "+".join(filter(None, (_strip(route), redirect)))


def _strip(route: Route) -> str:
    segments = route.path.strip("/").count("/") + 1 if route.path.strip("/") else 0
    if not route.strip_path or not segments:
        return ""
    if segments > MAX_STRIPPED:
        raise ValueError(f"the path of {route.host}{route.path} has more than {MAX_STRIPPED} segments")
    return f"s{segments}"


def _argument(location: str) -> str:
    """What would end the field, the row or the header is percent-encoded."""
    return quote(location, safe="".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "|"))


def look_up_path(path: str) -> str:
    """The one spelling under which a path is looked up; the configuration does the same to a request's path.

    Everything but unreserved characters (RFC 3986, section 2.3) is percent-encoded in capitals, so that
    `/a@b` and `/a%40b` are one; an encoded slash is data and becomes `%252F`.
    """
    decoded = unquote_to_bytes(_ENCODED_SLASH.sub("%252F", path))
    return quote_from_bytes(decoded, safe="/")
