"""20 WebSockets and a slow download on one service, through 100 changes to others: none is cut."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.scenario.clients import RATE, load, sessions
from benchmarks.scenario.result import Case, Outcome
from benchmarks.scenario.stage import HOST, same_worker, stage
from testbed.system import System

WEBSOCKETS, DOWNLOADS = 20, 1


def run(case: Case, outcome: Outcome) -> None:
    rounds = 3 if case.short else 20
    with stage(case) as system:
        system.create("calm", "calm.example.org", 2)
        system.create("app", HOST, 2)
        system.settled("calm", 2)
        system.settled("app", 2)
        with same_worker(system, outcome), load(system, HOST) as client:
            with sessions(system, "calm.example.org", WEBSOCKETS, DOWNLOADS) as held:
                changes = sum(1 for _ in change_others(system, rounds))
                report = held.finish()
            served = client.finish()
    outcome.figures["changes"] = changes
    outcome.figures["sessions"] = {"opened": report.opened, "echoes": report.echoes, "bytes": report.received}
    outcome.figures["cut"] = report.reasons
    outcome.check("sessions not opened", WEBSOCKETS + DOWNLOADS - report.opened, 0)
    outcome.check("sessions cut", report.cut, 0)
    outcome.load("app", served, RATE)


def change_others(system: System, rounds: int) -> Iterator[str]:
    """Five changes per round, each in effect before it is given."""
    for i in range(rounds):
        name, changed = f"other{i}", f"changed{i}.example.org"
        system.create(name, f"{name}.example.org")
        system.settled(name, 1)
        yield "service added"
        system.scale("app", 4)
        system.settled("app", 4)
        yield "scaled up"
        system.update(name, f"--label-add=com.docker.lb.hosts={changed}")
        system.until("the new host to be routed", partial(system.is_routed, changed))
        system.converged()
        yield "host changed"
        system.scale("app", 2)
        system.settled("app", 2)
        yield "scaled down"
        system.remove(name)
        system.until("its route to be gone", partial(system.is_routed, changed, False))
        system.converged()
        yield "service removed"
