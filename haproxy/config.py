"""The operator's table `Config` of the extension, as JSON → settings, and what is wrong with it. Pure.

Takes any bytes and raises nothing: a bad value leaves what the command line says, and the rest counts. Keys are
those of the TOML, in any case, as operators of Interlock wrote them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from ipaddress import ip_network
from typing import TypeAlias

from haproxy import tls_config
from haproxy.pages import LONGEST_PAGE, REPLACEABLE
from haproxy.settings import Settings
from haproxy.values import Bad, shown

LONGEST_CONNECT = 5000
"""Milliseconds."""
MOST_PREFIXES = 1000
MOST_PORTS = 2000
LONGEST_TIMEOUT = 24 * 3600
"""Seconds."""


@dataclass(frozen=True, slots=True, order=True)
class Complaint:
    """What is wrong with a key, and what to do about it."""

    key: str
    message: str
    remedy: str


_Value: TypeAlias = object
_Parsed: TypeAlias = bool | int | str | tuple[str, ...] | tuple[int, ...] | tuple[tuple[int, str], ...] | None


def configured(settings: Settings, config: bytes) -> tuple[Settings, tuple[Complaint, ...]]:
    """`settings` with what `config` says, and complaints, sorted. `max_connections` may be more than the limit of
    open files allows: the caller knows that."""
    table = _table(config)
    if isinstance(table, Bad):
        return settings, (Complaint("Config", table.message, table.remedy),)
    complaints: list[Complaint] = []
    changes: dict[str, _Parsed] = {}
    for written, value in sorted(table.items()):
        key = _KEYS.get(written.lower())
        parsed = key.parse(value) if key is not None else _unknown(written)
        if isinstance(parsed, Bad):
            complaints.append(Complaint(shown(written), parsed.message, parsed.remedy))
        elif key is not None and key.field:
            changes[key.field] = parsed
    result = replace(settings, **changes)  # type: ignore[arg-type]  # each parser gives what its field holds
    return result, tuple(sorted((*complaints, *_together(result))))


def _table(config: bytes) -> Mapping[str, _Value] | Bad:
    try:
        table = json.loads(config or b"{}")
    except (ValueError, RecursionError):  # of which UnicodeDecodeError is one
        return Bad("is not JSON", "this is a fault of core: report it")
    if not isinstance(table, dict):
        return Bad("is not a table", "this is a fault of core: report it")
    return table


def _together(settings: Settings) -> list[Complaint]:
    """What is right by itself and wrong beside the rest."""
    complaints = []
    if settings.proxy_protocol and not settings.trusted_proxies:
        message = "has no effect: the PROXY protocol is expected from trusted proxies only"
        complaints.append(Complaint("ProxyProtocol", message, "name them in TrustedProxies"))
    listening = {address.rpartition(":")[2] for address in (*settings.bind, *settings.tls_bind)}
    for port in settings.tcp_ports:
        if str(port) in listening:
            message = f"has port {port}, on which the proxies listen already"
            complaints.append(Complaint("TCPPorts", message, "leave it out: it is not opened for TCP"))
    return complaints


def _unknown(written: str) -> Bad:
    if written.lower() in _WITHOUT_EFFECT:
        return Bad("has no effect: l7 writes HAProxy's configuration itself", "remove it")
    close = get_close_matches(written[:60].lower(), _KEYS, n=1, cutoff=0.8)
    hint = f"did you mean {_KEYS[close[0]].name}?" if close else "see docs/operations.md for those there are"
    return Bad("is not a key that this extension knows", hint)


# ---------------------------------------------------------------- values


def _switch(value: _Value) -> bool | Bad:
    return value if isinstance(value, bool) else Bad("is not true or false", "write true or false, without quotes")


def _milliseconds(value: _Value) -> int | Bad:
    bad = Bad("is not a number of seconds", f"write a number above 0, at most {LONGEST_TIMEOUT}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return bad
    if not math.isfinite(value) or not 0.001 <= value <= LONGEST_TIMEOUT:
        return bad
    return round(value * 1000)


def _connect(value: _Value) -> int | Bad:
    """Interlock's default for NGINX is 600 s; here it is also how long a node that is gone holds a request up."""
    found = _milliseconds(value)
    if isinstance(found, int) and found > LONGEST_CONNECT:
        message = f"is longer than {LONGEST_CONNECT // 1000} s, for which each request to a lost node would hang"
        return Bad(
            f"{message}: the proxies keep their own", "leave it out, or write the seconds that a task may take"
        )
    return found


def _connections(value: _Value) -> int | Bad:
    good = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 10_000_000
    return (
        value if good and isinstance(value, int) else Bad("is not a number of connections", "write a whole number")
    )


