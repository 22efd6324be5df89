"""Scaling and rolling updates with HAProxy live, HAProxy in file mode and NGINX, side by side.

Each cluster has two proxies, on two nodes at the same port. Clients know both addresses, and turn to the other one
where a connection is refused. Clusters are on one Swarm with one core, and are measured one after the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from benchmarks.scenario.clients import load, sessions
from benchmarks.scenario.clock import Clock, Moments
from benchmarks.scenario.clusters import LIVE, MODES, Clusters, Mode, clusters
from benchmarks.scenario.result import Case, Outcome, load_figures
from benchmarks.scenario.stage import HOST, TAIL
from benchmarks.scenario.watched import Seen, watched
from testbed.load import Report
from testbed.sessions import SessionReport

RATE = 100.0
FEW, MANY = 3, 30
WEBSOCKETS = 3
"""Through each proxy."""
WITHIN = 300.0
"""Seconds for any change; more is a fault."""
OTHER = "other.example.org"
Figures = dict[str, Any]


def run(case: Case, outcome: Outcome) -> None:
    with clusters(case) as system:
        for mode in MODES:
            figures = outcome.figures.setdefault(mode.title, {})
            for name, found in changes(system, mode, 10 if case.short else MANY):
                figures[name] = found
                judge(outcome, mode, name, found)
            figures["config objects at the end"] = system.stored(mode)


def judge(outcome: Outcome, mode: Mode, name: str, found: Figures) -> None:
    """What is promised of a change in this mode."""
    what, report = f"{mode.title}: {name}", found["load"]
    short = max(0.0, RATE - report["sent"] / max(report["seconds"], 0.001))
    outcome.check(f"{what}: requests per second short of {RATE:g}", round(short, 1), RATE / 100)
    if mode is LIVE:
        outcome.check(f"{what}: failed requests", report["failed"], 0)
        outcome.check(f"{what}: kept-alive connections closed before an answer", report["stale_keepalive"], 0)
        outcome.check(f"{what}: proxies replaced", found["proxies replaced"], 0)
        outcome.check(f"{what}: WebSockets cut", found.get("WebSockets", {}).get("cut", 0), 0)


def changes(system: Clusters, mode: Mode, many: int) -> Iterator[tuple[str, Figures]]:
    """Each change with what was found, on applications that are gone afterwards."""
    with Clock(system.swarm) as clock:
        service = system.create_in(mode, "app", HOST, FEW)
        change = Changes(system, mode, clock, service)
        change.settled(FEW)
        yield f"scale {FEW}→{many}", change.scale(many)
        yield f"scale {many}→{FEW}", change.scale(FEW)
        yield "rolling update, start-first", change.roll("start-first")
        yield "rolling update, stop-first", change.roll("stop-first")
        system.scale("app", 1)
        change.settled(1)
        yield "single replica, start-first", change.roll("start-first")
        yield "update of another application", change.another()
        system.remove("app", "other")
        system.until("no task to be known", lambda: system.known(mode) and system.at_rest(mode), WITHIN)


class Changes:
    """Changes of an application in one cluster, each under a load of its own."""

    def __init__(self, system: Clusters, mode: Mode, clock: Clock, service: str) -> None:
        """`service`: the application's id."""
        self._system = system
        self._mode = mode
        self._clock = clock
        self._services = {"app": service}

    def settled(self, replicas: int, name: str = "app") -> None:
        """Waits until all of this is over: the change of an application, and rolls of proxies that come of it."""
        self._system.running(name, replicas)
        self._system.until("every proxy to know the tasks", self._known, WITHIN)
        self._system.until("nothing to be under way", self._at_rest, WITHIN)

    def _known(self) -> bool:
        return self._system.known(self._mode, *self._services)

    def _at_rest(self) -> bool:
        return self._system.at_rest(self._mode) and self._known()

    def scale(self, replicas: int) -> Figures:
        return self._measured(
            "app",
            lambda: self._system.scale("app", replicas),
            lambda: len(self._system.tasks("app")) == replicas,
        )

    def roll(self, order: str, name: str = "app") -> Figures:
        version = str(time.time_ns())
        found = self._measured(
            name,
            lambda: self._system.update(name, f"--update-order={order}", f"--env-add=VERSION={version}"),
            lambda: self._system.all_have(name, f"VERSION={version}"),
        )
        self._system.updated(name, version, WITHIN)
        return found

    def another(self) -> Figures:
        """A rolling update, while clients and WebSockets are at an application that is not touched."""
        self._services["other"] = self._system.create_in(self._mode, "other", OTHER, FEW)
        self.settled(FEW, "other")
        with ExitStack() as stack:
            held = [stack.enter_context(self._sessions(url)) for url in self._system.urls(self._mode)]
            began = time.time()
            found = self.roll("start-first", "other")
            found["WebSockets"] = cuts([client.finish() for client in held], began)
        return found

    def _sessions(self, url: str) -> Any:
        return sessions(self._system, HOST, WEBSOCKETS, 0, url)

    def _measured(self, name: str, change: Callable[[], object], done: Callable[[], bool]) -> Figures:
        """Load while an application is changed, and until nothing is under way any more. `done`: whether Swarm
        wants its tasks to be as they are to be."""
        system, mode = self._system, self._mode
        before = system.task_ids(mode.proxy)
        url, *others = system.urls(mode)
        with (
            watched(system.swarm, mode.proxy, mode.program) as seen,
            load(system, HOST, RATE, url, others) as client,
        ):
            began = time.time()
            change()
            system.until("every proxy to know the tasks", lambda: done() and self._known(), WITHIN)
            known = time.time()
            system.until("nothing to be under way", self._at_rest, WITHIN)
            report = client.finish(TAIL)
        said = last_word(self._clock.of(self._services[name]), began)
        return figures_of(report, seen, before) | {"seconds until all proxies knew": round(known - said, 1)}


def last_word(tasks: list[Moments], began: float) -> float:
    """When Swarm last said that a task runs, or is to go (Unix seconds); `began` if it did not since then."""
    return max([began, *(moment for task in tasks for moment in (task.running, task.leaving))])


def figures_of(report: Report, seen: Seen, before: set[str]) -> Figures:
    """`before`: ids of the proxies that there were."""
    return {
        "load": load_figures(report),
        "proxies replaced": len(seen.tasks - before),
        "proxies at once": seen.at_once,
        "proxy processes": seen.processes,
        "memory MB": round(seen.memory, 1),
        "program memory MB": round(seen.program_memory, 1),
    }


def cuts(reports: list[SessionReport], began: float) -> Figures:
    """How many sessions were cut, and the first and the last of these, in seconds after `began`."""
    moments = sorted(float(when) - began for report in reports for when, _, _ in report.reasons)
    reasons = sorted({str(why) for report in reports for _, _, why in report.reasons})
    opened = sum(report.opened for report in reports)
    return {"opened": opened, "cut": len(moments), "seconds": [round(each, 1) for each in moments], "why": reasons}
