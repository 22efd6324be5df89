"""Scale 3 → 30 → 3, three times, under load: no failed request, the same worker, no reload."""

from __future__ import annotations

import time

from benchmarks.scenario.clients import RATE, load
from benchmarks.scenario.result import Case, Outcome, spread
from benchmarks.scenario.stage import HOST, TAIL, same_worker, stage
from testbed.system import System

FEW = 3


def run(case: Case, outcome: Outcome) -> None:
    many, rounds = (12, 1) if case.short else (30, 3)
    outcome.figures["rounds"] = rounds
    with stage(case) as system:
        one(system, outcome, "app", many, rounds)
        # One that exits at once on SIGTERM cuts what is under way there: no proxy can mend that for it.
        one(system, outcome, "app that exits at once", many, 1, {"EXIT_AT_ONCE": "1"})


def one(
    system: System, outcome: Outcome, name: str, many: int, rounds: int, environment: dict[str, str] | None = None
) -> None:
    """Scales one service up and down under load."""
    service = name.replace(" ", "-")
    system.create(service, HOST, FEW, environment=environment)
    system.settled(service, FEW)
    took: dict[int, list[float]] = {FEW: [], many: []}
    with same_worker(system, outcome), load(system, HOST) as client:
        for replicas in [many, FEW] * rounds:
            began = time.monotonic()
            system.scale(service, replicas)
            system.settled(service, replicas)
            took[replicas].append(time.monotonic() - began)
        report = client.finish(TAIL)
    outcome.load(name, report, RATE)
    outcome.figures[f"{name}: seconds to {many} settled"] = spread(took[many])
    outcome.figures[f"{name}: seconds to {FEW} settled"] = spread(took[FEW])
    system.remove(service)
    system.until(f"{service} to be gone", lambda: not system.cluster()["backends"])
