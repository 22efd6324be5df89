"""What Swarm took back, and when it is tried again."""

from __future__ import annotations

from random import Random

import pytest

from l7.deploy.existing import Existing
from l7.deploy.rollbacks import AGAIN, Rollbacks

GOOD, BAD = "good", "bad"


def service(update: str = "rollback_completed") -> Existing:
    return Existing("id", 1, {"Name": "proxy"}, update)


@pytest.fixture
def rollbacks() -> Rollbacks:
    return Rollbacks(Random(1))


def test_what_nobody_tried_was_not_taken_back(rollbacks: Rollbacks) -> None:
    assert not rollbacks.note(service(), GOOD, 0, again=True)
    assert rollbacks.standing(0) == {}


@pytest.mark.parametrize(("update", "now"), [("updating", GOOD), ("completed", BAD), ("rollback_completed", BAD)])
def test_what_goes_on_or_is_done_was_not_taken_back(rollbacks: Rollbacks, update: str, now: str) -> None:
    rollbacks.tried("proxy", BAD)
    assert not rollbacks.note(service(update), now, 0, again=True)


def test_what_was_taken_back_is_news_once_and_stands_for_ever(rollbacks: Rollbacks) -> None:
    rollbacks.tried("proxy", BAD)
    assert rollbacks.note(service(), GOOD, 0, again=False)
    assert not rollbacks.note(service(), GOOD, 1, again=False)
    assert rollbacks.standing(1e9) == {"proxy": BAD}
    assert not list(rollbacks.pauses(0))


def test_a_roll_is_tried_again_with_growing_pauses(rollbacks: Rollbacks) -> None:
    now, pauses = 0.0, []
    for _ in range(8):
        rollbacks.tried("proxy", BAD)
        assert rollbacks.note(service(), GOOD, now, again=True)
        assert rollbacks.standing(now) == {"proxy": BAD}
        (pause,) = rollbacks.pauses(now)
        now += pause
        assert list(rollbacks.pauses(now)) == [0.0], "as nobody has looked since"
        pauses.append(pause)
        assert rollbacks.standing(now) == {}
        assert not list(rollbacks.pauses(now))
        assert not rollbacks.note(service(), GOOD, now, again=True), "not tried meanwhile"
    assert AGAIN.first / 2 <= pauses[0] <= AGAIN.first
    assert AGAIN.limit / 2 <= pauses[-1] <= AGAIN.limit


def test_another_roll_has_pauses_of_its_own(rollbacks: Rollbacks) -> None:
    for digest in (BAD, BAD, BAD, "worse"):
        rollbacks.tried("proxy", digest)
        assert rollbacks.note(service(), GOOD, 0, again=True)
    assert next(iter(rollbacks.pauses(0))) <= AGAIN.first
    assert rollbacks.standing(0) == {"proxy": "worse"}
