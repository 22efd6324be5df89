"""One task's event → command sent and acknowledged, on a full cluster; growth from 1,000 tasks to the largest size.

Tasks are replaced one after the other, as an update of one service does it: the old one is not wanted any more, a
new one is placed, it runs, the old one has ended. Each is a transaction of Swarm's, sent once the one before is in
effect. Its way, by the clocks of the log lines, all of this machine:

    core      from the event's sending until the state has changed: decode, cache, build
    wire      until the sidecar has the update: core's message, gRPC, TLS, the mirror
    sidecar   until it is in effect: plan, commands, HAProxy's answers, read back
    answer    until core knows

What runs is acknowledged as a server in maintenance; all of its way ends when it is in rotation, after its probe.
HAProxy's part of the third hop is shown by CPU time per event, next to that of core and sidecar.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from benchmarks.scale.case import Case
from benchmarks.scale.change import RUNS, replacements
from benchmarks.scale.program import cpu
from benchmarks.scale.stage import Core, Proxy, World, core_up, proxy_up, world
from benchmarks.scenario.result import Outcome, spread
from l7.model import Task

SMALL = 1_000
"""Tasks of the cluster that the largest is compared with."""

EVENTS = 1_200
SHORT = 120
PAUSE = 0.012
"""Seconds between an acknowledgement and the next event: past the time in which core takes changes together."""

GROWTH = 1.5
"""What the issue allows."""

HOPS = ("core", "wire", "sidecar", "answer")


@dataclass(frozen=True, slots=True)
class Trip:
    """One event. Milliseconds: by hop, and of all of it, which may end with a server in rotation."""

    kind: str
    hops: tuple[float, ...]
    whole: float


def run(case: Case, outcome: Outcome) -> None:
    """On the smallest and on the largest cluster."""
    number = SHORT if case.short else EVENTS
    sizes = (SMALL // case.tasks, case.services[-1])
    medians = [asyncio.run(_one(case, services, number, outcome)) for services in sizes]
    outcome.check(f"{_size(case, sizes[1])} against {SMALL:,}: growth of the median", _ratio(medians), GROWTH)


def _ratio(medians: list[float]) -> float:
    return round(medians[1] / medians[0], 3)


def _size(case: Case, services: int) -> str:
    return f"{services * case.tasks:,} tasks"


async def _one(case: Case, services: int, number: int, outcome: Outcome) -> float:
    """The median of all events, milliseconds."""
    async with world(services, case.tasks) as swarm, core_up(swarm) as core:
        await core.ready()
        async with proxy_up(swarm, core, case.haproxy) as proxy:
            await proxy.applied()
            await proxy.in_rotation(services * case.tasks)
            trips, used = await _measured(swarm, core, proxy, number)
    outcome.figures[_size(case, services)] = _figures(trips) | {"cpu ms per event": used}
    return float(spread([trip.whole for trip in trips])["p50"])


async def _measured(swarm: World, core: Core, proxy: Proxy, number: int) -> tuple[list[Trip], dict[str, float]]:
    """The events, and what each costs."""
    seen = Journals(core, proxy)
    groups = {"core": [core.pid], "sidecar": [proxy.pid], "haproxy": proxy.haproxy()}
    before = {name: cpu(pids) for name, pids in groups.items()}
    trips = [await seen.trip(swarm, kind, task) for kind, task in replacements(swarm.swarm, number // 4)]
    used = {name: round((cpu(pids) - before[name]) / number * 1e3, 3) for name, pids in groups.items()}
    return trips, used


class Journals:
    """What core and the sidecar log about a change."""

    def __init__(self, core: Core, proxy: Proxy) -> None:
        self._core, self._proxy = core.program, proxy.program
        for event in ("state changed", "revision in effect"):
            self._core.journal(event)
        for event in ("update", "applied", "in rotation"):
            self._proxy.journal(event)

    async def trip(self, swarm: World, kind: str, task: Task) -> Trip:
        """Sends the event, and follows it."""
        await asyncio.sleep(PAUSE)
        sent = time.time()
        swarm.swarm.put(task)
        changed = await self._core.line("state changed")
        revision = changed["revision"]
        update = await self._proxy.line("update", revision=revision)
        applied = await self._proxy.line("applied", revision=revision)
        known = await self._core.line("revision in effect", revision=revision)
        moments = (sent, *(line["at"] for line in (changed, update, applied, known)))
        hops = tuple((after - before) * 1e3 for before, after in pairwise(moments))
        end = max(known["at"], await self._rotation(task) if kind == RUNS else 0.0)
        return Trip(kind, hops, (end - sent) * 1e3)

    async def _rotation(self, task: Task) -> float:
        """When its server was enabled."""
        while True:
            line = await self._proxy.line("in rotation")
            if line["server"].startswith(task.id):
                at: float = line["at"]
                return at


def _figures(trips: list[Trip]) -> dict[str, Any]:
    kinds = dict.fromkeys(trip.kind for trip in trips)
    by_hop = {hop: spread([trip.hops[at] for trip in trips]) for at, hop in enumerate(HOPS)}
    by_kind = {kind: spread([trip.whole for trip in trips if trip.kind == kind]) for kind in kinds}
    return {"ms": spread([trip.whole for trip in trips]), "ms by hop": by_hop, "ms by kind": by_kind}
