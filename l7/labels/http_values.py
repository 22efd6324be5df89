"""Grammar of what is about HTTP: names and values of headers and cookies, canaries, HSTS, CORS, balance. Pure.

Header values may hold spaces and any printable ASCII, which the extension encodes on its way into HAProxy; a
control character other than tab, and with it an end of line, never passes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from l7.labels.grammar import Bad, parse_host, printable
from l7.model import Balance, HashKey, HashSource, HeaderAction, Protocol, RetryOn

MAX_VALUE = 4096
"""Characters of one header value, and of all names and values of a service together: its row has to fit into
one command of HAProxy's Runtime API, which takes 15 kB on 2.6."""
MAX_NAME = 128
MAX_LIST = 64

_HEADER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
_COOKIE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_CANARY_VALUE = re.compile(r"[A-Za-z0-9._~:@+/=!*%,-]{1,128}")
_METHOD = re.compile(r"[A-Z]{1,20}")
_CHECK_PATH = re.compile(r"/(?:[A-Za-z0-9._~!+,=:@/&?*()-]|%[0-9A-Fa-f]{2}){0,511}")
_PORT = re.compile(r":([0-9]{1,5})\Z")
_MAX_AGE = re.compile(r"max-age *= *\"?([0-9]{1,10})\"?", re.IGNORECASE | re.ASCII)

