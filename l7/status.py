"""What core knows about itself and its extensions, for `l7 status` and /status."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from l7.model import Backend, Server, ServerState, Snapshot


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


def servers_by_state(snapshot: Snapshot) -> dict[str, int]:
    """Number of servers of a cluster, by state in lower case; every state is named."""
    counts = {state.name.lower(): 0 for state in ServerState}
    for backend in snapshot.backends.values():
        for state, number in backend_states(backend).items():
            counts[state] += number
    return counts


def backend_states(backend: Backend) -> dict[str, int]:
    """Number of servers of a backend, by state in lower case; only states that occur."""
    return dict(Counter(server.state.name.lower() for server in backend.servers.values()))


def cluster_document(snapshot: Snapshot) -> dict[str, Any]:
    """A service cluster as JSON values: revision, routes, backends with their servers."""
    return {
        "name": snapshot.cluster,
        "revision": snapshot.revision,
        "routes": [asdict(route) for _, route in sorted(snapshot.routes.items())],
        "backends": [_backend_document(backend) for _, backend in sorted(snapshot.backends.items())],
    }


_SERVER = tuple(each.name for each in fields(Server))


def _backend_document(backend: Backend) -> dict[str, Any]:
    return {
        "name": backend.name,
        "services": list(backend.settings.services),
        "expected": backend.settings.expected,
        "states": backend_states(backend),
        "servers": [_server_document(server) for _, server in sorted(backend.servers.items())],
    }


def _server_document(server: Server) -> dict[str, Any]:
    # Not `asdict`, which copies deeply: of 100,000 servers that would hold up all streams for seconds.
    document = {name: getattr(server, name) for name in _SERVER}
    return document | {"state": server.state.name.lower()}


def extension_document(extension: Extension) -> dict[str, Any]:
    """As JSON values."""
    document = asdict(extension)
    document["unhealthy"] = [
        {"backend": backend, "task": task, "status": status}
        for (backend, task), status in sorted(extension.unhealthy.items())
    ]
    return document
