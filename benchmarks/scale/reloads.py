"""1,000 changes live, by l7, against the same by reloading HAProxy: its CPU, traffic's p99, processes, memory.

A change replaces one task, and the next one comes when it is in effect. HAProxy alone counts; its checks of
configurations (`-c`) are apart, and what writes them is no part of it. On the smallest cluster.

Both ways ten clients send a slow request each while the changes are made, one with every tenth part of them: a
worker that is replaced stays until its requests end. Reloads are made for a given time only: figures are per
change.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.scale.case import Case
from benchmarks.scale.classical import classical_up
from benchmarks.scale.proxy_stage import Core, core_up, origin, proxy_up
from benchmarks.scale.proxy_state import Replacing, Tasks, created, host, snapshot
from benchmarks.scale.traffic import FIRST, LOADED, finish, loading
from benchmarks.scenario.reload_baseline import Peak, watched
from benchmarks.scenario.result import Outcome, load_figures, spread
from l7.model import Snapshot
from testbed.load import Report

CHANGES, SHORT = 1000, 50
LONGEST = 150.0
"""Seconds of reloads, SHORT_LONGEST in a short run."""
SHORT_LONGEST = 15.0
SLOW = 10
QUIET = 5.0


def run(case: Case, outcome: Outcome) -> None:
    with origin(case.haproxy) as port:
        live = asyncio.run(_live(case, Tasks(port)))
        reloaded = asyncio.run(_reloaded(case, Tasks(port)))
    outcome.figures["size"] = f"{case.services[0]:,} services of {case.tasks} tasks"
    outcome.figures["live (l7)"], outcome.figures["by reloading"] = live.figures(), reloaded.figures()
    outcome.check("live: failed requests", live.report.failed, 0)
    outcome.check("live: HAProxy processes, at most", live.peak.processes, 2)
    outcome.ratio("HAProxy's CPU per change, live / by reloading", live.per_change / reloaded.per_change)
    outcome.ratio("traffic's p99, live / by reloading", live.report.p99_ms / reloaded.report.p99_ms)
    outcome.ratio("peak of memory, live / by reloading", live.peak.memory / reloaded.peak.memory)


@dataclass(slots=True)
class Run:
    """Changes one way. `took`: milliseconds, each; CPU seconds: of `-c`, and of the requests meanwhile."""

    wanted: int
    took: list[float] = field(default_factory=list)
    peak: Peak = field(default_factory=Peak)
    report: Report = field(default_factory=Report)
    checks: float = 0.0
    requests: float = 0.0

    @property
    def per_change(self) -> float:
        """Milliseconds of HAProxy's CPU, without that of requests."""
        return (self.peak.cpu - self.requests) / max(1, len(self.took)) * 1e3

    def figures(self) -> dict[str, Any]:
        return {
            "changes": f"{len(self.took)} of {self.wanted}",
            "ms until in effect": spread(self.took),
            "HAProxy's CPU per change: ms": round(self.per_change, 2),
            "CPU of its check per change: ms": round(self.checks / max(1, len(self.took)) * 1e3, 2),
            "HAProxy processes, at most": self.peak.processes,
            "memory, at most: MB": round(self.peak.memory),
            "load": load_figures(self.report),
        }


async def _live(case: Case, tasks: Tasks) -> Run:
    async with core_up(_state(case, tasks)) as core:
        async with proxy_up(core, case.haproxy, spare_backends=2 * case.services[0]) as proxy:
            await core.acknowledged()
            await proxy.serves(len(core.state.backends) * case.tasks)
            churn = Replacing(case.services[0], case.tasks, tasks)

            async def change() -> None:
                core.change(churn.next())
                await core.acknowledged()

            return await _changes(_number(case), proxy.port, proxy.haproxy, change, 3600.0)


async def _reloaded(case: Case, tasks: Tasks) -> Run:
    core = Core(_state(case, tasks))  # keeps the state; nobody is served
    async with classical_up(case.haproxy, core.state) as proxy:
        churn = Replacing(case.services[0], case.tasks, tasks)

        async def change() -> None:
            core.change(churn.next())
            await proxy.change(core.state)

        longest = SHORT_LONGEST if case.short else LONGEST
        found = await _changes(_number(case), proxy.port, proxy.pids, change, longest)
    found.checks = proxy.checks
    return found


def _state(case: Case, tasks: Tasks) -> Snapshot:
    """With the service that is asked."""
    core = Core(snapshot(case.services[0], case.tasks, tasks))
    core.change(created(LOADED, tasks.servers(FIRST, case.tasks)))
    return core.state


def _number(case: Case) -> int:
    return SHORT if case.short else CHANGES


async def _changes(
    number: int, port: int, pids: Callable[[], list[int]], change: Callable[[], Awaitable[None]], most: float
) -> Run:
    """So many changes under load, for so many seconds at most."""
    found, slow = Run(number), list[asyncio.StreamWriter]()
    async with loading(f"http://127.0.0.1:{port}/") as client:
        quiet, began = await _quiet(pids), time.monotonic()
        with watched(pids) as found.peak:
            while len(found.took) < number and (passed := time.monotonic() - began) < most:
                if len(slow) < SLOW * max(len(found.took) / number, passed / most):
                    slow.append(await _slow_request(port))
                since = time.perf_counter()
                await change()
                found.took.append((time.perf_counter() - since) * 1e3)
        found.requests = quiet * (time.monotonic() - began)
        found.report = await finish(client)
    for writer in slow:
        writer.close()
    return found


async def _quiet(pids: Callable[[], list[int]]) -> float:
    """Share of one CPU that the load takes, without a change."""
    with watched(pids) as peak:
        await asyncio.sleep(QUIET)  # a time to look on
    return peak.cpu / QUIET


async def _slow_request(port: int) -> asyncio.StreamWriter:
    """One whose body does not come to its end: under way until it is closed."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"POST / HTTP/1.1\r\nHost: {host(LOADED)}\r\nContent-Length: 100000\r\n\r\nslow".encode())
    return writer
