"""The last good state in a file, for a sidecar that comes back while core is away: what core said, as it said it.

First a whole state, then the updates since, each behind its length and checksum. So keeping a change costs the
change: nothing is made bytes again that came as bytes. Once the updates are several times as long as a whole state,
that is written anew. A torn end, of a sidecar that was killed while it wrote, is left out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from zlib import crc32

from google.protobuf.message import DecodeError

from haproxy.mirror import Mirror
from haproxy.model import Desired
from haproxy.state import write
from haproxy.wire import changes_from
from l7.kit import logs
from l7.kit.errors import ProtocolError
from l7.v1 import sync_pb2 as pb

log = logs.get("journal")

TIMES, LEAST = 4, 1 << 20
"""Updates may be so many times as long as the whole state before them, and so many bytes in any case."""

_HEAD = struct.Struct(">II")


class Journal:
    """What `mirror` has, in the file `path`. It holds addresses, no secrets; mode 0600 all the same."""

    def __init__(self, path: Path, mirror: Mirror) -> None:
        self._path = path
        self._mirror = mirror
        self._staged: list[tuple[pb.SyncResponse, bytes]] = []
        self._pending: list[bytes] = []
        self._anew = False
        self._whole = self._size = 0
        """Bytes of the file's first record, and of all that is good."""

    # -------------------------------------------------------------- what is kept

    def take(self, chunk: pb.SyncResponse, data: bytes) -> None:
        """A chunk that the mirror is about to take, as a message and as it came."""
        if self._staged and (self._staged[-1][0].last or _update_of(self._staged[-1][0]) != _update_of(chunk)):
            self._staged.clear()  # the mirror refused it, or it was broken off
        self._staged.append((chunk, data))

    def commit(self) -> None:
        """The mirror has taken the update whose chunks were taken. Messages one behind the other are one."""
        update, data = self._staged[-1][0], b"".join(data for _, data in self._staged)
        self._staged.clear()
        if update.kind == pb.UPDATE_KIND_COMPLETE:
            self._pending, self._anew = [data], True
        elif update.applies_to != update.results_in:
            self._pending.append(data)

    def begin(self, update: pb.SyncResponse) -> None:
        """The mirror has this whole state, which did not come in a stream."""
        self._pending, self._anew = [update.SerializeToString()], True

    def save(self) -> None:
        """Writes what has come since. Raises OSError; the next time it is tried again."""
        if not self._pending:
            return
        if self._is_long() or not (self._anew or self._path.exists()):
            self._pending, self._anew = [whole(self._mirror.desired)], True
        if self._anew:
            self._replace()
        else:
            self._append()
        self._pending, self._anew = [], False

    def _is_long(self) -> bool:
        """Whether the updates are longer than they may be, by now."""
        if self._anew:
            return False
        return self._size - self._whole + sum(map(len, self._pending)) > max(LEAST, TIMES * self._whole)

    def _replace(self) -> None:
        """At once or not at all."""
        data = _framed(self._pending)
        write(self._path, data)
        self._whole, self._size = len(self._pending[0]), len(data)

    def _append(self) -> None:
        data = _framed(self._pending)
        with self._path.open("r+b") as file:
            file.seek(self._size)
            file.truncate()
            file.write(data)
        self._size += len(data)

    # -------------------------------------------------------------- what was kept

    def load(self) -> bool:
        """Fill the mirror from the file. False when there is none, or none that can be read."""
        try:
            records = _records(self._path.read_bytes())
            self._load_first(next(records))
        except FileNotFoundError:
            return False
        except (StopIteration, DecodeError, ProtocolError) as error:
            log.warning("kept state unreadable", path=str(self._path), error=str(error))
            return False
        try:
            for record in records:
                self._mirror.apply(pb.SyncResponse.FromString(record), record)
                self._size += _HEAD.size + len(record)
        except (DecodeError, ProtocolError) as error:
            log.warning("end of the kept state unreadable", path=str(self._path), error=str(error))
        return True

    def _load_first(self, record: bytes) -> None:
        update = pb.SyncResponse.FromString(record)
        self._mirror.load(update.results_in, update.changes)
        self._whole, self._size = len(record), _HEAD.size + len(record)


def whole(desired: Desired) -> bytes:
    """A state as one COMPLETE."""
    update = pb.SyncResponse(
        kind=pb.UPDATE_KIND_COMPLETE, results_in=desired.revision, last=True, changes=changes_from(desired)
    )
    return update.SerializeToString(deterministic=True)


def _update_of(chunk: pb.SyncResponse) -> tuple[int, str, str]:
    return chunk.kind, chunk.applies_to, chunk.results_in


def _framed(records: Iterable[bytes]) -> bytes:
    return b"".join(_HEAD.pack(len(record), crc32(record)) + record for record in records)


def _records(content: bytes) -> Iterator[bytes]:
    """Up to the first that is not whole."""
    at = 0
    while at + _HEAD.size <= len(content):
        length, checksum = _HEAD.unpack_from(content, at)
        record = content[at + _HEAD.size : at + _HEAD.size + length]
        if len(record) < length or crc32(record) != checksum:
            return
        yield record
        at += _HEAD.size + length
