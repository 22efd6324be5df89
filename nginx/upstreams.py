"""Upstreams: the tasks of each backend, and how one is chosen. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from l7.v1 import sync_pb2 as pb
from nginx.settings import Settings
from nginx.text import block, upstream_name

KEPT = 32
"""Idle connections to tasks that a worker keeps per upstream."""
FAIL_TIMEOUT = 10_000
"""Milliseconds, NGINX's own."""

_ROUND_ROBIN: tuple[str, ...] = ()
_BALANCE = {
    pb.BALANCE_LEAST_CONNECTIONS: ("least_conn;",),
    pb.BALANCE_RANDOM: ("random two least_conn;",),
}


def usable(backend: pb.Backend) -> list[pb.Server]:
    """Those that requests go to. A task that leaves gets some only where no other does."""
    servers = sorted(backend.servers, key=lambda each: each.task)
    ready = [each for each in servers if each.state == pb.SERVER_STATE_READY]
    return ready or [each for each in servers if each.state == pb.SERVER_STATE_LEAVING]


def http(backends: Mapping[str, pb.Backend], keys: Mapping[str, str], settings: Settings) -> Iterator[str]:
    """The upstreams for HTTP. `keys`: by backend, the variable that BALANCE_HASH hashes."""
    for name, backend in sorted(backends.items()):
        if not backend.settings.tcp and usable(backend):
            key = keys.get(name, "$binary_remote_addr")
            lines = [*_upstream(backend, settings, key), f"keepalive {KEPT};"]
            yield from block(f"upstream {upstream_name(name)}", lines)


def stream(backends: Mapping[str, pb.Backend], settings: Settings) -> Iterator[str]:
    """Those for connections that are passed on as they are."""
    for name, backend in sorted(backends.items()):
        if backend.settings.tcp and usable(backend):
            lines = _upstream(backend, settings, "$remote_addr")
            yield from block(f"upstream {upstream_name(name)}", lines)


def _upstream(backend: pb.Backend, settings: Settings, key: str) -> list[str]:
    name, balance = upstream_name(backend.name), backend.settings.balance
    choice = (f"hash {key} consistent;",) if balance == pb.BALANCE_HASH else _BALANCE.get(balance, _ROUND_ROBIN)
    servers = (_server(server, of(backend, server.service)) for server in usable(backend))
    return [f"zone {name} {settings.zone_size}k;", *choice, *servers]


def of(backend: pb.Backend, service: int) -> pb.ServerSettings:
    """Settings of the servers of one service, by its index."""
    own = backend.settings.server_settings
    return own[service] if service < len(own) else pb.ServerSettings()


def _server(server: pb.Server, own: pb.ServerSettings) -> str:
    address = f"[{server.address}]" if ":" in server.address else server.address
    words = [f"server {address}:{server.port}", f"weight={server.weight}", f"max_fails={own.max_fails}"]
    if own.max_fails:
        milliseconds = own.fail_timeout_milliseconds or FAIL_TIMEOUT
        words.append(f"fail_timeout={max(1, round(milliseconds / 1000))}s")
    if own.max_connections:
        words.append(f"max_conns={own.max_connections}")
    return " ".join(words) + ";"
