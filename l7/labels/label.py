"""What a row of the table is made of: a label, the kind of its values, and what it takes to change one. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from l7.labels.grammar import Bad

PREFIX = "com.docker.lb."

T_co = TypeVar("T_co", covariant=True)


class Change(StrEnum):
    """What it takes to change a label on a running service."""

    LIVE = "live"
    FLIP = "flip"
    FIRST_USE = "first use"


@dataclass(frozen=True, slots=True)
class Kind(Generic[T_co]):
    """A kind of values: what the docs call it, its parser, and its JSON Schema (for editors: never stricter than
    the parser, but perhaps looser)."""

    name: str
    parse: Callable[[str], T_co | Bad]
    schema: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Label(Generic[T_co]):
    """A label: `name` without prefix, the kind of its value, and what the docs say.

    A name that ends in `*` stands for all that begin like it. `changing`: what the class of change leaves
    unsaid. `tcp`: holds for raw TCP (`tcp_port`) as well. `idle`: changes nothing, so that a bad value is no
    reason to leave the service out.
    """

    name: str
    kind: Kind[T_co]
    default: str
    meaning: str
    example: str
    change: Change = Change.LIVE
    changing: str = ""
    versions: str = "2.6 and up"
    conflicts: str = ""
    tcp: bool = False
    idle: bool = False
    key: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", PREFIX + self.name)

    @property
    def type(self) -> str:
        """The kind of the values, in words."""
        return self.kind.name

    @property
    def parse(self) -> Callable[[str], T_co | Bad]:
        """The parser of the values."""
        return self.kind.parse
