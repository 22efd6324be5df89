"""Values of the operator's table `Config` → texts that NGINX reads, or what is wrong with them. Pure.

What is checked here can stand in the configuration as it is: it ends no directive and opens no block.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TypeAlias

Value: TypeAlias = object
"""As JSON has it."""
Parsed: TypeAlias = "str | int | bool | tuple[str, ...] | None"


@dataclass(frozen=True, slots=True)
class Bad:
    """Why a value can't be taken, and what to do instead."""

    message: str
    remedy: str


Parse = Callable[[Value], "Parsed | Bad"]

_TIME = re.compile(r"([0-9]{1,9}(ms|[smhdwMy]) ?)+")
_SIZE = re.compile(r"[0-9]{1,12}[kKmMgG]?")
_PATH = re.compile(r"(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+")
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_CIPHERS = re.compile(r"[A-Za-z0-9_:!+@=.-]{1,1000}")
_FORMAT = re.compile(r"[^\x00-\x1f\\]{1,4000}")
_PROTOCOLS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")


def seconds(value: Value) -> str | Bad:
    """A number of seconds, or a time as NGINX has it."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**9:
        return f"{value}s"
    if isinstance(value, str) and value.isascii() and value.isdigit() and 0 < int(value[:12]) < 10**9:
        return f"{int(value)}s"
    if isinstance(value, str) and _TIME.fullmatch(value):
        return f'"{value}"' if " " in value else value
    return Bad("is no time", 'write seconds, or a time such as "75s"')


def keep_alive(value: Value) -> str | Bad:
    """The second time is what clients are told."""
    words = value.split() if isinstance(value, str) else [value]
    found = [seconds(word) if word not in ("0", 0) else "0s" for word in words]
    if not 1 <= len(found) <= 2 or any(isinstance(each, Bad) for each in found):
        return Bad("is no time", 'write a time such as "75s"')
    return " ".join(map(str, found))


def size(value: Value) -> str | Bad:
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return text if _SIZE.fullmatch(text) else Bad("is no size", 'write bytes, or a size such as "32m"')


def buffers(value: Value) -> str | Bad:
    """How many, and how large."""
    words = value.split() if isinstance(value, str) else []
    if len(words) == 2 and words[0].isascii() and words[0].isdigit() and _SIZE.fullmatch(words[1]):
        return " ".join(words)
    return Bad("is no number and size", 'write how many and how large, as "4 8k"')


def number(low: int, high: int) -> Parse:
    def parse(value: Value) -> int | Bad:
        text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
        if text.isascii() and text.isdigit() and low <= int(text[:12]) <= high:
            return int(text)
        return Bad(f"is no number from {low} to {high}", f"write one, such as {low}")

    return parse


def switch(value: Value) -> bool | Bad:
    return value if isinstance(value, bool) else Bad("is not true or false", "write true or false, without quotes")


def processes(value: Value) -> str | Bad:
    found = "auto" if value == "auto" else number(1, 512)(value)
    return found if isinstance(found, Bad) else str(found)


def path(value: Value) -> str | Bad:
    return value if isinstance(value, str) and _PATH.fullmatch(value) else Bad("is no absolute path", "write one")


def log_path(value: Value) -> str | Bad:
    return "off" if value == "off" else path(value)


def word(value: Value) -> str | Bad:
    return value if isinstance(value, str) and _WORD.fullmatch(value) else Bad("is no name", "write one word")


def ciphers(value: Value) -> str | Bad:
    good = isinstance(value, str) and _CIPHERS.fullmatch(value)
    return str(value) if good else Bad("is no list of ciphers", "write it as OpenSSL has it")


def protocols(value: Value) -> str | Bad:
    words = value.replace(",", " ").split() if isinstance(value, str) else []
    if words and all(each in _PROTOCOLS for each in words):
        return " ".join(words)
    return Bad("is no list of versions", f"write some of {' '.join(_PROTOCOLS)}")


def http_version(value: Value) -> str | Bad:
    known = str(value) in ("1.0", "1.1")
    return str(value) if known else Bad("is no version towards tasks", 'write "1.1" or "1.0"')


def log_format(value: Value) -> str | Bad:
    good = isinstance(value, str) and _FORMAT.fullmatch(value) and "'" not in value
    return str(value) if good else Bad("is no format of a line", "write it without ' and \\")


def prefixes(value: Value) -> tuple[str, ...] | Bad:
    try:
        if not isinstance(value, list):
            raise ValueError
        return tuple(str(ip_network(each, strict=False)) for each in value)
    except ValueError:
        return Bad("is no list of addresses", 'write ["10.0.0.0/8"]')


def lines(value: Value) -> tuple[str, ...] | Bad:
    """For NGINX as they are; NGINX itself judges them."""
    if not isinstance(value, list) or not all(isinstance(each, str) and "\0" not in each for each in value):
        return Bad("is no list of lines", 'write ["directive value;"]')
    return tuple(each for each in value if each.strip())


def words(value: Value) -> tuple[str, ...] | Bad:
    """Lines in one string, as Interlock had them."""
    if not isinstance(value, str) or "\0" in value:
        return Bad("is no text", 'write directives, each with its ";"')
    return (value,) if value.strip() else ()


def unused(remedy: str) -> Parse:
    """Of a key that has no effect; "" and nothing are as good as none."""
    return lambda value: None if value in ("", [], None) else Bad("has no effect", remedy)


def of_core(value: Value) -> None:
    """Core reads it."""
