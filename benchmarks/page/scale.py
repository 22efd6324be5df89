"""The system at scale: each scenario with what it claims, its figures by size, and a chart. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.kept import Result
from benchmarks.page.charts import Chart, Lines, shown
from benchmarks.page.results import Known, checks_table, command, figures_table, measured, size, sizes

PREFIX = "scale-"
NOT_YET = "Not measured yet. `make bench-scale` makes this figure.\n"


@dataclass(frozen=True, slots=True)
class Curve:
    """Figures over sizes. `leaves`: name -> where it is among the figures of a size."""

    scenario: str
    name: str
    title: str
    size: str
    unit: str
    leaves: Mapping[str, tuple[str, ...]]
    log: bool = False


CURVES = (
    Curve(
        "scale-events", "event", "One task's event, until the proxy has acknowledged it",
        "tasks in the cluster", "ms",
        {"median": ("ms", "p50"), "99th percentile": ("ms", "p99")},
    ),
)  # fmt: skip


def found(figures: Mapping[str, Any], path: Iterable[str]) -> float | None:
    """The number at this place; None where there is none."""
    here: Any = figures
    for name in path:
        here = here.get(name) if isinstance(here, Mapping) else None
    return float(here) if isinstance(here, int | float) else None


def curve(spec: Curve, results: Iterable[Result]) -> Lines | None:
    """None where nothing was measured at two sizes or more."""
    results = list(results)
    series = {
        _label(leaf, result, len(results) > 1): _points(result, path)
        for result in results
        for leaf, path in spec.leaves.items()
    }
    drawn = {name: points for name, points in series.items() if len(points) > 1}
    return Lines(spec.name, spec.title, spec.size, spec.unit, drawn, spec.log) if drawn else None


def _label(leaf: str, result: Result, several: bool) -> str:
    return f"{leaf}, HAProxy {result['case']['haproxy']}" if several else leaf


def _points(result: Result, path: tuple[str, ...]) -> list[tuple[float, float]]:
    by_size = ((size(name) or 0.0, found(value, path)) for name, value in sizes(result["figures"]).items())
    return sorted((at, value) for at, value in by_size if value is not None and value > 0 and at > 0)


def charts(known: Known) -> list[Chart]:
    drawn = (curve(spec, known.get(spec.scenario, {}).values()) for spec in CURVES)
    return [chart for chart in drawn if chart]


def part(known: Known) -> str:
    """All scenarios, those first that a chart is drawn of."""
    others = (name for name in known if name.startswith(PREFIX))
    names = dict.fromkeys([*(spec.scenario for spec in CURVES), *others])
    sections = (section(name, [*known.get(name, {}).values()]) for name in names)
    return "\n".join(["## At scale\n", *sections])


def section(scenario: str, results: list[Result]) -> str:
    """One scenario: its charts, then each result of it."""
    drawn = (curve(spec, results) for spec in CURVES if spec.scenario == scenario)
    parts = [f"### {scenario.removeprefix(PREFIX)}\n", *(shown(chart) for chart in drawn if chart)]
    parts += [_result(result) for result in results] or [NOT_YET]
    return "\n".join(parts)


def _result(result: Result) -> str:
    of = f"HAProxy {result['case']['haproxy']} ({measured(result)}): `{command(result)}`\n"
    broken = [f"**It broke off**: {result['error']}\n"] if result["error"] else []
    return "\n".join([of, *broken, checks_table(result), figures_table(result["figures"])])