def prefixes(value: _Value) -> tuple[str, ...] | Bad:
    """Addresses and prefixes, one spelling each, sorted."""
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list):
        return Bad("is not a list of prefixes", 'write ["10.0.0.0/8", "192.0.2.1"]')
    if len(words) > MOST_PREFIXES:
        return Bad(f"has more than {MOST_PREFIXES} prefixes", "write wider ones")
    found = set()
    for word in words:
        try:
            found.add(ip_network(word.strip() if isinstance(word, str) else ""))
        except ValueError:
            return Bad(f"has {shown(str(word))!r}, which is no prefix", 'write it as "10.0.0.0/8", host bits zero')
    return tuple(sorted(str(network) for network in found))


def ports(value: _Value) -> tuple[int, ...] | Bad:
    """`"20000-20019,5432"`, or a list of such texts and of numbers."""
    words = [value] if isinstance(value, str | int) else value
    if not isinstance(words, list):
        return Bad("is not a list of ports", 'write "20000-20019", or [5432, "20000-20019"]')
    found: set[int] = set()
    for word in (part for each in words for part in str(each).split(",")):
        low, dash, high = (part.strip() for part in word.partition("-"))
        first, last = _port(low), _port(high if dash else low)
        if first is None or last is None or first > last:
            return Bad(f"has {shown(word)!r}, which is no port and no range", 'write "5432" or "20000-20019"')
        if last - first >= MOST_PORTS or len(found | set(range(first, last + 1))) > MOST_PORTS:
            return Bad(f"has more than {MOST_PORTS} ports", "write a smaller range")
        found.update(range(first, last + 1))
    return tuple(sorted(found))


def _port(text: str) -> int | None:
    good = text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535
    return int(text) if good else None


def _pages(value: _Value) -> tuple[tuple[int, str], ...] | Bad:
    if not isinstance(value, dict):
        return Bad("is not a table", 'write a table: 503 = "<h1>Sorry</h1>"')
    statuses = {str(status): status for status in REPLACEABLE}
    for status, body in value.items():
        if status not in statuses:
            known = ", ".join(sorted(statuses))
            what = f"has a page for {shown(str(status))}, which l7 never answers by itself, and none is used"
            return Bad(what, f"name only {known}")
        if not isinstance(body, str) or not body.strip():
            return Bad(f"has no text for {status}", "write the page's HTML")
        if len(body.encode(errors="replace")) > LONGEST_PAGE:
            return Bad(f"has a page for {status} of more than {LONGEST_PAGE} bytes", "write a shorter one")
    return tuple(
        sorted((statuses[status], body.encode(errors="replace").decode()) for status, body in value.items())
    )


@dataclass(frozen=True, slots=True)
class _Key:
    """`field` of the settings, "" for one that is known and sets none."""

    name: str
    field: str
    parse: Callable[[_Value], _Parsed | Bad]


_KEYS = {
    key.name.lower(): key
    for key in (
        _Key("HideInfoHeaders", "hide_info_headers", _switch),
        _Key("TrustedProxies", "trusted_proxies", prefixes),
        _Key("ProxyProtocol", "proxy_protocol", _switch),
        _Key("AllowPolicyReload", "allow_policy_reload", _switch),
        _Key("TCPPorts", "tcp_ports", ports),
        _Key("ErrorPages", "error_pages", _pages),
        _Key("ConnectTimeout", "connect_timeout", _connect),
        _Key("ClientTimeout", "client_timeout", _milliseconds),
        _Key("ServerTimeout", "server_timeout", _milliseconds),
        _Key("MaxConnections", "max_connections", _connections),
        _Key("SSLProtocols", "ssl_protocols", tls_config.protocols),
        _Key("SSLCiphers", "ssl_ciphers", tls_config.ciphers),
        _Key("SSLCipherSuites", "ssl_ciphersuites", tls_config.ciphersuites),
        _Key("SSLOpts", "ssl_options", tls_config.options),
        _Key("SSLDefaultDHParam", "dh_param", tls_config.dh_bits),
        _Key("SSLVerify", "", tls_config.verify),
        _Key("DefaultCertificate", "", tls_config.certificate),
        _Key("DefaultCertificateKey", "", tls_config.certificate),
    )
}

KEYS = tuple(key.name for key in _KEYS.values())
"""All there are, as they are written in the documentation."""

_WITHOUT_EFFECT = frozenset(
    ("pidpath", "adminuser", "adminpass", "globaloptions", "defaultoptions", "user", "workerprocesses")
)
"""Keys of Interlock's that have no meaning here."""
