"""Raw lines for NGINX in a file that was written for it: which they are, and what does the same here. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from haproxy.option import Parsed, Value
from haproxy.values import Bad, shown

EQUIVALENTS: Mapping[str, str] = {
    "access_log": "AccessLogPath",
    "add_header": "the label header_response_*",
    "allow": "the label allow",
    "client_body_timeout": "ClientBodyTimeout",
    "client_header_timeout": 'DefaultOptions = ["timeout http-request 10s"]',
    "client_max_body_size": "ClientMaxBodySize, or the label max_body_size",
    "deny": "the label allow",
    "gzip": "the label compression",
    "gzip_types": "the label compression",
    "keepalive_timeout": "KeepaliveTimeout",
    "large_client_header_buffers": "LargeClientHeaderBuffers",
    "limit_req": "the label rate_limit",
    "limit_req_zone": "the label rate_limit",
    "proxy_connect_timeout": "ConnectTimeout, or the label timeout_connect",
    "proxy_next_upstream": "the label retry_on",
    "proxy_read_timeout": "ReadTimeout, or the label timeout_server",
    "proxy_send_timeout": "ReadTimeout",
    "proxy_set_header": "the label header_request_*",
    "proxy_timeout": "the label timeout_tunnel",
    "real_ip_header": "TrustedProxies",
    "send_timeout": "SendTimeout",
    "server_tokens": "HideInfoHeaders",
    "set_real_ip_from": "TrustedProxies",
    "ssl_ciphers": "SSLCiphers",
    "ssl_protocols": "SSLProtocols",
    "underscores_in_headers": "UnderscoresInHeaders",
    "worker_connections": "MaxConnections",
    "worker_processes": "WorkerProcesses",
    "worker_rlimit_nofile": "RLimitNoFile",
}
"""NGINX's directive → ours."""


def is_nginx(line: str) -> bool:
    """HAProxy's lines have no end but their own."""
    return line.endswith((";", "{")) or line == "}"


def equivalent(*lines: str) -> str:
    """What to do instead."""
    directives = sorted({line.split(maxsplit=1)[0].rstrip(";") for line in lines if line.strip()})
    known = [f"{shown(each)}: {EQUIVALENTS[each]}" for each in directives if each in EQUIVALENTS]
    rest = "lines of HAProxy's own go into GlobalOptions and DefaultOptions"
    return f"use {'; '.join(known)}; {rest}" if known else rest


def http_lines(scope: str) -> Callable[[Value], Parsed | Bad]:
    """Of a key with lines for a scope of NGINX's configuration, of which none can have an effect."""

    def parse(value: Value) -> Parsed | Bad:
        if value in ("", [], None):
            return None
        lines = [line for line in value if isinstance(line, str)] if isinstance(value, list) else [str(value)]
        return Bad(f"has no effect: these are lines for NGINX's scope {scope}", equivalent(*lines))

    return parse
