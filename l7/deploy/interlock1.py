"""Interlock 1's TOML, written as today's. Pure: text in, text and doubts out.

It had a list of extensions (HAProxy, NGINX, Beacon) where there are service clusters today; the first proxy of the
list becomes the default cluster.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from l7.kit.errors import ConfigError

Table = Mapping[str, Any]

_CORE = ("DockerURL", "TLSCACert", "TLSCert", "TLSKey", "AllowInsecure", "PollInterval")
_PUBLISHED = {"Port": "PublishedPort", "SSLPort": "PublishedSSLPort"}
_CONFIG = {
    "MaxConn": "MaxConnections",
    "SSLServerVerify": "SSLVerify",
    "DHParamPath": "SSLDefaultDHParamPath",
    "ProxyConnectTimeout": "ConnectTimeout",
    "ProxySendTimeout": "SendTimeout",
    "ProxyReadTimeout": "ReadTimeout",
} | {
    name: name
    for name in (
        "AdminUser", "AdminPass", "SSLOpts", "SSLDefaultDHParam", "SSLCiphers", "SSLProtocols", "User",
        "WorkerProcesses", "RLimitNoFile",
    )
}  # fmt: skip
"""Interlock 1's name → today's, in the table Config."""
_MILLISECONDS = ("ConnectTimeout", "ClientTimeout", "ServerTimeout")
"""Of HAProxy; today they are seconds."""
_GONE = {
    "ListenAddr": "was the address of its HTTP API; today extensions connect there, and the default is right",
    "EnableMetrics": "is not needed: core, proxies and extension services always have metrics",
    "ConfigPath": "is not needed: HAProxy's configuration is in the proxy's task, and nobody edits it",
    "PidPath": "is not needed",
    "TemplatePath": "has no equivalent: where settings are missing, use GlobalOptions and DefaultOptions",
    "BackendOverrideAddress": "has no equivalent: tasks are reached over networks, or at their nodes in host mode",
    "SyslogAddr": "has no equivalent: the proxies' log is the log of their tasks (docker service logs)",
    "SSLCertPath": "has no equivalent: certificates are Docker secrets, named by com.docker.lb.ssl_cert",
    "SSLCert": "make a Docker secret of the file, and name it by com.docker.lb.ssl_cert or DefaultCertificate",
    "DHParam": "is not needed: SSLDefaultDHParam says the size",
    "NginxPlusEnabled": "has no equivalent: HAProxy does what it was for without it",
    "SendTimeout": "is ProxySendTimeout's today: there is one SendTimeout",
}
_BEACON = "beacon"


@dataclass(slots=True)
class _Outcome:
    """`doubts`: what a person has to look at."""

    core: list[tuple[str, Any]] = field(default_factory=list)
    cluster: list[tuple[str, Any]] = field(default_factory=list)
    config: list[tuple[str, Any]] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)


def is_interlock1(text: str, path: str) -> bool:
    """Whether a TOML file is one of Interlock 1: by its list of extensions. Raises ConfigError for bad syntax."""
    return isinstance(_parsed(text, path).get("Extensions"), list)


def translate(text: str, path: str) -> tuple[str, tuple[str, ...]]:
    """Today's TOML, and every doubt about it. Raises ConfigError for what is no TOML of Interlock 1."""
    document = _parsed(text, path)
    extensions = document.get("Extensions")
    if not isinstance(extensions, list):
        reason = "has no [[Extensions]], so it is not Interlock 1's; `l7 config check` reads those of later ones"
        raise ConfigError(path, reason)
    outcome = _Outcome()
    for key in _CORE:
        if document.get(key, "") not in ("", False):
            outcome.core.append((key, document[key]))
    rest = {key: value for key, value in document.items() if key not in (*_CORE, "Extensions")}
    _tell(rest, "", outcome)
    _extensions([each for each in extensions if isinstance(each, dict)], outcome)
    return _written(outcome), tuple(outcome.doubts)


def _parsed(text: str, path: str) -> Table:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path, str(error)) from error


def _extensions(extensions: list[Table], outcome: _Outcome) -> None:
    proxies = [each for each in extensions if str(each.get("Name", "")).lower() != _BEACON]
    if len(proxies) < len(extensions):
        outcome.doubts.append("Beacon is not needed: core and proxies have metrics for Prometheus")
    if proxies:
        _proxy(proxies[0], outcome)
    for each in proxies[1:]:
        outcome.doubts.append(
            f"the extension {each.get('Name', '')!r} is left out: today one service cluster serves a service; "
            "for a second one, add [Extensions.other] with a ServiceCluster"
        )


def _proxy(table: Table, outcome: _Outcome) -> None:
    kind = str(table.get("Name", "")).lower()
    if kind == "nginx":
        outcome.doubts.append("nginx: today the proxy is HAProxy; `l7 config check` says what becomes of an option")
    rest: dict[str, Any] = {}
    for key, value in table.items():
        if key == "Name" or value in ("", [], False):
            continue
        if key in _PUBLISHED:
            outcome.cluster.append((_PUBLISHED[key], value))
        elif key in _MILLISECONDS and kind != "nginx":
            outcome.config.append((key, _seconds(key, value, outcome)))
        elif key in _CONFIG:
            outcome.config.append((_CONFIG[key], value))
        elif key not in ("ConnectTimeout", "ClientTimeout", "ServerTimeout"):  # NGINX never read these
            rest[key] = value
    _tell(rest, f"{table.get('Name', '')}: ", outcome)
    _protocols(str(table.get("SSLProtocols", "")), outcome)


def _seconds(key: str, value: object, outcome: _Outcome) -> object:
    if not isinstance(value, int):
        return value
    seconds = max(1, math.ceil(value / 1000))
    if seconds * 1000 != value:
        outcome.doubts.append(f"{key}: {value} were milliseconds; today they are seconds, rounded up to {seconds}")
    return seconds


def _protocols(text: str, outcome: _Outcome) -> None:
    if any(old in text.split() for old in ("SSLv2", "SSLv3", "TLSv1", "TLSv1.1")):
        outcome.doubts.append(f"SSLProtocols: {text}: what is before TLSv1.2 is not safe, and perhaps not there")


def _tell(table: Table, where: str, outcome: _Outcome) -> None:
    for key, value in table.items():
        if key.startswith("Stats"):
            outcome.doubts.append(f"{where}{key} is Beacon's, and left out")
        elif value not in ("", [], False):
            reason = _GONE.get(key, "is no option that Interlock 1 is known for")
            outcome.doubts.append(f"{where}{key} {reason}")


# ---------------------------------------------------------------- TOML


def _written(outcome: _Outcome) -> str:
    lines = [
        "# Made of Interlock 1's settings by `l7 migrate --config`: look at what it said on the way, then",
        "# `l7 config check` this file and `l7 install --config` it.",
        *_pairs(outcome.core),
        "",
        "[Extensions.default]",
        *_pairs(outcome.cluster),
    ]
    if outcome.config:
        lines += ["", "[Extensions.default.Config]", *_pairs(outcome.config)]
    return "\n".join(lines) + "\n"


def _pairs(pairs: list[tuple[str, Any]]) -> Iterator[str]:
    for key, value in pairs:
        yield f"{key} = {literal(value)}"


def literal(value: object) -> str:
    """A string, number, boolean or list of these in TOML, whose strings JSON's are: but for DEL, which needs an
    escape there."""
    return orjson.dumps(value).decode().replace("\x7f", "\\u007f")
