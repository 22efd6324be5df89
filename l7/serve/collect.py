"""The pieces of a published configuration, put together and checked. Pure but for the stream that they come by."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import replace
from itertools import islice

from l7.kit.bundle import INPUTS, MANIFEST
from l7.kit.errors import ProtocolError
from l7.labels.grammar import printable
from l7.model import Secret
from l7.publication import Deployment, Publication
from l7.v1 import sync_pb2 as pb

MOST_BYTES = 128 * 1024 * 1024
MOST_FILES = 1000
_DIGEST = re.compile(r"[0-9a-f]{8,64}")
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_RESERVED = frozenset({MANIFEST, INPUTS})
"""Core's own."""
_COUNTS = 20
_PATH = re.compile(r"(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+")
_NO_MOUNT = ("/proc", "/sys", "/dev", "/run/docker.sock", "/var/run/docker.sock")
"""Of the kernel, and Docker's own."""
_SIGNAL = re.compile(r"(SIG[A-Z0-9]{2,10})?")
MOST_MOUNTS = 100
MOST_WORDS = 4096
"""Characters of a command."""


async def collect(pieces: AsyncIterator[pb.PublishConfigRequest], first: pb.PublishConfigRequest) -> Publication:
    """All of it. Raises ProtocolError for what makes no sense or is too large."""
    if first.configuration and not _DIGEST.fullmatch(first.configuration):
        raise ProtocolError("`configuration` is no hexadecimal digest")
    files: dict[str, bytearray] = {}
    mounts: dict[str, str] = {}
    size = _add(files, mounts, first)
    async for piece in pieces:
        size += _add(files, mounts, piece)
        if size > MOST_BYTES or len(files) > MOST_FILES:
            raise ProtocolError(f"more than {MOST_FILES} files or {MOST_BYTES} bytes")
    if not files:
        raise ProtocolError("a configuration without files")
    whole = {name: bytes(content) for name, content in files.items()}
    counts = {printable(kind, 40): number for kind, number in islice(sorted(first.counts.items()), _COUNTS)}
    deployment = _deployment(first, mounts, whole)
    found = Publication(first.cluster, first.revision, first.configuration, whole, counts, "", deployment)
    return found if found.revision else replace(found, revision=found.content)


def _add(files: dict[str, bytearray], mounts: dict[str, str], piece: pb.PublishConfigRequest) -> int:
    for file in piece.files:
        if not _NAME.fullmatch(file.name) or len(file.name) > 500 or file.name in _RESERVED:
            raise ProtocolError(f"{file.name[:80]!r} is no name of a file")
        if file.mount and mounts.setdefault(_path(file.mount), file.name) != file.name:
            raise ProtocolError(f"two files for {file.mount}")
        files.setdefault(file.name, bytearray()).extend(file.data)
    return sum(len(file.data) for file in piece.files)


# ---------------------------------------------------------------- file mode


def _path(mount: str) -> str:
    if not _PATH.fullmatch(mount) or len(mount) > 500:
        raise ProtocolError(f"{mount[:80]!r} is no absolute path")
    if any(mount == root or mount.startswith(f"{root}/") for root in _NO_MOUNT):
        raise ProtocolError(f"{mount}: nothing is mounted there")
    return mount


def _secrets(message: pb.Deployment, mounts: Collection[str]) -> dict[str, Secret]:
    found: dict[str, Secret] = {}
    for each in message.secrets:
        path, secret = _path(each.mount), Secret(each.secret.id, each.secret.name, each.secret.config)
        if path in mounts or found.setdefault(path, secret) != secret:
            raise ProtocolError(f"two files for {path}")
    return found


def _deployment(
    first: pb.PublishConfigRequest, mounts: dict[str, str], files: Mapping[str, bytes]
) -> Deployment | None:
    if not mounts:
        return None
    message = first.deployment
    if empty := [name for name in mounts.values() if not files[name]]:
        raise ProtocolError(f"{empty[0]} is empty, which Docker refuses: write a comment")
    if len(mounts) > MOST_MOUNTS:
        raise ProtocolError(f"more than {MOST_MOUNTS} files to be mounted")
    if not _SIGNAL.fullmatch(message.stop_signal):
        raise ProtocolError(f"{message.stop_signal[:80]!r} is no signal")
    if len("".join(message.command)) > MOST_WORDS or any("\0" in word for word in message.command):
        raise ProtocolError("`command` is no command")
    secrets = tuple(sorted(_secrets(message, mounts).items()))
    return Deployment(tuple(sorted(mounts.items())), secrets, tuple(message.command), message.stop_signal)
