"""The pieces of a published configuration, put together and checked. Pure but for the stream that they come by."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from itertools import islice

from l7.kit.bundle import INPUTS, MANIFEST
from l7.kit.errors import ProtocolError
from l7.labels.grammar import printable
from l7.publication import Publication
from l7.v1 import sync_pb2 as pb

MOST_BYTES = 128 * 1024 * 1024
MOST_FILES = 1000
_DIGEST = re.compile(r"[0-9a-f]{8,64}")
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_RESERVED = frozenset({MANIFEST, INPUTS})
"""Core's own."""
_COUNTS = 20


async def collect(pieces: AsyncIterator[pb.PublishConfigRequest], first: pb.PublishConfigRequest) -> Publication:
    """All of it. Raises ProtocolError for what makes no sense or is too large."""
    if first.configuration and not _DIGEST.fullmatch(first.configuration):
        raise ProtocolError("`configuration` is no hexadecimal digest")
    files: dict[str, bytearray] = {}
    size = _add(files, first)
    async for piece in pieces:
        size += _add(files, piece)
        if size > MOST_BYTES or len(files) > MOST_FILES:
            raise ProtocolError(f"more than {MOST_FILES} files or {MOST_BYTES} bytes")
    if not files:
        raise ProtocolError("a configuration without files")
    whole = {name: bytes(content) for name, content in files.items()}
    counts = {printable(kind, 40): number for kind, number in islice(sorted(first.counts.items()), _COUNTS)}
    found = Publication(first.cluster, first.revision, first.configuration, whole, counts)
    return found if found.revision else _named_after_content(found)


def _add(files: dict[str, bytearray], piece: pb.PublishConfigRequest) -> int:
    for file in piece.files:
        if not _NAME.fullmatch(file.name) or len(file.name) > 500 or file.name in _RESERVED:
            raise ProtocolError(f"{file.name[:80]!r} is no name of a file")
        files.setdefault(file.name, bytearray()).extend(file.data)
    return sum(len(file.data) for file in piece.files)


def _named_after_content(found: Publication) -> Publication:
    return Publication(found.cluster, found.state, found.content, found.files, found.counts)
