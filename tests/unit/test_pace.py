"""When a state is published."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from haproxy.pace import LONGEST, SERVERS, SETTLE, SHARE, Pace


def test_nothing_changed_nothing_due() -> None:
    assert Pace().due() is None


def test_a_change_of_the_configuration_is_published_when_no_other_follows() -> None:
    pace = Pace()
    pace.changed(10.0, True)
    assert pace.due() == 10.0 + SETTLE
    pace.changed(10.5, True)
    assert pace.due() == 10.5 + SETTLE


def test_while_others_follow_it_waits_only_so_long() -> None:
    pace = Pace()
    for tenth in range(100):
        pace.changed(10 + tenth / 10, True)
    assert pace.due() == 10 + LONGEST


def test_servers_alone_are_published_once_in_a_while() -> None:
    pace = Pace()
    pace.changed(10.0, False)
    assert pace.due() == float("-inf"), "nothing was published before"
    pace.begun()
    pace.ended(11.0, 0.1)
    assert pace.due() is None
    pace.changed(12.0, False)
    assert pace.due() == 11.0 + SERVERS
    pace.changed(13.0, True)
    assert pace.due() == 13.0 + SETTLE


def test_what_takes_long_is_done_seldom() -> None:
    pace = Pace()
    pace.begun()
    pace.ended(100.0, 8.0)
    pace.changed(101.0, True)
    assert pace.due() == 100.0 + SHARE * 8.0


@given(st.lists(st.tuples(st.floats(0.01, 3.0), st.booleans()), max_size=400))
def test_however_it_changes_there_is_at_most_one_publication_a_second_and_none_is_lost(
    changes: list[tuple[float, bool]],
) -> None:
    pace, now, times = Pace(), 0.0, list[float]()
    unpublished: float | None = None
    for pause, configuration in changes:
        while (due := pace.due()) is not None and due <= now + pause:
            at = max(due, now)
            times.append(at)
            pace.begun()
            pace.ended(at, 0.0)
            unpublished = None
        now += pause
        pace.changed(now, configuration)
        if configuration and unpublished is None:
            unpublished = now
        assert unpublished is None or now - unpublished <= LONGEST + 3.0
    assert all(later - earlier >= SETTLE - 1e-9 for earlier, later in pairwise(times))
    assert (pace.due() is None) == (not changes)
