"""Rules, canaries and TCP ports as rows of maps. Pure: same in, same rows.

A service's rules are one row of features.map, found by their name: fields between `|`, by place (`Field`). The
first one has a letter for each thing that is on (`Flag`); HAProxy asks no further where its letter is missing. What
does not fit into a field is in maps of its own, under keys `<name>|...`.

Values are data wherever they go: HAProxy looks them up or copies them, and reads nothing in them.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum, StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from urllib.parse import quote

from haproxy.capabilities import Capabilities
from haproxy.credentials import NO_CREDENTIALS, Credentials, auth_rows
from haproxy.model import Canary, Route, RouteKey
from haproxy.routes import CLOSED, NO_BACKEND, is_sni, is_tcp, row_key
from haproxy.settings import (
    ALLOW_MAP,
    AUTH_MAP,
    CORS_MAP,
    FEATURES_MAP,
    REQUEST_HEADERS_MAP,
    RESPONSE_HEADERS_MAP,
)
from l7.v1 import sync_pb2 as pb

Rows = dict[str, dict[str, str]]
"""File -> key -> value."""


class Field(IntEnum):
    """Places in a row of features.map, for HAProxy's `field(n,|)`. Times in milliseconds."""

    FLAGS = 1
    TIMEOUT_SERVER = 2
    TIMEOUT_TUNNEL = 3
    TIMEOUT_CONNECT = 4
    TIMEOUT_QUEUE = 5
    RATE = 6
    """Requests per period; the period is a flag."""
    RETRY_AFTER = 7
    """Seconds."""
    BODY = 8
    """Longest body of a request, bytes."""
    HASH_SOURCE = 9
    """A letter of HASH_LETTERS."""
    HASH_NAME = 10
    HSTS = 11
    REALM = 12
    """What clients are told that the password is for."""


class Flag(StrEnum):
    """What is on. FRONT: anything at all before a request goes to its backend; AFTER: anything on an answer
    that may be the proxy's own."""

    FRONT = "F"
    AFTER = "E"
    TIMEOUT_SERVER = "T"
    TIMEOUT_TUNNEL = "U"
    TIMEOUT_CONNECT = "N"
    TIMEOUT_QUEUE = "P"
    HTTPS_REDIRECT = "H"
    HSTS = "V"
    ALLOW = "A"
    RATE_SECOND = "1"
    RATE_TEN_SECONDS = "2"
    RATE_MINUTE = "3"
    RATE_HOUR = "4"
    BODY = "B"
    COMPRESSION = "Z"
    CORS = "C"
    REQUEST_HEADERS = "Q"
    RESPONSE_HEADERS = "R"
    HASH_KEY = "K"
    AUTH = "L"
    CLIENT_OPTIONAL = "X"
    CLIENT_REQUIRED = "Y"


RATES = {
    1_000: Flag.RATE_SECOND,
    10_000: Flag.RATE_TEN_SECONDS,
    60_000: Flag.RATE_MINUTE,
    3_600_000: Flag.RATE_HOUR,
}
"""Period in milliseconds -> flag; HAProxy has one stick-table for each."""

HASH_LETTERS = {
    pb.HASH_SOURCE_ADDRESS: "a",
    pb.HASH_SOURCE_URI: "u",
    pb.HASH_SOURCE_HEADER: "h",
    pb.HASH_SOURCE_COOKIE: "c",
}

_NOT_FRONT = {
    Flag.TIMEOUT_SERVER,
    Flag.TIMEOUT_TUNNEL,
    Flag.TIMEOUT_CONNECT,
    Flag.TIMEOUT_QUEUE,
    Flag.RESPONSE_HEADERS,
    Flag.HSTS,
}
_AFTER = {Flag.HSTS, Flag.CORS}


def rules_rows(rules: pb.Rules, capabilities: Capabilities, secret: Credentials = NO_CREDENTIALS) -> Rows:
    """All rows of `rules`, by file; a file without rows is left out, and all are when nothing is on.

    `secret`: whose passwords count; where one is asked for and none is there, nobody gets in.
    """
    fields = dict(_fields(rules, capabilities))
    flags = set(_flags(rules, fields))
    if not flags:
        return {}
    flags |= {Flag.FRONT} if flags - _NOT_FRONT else set()
    flags |= {Flag.AFTER} if flags & _AFTER else set()
    fields[Field.FLAGS] = "".join(sorted(flags, key=lambda flag: (flag is not Flag.FRONT, flag)))
    row = "|".join(fields.get(field, "") for field in Field).rstrip("|")
    rows: Rows = {
        ALLOW_MAP: dict.fromkeys(_allow_keys(rules), "1"),
        CORS_MAP: dict(_cors_rows(rules)),
        AUTH_MAP: auth_rows(rules.name, rules.basic_auth.id, secret) if rules.HasField("basic_auth") else {},
        REQUEST_HEADERS_MAP: _header_rows(rules.name, rules.request_headers),
        RESPONSE_HEADERS_MAP: _header_rows(rules.name, rules.response_headers),
        FEATURES_MAP: {rules.name: row},
    }
    return {file: content for file, content in rows.items() if content}


