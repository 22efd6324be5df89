"""Compression of answers, as text. Pure.

HAProxy compresses by a filter, which no condition can switch, no `defaults` section can have, and a backend made
at run time does not get (3.4: silently ignored). So a frontend of the same HAProxy has it, behind a unix socket,
and requests of routes with compression take the way over it. What they need there goes along in headers
`x-l7-...`, which nobody else can set: a client's are removed.
"""

from __future__ import annotations

from haproxy.headers import MARKS, UPSTREAM, log_format
from haproxy.names import BASE, COMPRESSOR, HOP, NOWHERE
from haproxy.settings import Settings

USE = f"  use_backend {HOP} if {{ var(txn.hopped) -m bool }}\n"

SOCKET = "compressor.sock"

TYPES = (
    "text/html text/plain text/css text/xml text/javascript text/csv text/markdown application/json "
    "application/javascript application/xml application/xhtml+xml application/rss+xml application/manifest+json "
    "application/wasm image/svg+xml"
)

_CARRIED = {
    "id": "txn.id",
    "host": "txn.host",
    "logical": "txn.logical",
    "physical": "txn.physical",
    "features": "txn.features",
    "key": "txn.hash_key",
    "tls": "txn.tls",
}

_LONGEST_PATH = 512
"""Bytes of the path that the log gets: a request with a long one must still fit into its buffer twice."""


def sections(settings: Settings) -> tuple[str, ...]:
    return _hop(settings), _compressor(settings)


def _hop(settings: Settings) -> str:
    """Timeouts are those of the second half, hence none that could be shorter here."""
    carried = "".join(
        f"  http-request set-header x-l7-{name} %[var({variable})] if {{ var({variable}) -m found }}\n"
        for name, variable in _CARRIED.items()
    )
    return f"""\
backend {HOP} from {BASE}
  timeout server 24d
  timeout tunnel 24d
  http-request set-var(txn.tls) var(sess.tls) if {{ var(sess.tls) -m found }}
  http-request set-header x-l7-client %[src]
  http-request set-header x-l7-path %[var(txn.path),bytes(0,{_LONGEST_PATH})]
{carried}\
  server hop unix@{settings.socket_file(SOCKET)}
"""


def _compressor(settings: Settings) -> str:
    """It closes no idle connection: the other end does, before it would use one that is about to be closed."""
    carried = "".join(
        f"  http-request set-var({variable}) req.fhdr(x-l7-{name})\n" for name, variable in _CARRIED.items()
    )
    upstream = "" if settings.hide_info_headers else UPSTREAM
    return f"""\
frontend {COMPRESSOR} from {BASE}
  bind unix@{settings.socket_file(SOCKET)} mode 600
  timeout http-keep-alive 24d
  compression algo gzip
  compression type {TYPES}
  http-request set-src req.hdr_ip(x-l7-client)
  http-request set-var(txn.path) req.fhdr(x-l7-path)
{carried}\
  http-request set-var(txn.flags) var(txn.features),field(1,|)
  http-request del-header ^x-l7- -m reg
  http-response set-var(txn.answered) bool(1)
  http-response del-header x-l7-error
{MARKS}{upstream}{log_format("txn.tls")}\
  use_backend %[var(txn.physical)]
  default_backend {NOWHERE}
"""
