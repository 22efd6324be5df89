"""Values of the operator's table `Config`: JSON → what the settings hold, or what is wrong with it. Pure."""

from __future__ import annotations

import math
from ipaddress import ip_network

from haproxy.option import Value
from haproxy.pages import LONGEST_PAGE, REPLACEABLE
from haproxy.values import Bad, shown

LONGEST_CONNECT = 5000
"""Milliseconds."""
MOST_PREFIXES = 1000
MOST_PORTS = 2000
LONGEST_TIMEOUT = 24 * 3600
"""Seconds."""


def switch(value: Value) -> bool | Bad:
    return value if isinstance(value, bool) else Bad("is not true or false", "write true or false, without quotes")


def timeout(value: Value) -> int | Bad:
    bad = Bad("is not a number of seconds", f"write a number above 0, at most {LONGEST_TIMEOUT}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return bad
    if not math.isfinite(value) or not 0.001 <= value <= LONGEST_TIMEOUT:
        return bad
    return round(value * 1000)


def connect_timeout(value: Value) -> int | Bad:
    """Interlock's default for NGINX is 600 s; here it is also how long a node that is gone holds a request up."""
    found = timeout(value)
    if isinstance(found, int) and found > LONGEST_CONNECT:
        message = f"is longer than {LONGEST_CONNECT // 1000} s, for which each request to a lost node would hang"
        return Bad(
            f"{message}: the proxies keep their own", "leave it out, or write the seconds that a task may take"
        )
    return found


def connections(value: Value) -> int | Bad:
    good = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 10_000_000
    return (
        value if good and isinstance(value, int) else Bad("is not a number of connections", "write a whole number")
    )


def prefixes(value: Value) -> tuple[str, ...] | Bad:
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


def ports(value: Value) -> tuple[int, ...] | Bad:
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


def pages(value: Value) -> tuple[tuple[int, str], ...] | Bad:
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