def canary_rows(host: str, routes: Mapping[RouteKey, Route]) -> dict[str, str]:
    """Rows of canary.map of one host, out of routes that may be those of others, too."""
    mine = sorted((route for route in routes.values() if route.host == host), key=lambda route: route.path)
    rows: dict[str, str] = {}
    for route in mine:
        for canary in route.canaries:
            rows.setdefault(canary_key(row_key(route.host, route.path), canary), canary.backend)
    return dict(sorted(rows.items()))


def canary_key(key: str, canary: Canary) -> str:
    """`host/path/|h=value`, `host/path/|h` for any value; `c` for cookies. The value percent-encoded."""
    value = f"={quote(canary.value, safe='')}" if canary.value else ""
    return f"{key}|{canary.source[0]}{value}"


def tcp_rows(routes: Iterable[Route]) -> dict[str, str]:
    """Rows of tcp.map: `5432` -> logical backend. Routes of hosts don't matter."""
    found = {int(route.host[1:]): route.backend for route in routes if is_tcp(route.host) and route.backend}
    return {str(port): found[port] for port in sorted(found)}


def sni_rows(routes: Iterable[Route], closed: Iterable[str] = ()) -> dict[str, str]:
    """Rows of sni.map: `app.example.org` -> logical backend, `-` where TLS ends here, whatever a wildcard says.
    Routes of other kinds don't matter. `closed`: hosts whose TLS is to end here, and can't yet: nobody else's
    certificate stands in for theirs, nor asks their clients for another one."""
    found = {route.host[1:]: route.backend or NO_BACKEND for route in routes if is_sni(route.host)}
    shut = {host: CLOSED for host in closed if found.get(host, NO_BACKEND) == NO_BACKEND}
    return dict(sorted({**found, **shut}.items()))


# ---------------------------------------------------------------- the row of features.map


