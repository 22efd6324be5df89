"""What is started from when core is away and there is no state of one's own: the one that is published in Swarm."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError

from l7.kit import logs
from l7.kit.bundle import STATE, unpack
from l7.kit.errors import ProtocolError
from l7.v1 import sync_pb2 as pb

log = logs.get("state")


@dataclass(frozen=True, slots=True)
class Published:
    """`update`: the state as one COMPLETE; `files` of the configuration, by path."""

    update: pb.SyncResponse
    files: Mapping[str, bytes]


def load_published(directory: Path, cluster: str) -> Published | None:
    """What Swarm has mounted there: files 1, 2 … that are parts of one `l7.kit.bundle`. None when there is none, or
    none that is whole and of this cluster."""
    parts = sorted((path for path in directory.glob("*") if path.name.isdecimal()), key=lambda path: int(path.name))
    if not parts:
        return None
    try:
        bundle = unpack(b"".join(path.read_bytes() for path in parts))
        if bundle.cluster != cluster:
            raise ProtocolError(f"it is of service cluster {bundle.cluster or 'default'!r}")
        update = pb.SyncResponse.FromString(bundle.files[STATE])
    except (OSError, KeyError, DecodeError, ProtocolError) as error:
        log.warning("published state unusable", path=str(directory), error=str(error))
        return None
    return Published(update, bundle.files)


def write(path: Path, data: bytes) -> None:
    """Atomically: readers see the old content or the new."""
    draft = path.with_name(path.name + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    draft.replace(path)
