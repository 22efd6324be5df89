"""The same as Table's ingest, in Python written for speed: protobuf's parser, dicts of tuples, nothing checked."""

from __future__ import annotations

from collections.abc import Iterable

from l7.v1 import sync_pb2 as pb

Rows = dict[str, tuple[object, ...]]


class Plain:
    """What is wanted, by backend."""

    def __init__(self) -> None:
        self._want: dict[str, tuple[bytes, Rows]] = {}

    def ingest(self, chunks: Iterable[bytes]) -> list[str]:
        """Names of the backends that differ."""
        before, self._want = self._want, self.read(chunks)
        names = before.keys() | self._want.keys()
        return sorted(name for name in names if before.get(name) != self._want.get(name))

    def read(self, chunks: Iterable[bytes]) -> dict[str, tuple[bytes, Rows]]:
        found: dict[str, tuple[bytes, Rows]] = {}
        for chunk in chunks:
            for backend in pb.SyncResponse.FromString(chunk).changes.backends:
                found[backend.name] = (
                    backend.settings.SerializeToString(),
                    {
                        s.task: (s.id, s.address, s.port, s.weight, s.state, s.stop_in_milliseconds, s.service)
                        for s in backend.servers
                    },
                )
        return found
