"""Contents of Docker secrets that this proxy needs, by id, on tmpfs: what HAProxy and the sidecar restart with
while the extension service is away. What nothing names any more is deleted."""

from __future__ import annotations

import os
import re
from pathlib import Path

from l7.kit.errors import ProtocolError

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Swarm's ids are 25 letters and digits. What names a file must not lead elsewhere."""
_DRAFT = ".new"


class Vault:
    """Files `<directory>/<id>`, mode 0600 in a directory of mode 0700. An id always has the same content."""

    def __init__(self, directory: Path | str) -> None:
        self._directory = Path(directory)
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._ids = set()
        for file in self._directory.iterdir():
            if file.name.endswith(_DRAFT):
                file.unlink()  # of a writer that was killed
            elif _ID.fullmatch(file.name):
                self._ids.add(file.name)

    @property
    def ids(self) -> frozenset[str]:
        """Of the contents that are there."""
        return frozenset(self._ids)

    def get(self, id: str) -> bytes | None:
        """The content, None when it is not there."""
        return (self._directory / id).read_bytes() if id in self._ids else None

    def put(self, id: str, data: bytes) -> None:
        """Keeps a content, all of it or nothing. Raises ProtocolError for what is no id."""
        path = self._directory / valid(id)
        draft = path.with_name(id + _DRAFT)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        draft.replace(path)
        self._ids.add(id)

    def keep(self, ids: frozenset[str]) -> None:
        """Forgets and deletes all others."""
        for id in sorted(self._ids - ids):
            (self._directory / id).unlink(missing_ok=True)
            self._ids.discard(id)


def valid(id: str) -> str:
    """The id itself. Raises ProtocolError for what cannot be one."""
    if not _ID.fullmatch(id):
        raise ProtocolError(f"{id[:80]!r} is no id of a secret")
    return id
