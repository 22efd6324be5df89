"""The compiled diff beside Python written for speed, at the sizes and changes of real clusters.

`tuned` is the baseline to quote: `oracle` is written to be read and is several times slower than it need be.
`tuned` leaves out the type checks that the compiled one makes.

python -m pytest benchmarks/micro/test_diff.py --benchmark-group-by=param:size,param:changed
"""

from __future__ import annotations

from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from l7._fastpath import diff
from tests.unit import fastpath_oracle

Rows = dict[str, tuple[Any, ...]]


def servers(size: int, changed: int) -> tuple[Rows, Rows]:
    """Two states of `size` servers, `changed` of which have another weight. Keys and values are not shared."""

    def state(weight: int) -> Rows:
        return {
            f"backend{n % 100}/task{n}": (f"10.0.{n >> 8}.{n & 255}", 8000, weight if n < changed else 64)
            for n in range(size)
        }

    return state(1), state(64)


def tuned(want: Rows, have: Rows) -> tuple[list[str], list[str], list[str]]:
    """The same in Python, without checks, as one would write it for speed."""
    added = [key for key in want if key not in have]
    changed = [key for key, value in want.items() if key in have and have[key] != value]
    removed = [key for key in have if key not in want]
    return sorted(added), sorted(changed), sorted(removed)


@pytest.mark.parametrize("changed", [0, 10])
@pytest.mark.parametrize("size", [1_000, 10_000])
@pytest.mark.parametrize("implementation", [diff, tuned, fastpath_oracle.diff], ids=["compiled", "tuned", "oracle"])
def test_diff(benchmark: BenchmarkFixture, implementation: Any, size: int, changed: int) -> None:
    want, have = servers(size, changed)
    found = benchmark(implementation, want, have)
    assert tuple(found) == fastpath_oracle.diff(want, have)
    assert len(found[1]) == changed
