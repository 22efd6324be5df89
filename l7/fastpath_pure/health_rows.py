"""Rows of `show servers state` and `show stat`, read while they arrive. Plain Python: the specification."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

UP, DOWN, MAINTENANCE, GONE = 1, 2, 3, 4
"""Verdicts, as l7.v1.HealthStatus has them."""

LONGEST = 1 << 20
"""Bytes of a row. HAProxy's own rows fit its buffer (`tune.bufsize`, 16 KiB)."""
COLUMNS = 256
"""What is read of a row is among its first so many columns; of HAProxy 3.4 it is the first 33."""

_STATE_COLUMNS = (b"be_name", b"srv_name", b"srv_op_state", b"srv_admin_state")
_STAT_COLUMNS = (
    b"pxname", b"svname", b"type", b"status",
    b"scur", b"qcur", b"stot", b"bin", b"bout", b"econ", b"eresp", b"wretr", b"wredis",
)  # fmt: skip

_OUT = 0x01 | 0x02 | 0x08 | 0x10 | 0x20
"""`srv_admin_state`: maintenance or drain, forced, inherited or for want of an address (management guide, 9.3)."""
_OPERATIONAL = {b"0": DOWN, b"1": UP, b"2": UP, b"3": DOWN}
"""`srv_op_state`: stopped, starting, running, stopping."""
_STATUS = {b"UP": UP, b"no": UP, b"DO": DOWN, b"NO": DOWN, b"MA": MAINTENANCE, b"DR": MAINTENANCE}
"""`status` by its first two letters: UP, no check, DOWN, NOLB, MAINT, DRAIN; more may follow, as in `UP 1/3`."""
_FRONTEND, _BACKEND, _SERVER, _LISTENER = b"0", b"1", b"2", b"3"
"""`type` of a row of `show stat`."""

_NAME = re.compile(rb"[!#-+\--~]{1,255}")
"""Printable ASCII; HAProxy takes no blank, comma or quote in a name."""
_QUOTED = re.compile(rb'"((?:[^"]|"")*+)"')
_DIGITS = 20
_MOST = 2**64 - 1


class Row(NamedTuple):
    """What a row says. `server` "": of its backend as a whole, and then `verdict` is 0.

    `counters`: scur, qcur, stot, bin, bout, econ + eresp, wretr, wredis; none in `show servers state`.
    """

    backend: str
    server: str
    verdict: int
    counters: tuple[int, ...]


class Unreadable(Exception):
    """A row that makes no sense."""


class Dumps:
    """The dumps of one process, one after the other, in chunks of any size."""

    def __init__(self) -> None:
        self._separator = b""
        """Of a dump's columns; empty before its header."""
        self._columns: tuple[int, ...] = ()
        self._begun = bytearray()
        """A line without its end yet."""
        self._held = bytearray()
        """Lines of a row that goes on within quotes."""

    @property
    def whole(self) -> bool:
        """No row is without its end."""
        return not self._begun and not self._held

    def rows(self, chunk: bytes) -> Iterator[Row | None]:
        """Of servers and backends, as they become whole; None for each row that makes no sense."""
        for line in self._lines(chunk):
            if self._separator == b"," and (self._held or b'"' in line):
                quoted = split(b'"' + line if self._held else line) is None
                self._held += line
                if quoted and len(self._held) <= LONGEST:
                    self._held += b"\n"
                    continue
                line, self._held = bytes(self._held), bytearray()
            try:
                row = self._row(line)
            except (Unreadable, IndexError):
                yield None
            else:
                if row is not None:
                    yield row

    def _lines(self, chunk: bytes) -> list[bytes]:
        """Those that are whole now; of one longer than any row as much as shows that."""
        first, *others = chunk.split(b"\n")
        self._begun += first[: max(0, LONGEST + 1 - len(self._begun))]
        if not others:
            return []
        lines = [bytes(self._begun), *others[:-1]]
        self._begun = bytearray(others[-1][: LONGEST + 1])
        return lines

    def _row(self, line: bytes) -> Row | None:
        """None: it says nothing of servers. Raises Unreadable, or IndexError where columns are missing."""
        if len(line) > LONGEST:
            raise Unreadable
        if not line:
            return None
        if line == b"1" or line.startswith(b"# "):
            self._header(line)
            return None
        if self._separator == b",":
            return _stat(self._columns, line)
        if self._separator == b" ":
            return _state(self._columns, line)
        raise Unreadable

    def _header(self, line: bytes) -> None:
        """The format's version comes before the header of `show servers state`."""
        self._separator = b""
        if line == b"1":
            return
        separator, wanted = (b",", _STAT_COLUMNS) if b"," in line else (b" ", _STATE_COLUMNS)
        names = line[2:].split(separator)[:COLUMNS]
        if not set(wanted) <= set(names):
            raise Unreadable
        self._separator, self._columns = separator, tuple(map(names.index, wanted))


def _state(columns: tuple[int, ...], line: bytes) -> Row:
    values = line.split(b" ")
    backend, server, operational, admin = [values[at] for at in columns]
    if operational not in _OPERATIONAL:
        raise Unreadable
    verdict = MAINTENANCE if _number(admin) & _OUT else _OPERATIONAL[operational]
    return Row(_name(backend), _name(server), verdict, ())


def _stat(columns: tuple[int, ...], line: bytes) -> Row | None:
    values = split(line) or []
    backend, server, kind, status, *numbers = [values[at] for at in columns]
    if kind in (_FRONTEND, _LISTENER):
        return None
    scur, qcur, stot, bin, bout, econ, eresp, wretr, wredis = [_number(text) if text else 0 for text in numbers]
    counters = (scur, qcur, stot, bin, bout, econ + eresp, wretr, wredis)
    if kind == _BACKEND:
        return Row(_name(backend), "", 0, counters)
    verdict = _STATUS.get(status[:2])
    if kind != _SERVER or verdict is None:
        raise Unreadable
    return Row(_name(backend), _name(server), verdict, counters)


def split(row: bytes) -> list[bytes] | None:
    """Columns of CSV, without the quotes around some; None where the row ends within quotes.

    Quotes count at a column's beginning alone; doubled ones are one. What follows the closing one belongs to the
    column, as it is.
    """
    if b'"' not in row:
        return row.split(b",")
    values, at = [], 0
    while True:
        quoted = _QUOTED.match(row, at)
        if quoted is None and row.startswith(b'"', at):
            return None
        begin = quoted.end() if quoted else at
        comma = row.find(b",", begin)
        end = comma if comma >= 0 else len(row)
        values.append((quoted[1].replace(b'""', b'"') if quoted else b"") + row[begin:end])
        if comma < 0:
            return values
        at = comma + 1


@lru_cache(1 << 18)  # the names of one look are those of the next
def _name(text: bytes) -> str:
    if not _NAME.fullmatch(text):
        raise Unreadable
    return text.decode()


def _number(text: bytes) -> int:
    if text.isdigit() and len(text) <= _DIGITS and (number := int(text)) <= _MOST:
        return number
    raise Unreadable
