"""All labels. The parser, docs/labels.md, its JSON Schema and the checks follow this table."""

from __future__ import annotations

from l7.labels import request_labels, routing_labels, server_labels, tls_labels
from l7.labels.label import PREFIX as PREFIX
from l7.labels.label import Change as Change
from l7.labels.label import Label as Label

STACK = "com.docker.stack.namespace"

PROXY_TYPE = ("type", "com.docker.interlock.core.proxy")
"""The label by which operators select all proxy services."""

EXTENSION_TYPE = ("type", "com.docker.interlock.core.extension")
"""On the service that hands secrets to the proxies of its cluster."""

PROXY_CLUSTER = "com.docker.l7.cluster"
"""On a proxy or extension service: the service cluster that it serves, "" or absent for the default one."""

SECTIONS = (
    ("Which requests reach a service", routing_labels.ROWS),
    ("How a task is chosen, watched and spoken to", server_labels.ROWS),
    ("TLS and passwords", tls_labels.ROWS),
    ("What applies to requests and answers", request_labels.ROWS),
)
SUPPORTED: tuple[Label[object], ...] = tuple(label for _, rows in SECTIONS for label in rows)

MAY_BE_EMPTY = frozenset(
    PREFIX + name
    for name in (
        "port",
        "network",
        "service_cluster",
        "context_root",
        "context_root_rewrite",
        "redirects",
        "default_backend",
        "backend_mode",
        "websocket_endpoints",
        "sticky_session_cookie",
        "ip_hash",
        "max_fails",
        "fail_timeout",
        "ssl_cert",
        "ssl_key",
        "ssl_passthrough",
        "ssl_only",
        "ssl_backend",
        "ssl_backend_tls_verify",
    )
)
"""Interlock's own, but `hosts`: empty, as `${X:-}` in a stack file leaves them, they are as if not there."""

TABLE = {label.key: label for label in SUPPORTED}
"""All known labels by their full name; those that stand for several end in `*`."""

_PREFIXES = tuple(label for label in SUPPORTED if label.name.endswith("*"))


def label_of(key: str) -> Label[object] | None:
    """The row for a label as a service writes it, by full name; None when there is none."""
    label = TABLE.get(key)
    if label is not None and not label.name.endswith("*"):
        return label
    return next((each for each in _PREFIXES if key.startswith(each.key[:-1])), None)
