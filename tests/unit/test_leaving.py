"""What is under way in a proxy that leaves, out of HAProxy's own counters."""

from __future__ import annotations

import dataclasses

from haproxy.leaving import Activity, activity
from haproxy.names import COMPRESSOR, HOP, HTTP, TCP, TERMINATE, TLS
from haproxy.runtime.dumps import StatKind, StatRow

NOTHING = StatRow(
    backend="", server="", kind=StatKind.BACKENDS, status="UP", queued=0, sessions=0, sessions_total=0, retries=0,
    redispatches=0, check_status="", last_check="",
)  # fmt: skip


def row(kind: StatKind, name: str, sessions: int, total: int = 0) -> StatRow:
    return dataclasses.replace(NOTHING, kind=kind, backend=name, sessions=sessions, sessions_total=total)


def test_clients_are_counted_where_they_come_in_and_requests_where_they_go_to_tasks() -> None:
    rows = [
        row(StatKind.FRONTENDS, HTTP, 5),
        row(StatKind.FRONTENDS, TLS, 2),
        row(StatKind.FRONTENDS, TCP, 1),
        row(StatKind.FRONTENDS, COMPRESSOR, 9),
        row(StatKind.BACKENDS, "web", 1, 10),
        row(StatKind.BACKENDS, "shop", 2, 7),
        row(StatKind.BACKENDS, TERMINATE, 2, 30),
        row(StatKind.BACKENDS, HOP, 9, 40),
        row(StatKind.SERVERS, "web", 1, 10),
    ]
    assert activity(rows) == Activity(clients=8, busy=3, begun=17)


def test_nobody_is_nothing() -> None:
    assert activity([]) == Activity(0, 0, 0)
