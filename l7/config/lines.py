"""Where in the text of a TOML file a key is written: tomllib keeps no positions. Pure."""

from __future__ import annotations

import re
from collections import Counter

_HEADER = re.compile(r"\s*\[+\s*((?:\"[^\"]*\"|'[^']*'|[^\]\"'])+?)\s*\]")
_PART = re.compile(r"\"([^\"]*)\"|'([^']*)'|([^.\s\"']+)")


def find_line(lines: list[str], where: tuple[str, ...], key: str, nth: int = 1) -> int:
    """Line, from 1, where `key` of table `where` is written; 0 when it is not found. Of several `[[tables]]` of one
    name, the one that is the `nth`.

    This looks for `key =` under the table's header, or for the header of the key itself; dotted keys and inline
    tables are not followed.
    """
    table = _loose(where)
    assigned = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=")
    current: tuple[str, ...] = ()
    counts: Counter[tuple[str, ...]] = Counter()
    for number, line in enumerate(lines, 1):
        if header := _HEADER.match(line):
            path = tuple("".join(part) for part in _PART.findall(header[1]))
            current = _loose(path)
            counts[current] += 1
            found = current[: len(where)] == table and path[len(where) : len(where) + 1] == (key,)
        else:
            found = current == table and bool(assigned.match(line))
        if found and counts[current] in (0, nth):
            return number
    return 0


def _loose(path: tuple[str, ...]) -> tuple[str, ...]:
    """Case does not count in the names of tables; in that of a key it does, which may be there in two spellings."""
    return tuple(part.lower() for part in path)
