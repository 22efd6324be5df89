"""Tests that run at the same time (`tests.e2e.together`)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack

import pytest

from tests.e2e.together import Case, parameters, together


def meets(barrier: threading.Barrier) -> None:
    barrier.wait(timeout=10)


@pytest.mark.acceptance(7)
@pytest.mark.timeout(300)
def fails(barrier: threading.Barrier, word: str) -> None:
    barrier.wait(timeout=10)
    raise AssertionError(word)


def exits(barrier: threading.Barrier) -> None:
    barrier.wait(timeout=10)
    pytest.fail("on purpose")


def test_they_run_at_once_and_each_is_told_apart() -> None:
    barrier, before = threading.Barrier(3), threading.active_count()
    closed: list[str] = []

    def given(name: str, stack: ExitStack) -> Mapping[str, Callable[[], object]]:
        stack.callback(lambda: closed.append(f"{name}, {threading.active_count() - before} run"))
        return {"barrier": lambda: barrier, "other": lambda: closed.append("made for nobody")}

    failures = together([Case(meets), Case(fails, (("word", "said"),), "[1]"), Case(exits)], given)
    assert failures["meets"] is None
    assert str(failures["fails[1]"]) == "said"
    assert isinstance(failures["exits"], pytest.fail.Exception)
    assert sorted(closed) == ["exits, 0 run", "fails[1], 0 run", "meets, 0 run"]


def test_of_its_marks_a_test_keeps_what_it_shows() -> None:
    one, two = parameters([Case(fails), Case(meets)])
    assert (one.id, [mark.args for mark in one.marks]) == ("fails", [(7,)])
    assert (two.id, list(two.marks)) == ("meets", [])


def test_nothing_to_run() -> None:
    assert together([], lambda name, stack: {}) == {}
