"""The same scaling and rolling update, live by l7 and by reloading HAProxy: the figures side by side."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.scenario.clients import load
from benchmarks.scenario.clock import Clock
from benchmarks.scenario.reloading import Reloading, reloading
from benchmarks.scenario.result import Case, Outcome, load_figures
from benchmarks.scenario.stage import HOST, TAIL, stage
from testbed import processes
from testbed.load import Report
from testbed.system import System

FEW = 4
SAMPLE = 0.1


def run(case: Case, outcome: Outcome) -> None:
    many = 12 if case.short else 30
    with stage(case) as system, reloading(system, case.haproxy) as (baseline, url):
        with Clock(system.swarm, told=baseline.told):
            baseline.service = system.create("app", HOST, FEW)
            system.settled("app", FEW)
            live = measure(system, many, "", lambda: system.haproxy_processes(), lambda: 0)
            reloaded = measure(system, many, url, baseline.pids, lambda: baseline.reloads, baseline)
    outcome.figures["live (l7)"] = live
    outcome.figures["by reloading"] = reloaded
    outcome.check("live: failed requests", live["load"]["failed"], 0)
    outcome.check("live: kept-alive connections closed before an answer", live["load"]["stale_keepalive"], 0)
    outcome.check("live: reloads", live["reloads"], 0)


def measure(
    system: System,
    many: int,
    url: str,
    pids: Callable[[], list[int]],
    reloads: Callable[[], int],
    baseline: Reloading | None = None,
) -> dict[str, Any]:
    """Scales up and down, and rolls once, under load on the proxy at `url`."""
    before = reloads()

    def settled(replicas: int) -> None:
        system.settled("app", replicas)
        if baseline is not None:
            system.until("the reloads", lambda: len(baseline.servers) == replicas)

    settled(FEW)
    with watched(pids) as peak, load(system, HOST, url=url) as client:
        for replicas in (many, FEW):
            system.scale("app", replicas)
            settled(replicas)
        version = str(time.time_ns())
        system.update("app", "--update-order=start-first", f"--env-add=VERSION={version}")
        system.updated("app", version)
        settled(FEW)
        report: Report = client.finish(TAIL)
    return {
        "load": load_figures(report),
        "reloads": reloads() - before,
        "haproxy cpu s": round(peak.cpu, 2),
        "haproxy cpu ms per request": round(peak.cpu * 1000 / max(1, report.sent), 3),
        "haproxy processes, at most": peak.processes,
        "haproxy memory MB, at most": round(peak.memory, 1),
    }


@dataclass(slots=True)
class Peak:
    """CPU seconds within a block; the most processes and memory (sum of RSS, MB) there were at once."""

    cpu: float = 0.0
    processes: int = 0
    memory: float = 0.0


@contextmanager
def watched(pids: Callable[[], list[int]]) -> Iterator[Peak]:
    """Looks at a group of processes all the time."""
    peak, ended, before = Peak(), threading.Event(), processes.usage(pids(), children=True).cpu

    def look() -> None:
        while not ended.wait(SAMPLE):
            now = processes.usage(pids())
            peak.processes = max(peak.processes, now.processes)
            peak.memory = max(peak.memory, now.memory)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()
        peak.cpu = processes.usage(pids(), children=True).cpu - before
