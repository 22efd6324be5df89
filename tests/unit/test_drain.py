"""The rules of draining and holding."""

from __future__ import annotations

import pytest

from haproxy import drain


@pytest.mark.parametrize(
    ("expected", "since", "now", "holds"),
    [
        (True, None, 1000.0, True),
        (True, 100.0, 159.9, True),
        (True, 100.0, 160.0, False),
        (False, None, 1000.0, False),
        (False, 100.0, 100.0, False),
    ],
)
def test_may_hold(expected: bool, since: float | None, now: float, holds: bool) -> None:
    assert drain.may_hold(expected, since, now, 60.0) is holds


def test_refused_keeps_the_time_of_the_first() -> None:
    first = drain.refused(None, 10.0)
    second = drain.refused(first, 20.0)
    assert (first.since, second.since, second.tries) == (10.0, 10.0, 2)
    assert second.waiting(20.1)
    assert not second.waiting(second.next_try)
    assert second.overdue(40.0, 30.0)
    assert not second.overdue(39.9, 30.0)


def test_stop_time_leaves_a_margin() -> None:
    assert drain.stop_time(10.0, 1100) == pytest.approx(11.1 - drain.STOP_MARGIN)
