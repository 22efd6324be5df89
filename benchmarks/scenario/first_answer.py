"""From "the task runs", as Swarm's Watch says it, to its first answer through the proxy.

One node, no other load, one task per change: half of them new services, half a second replica of each. The client
tries every 2 ms. Nothing is removed meanwhile: to end a task costs the machine more than to start one.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.scenario.clock import Clock, Moments
from benchmarks.scenario.result import Case, Outcome, spread
from benchmarks.scenario.stage import same_worker, stage
from testbed.app import compiled
from testbed.namespace import TestbedError
from testbed.system import System

CLIENT = Path(__file__).with_name("first_client.c")
MEDIAN_MS = 10.0
P99_MS = 30.0


class Asker:
    """The client, in a process of its own (see `first_client.c`)."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self._process = process
        self._url = url

    def ask(self, host: str) -> None:
        self._say(f"ask {self._url} {host}")

    def until(self, instance: str) -> float:
        """Unix seconds of the task's first answer."""
        moment, wrong = self._say(f"until {instance}").split()
        if int(wrong):
            raise TestbedError(f"{wrong} answers were neither 200 nor 503")
        return float(moment)

    def _say(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise TestbedError(f"the client ended at: {line}")
        return answer


@contextmanager
def asker(system: System) -> Iterator[Asker]:
    command = [str(compiled(CLIENT))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = system.swarm.run(None, command, **pipes)
    try:
        yield Asker(process, system.url())
    finally:
        process.kill()
        process.communicate()


def run(case: Case, outcome: Outcome) -> None:
    changes = 5 if case.short else 150
    with stage(case) as system, Clock(system.swarm) as clock, asker(system) as client:
        with same_worker(system, outcome):
            new = [new_service(system, clock, client, i) for i in range(changes)]
            more = [scale_up(system, clock, client, i) for i in range(changes)]
    judge(case, outcome, "new service", new)
    judge(case, outcome, "scale-up", more)
    judge(case, outcome, "both", new + more)
    if not case.short:
        with stage(case, nodes=2) as system, Clock(system.swarm) as clock, asker(system) as client:
            away = ("--constraint=node.role==worker",)
            across = [new_service(system, clock, client, i, *away) for i in range(20)]
        outcome.figures["new service on another node: ms"] = spread(across)


def judge(case: Case, outcome: Outcome, name: str, values: list[float]) -> None:
    outcome.figures[f"{name}: ms"] = spread(values)
    found, behind = spread(values), case.polling * 1000
    outcome.check(f"{name}: median, ms", found["p50"], MEDIAN_MS if not behind else behind + P99_MS)
    outcome.check(f"{name}: 99th percentile, ms", found["p99"], P99_MS + behind)


def new_service(system: System, clock: Clock, client: Asker, number: int, *options: str) -> float:
    """Milliseconds until a service that did not exist before answers."""
    name, host = f"new{number}", f"new{number}.example.org"
    client.ask(host)
    service = system.create(name, host, 1, *options)
    task = clock.wait("the task to run", first(service))
    moment = client.until(task.task)
    return (moment - task.running) * 1000


def scale_up(system: System, clock: Clock, client: Asker, number: int) -> float:
    """Milliseconds until the second replica of a service answers."""
    name = f"new{number}"
    known = {task.task for task in clock.tasks.values()}
    client.ask(f"{name}.example.org")
    system.scale(name, 2)
    task = clock.wait("one more task to run", first(None, known))
    return (client.until(task.task) - task.running) * 1000


def first(service: str | None, known: Collection[str] = ()) -> Callable[[list[Moments]], Moments | None]:
    """A task (of a service) that runs, and is none of those known."""

    def find(tasks: list[Moments]) -> Moments | None:
        fitting = (task for task in tasks if task.running and service in (None, task.service))
        return next((task for task in fitting if task.task not in known), None)

    return find
