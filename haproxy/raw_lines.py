"""Lines that the operator writes for HAProxy's own configuration, `global` and `defaults`. Pure.

HAProxy itself judges them (`-c`) before they are used. Refused here is what it would take, and what would yet not
be what it seems: a line that leaves its section, and one of what l7 has to set itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from haproxy.nginx_lines import equivalent, is_nginx
from haproxy.option import Value
from haproxy.values import Bad, shown

MOST_LINES = 200
LONGEST_LINE = 1500
"""Characters. HAProxy takes 2048 in a line."""

SECTIONS = re.compile(
    "global|defaults|listen|frontend|backend|ruleset|userlist|peers|mailers|namespace_list|resolvers|program|ring|"
    "http-errors|cache|fcgi-app|log-forward|log-profile|crt-store|traces|acme|healthcheck",
    re.IGNORECASE,
)
"""What begins a section of its own, up to 3.4."""

_WORD = re.compile(r"[a-z][a-z0-9._-]*", re.IGNORECASE)
_LABEL = "label services with {}"

GLOBAL_OWN: Mapping[str, str] = {
    "chroot": "remove it: the container is as good",
    "daemon": "remove it: the sidecar looks after the process",
    "default-path": "remove it",
    "gid": "remove it: the task's user holds",
    "group": "remove it: the task's user holds",
    "hard-stop-after": "start the proxies with --drain-timeout (ProxyArgs)",
    "master-worker": "remove it: the sidecar looks after the process",
    "maxconn": "set MaxConnections",
    "nbproc": "set WorkerProcesses",
    "nbthread": "set WorkerProcesses",
    "pidfile": "remove it",
    "stats": "use `l7 status` and /metrics of the sidecar's own port (--admin)",
    "strict-limits": "remove it",
    "tune.bufsize": "set LargeClientHeaderBuffers",
    "uid": "remove it: the task's user holds",
    "ulimit-n": "set RLimitNoFile",
    "user": "remove it: the task's user holds",
    "zero-warning": "remove it",
}
"""Keyword of `global` that l7 sets itself, or that would take HAProxy away from it → what to do instead."""

DEFAULTS_OWN: Mapping[str, str] = {
    "balance": _LABEL.format("balance"),
    "compression": _LABEL.format("compression"),
    "default-server": _LABEL.format("max_connections, slow_start, health_check_interval and their like"),
    "default_backend": _LABEL.format("default_backend"),
    "disabled": "remove it",
    "error-log-format": "remove it: each request is a line of JSON",
    "errorfile": "set ErrorPages",
    "errorfiles": "set ErrorPages",
    "errorloc": "set ErrorPages",
    "errorloc302": "set ErrorPages",
    "errorloc303": "set ErrorPages",
    "hash-type": "remove it: hashing is consistent",
    "http-after-response": _LABEL.format("header_response_*"),
    "http-check": _LABEL.format("health_check_path"),
    "http-error": "set ErrorPages",
    "http-request": _LABEL.format("header_request_*, allow, rate_limit and their like"),
    "http-response": _LABEL.format("header_response_*"),
    "log-format": "remove it: each request is a line of JSON",
    "maxconn": "set MaxConnections",
    "mode": "remove it: TCP has ports of its own (TCPPorts)",
    "monitor-uri": "ask /healthz of the sidecar's own port (--admin)",
    "option abortonclose": "remove it: it is on",
    "option forwardfor": "remove it: applications are told",
    "option httpchk": _LABEL.format("health_check_path"),
    "option redispatch": "remove it: it is on",
    "option tcp-check": "remove it: services without health_check_path are checked so",
    "retries": _LABEL.format("retry_on"),
    "retry-on": _LABEL.format("retry_on"),
    "stats": "use `l7 status` and /metrics of the sidecar's own port (--admin)",
    "tcp-check": "remove it: services without health_check_path are checked so",
    "tcp-request": _LABEL.format("allow and rate_limit"),
    "tcp-response": "remove it",
    "timeout connect": "set ConnectTimeout",
    "timeout queue": "start the proxies with --hold-timeout (ProxyArgs)",
}
"""The same of `defaults`."""


def global_lines(value: Value) -> tuple[str, ...] | Bad:
    """Lines of `global`."""
    return _lines(value, GLOBAL_OWN)


def default_lines(value: Value) -> tuple[str, ...] | Bad:
    """Lines of `defaults`, where l7 speaks HTTP."""
    return _lines(value, DEFAULTS_OWN)


def text(lines: tuple[str, ...]) -> str:
    """As they stand at the end of a section."""
    return "".join(f"  {line}\n" for line in lines)


def _lines(value: Value, own: Mapping[str, str]) -> tuple[str, ...] | Bad:
    if not isinstance(value, list) or not all(isinstance(line, str) for line in value):
        return Bad("is not a list of lines", "write a list of strings, each a line of HAProxy's configuration")
    if len(value) > MOST_LINES:
        return Bad(f"has more than {MOST_LINES} lines", "write fewer")
    lines = tuple(" ".join(line.split("\t")).strip() for line in value)
    found = tuple(line for line in lines if line and not line.startswith("#"))
    wrong = (_wrong(line, own) for line in found)
    return next((each for each in wrong if each is not None), found)


def _wrong(line: str, own: Mapping[str, str]) -> Bad | None:
    if len(line) > LONGEST_LINE or not line.isprintable() or line.endswith("\\"):
        return Bad(f"has {shown(line)!r}, which is not one line", "write each line as a string of its own")
    if is_nginx(line):
        return Bad(f"has {shown(line)!r}, which is a line for NGINX", equivalent(line))
    words = line.split()
    if words[0].lower() in ("no", "default") and len(words) > 1:
        words = words[1:]
    if not _WORD.fullmatch(words[0]):
        return Bad(f"has {shown(line)!r}, which begins with no keyword", "write it without quotes and conditions")
    if SECTIONS.fullmatch(words[0]):
        return Bad(f"has {shown(line)!r}, which begins a section of its own", "write lines of that section alone")
    for keyword in (words[0], " ".join(words[:2])):
        if remedy := own.get(keyword.lower()):
            return Bad(f"has {shown(line)!r}, but {keyword!r} is l7's own", remedy)
    return None
