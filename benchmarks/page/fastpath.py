"""The fast path's targets: what was found of each, beside its gate and its aim. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.kept import Result
from benchmarks.page.charts import Bars, Chart, shown
from benchmarks.page.results import measured, table

NAME = "fastpath"
"""Of its result."""

LEAD = """\
100,000 servers of 1,000 backends, in one process; what is compared runs by turns, and each figure is the median of
the ratios within a round. `make bench-fastpath` makes them, and ends with status 1 where a gate is missed.
"""


def charts(results: Mapping[str, Result]) -> list[Chart]:
    return [gates(results[NAME])] if NAME in results else []


def gates(result: Result) -> Bars:
    """How far each figure is from its gate, on one scale: 1 is just at it, 2 twice as good."""
    series = {
        "found": [_good(check, check["found"]) for check in result["checks"]],
        "aim": [_good(check, check["aim"]) for check in result["checks"]],
    }
    groups = [_plain(check["what"]) for check in result["checks"]]
    title = "The fast path against its gates: to the right is better"
    return Bars("fastpath", title, "times as good as the gate", groups, series, (1.0, "gate"))


def _good(check: Mapping[str, Any], value: float) -> float | None:
    """None where it would have no end."""
    over, under = (value, check["limit"]) if check["kind"] == "at least" else (check["limit"], value)
    return over / under if under > 0 else None


def _plain(text: str) -> str:
    """Without the marks of code, on two lines where there is a comma."""
    return text.replace("`", "").replace(", ", ",\n", 1) if len(text) > 30 else text.replace("`", "")


def section(results: Mapping[str, Result]) -> str:
    if NAME not in results:
        return "## The fast path\n\nNot measured yet: `make bench-fastpath`.\n"
    result = results[NAME]
    drawn = [shown(chart) for chart in charts(results)]
    return "\n".join(["## The fast path\n", LEAD, *drawn, f"{measured(result)}:\n", _table(result)])


def _table(result: Result) -> str:
    rows = (_row(check, str(result["figures"].get(check["what"], ""))) for check in result["checks"])
    return table(["operation", "found", "gate", "aim", "", "of which"], rows)


def _row(check: Mapping[str, Any], detail: str) -> list[str]:
    found, gate, aim = (f"{check[key]:.3g}{check['unit']}" for key in ("found", "limit", "aim"))
    sign = "≥" if check["kind"] == "at least" else "≤"
    verdict = "**missed**" if not check["met"] else "aim" if check["aimed"] else "gate"
    return [check["what"], found, f"{sign} {gate}", f"{sign} {aim}", verdict, detail]
