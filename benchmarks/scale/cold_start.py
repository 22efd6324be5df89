"""Cold start of core until it has a state to serve, and of a proxy until it is in effect, by size.

Core is held against the least that it could do: what it lists, read by the same code. (Here a listing comes out of
memory; SwarmKit has to find it in its store, too.) A proxy's start is split: HAProxy's own time to read the
configuration is what `haproxy -c` takes for the same file, and the sidecar lets it do so twice, to check and to
start.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks.scale.case import Case
from benchmarks.scale.program import cpu, usage
from benchmarks.scale.runtime import enabled
from benchmarks.scale.stage import Core, Proxy, World, core_up, proxy_up, world
from benchmarks.scenario.result import Outcome
from l7.swarm import from_proto
from l7.swarm import swarmkit_pb2 as pb
from testbed.haproxy_versions import haproxy
from testbed.namespace import TestbedError

READING = "reading: cpu"
KINDS = ("tasks", "services", "nodes", "networks")


def run(case: Case, outcome: Outcome) -> None:
    """Every size; cost per task of the largest against the smallest."""
    figures = [asyncio.run(_one(case, services, outcome)) for services in case.services]
    small, large = (figures[at] for at in (0, -1))
    outcome.ratio("core: CPU of a start by that of reading its listing", large["core"]["cpu"] / large[READING])
    for part in ("core", "sidecar"):
        growth = large[part]["cpu per task, us"] / small[part]["cpu per task, us"]
        outcome.ratio(f"{part}: CPU per task, {case.services[-1]:,} services against {case.services[0]:,}", growth)


async def _one(case: Case, services: int, outcome: Outcome) -> dict[str, Any]:
    tasks = services * case.tasks
    async with world(services, case.tasks) as swarm:
        figures = _reading(swarm)
        began = time.time()
        async with core_up(swarm) as core:
            figures["core"] = await _core(core, began, tasks)
            began = time.time()
            async with proxy_up(swarm, core, case.haproxy) as proxy:
                figures |= await _proxy(proxy, began, tasks)
                figures["haproxy -c"] = await _check(case, proxy)
                missing = tasks - await asyncio.to_thread(enabled, proxy.socket)
    outcome.check(f"{services:,} services: servers missing in rotation once in effect", missing, 0)
    outcome.figures[f"{services:,} services, {tasks:,} tasks"] = figures
    return figures


def _reading(swarm: World) -> dict[str, Any]:
    """Bytes of what is listed, and seconds to make objects of it."""
    listed = {kind: swarm.swarmkit.listed(kind) for kind in KINDS}
    began = time.process_time()
    tasks = tuple(map(from_proto.parse_task, pb.ListTasksResponse.FromString(listed["tasks"]).tasks))
    services = tuple(map(from_proto.parse_service, pb.ListServicesResponse.FromString(listed["services"]).services))
    seconds = time.process_time() - began
    assert len(tasks) + len(services) > 0
    return {"reading: bytes": sum(map(len, listed.values())), READING: round(seconds, 3)}


async def _core(core: Core, began: float, tasks: int) -> dict[str, Any]:
    """Seconds from the program's start, by what it has done until then."""
    up = (await core.program.line("admin listening"))["at"]
    first = await core.ready()
    listed = (await core.program.line("following Swarm"))["at"]
    return _part(core.pid, tasks) | {
        "program up": round(up - began, 3),
        "listed": round(listed - began, 3),
        "built in": round(first["build_seconds"], 3),
        "ready": round(first["at"] - began, 3),
    }


async def _proxy(proxy: Proxy, began: float, tasks: int) -> dict[str, Any]:
    applied = (await proxy.applied())["at"]
    update, started = [(await proxy.program.line(event))["at"] for event in ("update", "haproxy started")]
    seconds = {"update": update, "haproxy started": started, "in effect": applied}
    part = _part(proxy.pid, tasks) | {what: round(at - began, 3) for what, at in seconds.items()}
    return {"sidecar": part, "haproxy: cpu": round(cpu(proxy.haproxy()), 3)}


def _part(pid: int, tasks: int) -> dict[str, Any]:
    used = usage(pid)
    return {
        "cpu": round(used.cpu, 3),
        "cpu per task, us": round(used.cpu / tasks * 1e6, 1),
        "memory, MB": round(used.memory / 1e6, 1),
        "peak, MB": round(used.peak / 1e6, 1),
    }


async def _check(case: Case, proxy: Proxy) -> float:
    """Seconds that HAProxy alone takes for the configuration."""
    config, began = proxy.directory / "haproxy.cfg", time.monotonic()
    process = await asyncio.create_subprocess_exec(
        haproxy(case.haproxy), "-c", "-f", config,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    if process.returncode:
        raise TestbedError(f"haproxy -c: {said.decode(errors='replace')}")
    return round(time.monotonic() - began, 3)
