"""Names of backends in what HAProxy says, as they are the same on all proxies. Pure.

Before 3.4 a backend lives in a spare, which is another one on each proxy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_ROW = re.compile(rb"^((?:\d+ )?)([^ ,\n#]+)(?=[ ,])", re.MULTILINE)
"""`be_id be_name ` of `show servers state`, `pxname,` of `show stat`."""


class Aliases:
    """`names` by HAProxy's. For one answer after the other of one proxy, in pieces cut anywhere."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = {name.encode(): alias.encode() for name, alias in names.items()}
        self._begun = b""

    def translate(self, piece: bytes) -> bytes:
        """The lines that are whole by now."""
        if not self._names:
            return piece
        lines, end, rest = piece.rpartition(b"\n")
        if not end:
            self._begun += piece
            return b""
        whole, self._begun = self._begun + lines + end, rest
        return _ROW.sub(self._row, whole)

    def rest(self) -> bytes:
        """What came after the last line."""
        rest, self._begun = self._begun, b""
        return rest

    def _row(self, row: re.Match[bytes]) -> bytes:
        return row[1] + self._names.get(row[2], row[2])


def differing(placement: Mapping[str, str]) -> dict[str, str]:
    """Of logical backends by where they live: the names that have to be said."""
    return {physical: logical for logical, physical in placement.items() if physical != logical}
