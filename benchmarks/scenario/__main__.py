"""``python -m benchmarks.scenario [names…] [--haproxy 2.6,3.4] [--watch swarmkit,docker] [--short]``

Runs scenarios on every combination asked for, prints what came of each and keeps it in benchmarks/results/.
Ends with status 1 if a limit was missed.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import sys
import time
import traceback
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.scenario.result import AnyCase, Case, Outcome, document, write
from testbed.namespace import TestbedError

SCENARIOS = (
    "scale", "rolling", "single", "first_answer", "last_request", "untouched", "edits", "kill", "reload_baseline",
    "labels", "many_routes", "certificates", "certificate_faults", "fleet", "quiet", "modes",
)  # fmt: skip


def describe(name: str) -> str:
    """The first line of the scenario's documentation."""
    return (importlib.import_module(f"benchmarks.scenario.{name}").__doc__ or "").strip().splitlines()[0]


def run(name: str, case: Case) -> dict[str, Any]:
    """Runs one scenario on one case, and keeps the result. A run that broke off is one that missed."""
    module = importlib.import_module(f"benchmarks.scenario.{name}")
    outcome, error, began = Outcome(), "", time.monotonic()
    try:
        module.run(case, outcome)
    except TestbedError as failure:
        error = str(failure)
        traceback.print_exception(failure)
    result = document(name, case, outcome, time.monotonic() - began, error)
    write(result)
    return result


def show(console: Console, case: AnyCase, result: dict[str, Any]) -> None:
    verdict = "met" if result["met"] else "[bold red]MISSED[/]"
    title = f"{result['scenario']} ({case}): {verdict}, {result['seconds']:.0f} s"
    table = Table(title=title, title_justify="left")
    for column, justify in (("", "left"), ("found", "right"), ("limit", "right"), ("", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for check in result["checks"]:
        mark = "" if check["met"] else "[bold red]missed[/]"
        table.add_row(check["what"], str(check["found"]), str(check["limit"]), mark)
    console.print(table)
    for what, figure in result["figures"].items():
        console.print(f"  {what}: {figure}", highlight=False, soft_wrap=True)
    if result["error"]:
        console.print(f"[bold red]broke off:[/] {result['error']}", soft_wrap=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.scenario", description=__doc__)
    parser.add_argument("names", nargs="*", help="scenarios; default: all")
    parser.add_argument("--haproxy", default="2.6,3.4", help="HAProxy series, default: %(default)s")
    parser.add_argument("--watch", default="swarmkit", help="swarmkit, docker or both; default: %(default)s")
    parser.add_argument("--poll", type=float, default=0.5, help="seconds between polls, watch=docker")
    parser.add_argument("--short", action="store_true", help="fewer repetitions, for tests")
    parser.add_argument("--list", action="store_true", help="name the scenarios and end")
    given = parser.parse_args()
    if unknown := set(given.names) - set(SCENARIOS):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}; --list names them")
    return given


def main() -> int:
    given = arguments()
    if given.list:
        print("\n".join(f"{name:16} {describe(name)}" for name in SCENARIOS))
        return 0
    console, missed = Console(), 0
    for series, watch in itertools.product(given.haproxy.split(","), given.watch.split(",")):
        for name in given.names or SCENARIOS:
            case = Case(series, watch, given.short, given.poll)
            result = run(name, case)
            show(console, case, result)
            missed += not result["met"]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
