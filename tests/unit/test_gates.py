"""Gates of ratios: recorded once, held from then on."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import gates
from benchmarks.gates import Gate, GateError, gone, judge, parse, record, render
from benchmarks.kept import kept
from benchmarks.scenario.result import Outcome

GROWTH = "p99, 100,000 tasks / 1,000"


def result(found: float, error: str = "", figure: str = GROWTH) -> dict[str, Any]:
    outcome = Outcome()
    outcome.ratio(figure, found)
    return {
        "figures": outcome.figures,
        "error": error,
        "when": "2026-11-30T11:21:00+00:00",
        "versions": {"commit": "8164c86"},
    }


def test_a_ratio_without_a_gate_gets_one_with_a_margin() -> None:
    recorded = record({}, {"event-3.4-swarmkit": result(1.2)})
    assert recorded == {"event-3.4-swarmkit": {GROWTH: Gate(1.8, "1.2 × 1.5, 2026-11-30, 8164c86")}}


def test_a_gate_is_written_with_three_digits() -> None:
    recorded = record({}, {"memory": result(13271.04)})
    assert recorded["memory"][GROWTH] == Gate(19900, "13300 × 1.5, 2026-11-30, 8164c86")


def test_a_gate_that_is_there_stays_whatever_is_found_now() -> None:
    there = {"event": {GROWTH: Gate(1.8, "first")}, "audit": {"cost": Gate(2, "first")}}
    assert record(there, {"event": result(9.0)}) == there


def test_a_run_that_broke_off_sets_no_gate() -> None:
    assert record({}, {"event": result(1.2, error="no Swarm")}) == {}


@pytest.mark.parametrize(("found", "met"), [(1.8, True), (1.801, False)])
def test_a_gate_is_a_limit_at_most(found: float, met: bool) -> None:
    (verdict,) = judge({"event": {GROWTH: Gate(1.8, "first")}}, {"event": result(found)})
    assert verdict.met is met


def test_a_ratio_without_a_gate_is_told_and_met() -> None:
    (verdict,) = judge({}, {"event": result(1.2)})
    assert (verdict.limit, verdict.met) == (None, True)


def test_a_gate_whose_figure_is_no_more_is_named() -> None:
    there = {"event": {GROWTH: Gate(1.8, "first")}, "audit": {"cost": Gate(2, "first")}}
    assert gone(there, {"event": result(1.0, figure="another")}) == [("audit", "cost"), ("event", GROWTH)]


def test_what_is_written_is_read_back() -> None:
    there = {'a "quoted" name': {"µs × \\ \x7f": Gate(1.25, 'of "then"')}, "event": {GROWTH: Gate(3, "first")}}
    assert parse(render(there)) == there


@pytest.mark.parametrize(
    "text",
    ["[event", "event = 3", '[event]\n"growth" = 3', '[event]\n"growth" = { limit = "much", from = "me" }'],
)
def test_a_file_that_is_wrong_says_so(text: str) -> None:
    with pytest.raises(GateError, match=r"gates\.toml"):
        parse(text)


def test_the_gates_that_are_kept_can_be_read_and_are_written_the_same() -> None:
    assert render(gates.read()) == gates.FILE.read_text()


def test_every_ratio_of_a_whole_run_has_a_gate() -> None:
    kept_gates = gates.read()
    assert record(kept_gates, kept()) == kept_gates, "run `make figures`"
