"""Scale-down under load: how long after Swarm's decision a leaving task still gets new requests."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.scenario.clients import RATE, load
from benchmarks.scenario.clock import Clock
from benchmarks.scenario.result import Case, Outcome, spread
from benchmarks.scenario.stage import HOST, same_worker, stage
from testbed.namespace import TestbedError
from testbed.system import System

LIMIT_MS = 50.0
STAYING = 2


def run(case: Case, outcome: Outcome) -> None:
    leaving, rounds = (3, 1) if case.short else (8, 6)
    found: list[float] = []
    with stage(case) as system, Clock(system.swarm) as clock:
        system.create("app", HOST, STAYING, environment={"LOG_REQUESTS": "1"})
        system.settled("app", STAYING)
        with same_worker(system, outcome), load(system, HOST) as client:
            for _ in range(rounds):
                found += scale_down(system, clock, leaving)
            report = client.finish()
    outcome.load("app", report, RATE)
    outcome.figures["last new request after the decision: ms"] = spread(found)
    outcome.check("tasks that left and were looked at", leaving * rounds - len(found), 0)
    outcome.check("last new request after the decision: ms", round(max(found), 1), LIMIT_MS + case.polling * 1000)


def scale_down(system: System, clock: Clock, leaving: int) -> list[float]:
    """Milliseconds from the decision to the last request, of each task that left; negative: before it."""
    system.scale("app", STAYING + leaving)
    system.settled("app", STAYING + leaving)
    with tempfile.TemporaryDirectory() as directory, ExitStack() as logs:
        files = {
            task["ID"]: logs.enter_context(recorded(system, task, Path(directory))) for task in system.tasks("app")
        }
        system.until("requests everywhere", lambda: all(last_request(file) for file in files.values()))
        system.scale("app", STAYING)
        system.settled("app", STAYING)
        gone = [moments for moments in clock.tasks.values() if moments.leaving and moments.task in files]
        return [(last_request(files[each.task]) - each.leaving) * 1000 for each in gone]


@contextmanager
def recorded(system: System, task: dict[str, Any], directory: Path) -> Iterator[Path]:
    """What a container prints, from now on, in a file: with the container its log goes, too."""
    path = directory / str(task["ID"])
    container = task["Status"]["ContainerStatus"]["ContainerID"]
    command = ["docker", "--host", system.swarm.node(0).url, "logs", "--follow", container]
    with path.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL)
        try:
            yield path
        finally:
            process.kill()
            process.wait()


def last_request(path: Path) -> float:
    """Unix seconds of the last request that a task logged as "<unix ns> <path>"; 0.0: none yet."""
    lines = [line.split() for line in path.read_text().splitlines()]
    times = [int(words[0]) for words in lines if len(words) == 2 and words[0].isdecimal()]
    if any(not (words and (words[0].isdecimal() or words[0] in ("listening", "SIGTERM"))) for words in lines[:-1]):
        raise TestbedError(f"{path.name} printed something else: {lines[:3]}")
    return max(times, default=0) / 1e9
