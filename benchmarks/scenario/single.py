"""An update of the only replica: start-first has no gap; stop-first has one, through which requests are held."""

from __future__ import annotations

from benchmarks.scenario.clients import RATE, load
from benchmarks.scenario.clock import Clock, Moments
from benchmarks.scenario.result import Case, Outcome
from benchmarks.scenario.stage import HOST, TAIL, same_worker, stage
from testbed.load import Report
from testbed.system import System

MARGIN_MS = 1500.0
"""What a held request may wait longer than there was no task."""


def run(case: Case, outcome: Outcome) -> None:
    with stage(case) as system:
        on(system, outcome, stop_first=1 if case.short else 3)


def on(system: System, outcome: Outcome, stop_first: int) -> None:
    """One update start-first, and then so many stop-first."""
    with Clock(system.swarm) as clock, same_worker(system, outcome):
        service = system.create("single", HOST, 1)
        system.settled("single", 1)
        for version, order in enumerate(["start-first", *["stop-first"] * stop_first], 2):
            report = update(system, order, str(version))
            judge(outcome, f"update {version - 1}, {order}", report, gap_ms(clock.of(service)))
    system.remove("single")
    system.until("it to be gone", lambda: not system.cluster()["backends"])


def update(system: System, order: str, version: str) -> Report:
    """One update under load."""
    with load(system, HOST) as client:
        system.update("single", f"--update-order={order}", f"--env-add=VERSION={version}")
        system.updated("single", version)
        system.settled("single", 1)
        return client.finish(TAIL)


def judge(outcome: Outcome, name: str, report: Report, gap: float) -> None:
    """`gap`: milliseconds without a running task, by Swarm's own word."""
    outcome.load(name, report, RATE)
    outcome.figures[f"{name}: ms without a running task"] = round(gap, 1)
    outcome.check(f"{name}: longest wait, ms", report.max_ms, round(gap + MARGIN_MS, 1))


def gap_ms(tasks: list[Moments]) -> float:
    """Milliseconds between the last two tasks of a service that ran; 0 if they overlapped."""
    old, new = sorted((task for task in tasks if task.running), key=lambda task: task.running)[-2:]
    if not old.ended:
        return 0.0
    return max(0.0, (new.running - old.ended) * 1000)
