"""Two series of runs beside each other: ratios of what was measured in pairs. Pure.

A run is name -> cost, less being better: seconds, but for the fast path's targets, which are ratios. The
machine is faster and slower by turns, so a run of base is compared with the run of head right after it, and
of the ratios of all pairs the median counts. pytest-benchmark measures; its own `compare` takes whole runs
one by one, and knows no pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from statistics import median
from typing import Any

Run = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Row:
    """One benchmark: its costs (medians), and the median of the paired ratios; None where it was not run."""

    name: str
    base: float | None
    head: float | None
    ratio: float | None
    limit: float
    unit: str = "s"

    @property
    def verdict(self) -> str:
        """new, gone, slower (past the limit), faster (by as much), or ok."""
        if self.ratio is None:
            return "new" if self.base is None else "gone"
        if self.ratio > self.limit:
            return "slower"
        return "faster" if self.ratio < 1 / self.limit else "ok"


def rows(base: Sequence[Run], head: Sequence[Run], limit: float, unit: str = "s") -> list[Row]:
    """A row per benchmark, in the order of head's, then what is gone. Runs of the same place are pairs."""
    names = dict.fromkeys([*_names(head), *_names(base)])
    return [replace(_row(name, base, head, limit), unit=unit) for name in names]


def _names(runs: Iterable[Run]) -> Iterable[str]:
    return (name for run in runs for name in run)


def _row(name: str, base: Sequence[Run], head: Sequence[Run], limit: float) -> Row:
    pairs = [
        after[name] / before[name]
        for before, after in zip(base, head, strict=True)
        if name in before and name in after
    ]
    return Row(name, _median(name, base), _median(name, head), median(pairs) if pairs else None, limit)


def _median(name: str, runs: Sequence[Run]) -> float | None:
    found = [run[name] for run in runs if name in run]
    return median(found) if found else None


def medians(document: Mapping[str, Any]) -> dict[str, float]:
    """What pytest-benchmark's JSON says: `file::test[parameters]`, without their `test_` -> median, in seconds."""
    return {_named(each["fullname"]): each["stats"]["median"] for each in document["benchmarks"]}


def _named(fullname: str) -> str:
    """As pytest's -k finds it, but short enough for a row in a terminal."""
    file, _, test = fullname.partition("::")
    return f"{PurePath(file).stem.removeprefix('test_')}::{test.removeprefix('test_')}"


def targets(document: Mapping[str, Any]) -> dict[str, float]:
    """What the fast path's result says: operation -> cost in whatever it is measured in.

    One that is to be large (so many times as fast as Python) is turned over: the part of the time that is left.
    """
    return {
        f"fastpath::{check['what']}": 1 / check["found"] if check["kind"] == "at least" else check["found"]
        for check in document["checks"]
        if check["found"] > 0
    }


def shown(cost: float | None, unit: str = "s") -> str:
    """With three digits, and seconds with their unit; empty where there is none."""
    if cost is None:
        return ""
    if unit != "s":
        return f"{cost:.3g}{unit}"
    for name, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if cost >= size:
            return f"{cost / size:.3g} {name}"
    return f"{cost / 1e-9:.3g} ns"
