"""What HAProxy refuses of the operator's settings, and what holds instead."""

from __future__ import annotations

from dataclasses import replace

from haproxy.settings import Settings
from haproxy.verdicts import Verdicts

RUNNING = Settings(global_options=("good",))
WISHED = Settings(global_options=("bad",), server_timeout=1)


def test_lines_are_refused_first_and_the_rest_counts() -> None:
    verdicts = Verdicts()
    assert verdicts.allowed(WISHED, RUNNING) == WISHED
    verdicts.refuse(WISHED, RUNNING, "no such word")
    assert verdicts.allowed(WISHED, RUNNING) == replace(WISHED, global_options=("good",))
    (problem,) = verdicts.told()
    assert problem.message.endswith("those of before stay: no such word")


def test_what_is_refused_without_its_lines_is_refused_altogether() -> None:
    verdicts = Verdicts()
    for reason in ("lines", "rest"):
        verdicts.refuse(verdicts.allowed(WISHED, RUNNING), RUNNING, reason)
    assert verdicts.allowed(WISHED, RUNNING) == RUNNING
    assert len(verdicts.told()) == 2


def test_other_settings_are_tried_with_the_lines_of_before() -> None:
    verdicts = Verdicts()
    for reason in ("lines", "rest"):
        verdicts.refuse(verdicts.allowed(WISHED, RUNNING), RUNNING, reason)
    other = replace(WISHED, server_timeout=2)
    verdicts.forget(WISHED)
    assert len(verdicts.told()) == 2
    verdicts.forget(other)
    assert verdicts.allowed(other, RUNNING) == replace(other, global_options=("good",))
    assert len(verdicts.told()) == 1


def test_other_lines_are_tried_anew() -> None:
    verdicts = Verdicts()
    verdicts.refuse(WISHED, RUNNING, "no")
    other = replace(WISHED, global_options=("better",))
    verdicts.forget(other)
    assert verdicts.allowed(other, RUNNING) == other
    assert verdicts.told() == []


def test_without_lines_it_is_all_or_nothing() -> None:
    verdicts, wished = Verdicts(), Settings(server_timeout=1)
    verdicts.refuse(wished, Settings(), "no")
    assert verdicts.allowed(wished, Settings()) == Settings()
    verdicts.forget(replace(wished, client_timeout=2))
    assert verdicts.told() == []
