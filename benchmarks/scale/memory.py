"""Memory of core and sidecar, by service and by task: what the difference between two sizes comes to."""

from __future__ import annotations

import asyncio

from benchmarks.scale.case import Case
from benchmarks.scale.program import usage
from benchmarks.scale.runtime import enabled
from benchmarks.scale.stage import core_up, proxy_up, world
from benchmarks.scenario.result import Outcome

Size = tuple[int, int]
"""Services, and tasks of each."""

PARTS = ("core", "sidecar")


def run(case: Case, outcome: Outcome) -> None:
    """Two sizes that differ in services alone, and two that differ in tasks alone."""
    fewest, most = case.services[0], case.services[-1]
    times = most // fewest
    small, wide, deep = (fewest, case.tasks), (most, max(1, case.tasks // times)), (fewest, case.tasks * times)
    found = {size: asyncio.run(_memory(case, size, outcome)) for size in dict.fromkeys((small, wide, deep))}
    for part in PARTS:
        task = (found[deep][part] - found[small][part]) / (_tasks(deep) - _tasks(small))
        # `wide` may have some more or fewer tasks than `small`, where the sizes do not divide.
        more = found[wide][part] - found[small][part] - task * (_tasks(wide) - _tasks(small))
        outcome.ratio(f"{part}: bytes per task", task)
        outcome.ratio(f"{part}: bytes per service", more / (wide[0] - small[0]))


def _tasks(size: Size) -> int:
    return size[0] * size[1]


async def _memory(case: Case, size: Size, outcome: Outcome) -> dict[str, int]:
    """Resident bytes once a proxy has everything in effect, and is quiet."""
    async with world(*size) as swarm, core_up(swarm) as core:
        await core.ready()
        async with proxy_up(swarm, core, case.haproxy) as proxy:
            await proxy.applied()
            await proxy.quiet()
            used = {"core": usage(core.pid), "sidecar": usage(proxy.pid)}
            haproxy = usage(proxy.haproxy()[-1])
            missing = _tasks(size) - await asyncio.to_thread(enabled, proxy.socket)
    outcome.check(f"{size[0]:,} services of {size[1]} tasks: servers missing in rotation", missing, 0)
    figures = {name: {"MB": _mb(each.memory), "peak, MB": _mb(each.peak)} for name, each in used.items()}
    outcome.figures[f"{size[0]:,} services of {size[1]} tasks"] = figures | {"haproxy": {"MB": _mb(haproxy.memory)}}
    return {name: each.memory for name, each in used.items()}


def _mb(size: int) -> float:
    return round(size / 1e6, 1)
