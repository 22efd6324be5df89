"""The end of a certificate is told 30, 7 and 1 days ahead, and when it has come."""

from __future__ import annotations

import pytest

from haproxy.expiry import DAY, in_words, next_stage, stage

END = 1_800_000_000.0


@pytest.mark.parametrize(
    ("days", "expected"), [(31, None), (30, 30), (8, 30), (7, 7), (1.01, 7), (1, 1), (0.01, 1), (0, 0), (-9, 0)]
)
def test_the_last_stage_that_has_come(days: float, expected: int | None) -> None:
    assert stage(END, END - days * DAY) == expected


def test_the_next_one_of_any_certificate() -> None:
    assert next_stage([END, END + DAY], END - 40 * DAY) == END - 30 * DAY
    assert next_stage([END, END + DAY], END - 30 * DAY) == END - 29 * DAY
    assert next_stage([END], END - 0.5 * DAY) == END
    assert next_stage([END], END) is None
    assert next_stage([], END) is None


def test_each_stage_comes_exactly_once() -> None:
    now, seen = END - 100 * DAY, []
    while (following := next_stage([END], now)) is not None:
        now = following
        seen.append(stage(END, now))
    assert seen == [30, 7, 1, 0]


def test_words_are_the_same_for_a_whole_stage() -> None:
    assert in_words(0, END) == "expired on 2027-01-15 08:00 UTC"
    assert in_words(1, END) == "expires in less than 1 day, on 2027-01-15 08:00 UTC"
    assert in_words(7, END) == "expires in less than 7 days, on 2027-01-15 08:00 UTC"
