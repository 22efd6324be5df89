"""Twenty proxies connect again at once, because core was started anew: until all have acknowledged.

Twice: nothing has changed meanwhile, so each holds the revision already; and a task has gone, so each gets the
whole state, as core has no history from before its start. The proxies are streams without HAProxy
(`benchmarks.scale.follower`): what is measured is core.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from benchmarks.scale.case import Case
from benchmarks.scale.change import applications
from benchmarks.scale.program import running as program_running
from benchmarks.scale.program import usage
from benchmarks.scale.stage import Core, World, core_up, world
from benchmarks.scenario.result import Outcome
from l7.deploy import pki

PROXIES = 20
PROCESSES = 4
FOLLOWER = (sys.executable, "-m", "benchmarks.scale.follower")


def run(case: Case, outcome: Outcome) -> None:
    """The smallest and the largest size."""
    for services in dict.fromkeys((case.services[0], case.services[-1])):
        asyncio.run(_one(case, services, outcome))


async def _one(case: Case, services: int, outcome: Outcome) -> None:
    size = f"{services:,} services"
    async with world(services, case.tasks) as swarm:
        async with core_up(swarm) as core, followers(swarm, core):
            await core.ready()
            await _all_acknowledged(core)
            await core.program.stop()
            same = await _again(swarm, core.port)
            gone = swarm.swarm.tasks_of(applications(swarm.swarm)[0].id)[0]
            swarm.swarm.remove(gone)
            changed = await _again(swarm, core.port)
    outcome.check(f"{size}: {PROXIES} that have the revision already are sent", same["kind"], "incremental")
    outcome.figures[size] = {"nothing has changed": same, "a task has gone": changed}
    for what, found in (("the same", same), ("the whole state", changed)):
        by = f"for {PROXIES} that get {what}, by that of core's start"
        outcome.ratio(f"{size}: CPU {by}", found["cpu"] / found["start: cpu"])
        outcome.ratio(f"{size}: memory's peak {by}", found["peak, MB"] / found["start: peak, MB"])


async def _again(swarm: World, port: int) -> dict[str, Any]:
    """A new core on the same port. Seconds from its first state on."""
    async with core_up(swarm, port) as core:
        core.program.journal("revision in effect")
        first = await core.ready()
        start = usage(core.pid)
        last = await _all_acknowledged(core)
        used = usage(core.pid)
        update = core.program.latest["update sent"]
    return {
        "start: cpu": round(start.cpu, 3), "start: peak, MB": round(start.peak / 1e6, 1),
        "kind": update["kind"], "bytes each": update["bytes"],
        "seconds": round(last - first["at"], 3), "cpu": round(used.cpu - start.cpu, 3),
        "peak, MB": round(used.peak / 1e6, 1), "memory, MB": round(used.memory / 1e6, 1),
    }  # fmt: skip


async def _all_acknowledged(core: Core) -> float:
    """When the last one did."""
    seen: dict[str, float] = {}
    while len(seen) < PROXIES:
        line = await core.program.line("revision in effect")
        seen[line["instance"]] = line["at"]
    return max(seen.values())


@asynccontextmanager
async def followers(swarm: World, core: Core) -> AsyncIterator[None]:
    """Twenty, in some processes."""
    files = swarm.identity("proxy", pki.proxy_identity(swarm.authority, ""))
    each = PROXIES // PROCESSES
    async with AsyncExitStack() as stack:
        for number in range(PROCESSES):
            command = (
                *FOLLOWER, f"--core=127.0.0.1:{core.port}", f"--tls-ca={files.ca}",
                f"--tls-identity={files.identity}", f"--number={each}", f"--first={number * each}",
            )  # fmt: skip
            await stack.enter_async_context(program_running(f"followers {number}", command))
        yield
