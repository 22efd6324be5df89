"""Data as text of NGINX's configuration: nothing in it ends a directive or is taken for a variable. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b

DOLLAR = "${l7_dollar}"
"""A variable that holds a dollar sign: there is no other way to write one where variables are read."""

_UPSTREAM = re.compile(r"[a-z0-9_.-]+")


def quoted(text: str) -> str:
    """One word, as it is. Line feeds and NULs have no place in it: labels that have them are refused."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def literal(text: str) -> str:
    """The same where variables are read."""
    return quoted(text).replace("$", DOLLAR)


def exactly(text: str) -> str:
    """A key of a `map` that stands for this very text: others are compared without regard to case."""
    return quoted(f"~^{re.escape(text)}$")


def upstream_name(backend: str) -> str:
    """Of a backend: NGINX compares names in lower case, and a colon would begin a port."""
    plain = re.sub(r"[^a-z0-9_.-]", "_", backend.lower())
    digest = "" if _UPSTREAM.fullmatch(backend) else f".{blake2b(backend.encode(), digest_size=4).hexdigest()}"
    return f"l7.{plain}{digest}"


def block(head: str, lines: Iterable[str]) -> list[str]:
    """Lines of a block, one level in."""
    return [f"{head} {{", *(f"  {line}" for line in lines), "}"]


def power_of_two(least: int) -> int:
    """The smallest one that is not below `least`."""
    return 1 << max(0, least - 1).bit_length()
