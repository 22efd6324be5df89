"""``python -m benchmarks.fastpath [parts]``

Prints each target of the fast path with what was found, and keeps all of them in benchmarks/results/fastpath.json
(with parts named: only prints). Ends with status 1 where a gate is missed. Inputs are made, no HAProxy is needed.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from datetime import UTC, datetime
from typing import Any

import orjson
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmarks.fastpath.target import Target
from benchmarks.kept import RESULTS
from benchmarks.scenario.result import machine, versions

PARTS = ("health", "table")
"""Modules, each with `targets()`."""


def table(targets: list[Target]) -> Table:
    rows = Table(
        "operation", title="The fast path: 100,000 servers, 1,000 backends", title_justify="left", box=SIMPLE
    )
    for column in ("found", "gate", "aim"):
        rows.add_column(column, justify="right")
    rows.add_column("")
    rows.add_column("")
    for each in targets:
        sign = "≥ " if each.least else "≤ "
        limits = (sign + each.said(each.gate), sign + each.said(each.aim))
        rows.add_row(each.operation, each.said(each.found), *limits, _verdict(each), each.detail)
    return rows


def _verdict(each: Target) -> str:
    return "[bold red]MISSED[/]" if not each.met else "aim" if each.aimed else "gate"


def document(targets: list[Target], seconds: float) -> dict[str, Any]:
    return {
        "scenario": "fastpath",
        "met": all(each.met for each in targets),
        "error": "",
        "checks": [_check(each) for each in targets],
        "figures": {each.operation: each.detail for each in targets if each.detail},
        "seconds": round(seconds, 1),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "command": ["python", "-m", "benchmarks.fastpath"],
    }


def _check(each: Target) -> dict[str, Any]:
    kind = "at least" if each.least else "at most"
    found = {"what": each.operation, "found": round(each.found, 3), "limit": each.gate, "aim": each.aim}
    return {**found, "kind": kind, "unit": each.unit, "met": each.met, "aimed": each.aimed}


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.fastpath", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; default: all, which are kept")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    begin, console = time.monotonic(), Console()
    modules = [importlib.import_module(f"benchmarks.fastpath.{part}") for part in given.parts or PARTS]
    found = [each for module in modules for each in module.targets()]
    console.print(table(found))
    if not given.parts:
        kept = orjson.dumps(document(found, time.monotonic() - begin), option=orjson.OPT_INDENT_2)
        (RESULTS / "fastpath.json").write_bytes(kept + b"\n")
    return 0 if all(each.met for each in found) else 1


if __name__ == "__main__":
    sys.exit(main())
