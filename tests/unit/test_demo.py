"""What the demo counts and says, without a Swarm."""

from __future__ import annotations

import pytest

from benchmarks.scenario.clock import Moments
from examples.demo.board import Answering, Board
from examples.demo.screen import plain
from examples.demo.story import Facts, delays, summary
from examples.demo.traffic import account
from testbed.load import Report, Sample

ONE, TWO = "wordpress.1.aaa", "wordpress.2.bbb"


def test_an_account_counts_answers_and_finds_the_first() -> None:
    samples = [
        Sample(10.0, 0.5, 200, ONE, version="1"),
        Sample(10.25, 0.125, 200, ONE, version="1"),
        Sample(10.5, 0.001, 503, failure="status"),
        Sample(10.5, 0.002, 200, TWO, version="2"),
    ]
    known = {TWO}
    found = account(samples, known)
    assert (found["sent"], found["failed"], found["slowest_ms"]) == (4, 1, 500.0)
    assert found["answers"] == [[ONE, "1", 2], [TWO, "2", 1]]
    assert found["first"] == [(ONE, 10.375)], "the end that came first, of tasks not known before"
    assert known == {ONE, TWO}


def entry(sent: int, **answers: int) -> dict[str, object]:
    rows = [[f"wordpress.{slot[1:]}.x", "1", number] for slot, number in answers.items()]
    return {"sent": sent, "failed": 0, "slowest_ms": 1.0, "answers": rows, "first": []}


def test_the_board_forgets_who_has_not_answered_for_a_second() -> None:
    board = Board()
    board.take(entry(3, t1=1, t10=2), now=100.0)
    board.take(entry(4, t1=4), now=100.5)
    assert board.answering() == [Answering("wordpress", 1, "1", 5.0), Answering("wordpress", 10, "1", 2.0)]
    board.take(entry(2, t1=2), now=101.25)
    assert board.answering() == [Answering("wordpress", 1, "1", 6.0)]
    assert board.sent == 9
    assert plain(board, 7.0) == "  [  7 s] 9 requests, 0 failed; answered: wordpress v1 by task 1"


def test_a_delay_is_that_of_a_task_that_came_under_load() -> None:
    before, after, unseen = Moments("aaa", "s"), Moments("bbb", "s"), Moments("ccc", "s")
    before.running, after.running, unseen.running = 9.0, 11.0, 12.0
    assert delays({ONE: 10.5, TWO: 11.25}, [before, after, unseen], since=10.0) == [0.25]


GOOD = Report(sent=10, ok=10, seconds=1.0)


def facts(report: Report = GOOD, workers: tuple[int, ...] = (7, 7), reloads: int = 0) -> Facts:
    return Facts(report, report, report, workers, reloads, [0.01, 0.02, 0.06])


def test_the_summary() -> None:
    said = dict(summary(facts()))
    assert facts().wrong == []
    assert said["HAProxy's worker"] == "pid 7 before, 7 after: the same"
    assert said["task running → first answer"] == "median 20 ms, max 60 ms, of 3 tasks"


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (facts(Report(sent=9, failed=1, by_kind={"reset": 1})), "1 requests failed: {'reset': 1}"),
        (facts(Report(sent=9, stale_keepalive=2)), "2 kept-alive connections ended unasked"),
        (facts(Report()), "no request was sent"),
        (facts(workers=(7, 8)), "HAProxy's worker was replaced"),
        (facts(reloads=1), "HAProxy was reloaded 1 times"),
    ],
)
def test_what_should_not_happen_is_said(bad: Facts, said: str) -> None:
    assert bad.wrong == [said]
