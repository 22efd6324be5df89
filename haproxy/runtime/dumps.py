"""Readers of what HAProxy shows: backends, maps, counters, processes. Any input: values, or ProtocolError.

Columns are found by the names in the header line, never by position: versions add columns.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntFlag

from haproxy.capabilities import Version, parse_version
from haproxy.model import CrtListRow, Stored, StoredCertificate
from l7.kit.errors import ProtocolError


class StatKind(IntFlag):
    """What `show stat` is to list."""

    FRONTENDS = 1
    BACKENDS = 2
    SERVERS = 4


@dataclass(frozen=True, slots=True)
class StatRow:
    """A row of `show stat`. Counters are since the start of the worker; 0 where the row has none.

    `server` is "" on the row of a backend or frontend as a whole; `last_check` is "" without a check.
    """

    backend: str
    server: str
    kind: StatKind
    status: str
    queued: int
    sessions: int
    sessions_total: int
    retries: int
    redispatches: int
    check_status: str
    last_check: str


@dataclass(frozen=True, slots=True)
class Info:
    """`show info`. `stopping`: a reload has replaced this worker, it only finishes what it has."""

    version: Version
    pid: int
    uptime: int
    """Seconds."""
    stopping: bool
    fields: Mapping[str, str]
    """All of them, as they are."""


@dataclass(frozen=True, slots=True)
class Process:
    """A row of the master's `show proc`. `kind`: master, worker, or what a section is named.

    `old`: there was a reload since. That may have failed, and this worker still be the one that serves:
    `Info.stopping` tells. `reloads`: how many there were since it started.
    """

    pid: int
    kind: str
    reloads: int
    old: bool


# ---------------------------------------------------------------- backends


def _header(line: str) -> dict[str, int]:
    if not line.startswith("# "):
        raise ProtocolError(f"no header line but {line[:80]!r}")
    return {name: at for at, name in enumerate(re.split(r"[ ,]", line[2:].strip()))}


def parse_backends(text: str) -> tuple[str, ...]:
    """The names of `show backend`."""
    header, *names = text.strip("\n").split("\n")
    if header.strip() != "# name":
        raise ProtocolError(f"not a list of backends: {text[:80]!r}")
    return tuple(name for name in names if name)


# ---------------------------------------------------------------- maps

_MAP_ROW = re.compile(r"0x[0-9a-f]+ ([^ ]+) (.+)")
_MAP_MATCH = re.compile(r'found=yes.*?, key="(.*)", value="(.*)", type="', re.DOTALL)
_NEW_VERSION = re.compile(r"New version created: (\d{1,10})")


def parse_map(text: str) -> tuple[tuple[str, str], ...]:
    """(key, value) of each row of `show map FILE`, copies included. A blank ends the key, as HAProxy has none."""
    return tuple(_map_row(line) for line in text.split("\n") if line)


def _map_row(line: str) -> tuple[str, str]:
    found = _MAP_ROW.fullmatch(line)
    if found is None:
        raise ProtocolError(f"not a row of a map: {line[:200]!r}")
    return found[1], found[2]


def parse_map_match(text: str) -> tuple[str, str] | None:
    """(key, value) of the row that `get map` found; the key is the row's, not what was asked. None: none."""
    if found := _MAP_MATCH.search(text):
        return found[1], found[2]
    if "found=no" in text:
        return None
    raise ProtocolError(f"not an answer about a map: {text[:200]!r}")


def parse_new_version(text: str) -> int:
    """The number in the answer to `prepare map`."""
    found = _NEW_VERSION.search(text)
    if found is None:
        raise ProtocolError(f"no version of a map: {text[:200]!r}")
    return int(found[1])


# ---------------------------------------------------------------- TLS

_TRANSACTION = "# transaction"
_AUTHORITY = re.compile(r"(.+) - (\d{1,10}) certificate\(s\)")
_CRT_LIST_ROW = re.compile(r"([^ ]+):(\d{1,10})(?: \[(.*)\])?((?: [^ \[\]]+)*)")
_BUILT_IN = "@"
"""First character of CAs that HAProxy has by itself."""


def _names(text: str) -> tuple[list[str], str]:
    """Lines below `# filename`, and the one below `# transaction`, which has `*` before the name."""
    names: list[str] = []
    transaction, section = "", "# filename"
    for line in filter(None, text.split("\n")):
        if line.startswith("# "):
            section = line
        elif section == _TRANSACTION:
            transaction = line.removeprefix("*")
        elif section == "# filename":
            names.append(line)
        else:
            raise ProtocolError(f"not a list of stores: {line[:200]!r}")
    return names, transaction


def parse_certificate_names(text: str) -> Stored[None]:
    """The names of `show ssl cert`."""
    names, transaction = _names(text)
    return Stored(dict.fromkeys(names), transaction)


