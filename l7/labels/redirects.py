"""Redirects: their grammar, and which of them would send a client in circles. Pure.

A redirect's location is put before the path of the request, so a client that follows redirects sees its path
grow at the front, or stay. Whether that ever ends depends on no more of the path than the deepest route has
segments: requests are followed as (scheme, host, first segments of the path), of which there are finitely many.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from l7.labels.grammar import Bad, parse_host, parse_path, printable
from l7.labels.spec import RedirectSpec
from l7.model import RouteKey

MAX_REDIRECTS = 64
MAX_HOPS = 1000
"""Nobody follows more; browsers give up after 20."""
_SCHEME = re.compile(r"(?:(https?)://)?(.*)", re.IGNORECASE | re.ASCII | re.DOTALL)
_PORT = re.compile(r"(?::([0-9]{1,5}))?\Z")
_OWN_PORTS = {"http": 80, "https": 443}


# ---------------------------------------------------------------- grammar


@lru_cache(maxsize=512)
def parse_redirects(text: str) -> tuple[RedirectSpec, ...] | Bad:
    """`src,dst;src,dst`, sorted; of two pairs with one source both must lead to the same place."""
    pairs = [pair for each in text.split(";") if (pair := each.strip(" "))]
    if not pairs:
        return Bad("is empty", "write such as http://old.example.org,https://new.example.org, or remove the label")
    if len(pairs) > MAX_REDIRECTS:
        return Bad("is too long", f"write at most {MAX_REDIRECTS} pairs")
    found: dict[RouteKey, RedirectSpec] = {}
    for pair in pairs:
        redirect = _pair(pair)
        if isinstance(redirect, Bad):
            return Bad(f"has {printable(pair)}, which {redirect.message}", redirect.remedy)
        key = redirect.host, redirect.path
        before = found.setdefault(key, redirect)
        if before.location != redirect.location:
            return Bad(f"sends {''.join(key)} to two places", "name each source once")
        if before.scheme != redirect.scheme:
            found[key] = RedirectSpec("", *key, redirect.location)
    return tuple(found[key] for key in sorted(found))


def _pair(text: str) -> RedirectSpec | Bad:
    source, comma, target = text.partition(",")
    if not comma:
        return Bad("is no pair", "write source,target: http://old.example.org,https://new.example.org")
    scheme, host, path = _source(source.strip(" "))
    for part in (host, path):
        if isinstance(part, Bad):
            return Bad(f"has a source that {part.message}", part.remedy)
    location = parse_location(target.strip(" "))
    if isinstance(location, Bad):
        return Bad(f"has a target that {location.message}", location.remedy)
    return RedirectSpec(scheme, str(host), str(path), location)


def _source(text: str) -> tuple[str, str | Bad, str | Bad]:
    scheme, host, path = _split(text)
    return scheme, parse_host(host), parse_path(path or "/")


def parse_location(text: str) -> str | Bad:
    """A URL to put before a path: scheme, host, perhaps a port and a path without trailing slash."""
    scheme, authority, rest = _split(text)
    host, path = parse_host(authority), parse_path(rest or "/")
    if not scheme:
        return Bad("is no URL", "begin it with http:// or https://")
    for part in (host, path):
        if isinstance(part, Bad):
            return Bad(part.message, f"{part.remedy}; no query and no fragment")
    if str(host).startswith("*"):
        return Bad("has a wildcard", "name one host")
    port = _PORT.search(authority)
    number = int(port[1]) if port and port[1] else _OWN_PORTS[scheme]
    if not 1 <= number <= 65535:
        return Bad("has no port that there is", "write one from 1 to 65535, or none")
    shown = f":{number}" if number != _OWN_PORTS[scheme] else ""
    return f"{scheme}://{host}{shown}{'' if path == '/' else path}"


def _split(text: str) -> tuple[str, str, str]:
    """Scheme in lower case or "", authority, path or ""."""
    match = _SCHEME.fullmatch(text)
    scheme, rest = (match[1] or "", match[2]) if match else ("", text)
    authority, slash, path = rest.partition("/")
    return scheme.lower(), authority, slash + path


# ---------------------------------------------------------------- loops

Segments = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a client stands: any request of this scheme and host whose path begins with these segments."""

    scheme: str
    host: str
    path: Segments


