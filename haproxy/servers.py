"""HAProxy's servers, as its dumps say: kept in the fast path's table, and made a value when somebody asks for it.

A dump of all servers is never held as text, nor turned into a value per server: what follows from it is which
backends differ from the dump before.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from haproxy.model import Admin, ServerRow
from l7.fastpath import Table
from l7.kit.errors import ProtocolError

Differing = list[tuple[str, int]]
"""Backends that differ from what was known, and in how many of their servers something does that only a command
changes: 0 where health checks alone were at work."""

_CHECK_ENABLED = 0x04
"""`srv_check_state`, CHK_ST_ENABLED (HAProxy management guide, "show servers state")."""

_OPERATIONAL = frozenset((1, 2))
"""`srv_op_state`: starting and running, of stopped, starting, running, stopping (same place)."""

Said = tuple[str, int, str, int, int, int, int, int]
"""A row as `Table.rows` has it."""

NO_SERVERS = (
    b"1\n# be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_check_state srv_port\n"
)
"""What HAProxy answers about a backend without servers."""


class Servers(Mapping[str, Mapping[str, ServerRow]]):
    """Physical backend -> server name -> row; every backend that HAProxy has is a key, with servers or without.

    Rows of a backend are made when they are asked for, and kept until that backend differs. Dumps arrive in the
    runtime's thread, while the loop may ask: hence a lock, held for one chunk at a time.
    """

    def __init__(self) -> None:
        self._table = Table()
        self._lock = threading.Lock()
        self._names: frozenset[str] | set[str] = set()
        self._made: dict[str, dict[str, ServerRow]] = {}
        self._before: dict[str, dict[str, ServerRow]] = {}
        """Rows of backends that differ since, until they are asked for again: most of them are the same still."""

    def feed(self, chunk: bytes) -> None:
        """A part of a dump; the first one after an end begins another."""
        with self._lock:
            self._table.feed(chunk)

    def end(self, names: Iterable[str]) -> Differing:
        """The dump of all servers is whole; `names`: the backends there are. Raises ProtocolError when it is not,
        or can't be read; what was known before stays."""
        with self._lock:
            differing = self._end(None)
            known = {*names}
            candidates = {*self._names, *(backend for backend, _ in differing)} - known
            self._names = known | {backend for backend in candidates if self._table.rows(backend)}
            return differing

    def end_of(self, backend: str) -> None:
        """As `end`, for a dump of this backend alone, which HAProxy has."""
        with self._lock:
            self._end(backend)
            self._names = {*self._names, backend}

    def gone(self, backend: str) -> None:
        """HAProxy does not know it."""
        with self._lock:
            self._table.feed(NO_SERVERS)
            self._end(backend)
            self._names = self._names - {backend}
            self._before.pop(backend, None)

    def _end(self, backend: str | None) -> Differing:
        try:
            differing = self._table.end(backend)
        except ValueError as error:
            raise ProtocolError(str(error)) from error
        for name, _ in differing:
            if name in self._made:
                self._before[name] = self._made.pop(name)
        return differing

    # -------------------------------------------------------------- as a mapping

    def __getitem__(self, backend: str) -> Mapping[str, ServerRow]:
        made = self._made.get(backend)
        return self._make(backend) if made is None else made

    def _make(self, backend: str) -> Mapping[str, ServerRow]:
        with self._lock:
            if backend not in self._names:
                raise KeyError(backend)
            before = self._before.pop(backend, {})
            rows = (_row(backend, said, before.get(said[0])) for said in self._table.rows(backend))
            made = self._made[backend] = {row.name: row for row in rows}
            return made

    def __contains__(self, backend: object) -> bool:
        return backend in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def rows_of(chunks: Iterable[bytes]) -> tuple[ServerRow, ...]:
    """The rows of one whole dump, backend by backend. Raises ProtocolError for what is none."""
    table = Table()
    for chunk in chunks:
        table.feed(chunk)
    try:
        backends = [backend for backend, _ in table.end()]
    except ValueError as error:
        raise ProtocolError(str(error)) from error
    return tuple(_row(backend, said) for backend in backends for said in table.rows(backend))


def _row(backend: str, said: Said, before: ServerRow | None = None) -> ServerRow:
    """As HAProxy says; `before` itself where it says the same."""
    name, number, address, port, weight, admin, operational, check = said
    up, checked = operational in _OPERATIONAL, bool(check & _CHECK_ENABLED)
    if before is not None and (number, address, port, weight, admin, up, checked) == (
        before.id, before.address, before.port, before.weight, before.admin, before.up, before.check_enabled
    ):  # fmt: skip
        return before
    return ServerRow(backend, name, number, address, port, weight, _admin(admin), up, checked)


_admin = lru_cache(256)(Admin)
