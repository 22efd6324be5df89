"""The labels of one service while they are read: their values, and what is wrong with them. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TypeVar, cast

from l7.labels.grammar import Bad, printable
from l7.labels.label import Label
from l7.labels.table import MAY_BE_EMPTY, TABLE, label_of
from l7.model import Problem

T = TypeVar("T")
D = TypeVar("D")

HINTS = 50
"""So many problems of a service may come with a guess at what was meant. Guessing takes 0.1 ms."""
_SEE = "see docs/labels.md for those there are"


class Reading:
    """Values of the labels that could be read, typed by their rows, and the problems so far.

    Create it with the labels of ours that a service carries, by full name; all are read at once.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = {key: text for key, text in texts.items() if text.strip(" ") or key not in MAY_BE_EMPTY}
        self.problems: list[Problem] = []
        self.written: list[tuple[str, str]] = []
        self.rows: dict[str, Label[object]] = {}
        self._values: dict[str, object] = {}
        for key in sorted(self.texts):
            self._read(key, self.texts[key])

    def _read(self, key: str, text: str) -> None:
        label = label_of(key)
        if label is None:
            remedy = _hint(key) if len(self.problems) < HINTS else _SEE
            self._add(printable(key), text, "is not a label that l7 knows", remedy, fatal=False)
        else:
            value = label.parse(text)
            if isinstance(value, Bad):
                self._add(key, text, value.message, value.remedy, fatal=not label.idle)
            else:
                self._values[key] = value
                self.written.append((key, text))
                self.rows[key] = label

    def get(self, label: Label[T], default: D) -> T | D:
        """The value of a label, `default` when the service does not carry it, or carries a bad one."""
        # What was stored under the label's key came from the label's own parser.
        return cast(T, self._values[label.key]) if label.key in self._values else default

    def has(self, label: Label[object]) -> bool:
        """Whether the service carries it, good or bad."""
        return label.key in self.texts

    def enabled(self, key: str) -> bool:
        """Whether the label of this full name was read, and asks for more than its default does by being off."""
        return key in self._values and self._values[key] not in (False, "/")

    def told(self, key: str) -> bool:
        """Whether something is said about the label already."""
        return any(problem.label == key for problem in self.problems)

    def each(self, label: Label[T]) -> Iterator[tuple[str, str, T]]:
        """(full name, what the `*` stands for, value) of the labels of a row that stands for several, sorted."""
        start = label.key.removesuffix("*")
        for key, value in self._values.items():
            if key.startswith(start):
                yield key, key.removeprefix(start), cast(T, value)

    def refuse(self, key: str, bad: Bad) -> None:
        """The service is not routed by these labels."""
        self._add(key, self.texts.get(key, ""), bad.message, bad.remedy)

    def note(self, label: Label[object] | str, message: str, remedy: str) -> None:
        """The service is routed, but not as it may expect."""
        key = label if isinstance(label, str) else label.key
        self._add(key, self.texts.get(key, ""), message, remedy, fatal=False)

    def note_if(self, label: Label[object], message: str, remedy: str) -> None:
        """`note` it when the service carries the label."""
        if self.has(label):
            self.note(label, message, remedy)

    def _add(self, label: str, text: str, message: str, remedy: str, *, fatal: bool = True) -> None:
        self.problems.append(Problem("", printable(label, 200), printable(text), message, remedy, fatal=fatal))


@lru_cache(maxsize=1024)
def _hint(key: str) -> str:
    # Labels are read again with each event of a task; this is the one part that takes long (0.1 ms). The cut
    # bounds it: similarity is quadratic in the length, and the text is anybody's.
    close = difflib.get_close_matches(key[:60].lower(), TABLE, n=1, cutoff=0.8)
    return f"did you mean {close[0]}?" if close else _SEE