FRAMING = frozenset(
    (
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
"""Headers that say where a message ends or for whom it is: changing one would break the connection, or worse,
make two requests of one (RFC 9112, section 11.2)."""
OWN = "x-l7-"
"""Headers of the proxy's own begin like this."""

INFORMATION = frozenset(
    ("x-proxy-id", "x-request-id", "x-server-info", "x-upstream-addr", "x-upstream-response-time")
)
"""What the proxies say on every answer, unless the operator hides it."""

YEAR = 31_536_000
MAX_HSTS = 10 * YEAR


@dataclass(frozen=True, slots=True)
class HeaderEdit:
    """What to do to a header whose name the label's own name tells."""

    action: HeaderAction
    value: str = ""


def parse_header_name(text: str) -> str | Bad:
    """The name of a header, as written."""
    if _HEADER_NAME.fullmatch(text):
        return text
    return Bad("is not a header name", f"letters, digits, - and _, at most {MAX_NAME}, such as X-Team")


def parse_editable_header(text: str) -> str | Bad:
    """The name of a header that a service may change, as written."""
    name = parse_header_name(text)
    if isinstance(name, Bad):
        return name
    # Many applications see _ and - as the same.
    folded = name.lower().replace("_", "-")
    if folded in FRAMING or folded.startswith(OWN):
        return Bad("is a header that belongs to the proxy", "remove the label")
    return name


def parse_header_edit(text: str) -> HeaderEdit | Bad:
    """`value` sets, `+value` adds, empty removes. Spaces and tabs at either end are no part of a value."""
    if not _HEADER_VALUE.fullmatch(text):
        return Bad("has a character that a header may not have", "write printable ASCII, spaces and tabs")
    value = text.strip(" \t")
    if len(value) > MAX_VALUE:
        return Bad(f"is longer than {MAX_VALUE} characters", "shorten it")
    if not value:
        return HeaderEdit(HeaderAction.REMOVE)
    if not value.startswith("+"):
        return HeaderEdit(HeaderAction.SET, value)
    added = value[1:].strip(" \t")
    return HeaderEdit(HeaderAction.ADD, added) if added else Bad("adds nothing", "write a value after the +")


def parse_cookie_name(text: str) -> str | Bad:
    """The name of a cookie."""
    name = text.strip(" ")
    if _COOKIE_NAME.fullmatch(name):
        return name
    return Bad("is not the name of a cookie", f"letters, digits and _.-, at most {MAX_NAME}, such as JSESSIONID")


def parse_canary_header(text: str) -> tuple[str, str] | Bad:
    """(name in lower case, value) of `name[=value]`; value "" for any."""
    return _canary(text, lambda name: _lower(parse_header_name(name)))


def parse_canary_cookie(text: str) -> tuple[str, str] | Bad:
    """(name, value) of `name[=value]`; value "" for any."""
    return _canary(text, parse_cookie_name)


def _canary(text: str, parse_one: Callable[[str], str | Bad]) -> tuple[str, str] | Bad:
    name, equals, value = text.strip(" ").partition("=")
    found = parse_one(name)
    if isinstance(found, Bad):
        return found
    if equals and not _CANARY_VALUE.fullmatch(value):
        remedy = "letters, digits and ._~:@+/=!*%,- after the =, at most 128; without = any value will do"
        return Bad("has a value that can't be compared", remedy)
    return found, value


def _lower(name: str | Bad) -> str | Bad:
    return name if isinstance(name, Bad) else name.lower()


def parse_balance(text: str) -> tuple[Balance, HashKey | None] | Bad:
    """How a server is chosen, and by hashing what."""
    word, colon, name = text.strip(" ").partition(":")
    word = word.lower() if word.isascii() else ""
    if not colon and word in _BALANCES:
        return _BALANCES[word]
    if not colon or word not in ("header", "cookie"):
        return Bad("is no way to balance", f"write one of: {', '.join(_BALANCES)}, header:NAME, cookie:NAME")
    by_header = word == "header"
    found = _lower(parse_header_name(name)) if by_header else parse_cookie_name(name)
    if isinstance(found, Bad):
        return Bad(f"names {printable(name)}, which {found.message}", found.remedy)
    return Balance.HASH, HashKey(HashSource.HEADER if by_header else HashSource.COOKIE, found)


_BALANCES: dict[str, tuple[Balance, HashKey | None]] = {
    "roundrobin": (Balance.ROUND_ROBIN, None),
    "leastconn": (Balance.LEAST_CONNECTIONS, None),
    "random": (Balance.RANDOM, None),
    "first": (Balance.FIRST, None),
    "source": (Balance.HASH, HashKey(HashSource.ADDRESS)),
    "uri": (Balance.HASH, HashKey(HashSource.URI)),
}
RETRIES = {"none": RetryOn.CONNECT, "safe": RetryOn.SAFE, "all": RetryOn.ALL}
PROTOCOLS = {
    "http": (Protocol.HTTP, False),
    "h2c": (Protocol.H2C, False),
    "https": (Protocol.HTTPS, False),
    "grpc": (Protocol.H2C, True),
}
"""The protocol, and whether its answers may take long (gRPC streams)."""


def parse_check_path(text: str) -> str | Bad:
    """Path of a check, and perhaps a query; sent as it is."""
    path = text.strip(" ")
    if _CHECK_PATH.fullmatch(path):
        return path
    remedy = "a slash, then letters, digits and -._~!+,=:@/&?*(); others percent-encoded; at most 512"
    return Bad("is not a path to check", remedy)


def parse_check_host(text: str) -> str | Bad:
    """A host, and perhaps a port, as a Host header has it; lower case."""
    text = text.strip(" ")
    port = _PORT.search(text)
    host = parse_host(text)
    if isinstance(host, Bad):
        return host
    if host.startswith("*"):
        return Bad("is a wildcard", "write one name, such as app.example.org")
    return f"{host}:{port[1]}" if port else host


def parse_hsts(text: str) -> str | Bad:
    """Strict-Transport-Security in one spelling: `max-age=31536000; includeSubDomains; preload`."""
    text = text.strip(" ")
    if re.fullmatch("[0-9]{1,10}", text):
        text = f"max-age={text}"
    words = [word.strip(" ") for word in text.split(";")]
    ages = [match for word in words if (match := _MAX_AGE.fullmatch(word))]
    flags = {word.lower() for word in words if word.isascii() and not _MAX_AGE.fullmatch(word)} - {""}
    if len(ages) != 1 or not text.isascii() or not flags <= {"includesubdomains", "preload"}:
        remedy = "write seconds, such as 31536000, or max-age=31536000; includeSubDomains; preload"
        return Bad("is not a Strict-Transport-Security policy", remedy)
    age = int(ages[0][1])
    if age > MAX_HSTS:
        return Bad("holds for too long", f"write a max-age of at most {MAX_HSTS} (ten years)")
    if "preload" in flags and ("includesubdomains" not in flags or age < YEAR):
        # What the browsers' list asks for: hstspreload.org.
        return Bad(
            "can't be preloaded", f"add includeSubDomains and a max-age of at least {YEAR}, or remove preload"
        )
    names = [name for name in ("includeSubDomains", "preload") if name.lower() in flags]
    return "; ".join([f"max-age={age}", *names])


def parse_origins(text: str) -> tuple[str, ...] | Bad:
    """Origins as browsers send them, sorted; `*` alone for any."""
    words = _words(text)
    if isinstance(words, Bad):
        return words
    if "*" in words:
        return ("*",) if len(words) == 1 else Bad("has * and others", "write * alone, or the origins alone")
    origins: set[str] = set()
    for word in words:
        origin = _origin(word)
        if isinstance(origin, Bad):
            return Bad(f"has {printable(word)}, which {origin.message}", origin.remedy)
        origins.add(origin)
    return tuple(sorted(origins))


def _origin(text: str) -> str | Bad:
    """RFC 6454 section 6.2: scheme and host in lower case, the port unless it is the scheme's own, no path."""
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower() if scheme.isascii() else ""
    host = parse_host(rest)
    if not separator or scheme not in ("http", "https") or isinstance(host, Bad) or host.startswith("*"):
        return Bad("is no origin", "write scheme and host, and perhaps a port: https://app.example.org")
    return scheme + "://" + host + _odd_port(scheme, rest)


def _odd_port(scheme: str, authority: str) -> str:
    """`:port` of an authority, "" when it is the scheme's own."""
    match = _PORT.search(authority)
    if match is None or int(match[1]) == {"http": 80, "https": 443}[scheme]:
        return ""
    return f":{int(match[1])}"


def parse_methods(text: str) -> tuple[str, ...] | Bad:
    """Methods in upper case, sorted."""
    words = _words(text.upper() if text.isascii() else text)
    if isinstance(words, Bad):
        return words
    bad = next((word for word in words if not _METHOD.fullmatch(word)), None)
    if bad is not None:
        return Bad(f"has {printable(bad)}, which is no method", "write such as GET, POST, DELETE")
    return tuple(sorted(set(words)))


def parse_header_names(text: str) -> tuple[str, ...] | Bad:
    """Names of headers in lower case, sorted."""
    words = _words(text)
    if isinstance(words, Bad):
        return words
    names: set[str] = set()
    for word in words:
        name = parse_header_name(word)
        if isinstance(name, Bad):
            return Bad(f"has {printable(word)}, which {name.message}", name.remedy)
        names.add(name.lower())
    return tuple(sorted(names))


def _words(text: str) -> list[str] | Bad:
    """Comma- and/or space-separated words."""
    words = [word for word in re.split("[, ]", text) if word]
    if not words:
        return Bad("is empty", "write at least one, or remove the label")
    return words if len(words) <= MAX_LIST else Bad("is too long", f"write at most {MAX_LIST}")
