"""What core knows about itself and its extensions, for `l7 status` and /status."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Extension:
    """One connected extension. `applied`: the revision in effect there; `unhealthy`: (backend, task, status)."""

    cluster: str
    instance: str
    software: str = ""
    proxy: str = ""
    applied: str = ""
    refused: str = ""
    reason: str = ""
    reloads: int = 0
    drift: int = 0
    held_requests: int = 0
    worker_pid: int = 0
    unhealthy: Mapping[tuple[str, str], str] = field(default_factory=dict)


@dataclass(slots=True)
class Extensions:
    """Every open stream, by a number of its own: an instance that reconnects may have two for a moment."""

    _next: int = 0
    _open: dict[int, Extension] = field(default_factory=dict)

    @contextmanager
    def connected(self, extension: Extension) -> Iterator[int]:
        """Within the block the extension is connected; gives its number."""
        number, self._next = self._next, self._next + 1
        self._open[number] = extension
        try:
            yield number
        finally:
            del self._open[number]

    def update(self, number: int, **changes: Any) -> None:
        """Changes fields of a connected extension."""
        self._open[number] = replace(self._open[number], **changes)

    def __getitem__(self, number: int) -> Extension:
        return self._open[number]

    def __iter__(self) -> Iterator[Extension]:
        return iter(sorted(self._open.values(), key=lambda each: (each.cluster, each.instance)))

    def count(self, cluster: str) -> int:
        """Open streams of a cluster."""
        return sum(each.cluster == cluster for each in self._open.values())


def extension_document(extension: Extension) -> dict[str, Any]:
    """As JSON values."""
    document = asdict(extension)
    document["unhealthy"] = [
        {"backend": backend, "task": task, "status": status}
        for (backend, task), status in sorted(extension.unhealthy.items())
    ]
    return document
