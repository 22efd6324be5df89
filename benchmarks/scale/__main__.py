"""The system at scale: thousands of services, up to 100,000 tasks, on a Swarm in memory.

    python -m benchmarks.scale                      all, HAProxy 3.4
    python -m benchmarks.scale events --haproxy 3.4,2.6 --services 100,10000
    python -m benchmarks.scale --list

Prints each claim with what was found and its limit, and ends with status 1 if one was missed. Results are kept in
benchmarks/results/scale-<name>-….json. Core, sidecar and HAProxy are the product's own, as processes; what stands
in for Swarm, and for applications, is in benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import time
import traceback
from typing import Any

from rich.console import Console

from benchmarks.scale.case import SIZES, TASKS, Case
from benchmarks.scenario.__main__ import show
from benchmarks.scenario.result import Outcome, document, write
from testbed.namespace import TestbedError

SCENARIOS = (
    "cold_start", "events", "replacement", "reconnect", "memory", "churn",
    "audits", "creations", "reloads", "traffic", "haproxy_start",
)  # fmt: skip


def describe(name: str) -> str:
    """The first line of the scenario's documentation."""
    return (importlib.import_module(f"benchmarks.scale.{name}").__doc__ or "").strip().splitlines()[0]


def run(name: str, case: Case) -> dict[str, Any]:
    """Runs one scenario on one case, and keeps the result. A run that broke off is one that missed."""
    module = importlib.import_module(f"benchmarks.scale.{name}")
    outcome, error, began = Outcome(), "", time.monotonic()
    try:
        module.run(case, outcome)
    except TestbedError as failure:
        error = str(failure)
        traceback.print_exception(failure)
    seconds = time.monotonic() - began
    result = document(f"scale-{name.replace('_', '-')}", case, outcome, seconds, error, "benchmarks.scale")
    write(result)
    return result


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.scale", description=__doc__)
    parser.add_argument("names", nargs="*", help="scenarios; default: all")
    parser.add_argument("--haproxy", default="3.4", help="HAProxy series, default: %(default)s")
    sizes = ",".join(map(str, SIZES))
    parser.add_argument("--services", default=sizes, help="sizes, smallest first; default: %(default)s")
    parser.add_argument("--tasks-per-service", type=int, default=TASKS, help="default: %(default)s")
    parser.add_argument("--short", action="store_true", help="fewer repetitions, for a look")
    parser.add_argument("--list", action="store_true", help="name the scenarios and end")
    given = parser.parse_args()
    if unknown := set(given.names) - set(SCENARIOS):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}; --list names them")
    return given


def main() -> int:
    given = arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nothing of a scenario outlives it
    if given.list:
        print("\n".join(f"{name:16} {describe(name)}" for name in SCENARIOS))
        return 0
    console, missed = Console(), 0
    services = tuple(map(int, given.services.split(",")))
    for series in given.haproxy.split(","):
        for name in given.names or SCENARIOS:
            case = Case(series, services, given.tasks_per_service, given.short)
            result = run(name, case)
            show(console, case, result)
            missed += not result["met"]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
