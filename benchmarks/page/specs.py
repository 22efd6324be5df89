"""Where the figures of a result are that a chart is drawn of. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.kept import Result
from benchmarks.page.charts import Bars, Chart, Lines
from benchmarks.page.results import size, sizes

Path = tuple[str, ...]
"""Names, one within the other."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Figures over sizes. `leaves`: name -> where it is among the figures of a size."""

    scenario: str
    name: str
    title: str
    size: str
    unit: str
    leaves: Mapping[str, Path]
    log: bool = False

    def chart(self, results: Iterable[Result]) -> Chart | None:
        """Of the newest HAProxy. None where nothing was measured at two sizes or more."""
        if not (result := newest(results)):
            return None
        series = {name: _points(result, path) for name, path in self.leaves.items()}
        drawn = {name: points for name, points in series.items() if len(points) > 1}
        title = f"{self.title} (HAProxy {result['case']['haproxy']})"
        return Lines(self.name, title, self.size, self.unit, drawn, self.log) if drawn else None


@dataclass(frozen=True, slots=True)
class Beside:
    """Figures beside each other, for each HAProxy. `groups` and `series`: name -> first and second part of where
    each is."""

    scenario: str
    name: str
    title: str
    unit: str
    groups: Mapping[str, Path]
    series: Mapping[str, Path]

    def chart(self, results: Iterable[Result]) -> Chart | None:
        """None where no group has a figure."""
        results = list(results)
        rows = {
            _of(result, group, results): [found(result["figures"], path + leaf) for leaf in self.series.values()]
            for result in results
            for group, path in self.groups.items()
        }
        drawn = {name: row for name, row in rows.items() if any(value is not None for value in row)}
        columns = zip(*drawn.values(), strict=True)
        series = dict(zip(self.series, columns, strict=False))
        return Bars(self.name, self.title, self.unit, list(drawn), series) if drawn else None


@dataclass(frozen=True, slots=True)
class Course:
    """Figures that were looked at again and again. `leaves`: name -> where the list is."""

    scenario: str
    name: str
    title: str
    steps: str
    unit: str
    leaves: Mapping[str, Path]

    def chart(self, results: Iterable[Result]) -> Chart | None:
        """Of the newest HAProxy. None where there is no such list."""
        if not (result := newest(results)):
            return None
        series = {
            name: [*enumerate(map(float, values), 1)]
            for name, path in self.leaves.items()
            if isinstance(values := at(result["figures"], path), list) and len(values) > 1
        }
        title = f"{self.title} (HAProxy {result['case']['haproxy']})"
        return Lines(self.name, title, self.steps, self.unit, series, steps=True) if series else None


Spec = Curve | Beside | Course


def at(figures: Mapping[str, Any], path: Path) -> Any:
    """What is at this place; None where nothing is."""
    here: Any = figures
    for name in path:
        here = here.get(name) if isinstance(here, Mapping) else None
    return here


def found(figures: Mapping[str, Any], path: Path) -> float | None:
    here = at(figures, path)
    return float(here) if isinstance(here, int | float) else None


def newest(results: Iterable[Result]) -> Result | None:
    """That of the newest HAProxy."""
    return max(results, key=_series, default=None)


def _series(result: Result) -> list[int]:
    return [int(part) for part in result["case"]["haproxy"].split(".")]


def _of(result: Result, name: str, results: list[Result]) -> str:
    """With HAProxy's series, where there are several."""
    return name if len(results) == 1 else f"{name}, HAProxy {result['case']['haproxy']}"


def _points(result: Result, path: Path) -> list[tuple[float, float]]:
    by_size = ((size(name) or 0.0, found(value, path)) for name, value in sizes(result["figures"]).items())
    return sorted((size, value) for size, value in by_size if value is not None and value > 0 and size > 0)
