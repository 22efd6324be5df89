"""The frontend for raw TCP, as text. Pure. A port is open when it was declared, and served when a route has it."""

from __future__ import annotations

from haproxy.headers import connection_log_format, expect_proxy
from haproxy.names import TCP, TCP_BASE
from haproxy.settings import BACKENDS_MAP, TCP_MAP, Settings


def sections(settings: Settings) -> tuple[str, ...]:
    """None where no port is open."""
    ports = open_ports(settings)
    return (_frontend(settings, ports),) if ports else ()


def open_ports(settings: Settings) -> tuple[int, ...]:
    """Sorted, without those that the other listeners have."""
    taken = {address.rpartition(":")[2] for address in (*settings.bind, *settings.tls_bind)}
    ports = {*settings.tcp_ports, *settings.extra_tcp_ports}
    return tuple(sorted(port for port in ports if str(port) not in taken))


def defaults(settings: Settings) -> str:
    """Raw connections may be silent for as long as upgraded ones."""
    return f"""\
defaults {TCP_BASE}
  mode tcp
  log global
  option dontlognull
  timeout client {settings.tunnel_timeout}
  timeout connect {settings.connect_timeout}
  timeout server {settings.tunnel_timeout}
"""


def _frontend(settings: Settings, ports: tuple[int, ...]) -> str:
    """The listener's `id` is its port: `dst_port` would be what a header of the PROXY protocol says."""
    binds = "".join(f"  bind {settings.tcp_address}:{port} id {port}\n" for port in ports)
    return f"""\
frontend {TCP} from {TCP_BASE}
{binds}  maxconn {settings.max_connections}
{expect_proxy(settings)}\
  tcp-request content set-var(txn.port) so_id
  tcp-request content set-var(txn.logical) var(txn.port),map_str({settings.file(TCP_MAP)})
  tcp-request content set-var(txn.physical) var(txn.logical),map_str({settings.file(BACKENDS_MAP)})
  tcp-request content reject if !{{ var(txn.physical) -m found }}
{connection_log_format('"port":"%[var(txn.port)]"')}\
  use_backend %[var(txn.physical)]
"""
