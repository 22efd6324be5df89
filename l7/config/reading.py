"""One parse of one file: tables by their rows, errors and warnings with line and key. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from l7.config.lines import find_line
from l7.config.option import Option, Wrong
from l7.kit.errors import ConfigError

Where = tuple[str, ...]
"""Names of a table, from the outermost on, as they are written."""


@dataclass(frozen=True, slots=True)
class Values:
    """Of one table: what each key means, all keys in their documented spelling, and which of them were given."""

    of: Mapping[str, Any]
    given: Mapping[str, str]
    """With the spelling that was used; a key that is given as "nothing" is not in it."""

    def fields(self, rows: Iterable[Option]) -> dict[str, Any]:
        """By the field that they go to; those that are part of one are left out."""
        return {row.field: self.of[row.key] for row in rows if row.field and "." not in row.field}


class Reading:
    """The text for the line numbers, and the warnings as they come."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.lines = text.splitlines()
        self.warnings: list[str] = []
        self.at: tuple[Where, str] = ((), "")
        """What the last error was about."""
        self.number = 1
        """Of the table that is being read, among those of its name."""

    def values(self, table: Mapping[str, Any], where: Where, rows: Iterable[Option]) -> Values:
        """All rows, those that the table leaves out by their defaults. Raises ConfigError."""
        known = {row.key.lower(): row for row in rows}
        spelt: dict[str, str] = {}
        for written in table:
            row = known.get(written.lower())
            if row is None:
                self.warn(where, written, _unknown(written, known))
            elif row.key in spelt:
                raise self.error(where, written, f"given twice (case does not count): {row.key}")
            else:
                spelt[row.key] = written
        found = {row.key: _absent(row) for row in known.values() if row.key not in spelt}
        found |= {
            row.key: self._value(where, row, spelt[row.key], table[spelt[row.key]])
            for row in known.values()
            if row.key in spelt
        }
        given = {key: written for key, written in spelt.items() if table[written] not in ("", [], {})}
        self._idle(where, known.values(), given)
        return Values(found, given)

    def _value(self, where: Where, row: Option, written: str, raw: object) -> object:
        value = row.read(raw)
        if isinstance(value, Wrong) and value.key:
            raise self.error((*where, written), value.key, value.reason)
        if isinstance(value, Wrong):
            raise self.error(where, written, value.reason)
        return value

    def _idle(self, where: Where, rows: Iterable[Option], given: Mapping[str, str]) -> None:
        for row in rows:
            if row.idle and row.key in given:
                self.warn(where, given[row.key], f"has no effect: {row.idle}")

    def error(self, where: Where, key: str, reason: str) -> ConfigError:
        """What is to be raised."""
        self.at = where, key
        return ConfigError(self.place(where, key), reason)

    def warn(self, where: Where, key: str, reason: str) -> None:
        self.warnings.append(f"{self.place(where, key)}: {reason}")

    def place(self, where: Where, key: str) -> str:
        """ "path:line: key", with the line of the innermost table that is found where the key itself is not."""
        line = self._line(where, key)
        outer = where
        while not line and outer:
            *rest, last = outer
            outer = tuple(rest)
            line = self._line(outer, last)
        return f"{self.path}{f':{line}' if line else ''}: {'.'.join((*where, key))}"

    def _line(self, where: Where, key: str) -> int:
        return find_line(self.lines, where, key, self.number)


def _absent(row: Option) -> object:
    return None if row.default is None else row.read(row.default)


def _unknown(written: str, known: Mapping[str, Option]) -> str:
    close = get_close_matches(written.lower()[:60], known, n=1, cutoff=0.8)
    return "not a key that l7 knows" + (f": did you mean {known[close[0]].key}?" if close else "")


def without(document: dict[str, Any], where: Where, key: str, number: int = 1) -> bool:
    """Takes away what an error was about, as much of it as is there; of several `[[tables]]` of one name, from the
    one of that number. False when nothing of it is there."""
    table: Any = document
    path = [*where, key]
    for name, is_last in ((name, name is path[-1]) for name in path):
        found = next((each for each in table if each.lower() == name.lower()), None)
        if found is None or is_last or not isinstance(table[found], dict | list):
            break
        table = table[found][number - 1] if isinstance(table[found], list) else table[found]
    else:
        return False
    if found is None:
        return False
    del table[found]
    return True
