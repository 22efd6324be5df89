"""HAProxy's cold start with what the sidecar renders: time to render, to check (`-c`), to start; memory.

HAProxy alone, in master-worker mode and on one thread; all servers are enabled, and checked once an hour.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.scale.case import Case
from benchmarks.scale.classical import desired
from benchmarks.scale.program import cpu, family, usage
from benchmarks.scale.proxy_stage import CHECK_INTERVAL
from benchmarks.scale.proxy_state import Tasks, snapshot
from benchmarks.scenario.result import Outcome
from haproxy import policy
from haproxy.process import START_TIMEOUT, Process
from haproxy.render import render_files
from haproxy.settings import Settings
from l7.kit.errors import L7Error
from testbed.haproxy_versions import haproxy
from testbed.namespace import TestbedError
from tests.integration.live_haproxy import capabilities_of, free_port, server_names, write_files


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds, and CPU seconds of the start; bytes."""

    render: float
    check: float
    start: float
    cpu: float
    memory: int
    size: int

    def figures(self) -> dict[str, Any]:
        return {
            "configuration: MB": round(self.size / 1e6, 1),
            "render: s": round(self.render, 3),
            "check: s": round(self.check, 3),
            "check and start: s": round(self.start, 3),
            "CPU of HAProxy that has started: s": round(self.cpu, 3),
            "memory: MB": round(self.memory / 2**20),
        }


def run(case: Case, outcome: Outcome) -> None:
    found = {services: asyncio.run(started(case, services)) for services in case.services}
    for services, start in found.items():
        name = f"{services * case.tasks:,} servers"
        outcome.figures[name] = start.figures()
        outcome.check(f"{name}: seconds to check and start", round(start.start, 1), START_TIMEOUT)
    few, many = case.services[0], case.services[-1]
    large, grown = found[many], many / few
    outcome.ratio("rendering / HAProxy's check of it", large.render / large.check)
    if grown > 1:
        outcome.ratio("check and start per server, largest / smallest", large.start / found[few].start / grown)
        extra = (large.memory - found[few].memory) / ((many - few) * case.tasks)
        outcome.figures["memory per server with its part of the service: kB"] = round(extra / 1e3, 2)


async def started(case: Case, services: int) -> Start:
    """One start of so many services, by the sidecar's own code. Raises TestbedError when HAProxy does not."""
    binary = haproxy(case.haproxy)
    able = capabilities_of(binary)
    wanted = desired(snapshot(services, case.tasks, Tasks(1)))
    with TemporaryDirectory(prefix="l7-scale-") as name:
        settings = replace(
            Settings(run_dir=name, bind=(f"127.0.0.1:{free_port()}",), threads=1, check_interval=CHECK_INTERVAL),
            max_connections=1000, spare_backends=services + services // 2,
        )  # fmt: skip
        began = time.perf_counter()
        placement = policy.place(settings, able, wanted.backends)
        names = server_names(settings, able, wanted)
        files = render_files(settings, able, wanted, placement, names)
        rendered = time.perf_counter() - began
        write_files(Path(name), files)
        check, start, spent, memory = await _started(Process(settings, str(binary)))
        return Start(rendered, check, start, spent, memory, sum(map(len, files.values())))


async def _started(process: Process) -> tuple[float, float, float, int]:
    """Seconds to check, to check and start; CPU seconds and memory of the master and its worker."""
    try:
        began = time.perf_counter()
        await process.check()
        checked = time.perf_counter()
        await process.start()
        started, pids = time.perf_counter(), family(process.master)
        return checked - began, started - checked, cpu(pids), sum(usage(pid).memory for pid in pids)
    except L7Error as error:
        raise TestbedError(f"HAProxy does not start: {error}") from error
    finally:
        await process.stop(0)
