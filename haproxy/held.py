"""Requests that wait for a successor, as HAProxy counts them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol

from haproxy.model import HOLD
from haproxy.runtime.dumps import StatKind, StatRow
from l7.kit.errors import Rejected

FEW = 4
"""Up to here backends are asked one by one. HAProxy looks through all of them for each question, so of thousands,
one question about all is asked first: who has any request."""


class Asked(Protocol):
    """What is needed of `haproxy.runtime.client.Runtime`."""

    def stat(self, backend: str | None = None, kinds: StatKind = ...) -> tuple[StatRow, ...]: ...


def count_held(runtime: Asked, backends: Collection[str]) -> int:
    """Requests of these physical backends, which have no usable server, that no server has."""
    if len(backends) > FEW:
        busy = {row.backend for row in runtime.stat(None, StatKind.BACKENDS) if row.sessions}
        backends = [each for each in backends if each in busy]
    return sum(_held(runtime, each) for each in backends)


def _held(runtime: Asked, backend: str) -> int:
    try:
        rows = runtime.stat(backend)
    except Rejected:  # deleted meanwhile
        return 0
    whole, servers = (_sessions(rows, kind) for kind in (StatKind.BACKENDS, StatKind.SERVERS))
    return max(0, whole - servers)


def _sessions(rows: Iterable[StatRow], kind: StatKind) -> int:
    """The placeholder has none: who asks it just now waits."""
    return sum(row.sessions for row in rows if row.kind is kind and row.server != HOLD)
