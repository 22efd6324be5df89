"""What results hold, as rows of tables; whatever scenario they are of. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from benchmarks.kept import Result

Case = tuple[str, str]
"""HAProxy series and source."""
Known = Mapping[str, Mapping[Case, Result]]
"""Scenario -> case -> result."""


def by_case(results: Iterable[Result]) -> dict[str, dict[Case, Result]]:
    known: dict[str, dict[Case, Result]] = {}
    for result in results:
        if case := result.get("case"):
            known.setdefault(result["scenario"], {})[(case["haproxy"], case["watch"])] = result
    return known


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    header = list(header)
    lines = [header, ["---"] * len(header), *map(list, rows)]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def number(value: Any) -> str:
    """Numbers with their digits, thousands apart; all else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or value.is_integer() or abs(value) >= 10_000:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3g}"


def command(result: Result) -> str:
    """What makes it anew: that which made it, without the other scenarios that were named or came along."""
    case, words = result.get("case"), result["command"]
    if case and "benchmarks.scenario" in words:
        source = f" --watch {case['watch']}" if case["watch"] != "swarmkit" else ""
        return f"python -m benchmarks.scenario {result['scenario']} --haproxy {case['haproxy']}{source}"
    if case and "services" in case:
        name = result["scenario"].removeprefix("scale-").replace("-", "_")
        services = ",".join(map(str, case["services"]))
        return f"python -m benchmarks.scale {name} --haproxy {case['haproxy']} --services {services}"
    return shlex.join(words)


def measured(result: Result) -> str:
    """Day, commit, and how busy the machine was."""
    commit = result["versions"]["commit"]
    return f"{result['when'][:10]}, {commit}, load {result['machine']['load']:.1f}"


# ---------------------------------------------------------------- figures of any shape


def flat(figures: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Name and text of each figure; what lies within another is named after both."""
    for name, value in figures.items():
        here = (*path, name)
        if (text := _text(value)) is not None:
            yield ": ".join(here), text
        elif isinstance(value, Mapping):
            yield from flat(value, here)


def _text(value: Any) -> str | None:
    """None for what has parts of its own."""
    if isinstance(value, Mapping):
        return _spread(value) or _load(value)
    if isinstance(value, list):
        return _series(value)
    return number(value)


def _spread(value: Mapping[str, Any]) -> str | None:
    """Of `spread` in benchmarks.scenario.result."""
    if not {"n", "p50", "p99", "max"} <= value.keys():
        return None
    parts = (number(value[key]) for key in ("p50", "p99", "max"))
    return f"{' / '.join(parts)} ({value['n']:,})"


def _load(value: Mapping[str, Any]) -> str | None:
    """Of `load_figures`."""
    if not {"sent", "failed", "p50_ms"} <= value.keys():
        return None
    parts = (number(value[key]) for key in ("p50_ms", "p99_ms", "max_ms"))
    return f"{value['failed']} of {value['sent']:,} failed; {' / '.join(parts)} ms"


def _series(value: list[Any]) -> str | None:
    """First, middle and last of what was looked at again and again; None for a list of other things."""
    if not value or not all(isinstance(each, int | float) for each in value):
        return None
    return " → ".join(number(value[at]) for at in sorted({0, len(value) // 2, len(value) - 1}))


# ---------------------------------------------------------------- sizes


def sizes(figures: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Figures by size: those whose name begins with a number, as `1,000 tasks`, and that have parts."""
    return {name: value for name, value in figures.items() if isinstance(value, Mapping) and size(name) is not None}


def size(name: str) -> float | None:
    """The number that a name begins with."""
    first = name.partition(" ")[0].replace(",", "")
    return float(first) if first.isdecimal() else None


def figures_table(figures: Mapping[str, Any]) -> str:
    """All figures but the ratios: a column per size where there are sizes, else name and value."""
    by_size = sizes(figures)
    rest = [*flat({name: value for name, value in figures.items() if name not in by_size and name != "ratios"})]
    parts = [_by_size(by_size)] if by_size else []
    parts += [table(["", "found"], rest)] if rest else []
    return "\n".join(parts)


def _by_size(by_size: Mapping[str, Mapping[str, Any]]) -> str:
    columns = {name: dict(flat(value)) for name, value in by_size.items()}
    names = dict.fromkeys(name for column in columns.values() for name in column)
    return table(["", *columns], ([name, *(column.get(name, "") for column in columns.values())] for name in names))


def checks_table(result: Result) -> str:
    """What was claimed, found, and the limit."""
    rows = (
        [check["what"], number(check["found"]), limit(check), "" if check["met"] else "**missed**"]
        for check in result["checks"]
    )
    return table(["claim", "found", "limit", ""], rows)


def limit(check: Mapping[str, Any]) -> str:
    """At most, but where the check says otherwise."""
    return f"≥ {number(check['limit'])}" if check.get("kind") == "at least" else number(check["limit"])
