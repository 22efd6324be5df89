"""How requests of a route are proxied: to which upstream, by which protocol, with which path. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from l7.v1 import sync_pb2 as pb
from nginx import lookup
from nginx.text import block, exactly, literal, quoted, upstream_name
from nginx.upstreams import of, usable

EMPTY = '""'
SECRETS = "/run/secrets/l7"
"""Where secrets are mounted, named by id, in the proxies as in the extension service."""


@dataclass(slots=True)
class Maps:
    """Variables that requests are looked up in, made while locations are rendered: name -> lines of the `map`."""

    lines: dict[str, list[str]] = field(default_factory=dict)

    def add(self, source: str, rows: list[str], kind: str) -> str:
        """The variable with these rows; the same one for the same rows."""
        body = [f"map {source} ", *rows]
        for name, there in self.lines.items():
            if there == body:
                return name
        name = f"$l7_{kind}_{len(self.lines)}"
        self.lines[name] = body
        return name

    def text(self) -> Iterator[str]:
        for name, (head, *rows) in self.lines.items():
            yield from block(f"{head}{name}", rows)


def upstream_of(route: pb.Route, backends: Mapping[str, pb.Backend], maps: Maps) -> str:
    """What `proxy_pass` names: an upstream, or a variable where canaries decide; "" for nobody."""
    return _chosen(route, {name: _place(name, backends) for name in _named(route)}, maps, "up")


def next_of(route: pb.Route, backends: Mapping[str, pb.Backend], maps: Maps, splits: dict[str, list[str]]) -> str:
    """Where its requests go that reach no task of those: see `nginx.lookup`. A canary without a server is none."""
    names = {name for name in _named(route) if name == route.backend or _place(name, backends)}
    targets = {name: lookup.target(backends.get(name), splits) for name in sorted(names)}
    return _chosen(route, targets, maps, "next")


def _named(route: pb.Route) -> set[str]:
    return {route.backend, *(canary.backend for canary in route.canaries)}


def _chosen(route: pb.Route, places: Mapping[str, str], maps: Maps, kind: str) -> str:
    """The place of the first canary that matches and has one, else the route's own."""
    found = places.get(route.backend, "")
    for canary in reversed(route.canaries):
        there = places.get(canary.backend, "")
        source = _source(canary)
        if there and source:
            value = exactly(canary.value) if canary.value else '"~.+"'
            found = maps.add(source, [f"default {found or EMPTY};", f"{value} {there};"], kind)
    return found


def _place(name: str, backends: Mapping[str, pb.Backend]) -> str:
    backend = backends.get(name)
    return upstream_name(name) if backend is not None and usable(backend) else ""


def _source(canary: pb.Canary) -> str:
    """The variable with the header or cookie, "" for a cookie whose name can't be one."""
    if canary.WhichOneof("by") == "header":
        return "$http_" + canary.header.lower().replace("-", "_")
    return f"$cookie_{canary.cookie}" if is_variable(canary.cookie) else ""


def is_variable(name: str) -> bool:
    """Whether NGINX can name a cookie in a variable."""
    return name.isascii() and name.replace("_", "a").isalnum()


def passing(upstream: str, backend: pb.Backend | None, stripped: str) -> list[str]:
    """`proxy_pass` and what it needs. `stripped`: what is taken from the front of the path, "" for nothing."""
    own = of(backend, 0) if backend is not None else pb.ServerSettings()
    path = "$l7_rest$is_args$args" if stripped else ""
    if own.protocol == pb.PROTOCOL_H2C:
        return [f"grpc_pass grpc://{upstream};"]
    if own.protocol == pb.PROTOCOL_HTTPS:
        return [f"proxy_pass https://{upstream}{path};", *_verifying(own)]
    return [f"proxy_pass http://{upstream}{path};"]


def _verifying(own: pb.ServerSettings) -> Iterator[str]:
    if own.tls_name:
        yield "proxy_ssl_server_name on;"
        yield f"proxy_ssl_name {literal(own.tls_name)};"
    if own.HasField("tls_ca"):
        yield "proxy_ssl_verify on;"
        yield f"proxy_ssl_trusted_certificate {SECRETS}/{own.tls_ca.id};"
    if own.HasField("tls_certificate"):
        pair = own.tls_certificate
        yield f"proxy_ssl_certificate {SECRETS}/{pair.certificate.id};"
        yield f"proxy_ssl_certificate_key {SECRETS}/{key_of(pair).id};"


def key_of(pair: pb.KeyPair) -> pb.Secret:
    """The secret that holds the key."""
    return pair.key if pair.HasField("key") else pair.certificate


def stripping(path: str) -> list[str]:
    """Leaves the rest of the path in a variable: spelled as the client did, where that is plain; else normalised
    and decoded, as far as it means the same then. What is neither is refused. By names and not by `$1`, which NGINX
    would encode once more."""
    front, plain = _regex(quote(path, _PCHAR)), _regex(path)
    return [
        'set $l7_rest "";',
        f"if ($uri ~ {quoted(f'^{plain}(?<l7_rest>{_SAFE})$')}) {{ }}",
        f"if ($request_uri ~ {quoted(f'^{_NO_DOTS}{front}(?<l7_rest>/[^?#]*)')}) {{ }}",
        'if ($l7_rest = "") { return 400; }',
    ]


_PCHAR = "/~!$&'()*+,;=:@"
_NO_DOTS = r"(?![^?#]*(?://|/[.]|%2[eE]|%00))"
_SAFE = r"/[A-Za-z0-9._~/!$&'()*+,;=:@-]*"
"""A path that is the same whether it is encoded or not."""


def _regex(text: str) -> str:
    special = ".^$*+?{}[]\\|()"
    return "".join(f"\\{letter}" if letter in special else letter for letter in text)
