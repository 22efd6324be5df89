"""The grammar of label values: each parser takes any text and gives a value, or `Bad` with the reason.

Whatever a parser lets through consists of characters listed here, so a value can stand in a HAProxy map
row or Runtime API command as it is. ASCII is asked for before anything is folded to lower case: Unicode
has letters whose lower case is ASCII (the Kelvin sign becomes "k").
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_HOST = 253
MAX_SEGMENTS = 16
MAX_PATH = 512

TRUE = frozenset({"true", "1", "yes", "on"})
FALSE = frozenset({"false", "0", "no", "off"})

_HOST_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_PORT_SUFFIX = re.compile(r":[0-9]{1,5}\Z")
_PORT = re.compile(r"[0-9]{1,5}")
_SEGMENT = re.compile(r"(?:[A-Za-z0-9._~!+,=:@-]|%[0-9A-F]{2})+")
_ESCAPE = re.compile(r"%(.{0,2})", re.DOTALL)
_HEX = re.compile(r"[0-9A-Fa-f]{2}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


@dataclass(frozen=True, slots=True)
class Bad:
    """A value outside its grammar: what is wrong with it, and what to write instead."""

    message: str
    remedy: str


def parse_bool(text: str) -> bool | Bad:
    """true/false, 1/0, yes/no, on/off, in any case."""
    word = text.strip(" ").lower() if text.isascii() else ""
    if word in TRUE or word in FALSE:
        return word in TRUE
    return Bad("is neither true nor false", "write true or false (also accepted: 1/0, yes/no, on/off)")


def parse_port(text: str) -> int | Bad:
    """A decimal number from 1 to 65535."""
    digits = text.strip(" ")
    # fullmatch on [0-9]: int() alone also takes signs, underscores and other scripts' digits.
    if _PORT.fullmatch(digits) and 1 <= int(digits) <= 65535:
        return int(digits)
    return Bad("is not a port", "write the port that the application listens on, 1 to 65535")


def parse_hosts(text: str) -> tuple[str, ...] | Bad:
    """Host names separated by commas and/or spaces; sorted, each once. One bad name makes all bad."""
    names = [name for name in re.split(r"[, ]", text) if name]
    if not names:
        return Bad("is empty", "name at least one host, such as app.example.org")
    hosts: set[str] = set()
    for name in names:
        host = parse_host(name)
        if isinstance(host, Bad):
            return Bad(f"host {printable(name)} {host.message}", host.remedy)
        hosts.add(host)
    return tuple(sorted(hosts))


def parse_host(text: str) -> str | Bad:
    """One host: lower case, without port and trailing dot; `*.` in front stands for exactly one label."""
    if not text.isascii():
        return Bad("is not ASCII", "write international names in their punycode form (xn--...)")
    if "://" in text:
        return Bad("is a URL", "write the name alone, without http:// or https://")
    host = _PORT_SUFFIX.sub("", text).lower().removesuffix(".")
    if host == "*":
        return Bad("matches everything", "a wildcard stands for one label: *.example.org")
    if len(host) > MAX_HOST:
        return Bad(f"is longer than {MAX_HOST} characters", "shorten it")
    if all(_HOST_LABEL.fullmatch(label) for label in host.removeprefix("*.").split(".")):
        return host
    return Bad(
        "is not a host name",
        "letters, digits, '-' and '_' in dot-separated labels of 1 to 63, such as app.example.org or *.example.org",
    )


def parse_path(text: str) -> str | Bad:
    """A path prefix, normalised: leading slash, no trailing one, none doubled; "/" for the whole host."""
    decoded = _decode(text.strip(" "))
    if isinstance(decoded, Bad):
        return decoded
    segments = [segment for segment in decoded.split("/") if segment]
    path = "/" + "/".join(segments)
    if not decoded:
        return Bad("is empty", "write a path such as /app, or remove the label")
    if "." in segments or ".." in segments:
        return Bad("has a dot segment", "write the path without . and .. (encoded ones count too)")
    if len(segments) > MAX_SEGMENTS or len(path) > MAX_PATH:
        return Bad("is too long", f"at most {MAX_SEGMENTS} segments and {MAX_PATH} characters")
    if all(_SEGMENT.fullmatch(segment) for segment in segments):
        return path
    return Bad(
        "has a character that a path prefix may not have",
        "letters, digits and -._~!+,=:@ in slash-separated segments; UTF-8 and space percent-encoded",
    )


def _decode(text: str) -> str | Bad:
    """Percent-encoding in its one canonical form (RFC 3986 section 6.2.2): unreserved characters plain,
    hex digits upper case. Encoded ASCII that means something in a path or a map is refused."""
    bad: list[str] = []

    def one(match: re.Match[str]) -> str:
        digits = match.group(1)
        byte = int(digits, 16) if _HEX.fullmatch(digits) else -1
        if byte in _UNRESERVED:
            return chr(byte)
        if byte < 0x80 and byte != 0x20:
            bad.append(match.group())
        return match.group().upper()

    decoded = _ESCAPE.sub(one, text)
    if bad:
        return Bad(f"has {printable(bad[0])}, which a path prefix may not have", "write the plain character")
    return decoded


def parse_name(text: str) -> str | Bad:
    """Name of a Swarm object, or of a service cluster."""
    name = text.strip(" ")
    if _NAME.fullmatch(name):
        return name
    return Bad("is not a name", "letters, digits and _.- with a letter or digit in front, at most 128")


def parse_cluster(text: str) -> str | Bad:
    """Name of a service cluster; empty for the default one."""
    return parse_name(text) if text.strip(" ") else ""


def printable(text: str, limit: int = 80) -> str:
    """Text of a label as it may be shown: escaped, and cut to `limit` characters."""
    shown = text[: limit + 1].encode("unicode_escape").decode("ascii")
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."
