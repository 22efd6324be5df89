"""The kinds of values that the rows of the table share. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from l7.labels import grammar
from l7.labels.grammar import Bad
from l7.labels.label import Kind

T = TypeVar("T")


def text(name: str, parse: Callable[[str], T | Bad], pattern: str = "") -> Kind[T]:
    """Written as text; `pattern` is a regular expression for editors."""
    return Kind(name, parse, {"type": "string", **({"pattern": pattern} if pattern else {})})


def choice(words: Mapping[str, T]) -> Kind[T]:
    """One of a few words, in any case."""
    listed = ", ".join(words)

    def parse(text: str) -> T | Bad:
        word = text.strip(" ").lower() if text.isascii() else ""
        return words[word] if word in words else Bad("is not one of the words there are", f"write one of: {listed}")

    return Kind(f"one of {listed}", parse, {"type": "string", "enum": list(words)})


BOOLEAN = Kind(
    "boolean",
    grammar.parse_bool,
    {
        "anyOf": [
            {"type": "boolean"},
            {"enum": [0, 1]},
            {"type": "string", "enum": [*sorted(grammar.TRUE), *sorted(grammar.FALSE)]},
        ]
    },
)
HOSTS = text("host names, separated by commas and/or spaces", grammar.parse_hosts, "[A-Za-z0-9_]")
PATH = text("path", grammar.parse_path, "^[^?#;|\\\\]+$")
NAME = text("name", grammar.parse_name, "^ *[A-Za-z0-9][A-Za-z0-9_.-]{0,127} *$")
CLUSTER = text("name", grammar.parse_cluster, "^ *([A-Za-z0-9][A-Za-z0-9_.-]{0,127})? *$")
