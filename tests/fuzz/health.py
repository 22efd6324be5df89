"""Health by chance: whatever the processes say, both say the same of it."""

from __future__ import annotations

from random import Random
from typing import Any

from l7 import _fastpath
from l7.fastpath_pure.health import Health as Plain
from l7.fastpath_pure.health_rows import GONE
from tests.fuzz.dumps import PROCESSES, Piece, look, steady

LEVELS = {0: "plain C", 1: "SSE2", 2: "AVX2"}


def told(health: Any, pieces: list[Piece], quorum: int) -> Any:
    """All that can be asked after a look."""
    health.begin()
    for process, chunk in pieces:
        health.feed(process, chunk)
    changes = health.end(quorum)
    totals = [health.server(backend, server) for backend, server, _, now in changes if now != GONE]
    return changes, totals, health.counts(), health.unknown(), health.backends()


def agree(looks: list[list[Piece]], quorum: int = 1, processes: int = PROCESSES) -> None:
    """At each level of scanning that this machine has."""
    plain = Plain(processes)
    expected = [told(plain, pieces, quorum) for pieces in looks]
    for level, name in LEVELS.items():
        _fastpath.scan_level(level)
        compiled = _fastpath.Health(processes)
        assert [told(compiled, pieces, quorum) for pieces in looks] == expected, name


def run(seed: int) -> None:
    random = Random(seed)
    agree([look(random) for _ in range(random.randint(1, 4))], random.randint(1, 3))
    agree(steady(random))
