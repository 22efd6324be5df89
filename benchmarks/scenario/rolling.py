"""Updates of four replicas, start-first, stop-first and forced, and the drain of a node: no failed request."""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks.scenario.clients import RATE, load
from benchmarks.scenario.result import Case, Outcome
from benchmarks.scenario.stage import HOST, TAIL, same_worker, stage
from testbed.system import System

REPLICAS = 4
STEPS = (
    ("start-first", "--update-order=start-first"),
    ("stop-first", "--update-order=stop-first"),
    ("forced", "--force"),
)


def run(case: Case, outcome: Outcome) -> None:
    with stage(case) as system:
        steps = STEPS[:2] if case.short else STEPS
        roll(system, outcome, "app", {}, steps)
        if not case.short:
            roll(system, outcome, "app that exits at once", {"EXIT_AT_ONCE": "1"}, steps)
    if not case.short:
        with stage(case, nodes=3) as system:
            drain(system, outcome)


def roll(
    system: System, outcome: Outcome, name: str, environment: dict[str, str], steps: Sequence[tuple[str, str]]
) -> None:
    """One service through updates, each with a load of its own."""
    service = name.replace(" ", "-")
    system.create(service, HOST, REPLICAS, environment=environment)
    system.settled(service, REPLICAS)
    with same_worker(system, outcome):
        for version, (step, option) in enumerate(steps, 2):
            with load(system, HOST) as client:
                began = time.monotonic()
                system.update(service, option, f"--env-add=VERSION={version}")
                system.updated(service, str(version))
                system.settled(service, REPLICAS)
                outcome.figures[f"{name}, {step}: seconds"] = round(time.monotonic() - began, 1)
                report = client.finish(TAIL)
            outcome.load(f"{name}, {step}", report, RATE)
    system.remove(service)
    system.until(f"{service} to be gone", lambda: not system.cluster()["backends"])


def drain(system: System, outcome: Outcome) -> None:
    """Empties one of the two nodes on which the application runs, then lets it come back."""
    system.create("app", HOST, REPLICAS, "--constraint=node.role==worker")
    system.settled("app", REPLICAS)
    drained = system.swarm.node(1).name
    with same_worker(system, outcome), load(system, HOST) as client:
        system.cli("node", "update", "--availability=drain", drained)
        system.until("the node to be empty", lambda: not _on(system, drained))
        system.settled("app", REPLICAS)
        system.cli("node", "update", "--availability=active", drained)
        system.update("app", "--force")  # brings tasks back to it
        system.until("tasks on the node", lambda: _on(system, drained))
        system.settled("app", REPLICAS)
        report = client.finish(TAIL)
    outcome.load("node drained, and back", report, RATE)


def _on(system: System, node: str) -> bool:
    return bool(system.cli("node", "ps", "--filter=desired-state=running", "--quiet", node).strip())
