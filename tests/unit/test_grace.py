"""The time that a proxy has to finish, out of the time that Docker gives it."""

from __future__ import annotations

import pytest

from l7.deploy.grace import stop_grace


@pytest.mark.parametrize(
    ("period", "seconds"), [(0, 0.0), (1, 0.001), (1_000, 0.75), (5_000, 3.75), (10_000, 8.5), (40_000, 38.5)]
)
def test_a_part_is_left_for_the_end(period: int, seconds: float) -> None:
    assert stop_grace(period) == seconds
