"""Weights from shares: a table, and the facts that the rest relies on."""

from __future__ import annotations

import pytest

from l7.shares import Share, weights


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([(None, 4), (None, 1)], (64, 64)),
        ([(None, 0)], (64,)),
        ([(90, 4), (10, 1)], (256, 114)),
        ([(1, 1), (1, 1)], (256, 256)),
        ([(None, 1), (300, 1)], (85, 256)),
        ([(90, 0), (10, 2)], (256, 256)),
        ([(90, 0), (10, 0)], (256, 28)),
        ([(1, 100), (1000, 1)], (1, 256)),
    ],
)
def test_weights(given: list[tuple[int | None, int]], expected: tuple[int, ...]) -> None:
    assert weights([Share(*each) for each in given]) == expected
