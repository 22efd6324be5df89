"""How HAProxy is asked for requests that wait: seldom, however many backends have no server."""

from __future__ import annotations

from dataclasses import replace

from haproxy.held import FEW, count_held
from haproxy.model import HOLD
from haproxy.runtime.dumps import StatKind, StatRow
from l7.kit.errors import Rejected

BACKEND, SERVER = StatKind.BACKENDS, StatKind.SERVERS


def row(backend: str, kind: StatKind, sessions: int) -> StatRow:
    return StatRow(backend, "" if kind is BACKEND else "s", kind, "", 0, sessions, 0, 0, 0, "", "")


class Proxy:
    """Backends -> sessions of the whole, and of its servers. `asked`: None for all."""

    def __init__(self, **backends: tuple[int, int]) -> None:
        self.backends = backends
        self.asked: list[str | None] = []

    def stat(self, backend: str | None = None, kinds: StatKind = BACKEND | SERVER) -> tuple[StatRow, ...]:
        self.asked.append(backend)
        if backend is None:
            assert kinds is BACKEND
            return tuple(row(name, BACKEND, whole) for name, (whole, _) in self.backends.items())
        if backend not in self.backends:
            raise Rejected("show stat", "no such backend")
        whole, of_servers = self.backends[backend]
        return row(backend, BACKEND, whole), row(backend, SERVER, of_servers)


def test_what_no_server_has_waits() -> None:
    assert count_held(Proxy(a=(5, 2), b=(1, 1)), ["a", "b", "gone"]) == 3


def test_thousands_without_a_server_are_one_question() -> None:
    proxy = Proxy(**{f"b{number}": (0, 0) for number in range(1000)}, busy=(4, 1), other=(9, 0))
    assert count_held(proxy, [*(name for name in proxy.backends if name != "other"), "gone"]) == 3
    assert proxy.asked == [None, "busy"]


def test_a_few_are_asked_one_by_one() -> None:
    proxy = Proxy(**{f"b{number}": (1, 0) for number in range(FEW)})
    assert count_held(proxy, list(proxy.backends)) == FEW
    assert None not in proxy.asked


def test_who_asks_the_placeholder_just_now_waits() -> None:
    """Again and again, for a moment each: one that was missed so was left behind by a reload."""
    hold = replace(row("a", SERVER, 1), server=HOLD)

    class Trying(Proxy):
        def stat(self, backend: str | None = None, kinds: StatKind = BACKEND | SERVER) -> tuple[StatRow, ...]:
            return *super().stat(backend, kinds), hold

    assert count_held(Trying(a=(3, 1)), ["a"]) == 2
