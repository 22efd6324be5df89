"""Reads `show servers state` as it arrives."""

from __future__ import annotations

import re
from collections.abc import Mapping

from l7.fastpath_pure.rows import Address, There, checked_name, parse_address

COLUMNS = (
    "be_name", "srv_id", "srv_name", "srv_addr", "srv_op_state", "srv_admin_state", "srv_uweight",
    "srv_check_state", "srv_port",
)  # fmt: skip
"""What is read of a row. Versions add columns: these are found by their names in the header line."""

IN_PROGRESS = 0x01
"""Bit of srv_check_state: a check is under way at this moment. That is no news of a server, so it is not kept."""

LONGEST_NAME = 65535
_NUMBER = re.compile(rb"[0-9]{1,10}")


class Dump:
    """One dump. `rows` so far; `error`: why it can't be read, or ""; `whole`: it ends with a whole row."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, There]] = {}
        self.error = ""
        self._line = 0
        self._tail = b""
        self._columns: Mapping[str, int] = {}
        self._width = 0

    @property
    def whole(self) -> bool:
        return self._line >= 2 and not self._tail and not self.error

    def feed(self, chunk: bytes) -> None:
        *lines, self._tail = (self._tail + chunk).split(b"\n")
        for line in lines:
            if self.error:
                return
            try:
                self._take(line)
            except ValueError as error:
                self.error = f"not the servers' state: {error}: {line[:80]!r}"

    def _take(self, line: bytes) -> None:
        if self._line == 0:
            if line != b"1":
                raise ValueError("the first line is not 1")
        elif self._line == 1:
            self._header(line)
        elif line:
            self._row(line.split(b" "))
        self._line += 1

    def _header(self, line: bytes) -> None:
        names = line[2:].decode("ascii", "replace").split(" ")
        if not line.startswith(b"# ") or not set(COLUMNS) <= set(names):
            raise ValueError("its header lacks columns")
        self._width = len(names)
        self._columns = {name: names.index(name) for name in COLUMNS}

    def _row(self, values: list[bytes]) -> None:
        if len(values) < self._width:
            raise ValueError("a row lacks values")
        row = {name: values[at] for name, at in self._columns.items()}
        backend = checked_name(row["be_name"].decode("ascii"), LONGEST_NAME)
        server = checked_name(row["srv_name"].decode("ascii"), LONGEST_NAME)
        there = There(
            id=_number(row["srv_id"], 2**32 - 1),
            address=_address(row["srv_addr"]),
            port=_number(row["srv_port"], 65535),
            weight=_number(row["srv_uweight"], 65535),
            admin=_number(row["srv_admin_state"], 65535),
            op=_number(row["srv_op_state"], 255),
            check=_number(row["srv_check_state"], 65535) & ~IN_PROGRESS,
        )
        servers = self.rows.setdefault(backend, {})
        if server in servers:
            raise ValueError("a server is named twice")
        servers[server] = there


def _number(text: bytes, high: int) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > high:
        raise ValueError(f"{text[:20]!r} is no number up to {high}")
    return int(text)


def _address(text: bytes) -> Address | None:
    return None if text == b"-" else parse_address(text.decode("ascii"))
