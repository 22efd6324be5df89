"""Who has a part in one look at all proxies, and when the next one is due."""

from __future__ import annotations

import pytest

from haproxy.look import INTERVAL, LONGEST, PATIENCE, Look


def test_most_of_those_that_answered_decide() -> None:
    look = Look(1, [0, 1, 2], 0.0)
    assert look.open
    quorums = []
    for proxy in range(3):
        look.said(proxy, 0.1)
        look.ended(proxy, 0.01)
        quorums.append(look.quorum)
    assert quorums == [1, 2, 2]
    assert not look.open
    assert not look.spoilt


def test_who_is_silent_is_given_up_and_the_others_count() -> None:
    look = Look(1, [0, 1], 10.0)
    look.said(0, 11.0)
    assert look.expire(11.5) == pytest.approx(PATIENCE - 1.5)
    look.ended(0, 0.01)
    look.expire(10.0 + PATIENCE)
    assert not look.open
    assert (look.answered, look.missed) == ({0: 0.01}, {1: "no answer in time"})
    assert not look.spoilt


def test_each_word_is_a_new_patience_but_not_for_ever() -> None:
    look = Look(1, [0], 0.0)
    now = 0.0
    while look.open:
        now += PATIENCE / 2
        look.expire(now)
        if look.open:
            look.said(0, now)
    assert now == LONGEST


@pytest.mark.parametrize("began", [True, False])
def test_an_answer_that_breaks_off_spoils_what_all_have_said(began: bool) -> None:
    look = Look(1, [0, 1], 0.0)
    if began:
        look.said(1, 0.1)
    look.failed(1, "haproxy is gone")
    look.failed(1, "its stream has ended")
    look.said(0, 0.1)
    look.ended(0, 0.01)
    look.failed(0, "its stream has ended")
    assert look.missed == {1: "haproxy is gone"}
    assert look.spoilt == ({1} if began else set())


def test_a_proxy_is_looked_at_for_a_twentieth_of_the_time() -> None:
    look = Look(1, [0, 1], 0.0)
    look.ended(0, 0.001)
    assert look.pause() == INTERVAL
    look.ended(1, 1.0)
    assert look.pause() + 1.0 == 20.0
