"""README, docs/performance.md and its plots say what benchmarks/results/ say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import figures
from benchmarks.figures import BEGIN, END, differing, inserted, wanted
from benchmarks.gates import Gate
from benchmarks.kept import kept
from benchmarks.page import fastpath
from benchmarks.page.charts import Bars, Lines
from benchmarks.page.document import page
from benchmarks.page.results import checks_table, command, figures_table, flat, number, size
from benchmarks.page.specs import Beside, Course, Curve
from benchmarks.page.svg import svg

SPREAD = {"n": 1200, "min": 1.0, "p50": 2.5, "p99": 9.25, "max": 20.0}


def result(**more: Any) -> dict[str, Any]:
    return {
        "scenario": "scale-events",
        "case": {"haproxy": "3.4", "watch": "swarmkit", "short": False},
        "error": "",
        "checks": [{"what": "growth", "found": 1.25, "limit": 1.5, "met": True}],
        "figures": {},
        "when": "2026-11-30T11:21:00+00:00",
        "machine": {"cpus": 2, "cpu": "x", "memory_mb": 4096, "kernel": "6.1", "load": 0.5},
        "versions": {"python": "3.11.2", "docker": "Docker version 20.10.24, build 5", "commit": "8164c86"},
        "command": ["python", "-m", "benchmarks.scale", "events"],
    } | more


def test_all_that_is_made_from_the_results_says_what_they_say() -> None:
    assert differing(wanted()) == [], "run `make figures`"


def test_only_what_is_between_the_marks_is_replaced() -> None:
    assert inserted(f"a\n{BEGIN}\nold\n{END}\nb\n", "new\n") == f"a\n{BEGIN}\nnew\n{END}\nb\n"


def test_a_text_without_marks_is_refused() -> None:
    with pytest.raises(IndexError):
        inserted("nothing", "new")


def test_a_plot_that_is_none_any_more_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "PLOTS", tmp_path)
    (tmp_path / "old.svg").touch()
    figures.write({tmp_path / "new.svg": b"new"})
    assert [path.name for path in tmp_path.iterdir()] == ["new.svg"]


def test_short_runs_are_not_kept(tmp_path: Path) -> None:
    (tmp_path / "a-short.json").write_text('{"case": {"short": true}}')
    (tmp_path / "b.json").write_text("{}")
    assert list(kept(tmp_path)) == ["b"]


@pytest.mark.parametrize(
    "chart",
    [
        Bars("a", "title", "ms", ["one", "two"], {"x": [1.0, None], "y": [0.5, 2.0]}, (1.5, "limit"), log=True),
        Lines("a", "title", "tasks", "ms", {"p50": [(1e3, 1.0), (1e5, 1.2)], "p99": [(1e3, 3.0), (1e5, 4.0)]}),
        Lines("a", "title", "tasks", "ms", {"p50": [(1e3, 1.0), (1e5, 1.2)]}, log=True),
        Lines("a", "title", "looks", "MB", {"core": [(1, 60.0), (2, 61.0)]}, steps=True),
    ],
)
def test_the_same_chart_gives_the_same_bytes(chart: Bars | Lines) -> None:
    first = svg(chart)
    assert first == svg(chart)
    assert b"title" in first
    assert b"<dc:date>" not in first


def test_figures_of_sizes_stand_beside_each_other() -> None:
    found = {"1,000 tasks": {"ms": SPREAD, "MB": 60.5}, "100,000 tasks": {"ms": SPREAD}, "rounds": 3}
    assert figures_table(found).splitlines() == [
        "|  | 1,000 tasks | 100,000 tasks |",
        "| --- | --- | --- |",
        "| ms | 2.5 / 9.25 / 20 (1,200) | 2.5 / 9.25 / 20 (1,200) |",
        "| MB | 60.5 |  |",
        "",
        "|  | found |",
        "| --- | --- |",
        "| rounds | 3 |",
    ]


def test_figures_within_others_are_named_after_both() -> None:
    found = {"a": {"b": {"c": 1}}, "rss": [60.0, 61.0, 62.5]}
    assert list(flat(found)) == [("a: b: c", "1"), ("rss", "60 → 61 → 62.5")]


def test_figures_of_loads_are_one_line() -> None:
    load = {"sent": 1000, "failed": 2, "p50_ms": 1.2, "p99_ms": 30.0, "max_ms": 400.5}
    assert list(flat({"quiet": load})) == [("quiet", "2 of 1,000 failed; 1.2 / 30 / 400.5 ms")]


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (1234567, "1,234,567"), (0.0123, "0.0123"), (398.011, "398.0"), ("a", "a")]
)
def test_numbers_are_short(value: float | str, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(("name", "at"), [("1,000 tasks", 1000.0), ("tasks", None), ("2nd look", None)])
def test_a_size_is_the_number_that_a_name_begins_with(name: str, at: float | None) -> None:
    assert size(name) == at


def test_a_missed_claim_stands_out() -> None:
    missed = result(checks=[{"what": "growth | all", "found": 2, "limit": 1.5, "met": False}])
    assert checks_table(missed).splitlines()[-1] == r"| growth \| all | 2 | 1.5 | **missed** |"


def test_the_command_names_one_scenario_on_one_case() -> None:
    ran = ["python", "-m", "benchmarks.scenario", "kill", "edits", "--haproxy", "2.6,3.4"]
    case = {"haproxy": "2.6", "watch": "docker", "short": False}
    kill = result(scenario="kill", case=case, command=ran)
    assert command(kill) == "python -m benchmarks.scenario kill --haproxy 2.6 --watch docker"
    assert command(result()) == "python -m benchmarks.scale events"
    sizes = {"haproxy": "3.4", "watch": "swarmkit", "services": [1000, 10000], "short": False}
    start = result(scenario="scale-cold-start", case=sizes)
    assert command(start) == "python -m benchmarks.scale cold_start --haproxy 3.4 --services 1000,10000"


def test_a_curve_is_drawn_over_the_sizes_that_were_measured() -> None:
    spec = Curve("events", "event", "title", "tasks", "ms", {"median": ("ms", "p50")})
    by_size = {"100,000 tasks": {"ms": SPREAD}, "1,000 tasks": {"ms": SPREAD | {"p50": 2.0}}, "rounds": 3}
    older = result(case={"haproxy": "2.6", "watch": "swarmkit", "short": False})
    drawn = spec.chart([result(figures=by_size), older])
    assert isinstance(drawn, Lines)
    assert drawn.title == "title (HAProxy 3.4)"
    assert drawn.series == {"median": [(1000.0, 2.0), (100000.0, 2.5)]}
    assert spec.chart([result(figures={"1,000 tasks": {"ms": SPREAD}})]) is None


def test_bars_stand_beside_each_other_for_each_haproxy() -> None:
    groups = {"quiet": ("quiet",), "churn": ("churn",)}
    spec = Beside("traffic", "traffic", "title", "ms", groups, {"p99": ("p99",)})
    older = result(case={"haproxy": "2.6", "watch": "swarmkit", "short": False}, figures={"quiet": {"p99": 2}})
    drawn = spec.chart([older, result(figures={"quiet": {"p99": 3}, "churn": {"p99": 4}})])
    assert isinstance(drawn, Bars)
    assert drawn.groups == ["quiet, HAProxy 2.6", "quiet, HAProxy 3.4", "churn, HAProxy 3.4"]
    assert drawn.series == {"p99": (2.0, 3.0, 4.0)}
    assert spec.chart([result()]) is None


def test_a_course_is_drawn_of_what_was_looked_at_again() -> None:
    spec = Course("churn", "churn", "title", "looks", "MB", {"core": ("core", "MB"), "sidecar": ("sidecar", "MB")})
    drawn = spec.chart([result(figures={"core": {"MB": [60, 61.5]}})])
    assert isinstance(drawn, Lines)
    assert drawn.series == {"core": [(1, 60.0), (2, 61.5)]}
    assert spec.chart([result()]) is None


def target(**more: Any) -> dict[str, Any]:
    return {
        "what": "stat, than split", "found": 70.0, "limit": 35.0, "aim": 65.0, "kind": "at least", "unit": "×",
        "met": True, "aimed": True,
    } | more  # fmt: skip


def test_targets_of_the_fast_path_stand_on_one_scale() -> None:
    scan = target(what="scan", found=8, limit=4, aim=2, kind="at most", met=False, aimed=False)
    found = result(scenario="fastpath", checks=[target(), scan], figures={"scan": "115 B and 22 ns a row"})
    drawn = fastpath.gates(found)
    assert drawn.series == {"found": [2.0, 0.5], "aim": [pytest.approx(65 / 35), 2.0]}
    text = fastpath.section({"fastpath": found})
    assert "| stat, than split | 70× | ≥ 35× | ≥ 65× | aim |  |" in text
    assert "| scan | 8× | ≤ 4× | ≤ 2× | **missed** | 115 B and 22 ns a row |" in text


def test_what_was_not_measured_names_the_command() -> None:
    assert "Not measured yet" in page({}, {})


def test_a_ratio_past_its_gate_stands_out() -> None:
    exceeded = {"scale-events-3.4-swarmkit": result(figures={"ratios": {"growth": 2.0}})}
    gates = {"scale-events-3.4-swarmkit": {"growth": Gate(1.5, "first")}}
    assert "| growth | 2 | 1.5 | **exceeded** |" in page(exceeded, gates)
