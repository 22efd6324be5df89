"""All tasks are replaced: CPU seconds of core, sidecar and HAProxy, by size.

Service after service, start first, at a fixed pace: new tasks are placed, run, and the old ones are not wanted any
more, and have ended; four transactions a service, each of all its tasks.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks.scale.case import Case
from benchmarks.scale.change import applications, forget_ended, renewed
from benchmarks.scale.program import cpu
from benchmarks.scale.runtime import enabled
from benchmarks.scale.stage import Core, Proxy, World, core_up, proxy_up, world
from benchmarks.scenario.result import Outcome

PACE = 40
"""Services per second."""

SHORT = 50
"""Services."""


def run(case: Case, outcome: Outcome) -> None:
    """The smallest and the largest size."""
    for services in dict.fromkeys((case.services[0], case.services[-1])):
        asyncio.run(_one(case, services, outcome))


async def _one(case: Case, services: int, outcome: Outcome) -> None:
    size = f"{services:,} services"
    async with world(services, case.tasks) as swarm, core_up(swarm) as core:
        await core.ready()
        async with proxy_up(swarm, core, case.haproxy) as proxy:
            await proxy.applied()
            number = min(services, SHORT) if case.short else services
            figures = await _replaced(swarm, core, proxy, number)
            missing = services * case.tasks - await asyncio.to_thread(enabled, proxy.socket)
    outcome.figures[size] = figures
    outcome.check(f"{size}: servers missing in rotation at the end", missing, 0)
    for part in ("core", "sidecar"):
        outcome.ratio(f"{size}: CPU of {part} by HAProxy's", figures[part] / figures["haproxy"])


async def _replaced(swarm: World, core: Core, proxy: Proxy, number: int) -> dict[str, Any]:
    """CPU seconds by part, until everything is in effect; and how long that took."""
    groups = {"core": [core.pid], "sidecar": [proxy.pid], "haproxy": proxy.haproxy()}
    before = {name: cpu(pids) for name, pids in groups.items()}
    began, tasks = time.monotonic(), 0
    for at, service in enumerate(applications(swarm.swarm)[:number]):
        await asyncio.sleep(began + at / PACE - time.monotonic())
        for changed in renewed(swarm.swarm, service):
            swarm.swarm.put(*changed)
            await asyncio.sleep(0)
        tasks += len(changed)
    await proxy.settled(core)
    forget_ended(swarm.swarm)
    used = {name: round(cpu(pids) - before[name], 3) for name, pids in groups.items()}
    each = {f"{name}: ms per task": round(seconds / tasks * 1e3, 3) for name, seconds in used.items()}
    return used | each | {"tasks": tasks, "seconds": round(time.monotonic() - began, 1)}
