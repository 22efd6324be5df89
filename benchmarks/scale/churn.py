"""An hour of churn, compressed: memory and file descriptors stay as they are.

A task is replaced every second, a service re-labelled every ten, made and removed every thirty: an hour of that, 20
times as fast. What is looked at is the second half; in the first one, caches and histories fill up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks.scale.case import Case
from benchmarks.scale.change import applications, forget_ended, replacements
from benchmarks.scale.program import Usage, usage
from benchmarks.scale.stage import Core, Proxy, World, core_up, proxy_up, world
from benchmarks.scenario.result import Outcome
from l7.model import Service
from tests.fakes.swarm import FakeSwarm

HOUR = 3_600
"""Tasks replaced."""

SHORT = 300
LABELLED, MADE = 10, 30
SPEED = 20
STEPS = 6
"""Changes in a second, at the most."""

PASSING = "passing"
SAMPLES = 40
MEMORY, DESCRIPTORS = 1.03, 4
"""Growth in the second half: at most 3 % of memory, which is some pages of the allocator's; and as many descriptors
as are open by chance when they are counted (a probe, a connection of gRPC's)."""


def run(case: Case, outcome: Outcome) -> None:
    """On the smallest size."""
    number = SHORT if case.short else HOUR
    samples = asyncio.run(_samples(case, number))
    for part, seen in samples.items():
        _judge(part, seen, outcome)


async def _samples(case: Case, number: int) -> dict[str, list[Usage]]:
    async with world(case.services[0], case.tasks) as swarm, core_up(swarm) as core:
        await core.ready()
        async with proxy_up(swarm, core, case.haproxy) as proxy:
            await proxy.applied()
            return await _churned(swarm, core, proxy, number)


async def _churned(swarm: World, core: Core, proxy: Proxy, number: int) -> dict[str, list[Usage]]:
    """What each process uses, at equal distances."""
    parts = {"core": core.pid, "sidecar": proxy.pid, "haproxy": proxy.haproxy()[-1]}
    samples: dict[str, list[Usage]] = {name: [] for name in parts}
    began = time.monotonic()
    for second in range(number):
        for at, change in enumerate(_second(swarm.swarm, second)):
            await asyncio.sleep(began + (second + at / STEPS) / SPEED - time.monotonic())
            change()
        if (second + 1) % max(1, number // SAMPLES) == 0:
            forget_ended(swarm.swarm)
            for name, pid in parts.items():
                samples[name].append(usage(pid))
    await proxy.settled(core)
    return samples


def _second(swarm: FakeSwarm, second: int) -> Iterator[Callable[[], object]]:
    """What happens in it, step by step."""
    services = applications(swarm)
    if second % LABELLED == 0:
        service = services[second // LABELLED % len(services)]
        labels = dict(service.spec.labels) | {"com.docker.lb.path": f"/{second}"}
        yield partial(swarm.label, service.id, labels)
    for _, task in replacements(swarm, 1, seed=second):
        yield partial(swarm.put, task)
    if second % MADE == 0:
        yield partial(_make, swarm, services[0], second)
    elif second % MADE == MADE // 2:
        made = [service for service in services if service.name.startswith(PASSING)]
        yield from (partial(swarm.remove_service, service.id) for service in made)


def _make(swarm: FakeSwarm, like: Service, second: int) -> None:
    labels = dict(like.spec.labels) | {"com.docker.lb.hosts": f"{PASSING}{second}.example.org"}
    swarm.create_service(f"{PASSING}{second}", labels, like.spec.networks, 2)


def _judge(part: str, seen: list[Usage], outcome: Outcome) -> None:
    half, quarter = len(seen) // 2, max(1, len(seen) // 8)
    middle, end = seen[half : half + quarter], seen[-quarter:]
    growth = _mean(end, "memory") / _mean(middle, "memory")
    outcome.check(f"{part}: memory at the end by that in the middle", round(growth, 4), MEMORY)
    opened = _mean(end, "descriptors") - _mean(middle, "descriptors")
    outcome.check(f"{part}: descriptors more at the end than in the middle", round(opened, 1), DESCRIPTORS)
    outcome.figures[part] = _shown(seen)


def _mean(samples: list[Usage], field: str) -> float:
    return float(sum(getattr(each, field) for each in samples) / len(samples))


def _shown(seen: list[Usage]) -> dict[str, Any]:
    return {
        "memory, MB": [round(each.memory / 1e6, 1) for each in seen],
        "descriptors": [each.descriptors for each in seen],
        "cpu": round(seen[-1].cpu - seen[0].cpu, 2),
    }
