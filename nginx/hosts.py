"""Servers: one for each host, for HTTP and, where it has a certificate, for TLS. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from l7.v1 import sync_pb2 as pb
from nginx import locations
from nginx.locations import Rendering
from nginx.lookup import DNS
from nginx.settings import Settings
from nginx.text import block, quoted
from nginx.ways import SECRETS, key_of

ANY = "*"
"""Every host that nobody else names."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where an NGINX listens, inside, where its files are, and where it may write. `behind`: a unix socket on which
    connections for TLS arrive, with a PROXY header, "" for from clients themselves."""

    http: str = "80"
    tls: str = "443"
    directory: str = "/etc/nginx"
    writable: str = "/tmp"
    behind: str = ""
    http_port: int = 80
    tls_port: int = 443
    resolver: str = DNS


def servers(rendering: Rendering, places: Places, certified: frozenset[str]) -> Iterator[list[str]]:
    """Each as its lines. `certified`: hosts whose certificates are there."""
    state = rendering.state
    hosts = {host for host, _ in state.routes if host[0] not in ":@"} | (state.tls_hosts.keys() - {ANY}) | {ANY}
    for host in sorted(hosts):
        routes = [route for (of, _), route in state.routes.items() if of == host]
        body = list(_locations(host, routes, rendering))
        listen = _listen(places.http, host, _http(rendering.settings))
        yield block("server", [*listen, *_port(places.http_port), *body])
        tls = state.tls_hosts.get(host)
        if tls is not None and host in certified:
            yield block("server", [*_tls(host, tls, places), *_port(places.tls_port), *body])
    if ANY not in certified:
        yield block("server", [*_listen(*_secure(places, ANY)), "ssl_reject_handshake on;"])


def _locations(host: str, routes: list[pb.Route], rendering: Rendering) -> Iterator[str]:
    """A host that nobody named is told apart from a path that nobody named."""
    if host == ANY and not routes:
        body = locations.refusal(503, "unknown-host", "no service for this host", rendering)
        yield from locations.challenges(rendering)
        yield from block("location /", body)
    else:
        yield from locations.of_host(routes, rendering)


def _port(port: int) -> Iterator[str]:
    yield f"set $l7_port {port};"


def _http(settings: Settings) -> str:
    return " proxy_protocol" if settings.proxy_protocol else ""


def _listen(address: str, host: str, more: str = "") -> Iterator[str]:
    default = " default_server" if host == ANY else ""
    yield f"listen {address}{default}{more};"
    yield f"server_name {_name(host)};"


def _secure(places: Places, host: str) -> tuple[str, str, str]:
    if places.behind:
        return f"unix:{places.behind}", host, " ssl http2 proxy_protocol"
    return places.tls, host, " ssl http2"


def _name(host: str) -> str:
    """A wildcard stands for one label; NGINX's own stands for any number of them."""
    if host == ANY:
        return "_"
    if host.startswith("*."):
        return quoted(f"~^[^.]+{re.escape(host[1:])}$")
    return quoted(host)


def _tls(host: str, tls: pb.TlsHost, places: Places) -> Iterator[str]:
    yield from _listen(*_secure(places, host))
    if places.behind:
        yield from ("set_real_ip_from unix:;", "real_ip_header proxy_protocol;")
    yield f"ssl_certificate {SECRETS}/{tls.certificate.certificate.id};"
    yield f"ssl_certificate_key {SECRETS}/{key_of(tls.certificate).id};"
    if tls.client_certificate != pb.CLIENT_CERTIFICATE_UNSPECIFIED and tls.HasField("client_ca"):
        # Asked for and not demanded: who has none is told so by an answer, and not by the end of the connection.
        yield "ssl_verify_client optional;"
        yield f"ssl_client_certificate {SECRETS}/{tls.client_ca.id};"
