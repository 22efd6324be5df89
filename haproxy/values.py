"""What a parser of the operator's values says when it takes one not. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bad:
    """What is wrong with a value, and what to do about it."""

    message: str
    remedy: str


def shown(text: str) -> str:
    """As much of a text as fits into a message."""
    return "".join(c if c.isprintable() else "?" for c in text[:60])