def _fields(rules: pb.Rules, capabilities: Capabilities) -> Iterator[tuple[Field, str]]:
    for field, value in _timeouts(rules, capabilities):
        if value:
            yield field, str(value)
    rate = rules.rate_limit
    if rate.requests and rate.period_milliseconds in RATES:
        yield Field.RATE, str(rate.requests)
        yield Field.RETRY_AFTER, str(max(1, -(-rate.period_milliseconds // 1000 // rate.requests)))
    if rules.max_body_bytes:
        yield Field.BODY, str(rules.max_body_bytes)
    if letter := HASH_LETTERS.get(rules.hash_key.source):
        yield Field.HASH_SOURCE, letter
        yield Field.HASH_NAME, _FIELD_END.sub("", rules.hash_key.name)
    if rules.hsts:
        yield Field.HSTS, _FIELD_END.sub("", rules.hsts)
    if rules.HasField("basic_auth"):
        yield Field.REALM, _QUOTED.sub("", rules.basic_auth_realm) or DEFAULT_REALM


def _timeouts(rules: pb.Rules, capabilities: Capabilities) -> Iterator[tuple[Field, int]]:
    yield Field.TIMEOUT_SERVER, rules.timeout_server_milliseconds
    yield Field.TIMEOUT_TUNNEL, rules.timeout_tunnel_milliseconds
    if capabilities.own_connect_timeout:
        yield Field.TIMEOUT_CONNECT, rules.timeout_connect_milliseconds
        yield Field.TIMEOUT_QUEUE, rules.queue_timeout_milliseconds


_FIELD_END = re.compile(r"[^ -~]|\|")
_QUOTED = re.compile(r"[^ -~]|[|\"\\]")

DEFAULT_REALM = "restricted"

_FLAG_OF_FIELD = {
    Field.TIMEOUT_SERVER: Flag.TIMEOUT_SERVER,
    Field.TIMEOUT_TUNNEL: Flag.TIMEOUT_TUNNEL,
    Field.TIMEOUT_CONNECT: Flag.TIMEOUT_CONNECT,
    Field.TIMEOUT_QUEUE: Flag.TIMEOUT_QUEUE,
    Field.BODY: Flag.BODY,
    Field.HASH_SOURCE: Flag.HASH_KEY,
    Field.HSTS: Flag.HSTS,
    Field.REALM: Flag.AUTH,
}


def _flags(rules: pb.Rules, fields: Mapping[Field, str]) -> Iterator[Flag]:
    yield from (flag for field, flag in _FLAG_OF_FIELD.items() if field in fields)
    if Field.RATE in fields:
        yield RATES[rules.rate_limit.period_milliseconds]
    switches = (
        (rules.https_redirect, Flag.HTTPS_REDIRECT),
        (rules.allow_prefixes, Flag.ALLOW),
        (rules.compression, Flag.COMPRESSION),
        (rules.cors.origins, Flag.CORS),
        (rules.client_certificate == pb.CLIENT_CERTIFICATE_OPTIONAL, Flag.CLIENT_OPTIONAL),
        (rules.client_certificate == pb.CLIENT_CERTIFICATE_REQUIRED, Flag.CLIENT_REQUIRED),
        (_header_rows(rules.name, rules.request_headers), Flag.REQUEST_HEADERS),
        (_header_rows(rules.name, rules.response_headers), Flag.RESPONSE_HEADERS),
    )
    yield from (flag for on, flag in switches if on)


# ---------------------------------------------------------------- allow, cors


def _allow_keys(rules: pb.Rules) -> Iterator[str]:
    """HAProxy asks with `map_beg` by the whole address in hexadecimal, `4` or `6` ahead of it."""
    for text in rules.allow_prefixes:
        for prefix in hex_prefixes(text):
            yield f"{rules.name}|{prefix}"


MAPPED = "0" * 20 + "FFFF"
"""An IPv4 client of a listener for IPv6 may show as `::ffff:a.b.c.d`."""


def hex_prefixes(text: str) -> tuple[str, ...]:
    """`10.0.0.0/8` -> `40A`, and its mapped form; a prefix that ends within a digit is up to eight of them.

    Nothing for what is no prefix: core refused it.
    """
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return ()
    digits = _digits(network)
    if network.version == 4:
        return (*(f"4{each}" for each in digits), *(f"6{MAPPED}{each}" for each in digits))
    return tuple(f"6{each}" for each in digits)


def _digits(network: IPv4Network | IPv6Network) -> list[str]:
    whole = f"{int(network.network_address):0{network.max_prefixlen // 4}X}"
    full, rest = divmod(network.prefixlen, 4)
    if not rest:
        return [whole[:full]]
    first = int(whole[full], 16)
    return [f"{whole[:full]}{first + more:X}" for more in range(1 << (4 - rest))]


def _cors_rows(rules: pb.Rules) -> Iterator[tuple[str, str]]:
    """`<name>|o<origin>` -> what to say besides the origin; the rest for preflights."""
    cors, name = rules.cors, rules.name
    if not cors.origins:
        return
    for origin in cors.origins:
        yield f"{name}|o{quote(origin.lower(), safe=_ORIGIN)}", "credentials" if cors.credentials else "1"
    if methods := _tokens(cors.methods):
        yield f"{name}|methods", methods
    if headers := _tokens(cors.headers):
        yield f"{name}|headers", headers
    if cors.max_age_seconds:
        yield f"{name}|age", str(cors.max_age_seconds)


_ORIGIN = ":/[]*"
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def _tokens(words: Iterable[str]) -> str:
    return ",".join(word for word in words if _TOKEN.fullmatch(word))


# ---------------------------------------------------------------- headers


def _header_rows(name: str, changes: Iterable[pb.HeaderChange]) -> dict[str, str]:
    """`<name>|` -> `names~pairs` in base64: headers to remove, then those to add. Both are lists as HAProxy's
    `del-headers-bin` and `add-headers-bin` take them (3.4, configuration manual, section 4.4); before, the Lua
    program reads the same."""
    removed, added = header_effect(changes)
    if not removed and not added:
        return {}
    names = b"".join(map(_binary, removed)) + b"\0"
    pairs = b"".join(_binary(header) + _binary(value) for header, value in added) + b"\0\0"
    return {f"{name}|": f"{b64encode(names).decode()}~{b64encode(pairs).decode()}"}


def header_effect(changes: Iterable[pb.HeaderChange]) -> tuple[list[str], list[tuple[str, str]]]:
    """What the changes, in their order, come to: names to remove, then pairs to add. Names in lower case.

    What would break a message apart is left out: a control character in a value, a name that is none, or a
    header that belongs to the connection. Core refuses such a label; this is the last door. Blanks around a value
    are no part of it (RFC 9110, section 5.5).
    """
    removed: list[str] = []
    added: list[tuple[str, str]] = []
    for change in changes:
        name = change.name.lower()
        if not _TOKEN.fullmatch(name) or name in CONNECTION_HEADERS or _UNSAFE.search(change.value):
            continue
        if change.action != pb.HEADER_ACTION_ADD:
            removed = [*(each for each in removed if each != name), name]
            added = [pair for pair in added if pair[0] != name]
        if change.action != pb.HEADER_ACTION_REMOVE:
            added.append((name, change.value.strip(" \t")))
    return removed, added


_UNSAFE = re.compile(r"[^\t -~]")
CONNECTION_HEADERS = frozenset(
    ("connection", "proxy-connection", "keep-alive", "upgrade", "te", "trailer", "transfer-encoding")
) | {"content-length"}
"""They say how a message is cut out of its connection: to change one is request smuggling."""


def _binary(text: str) -> bytes:
    """Length, then bytes."""
    data = text.encode("latin-1")
    return varint(len(data)) + data


def varint(number: int) -> bytes:
    """HAProxy's own variable length (its peers protocol, "Encoded Integer and Bitfield")."""
    if number < 240:
        return bytes((number,))
    result = [number & 15 | 240]
    number = (number - 240) >> 4
    while number >= 128:
        result.append(number & 127 | 128)
        number = (number - 128) >> 7
    return bytes((*result, number))
