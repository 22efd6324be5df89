"""One row per label. The parser, docs/labels.md and the checks follow this table; a new label starts here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from l7.labels import grammar

PREFIX = "com.docker.lb."
STACK = "com.docker.stack.namespace"

PROXY_TYPE = ("type", "com.docker.interlock.core.proxy")
"""The label by which operators select all proxy services."""

PROXY_CLUSTER = "com.docker.l7.cluster"
"""On a proxy service: the service cluster that it serves, "" or absent for the default one."""


class Change(StrEnum):
    """What it takes to change a label on a running service."""

    LIVE = "live"
    FLIP = "flip"
    FIRST_USE = "first use"


Value = str | int | bool | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Label:
    """A label: `name` without prefix, its value's grammar, and what the docs say. `parse` None: not yet."""

    name: str
    type: str
    default: str
    meaning: str
    example: str
    change: Change = Change.LIVE
    versions: str = "2.6 and up"
    conflicts: str = ""
    parse: Callable[[str], Value | grammar.Bad] | None = None

    @property
    def key(self) -> str:
        return PREFIX + self.name


SUPPORTED = (
    Label(
        "hosts",
        "host names, separated by commas and/or spaces",
        "none; without it the service is not published",
        "Names that lead to this service. Case, port and a trailing dot are ignored, here and in requests. "
        "`*.example.org` stands for exactly one label. ASCII only: international names in punycode. "
        "Services that share host and path share the traffic, task by task.",
        "app.example.org, www.example.org",
        parse=grammar.parse_hosts,
    ),
    Label(
        "port",
        "1 to 65535",
        "the service's only published target port (TCP)",
        "Port that the application listens on inside its container; it need not be published. Without the "
        "label: if the service publishes exactly one distinct TCP target port, that one; else the service is "
        "not routed, and a problem says so.",
        "8080",
        parse=grammar.parse_port,
    ),
    Label(
        "network",
        "name of a network",
        "the first by name of those that service and proxies share",
        "Network over which the proxies reach the tasks: its full name, or inside a stack the short one of "
        "the compose file. Service and proxies must both be on it. The ingress network is never used.",
        "shop_frontend",
        parse=grammar.parse_name,
    ),
    Label(
        "context_root",
        "path",
        "/",
        "Publishes the service under a path of its hosts; the longest prefix wins, and whole segments match: "
        "/app takes /app and /app/x, not /apple. Normalised: a leading slash, no trailing and no doubled "
        f"ones. Dot segments are refused. At most {grammar.MAX_SEGMENTS} segments and {grammar.MAX_PATH} "
        "characters of letters, digits and `-._~!+,=:@`; UTF-8 and space percent-encoded.",
        "/app",
        parse=grammar.parse_path,
    ),
    Label(
        "context_root_rewrite",
        "boolean",
        "false",
        "Removes `context_root` from the front of the request's path: the application sees /x for /app/x. "
        "Services that share host and path but differ here: the one created first decides.",
        "true",
        conflicts="no effect without `context_root`",
        parse=grammar.parse_bool,
    ),
    Label(
        "service_cluster",
        "name",
        "the default cluster",
        "Service cluster whose proxies publish the service; must be the `ServiceCluster` of an extension.",
        "east",
        parse=grammar.parse_cluster,
    ),
)

LATER = tuple(
    Label(name, type="", default="", meaning="", example="")
    for name in (
        "ssl_cert",
        "ssl_key",
        "ssl_passthrough",
        "ssl_only",
        "ssl_backend",
        "ssl_backend_tls_verify",
        "websocket_endpoints",
        "sticky_session_cookie",
        "ip_hash",
        "redirects",
        "default_backend",
        "backend_mode",
        "max_fails",
        "fail_timeout",
    )
)
"""Known from Interlock, not supported yet: a service that carries one is routed without it."""

TABLE = {label.key: label for label in SUPPORTED + LATER}
"""All known labels by their full name."""
