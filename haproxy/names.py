"""Names of the fixed sections. With a dot, which Swarm does not allow in a service's name: a backend made at run
time bears its services' names, and HAProxy refuses it when a frontend or backend is called the same."""

HTTP = "l7.http"
TCP = "l7.tcp"
TLS = "l7.tls"
BASE = "l7.base"
"""Defaults of what speaks HTTP with clients."""
TCP_BASE = "l7.tcp-base"
TERMINATE = "l7.terminate"
"""Backend that leads to the TLS listener of HTTP, a unix socket of the same HAProxy."""
NOWHERE = "l7.nowhere"
"""The backend of last resort: a row that names a backend which does not exist falls through to it."""
HOP = "l7.hop"
"""Backend that leads to COMPRESSOR, a frontend of the same HAProxy."""
COMPRESSOR = "l7.compressor"
EXPORTER = "l7.exporter"
"""Frontend of HAProxy's own metrics."""


def rate_table(flag: str) -> str:
    """Stick-table of the requests per client in a period, by the period's flag."""
    return f"l7.rate-{flag}"
