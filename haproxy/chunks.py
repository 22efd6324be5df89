"""A complete state in messages of bounded size, as core sends it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from haproxy.model import Desired
from haproxy.wire import changes_from
from l7.v1 import sync_pb2 as pb

CHUNK = 512 * 1024
"""Bytes of changes per message, about; a single item is never cut."""


def complete(desired: Desired, limit: int = CHUNK) -> list[pb.SyncResponse]:
    """The state as the chunks of one COMPLETE, `last` set on the last one."""
    chunks = [
        pb.SyncResponse(kind=pb.UPDATE_KIND_COMPLETE, results_in=desired.revision, changes=changes)
        for changes in _cut(changes_from(desired), limit)
    ]
    chunks[-1].last = True
    return chunks


def _cut(changes: pb.Changes, limit: int) -> Iterator[pb.Changes]:
    """The first one has what comes once."""
    chunk = pb.Changes(challenges=changes.challenges)
    chunk.config.CopyFrom(changes.config)
    chunk.secret_sources.CopyFrom(changes.secret_sources)
    size = 0
    for field in ("backends", "rules", "routes", "tls_hosts"):
        for item in getattr(changes, field):
            cost = item.ByteSize()
            if size and size + cost > limit:
                yield chunk
                chunk, size = pb.Changes(), 0
            getattr(chunk, field).append(item)
            size += cost
    yield chunk