def parse_authorities(text: str) -> Stored[int]:
    """`show ssl ca-file`: name -> number of certificates, without HAProxy's own."""
    names, transaction = _names(text)
    found = dict(_authority(line) for line in names if not line.startswith(_BUILT_IN))
    return Stored(found, _authority(transaction)[0] if transaction else "")


def _authority(line: str) -> tuple[str, int]:
    found = _AUTHORITY.fullmatch(line)
    if found is None:
        raise ProtocolError(f"not a store of CAs: {line[:200]!r}")
    return found[1], int(found[2])


def parse_certificates(texts: Iterable[str]) -> dict[str, StoredCertificate]:
    """Answers to `show ssl cert NAME`; a store that does not exist is left out."""
    return dict(_certificate(text) for text in texts if not text.startswith("Can't display the certificate"))


def _certificate(text: str) -> tuple[str, StoredCertificate]:
    pairs = [(name, value) for name, _, value in (line.partition(": ") for line in text.split("\n"))]
    fields = dict(pairs)
    if not fields.get("Filename"):
        raise ProtocolError(f"not a certificate: {text[:80]!r}")
    return fields["Filename"], StoredCertificate(
        sha1=fields.get("SHA1 FingerPrint", ""),
        chain=sum(name == "Chain Subject" for name, _ in pairs),
        used=fields.get("Status") == "Used",
    )


def parse_crt_list(text: str) -> tuple[CrtListRow, ...]:
    """`show ssl crt-list -n LIST`. Options of several values have a NUL among them, which is taken out."""
    header, _, rows = text.partition("\n")
    if not header.startswith("# "):
        raise ProtocolError(f"not a crt-list: {text[:80]!r}")
    return tuple(_crt_list_row(line) for line in rows.replace("\0", "").split("\n") if line)


def _crt_list_row(line: str) -> CrtListRow:
    found = _CRT_LIST_ROW.fullmatch(line.rstrip(" "))
    if found is None:
        raise ProtocolError(f"not a line of a crt-list: {line[:200]!r}")
    return CrtListRow(found[1], int(found[2]), found[3] or "", tuple(found[4].split()))


# ---------------------------------------------------------------- processes and counters


def parse_info(text: str) -> Info:
    """`show info`, lines of `Name: value`."""
    fields = {name: value for name, sep, value in (line.partition(": ") for line in text.split("\n")) if sep}
    try:
        return Info(
            version=parse_version(fields["Version"]),
            pid=int(fields["Pid"]),
            uptime=int(fields["Uptime_sec"]),
            stopping=fields["Stopping"] != "0",
            fields=fields,
        )
    except (LookupError, ValueError) as error:
        raise ProtocolError(f"not HAProxy's information: {text[:80]!r}") from error


def parse_stat(text: str) -> tuple[StatRow, ...]:
    """The rows of `show stat` (CSV). Listeners, which have no kind of their own here, are left out."""
    lines = text.strip("\n").split("\n")
    columns = _header(lines[0])
    return tuple(_stat_rows(columns, lines[1:]))


def _stat_rows(columns: Mapping[str, int], lines: Iterable[str]) -> Iterator[StatRow]:
    try:
        for values in csv.reader(lines, strict=True):
            row = {name: values[at] for name, at in columns.items() if name}
            if row["type"] in _STAT_KINDS:
                yield _stat_row(row)
    except (LookupError, ValueError, csv.Error) as error:
        raise ProtocolError(f"not a table of counters: {error}") from error


_STAT_KINDS = {"0": StatKind.FRONTENDS, "1": StatKind.BACKENDS, "2": StatKind.SERVERS}


def _stat_row(row: Mapping[str, str]) -> StatRow:
    kind = _STAT_KINDS[row["type"]]
    return StatRow(
        backend=row["pxname"],
        server=row["svname"] if kind is StatKind.SERVERS else "",
        kind=kind,
        status=row["status"],
        queued=int(row["qcur"] or 0),
        sessions=int(row["scur"] or 0),
        sessions_total=int(row["stot"] or 0),
        retries=int(row["wretr"] or 0),
        redispatches=int(row["wredis"] or 0),
        check_status=row["check_status"],
        last_check=row["last_chk"],
    )


_PROCESS = re.compile(r"(\d{1,10})\s+(\S+)\s+(\d{1,10})\s.*")


def parse_processes(text: str) -> tuple[Process, ...]:
    """The master's `show proc`; sections `# workers` and `# old workers` tell the new from the old."""
    header, *lines = text.strip("\n").split("\n")
    if not header.startswith("#<PID>"):
        raise ProtocolError(f"not a list of processes: {text[:80]!r}")
    return tuple(_processes(lines))


def _processes(lines: Iterable[str]) -> Iterator[Process]:
    old = False
    for line in lines:
        if line.startswith("#"):
            old = line.startswith("# old")
        elif found := _PROCESS.fullmatch(line):
            yield Process(int(found[1]), found[2], int(found[3]), old)
        elif line.strip():
            raise ProtocolError(f"not a process: {line[:200]!r}")
