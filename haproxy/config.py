"""The operator's table `Config` of the extension, as JSON → settings, and what is wrong with it. Pure.

Takes any bytes and raises nothing: a bad value leaves what the command line says, and the rest counts. Keys are
those of the TOML, in any case, as operators of Interlock wrote them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches

from haproxy.nginx_options import NGINX
from haproxy.option import Option, Parsed, Value
from haproxy.options import OPTIONS
from haproxy.settings import Settings
from haproxy.values import Bad, shown

ROWS = (*NGINX, *OPTIONS)
"""All keys there are. Of two rows with one field, the later one counts."""

_BY_KEY = {row.name.lower(): row for row in ROWS}

KEYS = tuple(row.name for row in ROWS)
"""As they are written in the documentation."""


@dataclass(frozen=True, slots=True, order=True)
class Complaint:
    """What is wrong with a key, and what to do about it. `idle`: it is for another proxy, without effect here."""

    key: str
    message: str
    remedy: str
    idle: bool = False


def configured(settings: Settings, config: bytes) -> tuple[Settings, tuple[Complaint, ...]]:
    """`settings` with what `config` says, and complaints, sorted. `max_connections` and `open_files` may be more
    than the limit of open files allows: the caller knows that."""
    table = _table(config)
    if isinstance(table, Bad):
        return settings, (Complaint("Config", table.message, table.remedy),)
    known, complaints = _sorted_out(table)
    changes: dict[str, Parsed] = {}
    setters: dict[str, Option] = {}
    for row, written, value in known:
        parsed = row.parse(value)
        if isinstance(parsed, Bad):
            complaints.append(Complaint(shown(written), parsed.message, parsed.remedy, row.idle))
        elif row.field:
            if row.field in changes and changes[row.field] != parsed:
                complaints.append(_outdone(setters[row.field], row))
            changes[row.field], setters[row.field] = parsed, row
    result = replace(settings, **changes)  # type: ignore[arg-type]  # each parser gives what its field holds
    return result, tuple(sorted((*complaints, *_together(result))))


def _sorted_out(table: Mapping[str, Value]) -> tuple[list[tuple[Option, str, Value]], list[Complaint]]:
    """Rows in their order, with the key as it is written and its value; and complaints of the keys themselves."""
    found: dict[str, tuple[str, Value]] = {}
    complaints = []
    for written, value in sorted(table.items()):
        key = written.lower()
        if key not in _BY_KEY:
            bad = _unknown(written)
            complaints.append(Complaint(shown(written), bad.message, bad.remedy))
        elif key in found:
            message = f"is there as {found[key][0]}, too, which counts"
            complaints.append(Complaint(shown(written), message, "remove one of the two"))
        else:
            found[key] = written, value
    return [(row, *found[key]) for key, row in _BY_KEY.items() if key in found], complaints


def _outdone(loser: Option, winner: Option) -> Complaint:
    message = f"has no effect beside {winner.name}: HAProxy has one of the two"
    return Complaint(loser.name, message, f"remove it, or {winner.name}", idle=True)


def _table(config: bytes) -> Mapping[str, Value] | Bad:
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
    close = get_close_matches(written[:60].lower(), _BY_KEY, n=1, cutoff=0.8)
    hint = f"did you mean {_BY_KEY[close[0]].name}?" if close else "see docs/settings.md for those there are"
    return Bad("is not a key that this extension knows", hint)
