"""What a row of the tables of options is made of: a key of the TOML, the kind of its values, and what the docs say.
Pure."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


def toml(value: object) -> str:
    """As it would be written in a file."""
    return json.dumps(value, ensure_ascii=False)


class Cost(StrEnum):
    """What a change of an option costs while everything runs."""

    CORE = "core takes it up anew; proxies go on"
    LIVE = "live"
    EXTENSION = "a new task of the extension service; no proxy is touched"
    SERVICE = "live: the service is told, no task of it is touched"
    TASKS = "new proxy tasks, one rolling replacement"


@dataclass(frozen=True, slots=True)
class Wrong:
    """Why a value cannot be taken. `key`: of the entry that is wrong, where the value is a table."""

    reason: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of values: what the docs call it, and its parser, from what `tomllib` gives to what core keeps.

    `text`: it is written as a string, of which an empty one is as good as none: Interlock's own files have such.
    `show`: what core keeps, as it would be written.
    """

    name: str
    parse: Callable[[object], object]
    text: bool = False
    show: Callable[[Any], str] = toml


@dataclass(frozen=True, slots=True)
class Option:
    """A key of the TOML. `field`: of the value it goes to (which one, the table says), with dots where
    that has parts, "" where it goes to none.

    `default` as it would be written in the file; `otherwise`: what holds without one, where that does not say it.
    `idle`: why the key has no effect. `difference`: from Interlock.
    """

    key: str
    kind: Kind
    field: str
    meaning: str
    example: str
    cost: Cost
    default: object = ""
    otherwise: str = ""
    idle: str = ""
    difference: str = ""

    def read(self, raw: object) -> object:
        """The value, or Wrong."""
        return self.kind.parse(self.default if raw == "" and self.kind.text else raw)
