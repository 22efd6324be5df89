"""The scope `stream`: raw TCP, and TLS that is passed on as it is, told by the name that the client asks for. Pure.

Where some TLS is passed on, all of it comes here first. What ends here goes to the HTTP servers over a unix socket,
with a PROXY header, so that they know the client; what does not goes over another, where that header is taken off:
NGINX sends it to all that one server leads to, or to none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from l7.v1 import sync_pb2 as pb
from nginx import upstreams
from nginx.hosts import ANY, Places
from nginx.settings import Settings
from nginx.state import State
from nginx.text import block, quoted, upstream_name
from nginx.upstreams import usable


def is_needed(state: State) -> bool:
    return any(host[0] in ":@" for host, _ in state.routes)


def passes_on(state: State) -> bool:
    """Whether some TLS is."""
    return any(host[0] == "@" for host, _ in state.routes)


def section(state: State, settings: Settings, places: Places) -> list[str]:
    lines = [*settings.tcp_options, *upstreams.stream(state.backends, settings), *_ports(state)]
    if passes_on(state):
        lines += _tls(state, places)
    return block("stream", lines)


def _ports(state: State) -> Iterator[str]:
    """A port whose service has no task is closed."""
    for (host, _), route in sorted(state.routes.items()):
        if host[0] == ":" and _has_server(route, state.backends):
            yield from block("server", [f"listen {host[1:]};", f"proxy_pass {upstream_name(route.backend)};"])


def _has_server(route: pb.Route, backends: Mapping[str, pb.Backend]) -> bool:
    return route.backend in backends and bool(usable(backends[route.backend]))


def _tls(state: State, places: Places) -> Iterator[str]:
    on = f"unix:{places.writable}/l7-pass.sock"
    hosts = {host[1:]: route for (host, _), route in state.routes.items() if host[0] == "@"}
    there = {host: route for host, route in hosts.items() if _has_server(route, state.backends)}
    yield from block("map $ssl_preread_server_name $l7_way", [
        f"default {on if ANY in hosts else f'unix:{places.behind}'};",
        *(f"{_name(host)} {on};" for host in sorted(hosts) if host != ANY),
    ])  # fmt: skip
    yield from block("map $ssl_preread_server_name $l7_passed", [
        f'default {upstream_name(there[ANY].backend) if ANY in there else _NOBODY};',
        *(f"{_name(host)} {upstream_name(there[host].backend) if host in there else _NOBODY};"
          for host in sorted(hosts) if host != ANY),
    ])  # fmt: skip
    yield from block("server", [
        f"listen {places.tls};", "ssl_preread on;", "proxy_protocol on;", "proxy_pass $l7_way;",
    ])  # fmt: skip
    yield from block("server", [f"listen {on} proxy_protocol;", "ssl_preread on;", "proxy_pass $l7_passed;"])


_NOBODY = "127.0.0.1:1"
"""Where nobody listens: the connection ends."""


def _name(host: str) -> str:
    """Keys of `map` are compared in lower case, as names are."""
    return quoted(f"~^[^.]+{re.escape(host[1:])}$") if host.startswith("*.") else quoted(host)
