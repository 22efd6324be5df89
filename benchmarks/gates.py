"""Limits of ratios in benchmarks/results/ that nobody has set: the first honest run sets them, with a margin.

    python -m benchmarks.gates [--record]

Prints each ratio with its limit, and ends with status 1 where one is past it; `--record` adds limits to gates.toml
for ratios that have none (as `make figures` does); those that are there stay as they are, whatever is found now.

A ratio is of two figures of one run (`Outcome.ratio`), less being better. Absolute times get no limit: they say
more of the machine than of l7. An honest run is whole (not short) and did not break off.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmarks.kept import RESULTS, Result, kept

FILE = RESULTS.parent / "gates.toml"
MARGIN = 1.5
HEADER = """\
# Limits of ratios in results/, by result and figure. `python -m benchmarks.gates --record` adds the missing ones,
# from what was found in the run that `from` names; held by `make bench-compare`. For another, take it out first.
"""


class GateError(Exception):
    """gates.toml can't be read: says where, and what is expected."""


@dataclass(frozen=True, slots=True)
class Gate:
    """`limit`: at most; `origin`: the run and the value that it comes from."""

    limit: float
    origin: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """A ratio of a result against its gate; `limit` is None while it has none."""

    result: str
    figure: str
    found: float
    limit: float | None

    @property
    def met(self) -> bool:
        return self.limit is None or self.found <= self.limit


Gates = dict[str, dict[str, Gate]]


def parse(text: str) -> Gates:
    """Result -> figure -> gate. Raises GateError."""
    try:
        document = tomllib.loads(text)
        return {
            result: {figure: _gate(result, figure, value) for figure, value in figures.items()}
            for result, figures in document.items()
        }
    except (tomllib.TOMLDecodeError, AttributeError) as error:
        raise GateError(f"gates.toml: {error}") from error


def _gate(result: str, figure: str, value: Any) -> Gate:
    try:
        return Gate(float(value["limit"]), str(value["from"]))
    except (TypeError, KeyError, ValueError) as error:
        expected = '{ limit = 1.5, from = "where it comes from" }'
        raise GateError(f"gates.toml: [{result}] {figure}: not of the form {expected}: {error!r}") from error


def render(gates: Mapping[str, Mapping[str, Gate]]) -> str:
    """The file, in order of names: what `parse` reads back."""
    parts = [HEADER]
    for result in sorted(gates):
        lines = [f"{_text(figure)} = {_value(gates[result][figure])}\n" for figure in sorted(gates[result])]
        parts.append(f"\n[{_text(result)}]\n{''.join(lines)}")
    return "".join(parts)


def _value(gate: Gate) -> str:
    return f"{{ limit = {gate.limit:g}, from = {_text(gate.origin)} }}"


def _text(words: str) -> str:
    """As a basic string of TOML, which JSON's strings are but for DEL."""
    return json.dumps(words, ensure_ascii=False).replace("\x7f", "\\u007f")


def ratios(result: Result) -> dict[str, float]:
    found: dict[str, float] = result["figures"].get("ratios", {})
    return found


def honest(result: Result) -> bool:
    return not result.get("error") and not result.get("case", {}).get("short", False)


def judge(gates: Gates, results: Mapping[str, Result]) -> list[Verdict]:
    """Every ratio of the results, in order of results and as they have them."""
    return [
        Verdict(name, figure, found, gate.limit if (gate := gates.get(name, {}).get(figure)) else None)
        for name, result in results.items()
        for figure, found in ratios(result).items()
    ]


def gone(gates: Gates, results: Mapping[str, Result]) -> list[tuple[str, str]]:
    """Result and figure of gates that no result has any more: a figure that was given up, or another name."""
    return [
        (name, figure)
        for name in sorted(gates)
        for figure in sorted(gates[name].keys() - ratios(results.get(name, {"figures": {}})).keys())
    ]


def record(gates: Gates, results: Mapping[str, Result]) -> Gates:
    """The gates, and one for each ratio of an honest run that has none."""
    added = {name: _first_gates(result) for name, result in results.items() if honest(result)}
    both = {name: added.get(name, {}) | gates.get(name, {}) for name in added | gates}
    return {name: figures for name, figures in both.items() if figures}


def _first_gates(result: Result) -> dict[str, Gate]:
    return {figure: first_gate(result, found) for figure, found in ratios(result).items()}


def first_gate(result: Result, found: float) -> Gate:
    """The margin above what was found, to three digits."""
    origin = f"{_three(found):g} × {MARGIN:g}, {result['when'][:10]}, {result['versions']['commit']}"
    return Gate(_three(found * MARGIN), origin)


def _three(value: float) -> float:
    return float(f"{value:.3g}")


def table(verdicts: list[Verdict]) -> Table:
    """One row per ratio, for the terminal."""
    rows = Table("result", "ratio", title="Ratios of results and their gates", title_justify="left", box=SIMPLE)
    for column in ("found", "limit"):
        rows.add_column(column, justify="right")
    rows.add_column("verdict")
    for each in verdicts:
        limit = "" if each.limit is None else f"{each.limit:g}"
        rows.add_row(each.result, each.figure, f"{each.found:.3g}", limit, _verdict(each))
    return rows


def _verdict(each: Verdict) -> str:
    if each.limit is None:
        return "no gate yet"
    return "ok" if each.met else "[bold red]EXCEEDED[/]"


def read(file: Path = FILE) -> Gates:
    return parse(file.read_text()) if file.exists() else {}


def show(console: Console, gates: Gates, results: Mapping[str, Result]) -> bool:
    """Prints all of it; whether every gate holds."""
    verdicts = judge(gates, results)
    console.print(table(verdicts) if verdicts else "No result has a ratio.")
    for name, figure in gone(gates, results):
        console.print(f"gone: {name}: {figure}", highlight=False)
    if any(each.limit is None for each in verdicts):
        console.print("`python -m benchmarks.gates --record` gives a gate to those without.")
    return all(each.met for each in verdicts)


def main(arguments: list[str]) -> int:
    results = kept()
    try:
        gates = read()
    except GateError as error:
        print(error, file=sys.stderr)
        return 2
    if "--record" in arguments:
        FILE.write_text(render(record(gates, results)))
        return 0
    return 0 if show(Console(), gates, results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
