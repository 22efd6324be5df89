"""Locations: what happens to requests for each route of a host. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote

from l7.v1 import sync_pb2 as pb
from nginx import lookup
from nginx import rules as rules_of
from nginx.lookup import Again
from nginx.rules import NO_RULES, Zones
from nginx.settings import Settings
from nginx.state import State
from nginx.text import block, literal, quoted
from nginx.ways import Maps, next_of, passing, stripping, upstream_of


@dataclass(slots=True)
class Rendering:
    """What all parts of one configuration share."""

    state: State
    settings: Settings
    resolver: str = lookup.DNS
    maps: Maps = field(default_factory=Maps)
    zones: Zones = field(default_factory=Zones)
    splits: dict[str, list[str]] = field(default_factory=dict)


def of_host(routes: Iterable[pb.Route], rendering: Rendering) -> Iterator[str]:
    """All locations of a host. Without a route for "/", what no other path matches is 404."""
    routes = sorted(routes, key=lambda route: route.path)
    again = Again()
    for route in routes:
        yield from _of_route(route, rendering, again)
    yield from again.text()
    if all(route.path != "/" for route in routes):
        yield from block("location /", refusal(404, "no-route", "no service for this path", rendering))
    yield from challenges(rendering)


def challenges(rendering: Rendering) -> Iterator[str]:
    """Answers to an ACME server, ahead of all else (RFC 8555, section 8.3)."""
    for token, answer in sorted(rendering.state.challenges.items()):
        path = quoted(f"/.well-known/acme-challenge/{token}")
        yield from block(f"location = {path}", ["default_type text/plain;", f"return 200 {literal(answer)};"])


def _of_route(route: pb.Route, rendering: Rendering, again: Again) -> Iterator[str]:
    """Whole segments: the path itself, and what is below it."""
    path = unquote(route.path)
    if path == "/":
        yield from block("location /", _body(route, rendering, again))
        return
    bare = _body(route, rendering, again, bare=True)
    yield from block(f"location = {quoted(path)}", [*_slashed(route), *bare])
    yield from block(f"location ^~ {quoted(path + '/')}", _body(route, rendering, again))


def _slashed(route: pb.Route) -> Iterator[str]:
    """Of a page that the application sends as its /, relative links would lead out of the path else."""
    if route.strip_path and "." not in route.path.rpartition("/")[2]:
        yield 'set $l7_slash "$request_method$http_upgrade";'
        yield f'if ($l7_slash = GET) {{ return 301 {literal(route.path + "/")[:-1]}$is_args$args"; }}'


def _body(route: pb.Route, rendering: Rendering, again: Again, bare: bool = False) -> list[str]:
    own, state = rendering.state.rules.get(route.rules, NO_RULES), rendering.state
    return [
        *rules_of.deciding(own, rendering.maps),
        *_redirect(route),
        *rules_of.rating(own, rendering.zones),
        *_carrying(own, state.backends.get(route.backend), rendering),
        *_forward(route, rendering, again, bare),
    ]


def _carrying(own: pb.Rules, backend: pb.Backend | None, rendering: Rendering) -> list[str]:
    """What holds for requests on their way, whomever they go to."""
    retry_on = backend.settings.retry_on if backend is not None else pb.RETRY_ON_UNSPECIFIED
    headers = rules_of.own_headers(own, rendering.settings, rendering.maps)
    return [*rules_of.bounding(own, retry_on), *headers]


def _redirect(route: pb.Route) -> Iterator[str]:
    if not route.HasField("redirect"):
        return
    answer = f'return 302 {literal(route.redirect.location)[:-1]}$request_uri";'
    yield f"if ($scheme = {route.redirect.scheme}) {{ {answer} }}" if route.redirect.scheme else answer


def _forward(route: pb.Route, rendering: Rendering, again: Again, bare: bool) -> list[str]:
    """`bare`: the path of the route itself, of which nothing is left when it is taken away."""
    backends = rendering.state.backends
    upstream = upstream_of(route, backends, rendering.maps)
    target = next_of(route, backends, rendering.maps, rendering.splits)
    if not upstream and not target:
        return ["return 503;"]
    backend, stripped = backends.get(route.backend), route.path if route.strip_path and route.path != "/" else ""
    nobody = [f'if ({upstream} = "") {{ return 503; }}'] if upstream.startswith("$") else []
    rest = (["set $l7_rest /;"] if bare else stripping(route.path)) if stripped else []
    found = [*lookup.resolving(rendering.resolver), *passing(lookup.NEXT, backend, stripped)]
    if not upstream:
        return [*again.wait(target), *rest, *found]
    own = rendering.state.rules.get(route.rules, NO_RULES)
    turn = again.turn(target, [*_carrying(own, backend, rendering), *found]) if target else []
    return [*nobody, *turn, *rest, *passing(upstream, backend, stripped)]


def refusal(status: int, error: str, text: str, rendering: Rendering) -> list[str]:
    """An answer of the proxy's own."""
    return [
        "default_type text/plain;",
        *rules_of.answering(NO_RULES, rendering.settings, rendering.maps, error),
        "add_header cache-control no-store always;",
        f'return {status} "{text}\\n";',
    ]
