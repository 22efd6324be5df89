"""Table's operations one by one, at two sizes.

python -m pytest benchmarks/micro/test_table.py --benchmark-group-by=func
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.fastpath.table import converged, drain, shown, wire
from l7._fastpath import Table

SIZES = pytest.mark.parametrize("size", [1_000, 100_000])


def backends(size: int) -> int:
    return size // 100


@SIZES
@pytest.mark.parametrize("changed", [0, 1], ids=["same", "1 in 100"])
def test_ingest(benchmark: BenchmarkFixture, size: int, changed: int) -> None:
    table = Table()
    states = cycle([wire(size, backends(size)), wire(size, backends(size), changed * size // 100)])
    table.ingest(next(states))
    benchmark(lambda: table.ingest(next(states)))
    assert len(table) == size


@SIZES
def test_ingest_into_nothing(benchmark: BenchmarkFixture, size: int) -> None:
    state = wire(size, backends(size))
    assert len(benchmark(lambda: Table().ingest(state))) == backends(size)


@SIZES
def test_one_event_and_its_command(benchmark: BenchmarkFixture, size: int) -> None:
    table = converged(size, backends(size))
    backend, (server, id, address, port, *_) = middle(table)
    weights = cycle([1, 2])

    def event() -> int:
        table.upsert(backend, server, id, address, port, next(weights), 2)
        return drain(table)

    assert benchmark(event) == 1


@SIZES
def test_audit(benchmark: BenchmarkFixture, size: int) -> None:
    table = converged(size, backends(size))
    chunks = list(cut(shown(size, backends(size))))

    def audit() -> list[tuple[str, int]]:
        for chunk in chunks:
            table.feed(chunk)
        return table.end()

    audit()
    assert benchmark(audit) == []


@SIZES
def test_digests_after_one_event(benchmark: BenchmarkFixture, size: int) -> None:
    table = converged(size, backends(size))
    backend, (server, id, address, port, *_) = middle(table)
    weights = cycle([1, 2])

    def event() -> int:
        table.upsert(backend, server, id, address, port, next(weights), 2)
        return len(table.digests())

    assert benchmark(event) == backends(size)


def middle(table: Table) -> tuple[str, tuple[str, int, str, int, int, int, int, int]]:
    """A backend, and one of its servers."""
    backend = sorted(table.digests())[3]
    return backend, table.servers(backend)[50]


def cut(text: bytes, size: int = 65_536) -> Iterator[bytes]:
    return (text[at : at + size] for at in range(0, len(text), size))