class Redirector:
    """Answers requests as proxies would: the longest path prefix of the exact host, else of its wildcard, either
    redirects or forwards. Ports are ignored, as proxies ignore them: a location on another port of the same host
    counts as the same place."""

    def __init__(self, redirects: Iterable[RedirectSpec], forwarded: Iterable[RouteKey] = ()) -> None:
        self._routes: dict[str, dict[Segments, list[RedirectSpec]]] = {}
        self._forwarded = {(host, _segments(path)) for host, path in forwarded}
        for host, path in self._forwarded:
            self._routes.setdefault(host, {})[path] = []
        self._depth = max((len(path) for routes in self._routes.values() for path in routes), default=0)
        for each in redirects:
            self.add(each)

    def add(self, redirect: RedirectSpec) -> None:
        """One more; of several with the same source, the first added that takes the scheme counts."""
        path = _segments(redirect.path)
        self._routes.setdefault(redirect.host, {}).setdefault(path, []).append(redirect)
        self._depth = max(self._depth, len(path))

    def remove(self, redirect: RedirectSpec) -> None:
        """Undo `add`. ValueError, KeyError: was not added."""
        routes, path = self._routes[redirect.host], _segments(redirect.path)
        routes[path].remove(redirect)
        if not routes[path] and (redirect.host, path) not in self._forwarded:
            del routes[path]
        if not routes:
            del self._routes[redirect.host]

    def match(self, scheme: str, host: str, path: Segments) -> RedirectSpec | None:
        """What redirects this request; None when it is forwarded, or nobody's."""
        routes = self._of(host)
        for length in range(len(path), -1, -1):
            if path[:length] in routes:
                redirects = routes[path[:length]]
                return next((each for each in redirects if each.scheme in ("", scheme)), None)
        return None

    def deeper(self, host: str, path: Segments) -> Iterator[Segments]:
        """The routes of the host that lie below `path`."""
        return (each for each in self._of(host) if len(each) > len(path) and each[: len(path)] == path)

    def loops(self, start: RedirectSpec) -> bool:
        """Whether some client that is sent off by `start` never arrives."""
        schemes = (start.scheme,) if start.scheme else ("http", "https")
        places = [self._next(_Place(scheme, start.host, _segments(start.path)), start) for scheme in schemes]
        seen: set[_Place] = set()
        while places:
            place = places.pop()
            if place in seen:
                continue
            seen.add(place)
            if self._circles(place):
                return True
            # What is known of the path is its beginning; the rest may be such that a deeper route takes it.
            places.extend(_Place(place.scheme, place.host, path) for path in self.deeper(place.host, place.path))
            redirect = self.match(place.scheme, place.host, place.path)
            if redirect is not None:
                places.append(self._next(place, redirect))
        return False

    def _circles(self, place: _Place) -> bool:
        """Whether a client that asks for exactly this place comes by some place twice."""
        seen: set[_Place] = set()
        while place not in seen and len(seen) < MAX_HOPS:
            seen.add(place)
            redirect = self.match(place.scheme, place.host, place.path)
            if redirect is None:
                return False
            place = self._next(place, redirect)
        return True

    def _next(self, place: _Place, redirect: RedirectSpec) -> _Place:
        scheme, authority, path = _split(redirect.location)
        return _Place(scheme, _PORT.sub("", authority), (_segments(path) + place.path)[: self._depth])

    def _of(self, host: str) -> dict[Segments, list[RedirectSpec]]:
        if host in self._routes:
            return self._routes[host]
        return self._routes.get("*." + host.partition(".")[2], {})


def endless(redirects: Sequence[RedirectSpec], forwarded: Collection[RouteKey] = ()) -> tuple[RedirectSpec, ...]:
    """Which of `redirects` to leave out so that no request is redirected for ever: each that closes a loop with
    those before it. `forwarded`: the routes that lead to a backend, where a client arrives.

    A route that forwards and redirects only one scheme may be in both.
    """
    kept = Redirector((), forwarded)
    refused: list[RedirectSpec] = []
    for each in redirects:
        kept.add(each)
        # Whatever circles now and did not before goes through the new one.
        if kept.loops(each):
            kept.remove(each)
            refused.append(each)
    return tuple(refused)


def landings(redirects: Collection[RedirectSpec]) -> tuple[RouteKey, ...]:
    """Where others than those who redirect may let clients arrive: at the path of a location that has one, and at
    a host that no redirect names as its source (one with a wildcard gives way to whoever names it)."""
    sources = {each.host for each in redirects}
    places = [_split(each.location)[1:] for each in redirects]
    keys = [(_PORT.sub("", authority), path) for authority, path in places]
    return tuple((host, path or "/") for host, path in keys if path or host not in sources)


def _segments(path: str) -> Segments:
    return tuple(segment for segment in path.split("/") if segment)
