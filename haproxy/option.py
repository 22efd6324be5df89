"""What a row of the operator's table `Config` is made of: a key, its parser, and what the docs say. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from haproxy.values import Bad

Value: TypeAlias = object
"""As JSON has it."""
Parsed: TypeAlias = bool | int | str | tuple[str, ...] | tuple[int, ...] | tuple[tuple[int, str], ...] | None

LIVE = "live"
RELOAD = "one reload of each proxy"
NOTHING = "nothing"


def toml(value: object) -> str:
    """As it would be written in a file."""
    return json.dumps(value, ensure_ascii=False)


def seconds(milliseconds: int) -> str:
    """The same of a timeout."""
    return f"{milliseconds / 1000:g}"


@dataclass(frozen=True, slots=True)
class Option:
    """`field`: of the settings, "" where the value goes to none. `type`, `default`, `example`: in words. `show`: a
    value of the settings as it would be written.

    `idle`: the key has no effect, or none for this value, and what its parser says is no mistake: files that were
    written for another proxy have many such.
    """

    name: str
    field: str
    parse: Callable[[Value], Parsed | Bad]
    type: str
    default: str
    meaning: str
    example: str
    cost: str = RELOAD
    idle: bool = False
    show: Callable[[Any], str] = toml
