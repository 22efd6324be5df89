"""The operator's table `Config` of an NGINX extension, as JSON → settings, and what is wrong with it. Pure.

Takes any bytes and raises nothing: a bad value leaves the default, and the rest counts. Keys are Interlock's, in
any case.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from nginx import values
from nginx.settings import Settings
from nginx.values import Bad, Parse


@dataclass(frozen=True, slots=True)
class Option:
    """A key. `field`: of the settings, "" where it goes to none; `meaning` for docs/nginx.md. `idle`: what its
    parser says is no mistake."""

    name: str
    field: str
    parse: Parse
    meaning: str
    idle: bool = False


OPTIONS: tuple[Option, ...] = (
    Option("User", "user", values.word, "User of the workers, where the image starts NGINX as root."),
    Option("PidPath", "pid_path", values.path, "File with the number of the master process."),
    Option("WorkerProcesses", "worker_processes", values.processes, 'Workers; "auto": one per core.'),
    Option("MaxConnections", "max_connections", values.number(1, 10**6), "Connections per worker."),
    Option("RLimitNoFile", "open_files", values.number(1, 10**7), "Limit of open files of a worker."),
    Option("ConnectTimeout", "connect_timeout", values.seconds, "How long connecting to a task may take."),
    Option("SendTimeout", "send_timeout", values.seconds, "Silence of a task, or client, that is sent something."),
    Option("ReadTimeout", "read_timeout", values.seconds, "How long a task may be silent, also on a WebSocket."),
    Option("KeepaliveTimeout", "keep_alive", values.keep_alive, "How long a client's connection is kept idle."),
    Option("HTTPVersion", "http_version", values.http_version, "Version of HTTP towards tasks."),
    Option("ClientMaxBodySize", "max_body", values.size, "Longest body of a request; 0: no limit."),
    Option("ClientBodyBufferSize", "body_buffer", values.size, "Buffer for bodies."),
    Option("ClientBodyTimeout", "body_timeout", values.seconds, "Silence of a client within a body."),
    Option("ClientHeaderBufferSize", "header_buffer", values.size, "Buffer for a request's head."),
    Option("LargeClientHeaderBuffers", "large_header_buffers", values.buffers, "The same of larger ones."),
    Option("UnderscoresInHeaders", "underscores", values.switch, "Whether headers with `_` are passed on."),
    Option("UpstreamZoneSize", "zone_size", values.number(32, 1 << 20), "Kilobytes of memory per upstream."),
    Option("SSLOpts", "ssl_options", values.words, "More directives for TLS."),
    Option("SSLProtocols", "ssl_protocols", values.protocols, "Versions of TLS."),
    Option("SSLCiphers", "ssl_ciphers", values.ciphers, "Ciphers, as OpenSSL lists them."),
    Option("SSLDefaultDHParamPath", "dh_param_path", values.path, "File with Diffie-Hellman parameters."),
    Option("TrustedProxies", "trusted_proxies", values.prefixes, "Whose X-Forwarded-For is believed."),
    Option("ProxyProtocol", "proxy_protocol", values.switch, "Connections begin with a PROXY header."),
    Option("HideInfoHeaders", "hide_info_headers", values.switch, "Answers have no `x-*` headers of the proxy's."),
    Option("AccessLogPath", "access_log", values.log_path, 'File of the access log, or "off".'),
    Option("ErrorLogPath", "error_log", values.path, "File of the error log."),
    Option("MainLogFormat", "log_format", values.log_format, "Format of a line of the access log."),
    Option("GlobalOptions", "global_options", values.lines, "Raw lines of the main scope."),
    Option("HTTPOptions", "http_options", values.lines, "Raw lines of the scope `http`."),
    Option("TCPOptions", "tcp_options", values.lines, "Raw lines of the scope `stream`."),
    Option("IPHash", "", values.of_core, "All services choose tasks by the client's address."),
    Option("DefaultCertificate", "", values.of_core, "Secret: certificate for clients that name no known host."),
    Option("DefaultCertificateKey", "", values.of_core, "Secret: its key, where that is apart."),
    Option("TraceLogFormat", "", values.unused("set MainLogFormat"), "No effect.", True),
    Option("SSLDefaultDHParam", "", values.unused("set SSLDefaultDHParamPath"), "No effect.", True),
    Option("SSLVerify", "", values.unused("label services with ssl_client_cert"), "No effect.", True),
    Option("ServerNamesHashBucketSize", "", values.unused("remove it: it is computed"), "No effect.", True),
    Option("AdminUser", "", values.unused("remove it: there is no page"), "No effect.", True),
    Option("AdminPass", "", values.unused("remove it: there is no page"), "No effect.", True),
    Option("Version", "", values.unused("remove it"), "No effect.", True),
)

_BY_KEY = {option.name.lower(): option for option in OPTIONS}


@dataclass(frozen=True, slots=True, order=True)
class Complaint:
    """What is wrong with a key, and what to do about it. `idle`: it is no mistake."""

    key: str
    message: str
    remedy: str
    idle: bool = False


def configured(config: bytes) -> tuple[Settings, tuple[Complaint, ...]]:
    """The settings, and all that is wrong."""
    table = _table(config)
    if isinstance(table, Bad):
        return Settings(), (Complaint("Config", table.message, table.remedy),)
    fields: dict[str, Any] = {}
    complaints = []
    for written, value in sorted(table.items()):
        option = _BY_KEY.get(written.lower())
        found = _unknown(written) if option is None else None if value == "" else option.parse(value)
        if isinstance(found, Bad):
            idle = option is not None and option.idle
            complaints.append(Complaint(written[:60], found.message, found.remedy, idle))
        elif option is not None and option.field and found is not None:
            fields[option.field] = found
    return replace(Settings(), **fields), tuple(complaints)


def _table(config: bytes) -> Mapping[str, Any] | Bad:
    try:
        table = json.loads(config)
    except (ValueError, RecursionError):
        return Bad("is not JSON", "this is a fault of core: report it")
    return table if isinstance(table, dict) else Bad("is not a table", "this is a fault of core: report it")


def _unknown(written: str) -> Bad:
    close = get_close_matches(written[:60].lower(), _BY_KEY, n=1, cutoff=0.8)
    hint = f"did you mean {_BY_KEY[close[0]].name}?" if close else "see docs/nginx.md for those there are"
    return Bad("is not a key that this extension knows", hint)
