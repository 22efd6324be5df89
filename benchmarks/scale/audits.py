"""Audits of a full HAProxy: time, CPU, and their share at the interval that the sidecar chooses by itself.

Nothing else happens meanwhile: HAProxy's checks of the tasks are an hour apart, and no request comes. How long an
audit takes follows from how often there is one: the sidecar waits twenty times as long.
"""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass
from typing import Any

from benchmarks.scale.case import Case
from benchmarks.scale.program import usage
from benchmarks.scale.proxy_stage import Proxy, Spent, core_up, origin, proxy_up
from benchmarks.scale.proxy_state import Tasks, snapshot
from benchmarks.scenario.result import Outcome

AUDITS, LEAST = 4, 20.0
"""So many at each size, and for so many seconds."""

SHARE = 10.0
"""Percent of one CPU, sidecar and HAProxy together: audits of either kind take at most a twentieth of the time."""

DUMPS = 5


@dataclass(frozen=True, slots=True)
class Audits:
    """`number` of audits of servers in `seconds`, `whole` ones of everything beside; CPU in seconds."""

    number: float
    whole: float
    seconds: float
    sidecar: float
    haproxy: float
    dump: float

    @property
    def share(self) -> float:
        """Percent of one CPU."""
        return (self.sidecar + self.haproxy) / self.seconds * 100

    def each(self, cpu: float) -> float:
        """Milliseconds of it per audit, of both kinds."""
        return round(cpu / (self.number + self.whole) * 1e3, 2)

    def figures(self) -> dict[str, Any]:
        return {
            "audits of servers": self.number, "audits of everything": self.whole,
            "seconds between audits of servers": round(self.seconds / self.number, 2),
            "CPU per audit, sidecar: ms": self.each(self.sidecar),
            "CPU per audit, HAProxy: ms": self.each(self.haproxy),
            "HAProxy's dump of its servers: ms": round(self.dump * 1e3, 1),
            "share of one CPU, sidecar: %": round(self.sidecar / self.seconds * 100, 2),
            "share of one CPU, HAProxy: %": round(self.haproxy / self.seconds * 100, 2),
        }  # fmt: skip


def run(case: Case, outcome: Outcome) -> None:
    found = {services: asyncio.run(at(case, services, outcome)) for services in case.services}
    small, large = found[case.services[0]], found[case.services[-1]]
    grown = case.services[-1] / case.services[0]
    outcome.ratio("the sidecar's CPU per audit / HAProxy's", large.sidecar / large.haproxy)
    if grown > 1:
        cost = large.each(large.sidecar) / small.each(small.sidecar)
        outcome.ratio("the sidecar's CPU per audit and server, largest / smallest", cost / grown)


async def at(case: Case, services: int, outcome: Outcome) -> Audits:
    """With so many services."""
    name = f"{services * case.tasks:,} servers"
    with origin(case.haproxy) as port:
        state = snapshot(services, case.tasks, Tasks(port))
        async with core_up(state) as core, proxy_up(core, case.haproxy, spare_backends=2 * services) as proxy:
            await core.acknowledged()
            await proxy.serves(services * case.tasks)
            found = await watched(proxy, 1 if case.short else AUDITS)
            memory = {who: usage(pids[-1]).memory // 2**20 for who, pids in _pids(proxy)}
    outcome.figures[name] = found.figures() | {f"memory, {who}: MB": each for who, each in memory.items()}
    outcome.check(f"{name}: CPU of audits, % of one", round(found.share, 2), SHARE)
    return found


def _pids(proxy: Proxy) -> tuple[tuple[str, list[int]], ...]:
    return ("sidecar", proxy.sidecar()), ("HAProxy", proxy.haproxy())


async def watched(proxy: Proxy, number: int) -> Audits:
    """From the end of an audit on until that of the last."""
    first = await _next(proxy, proxy.audits())
    whole, spent = proxy.audits("whole"), Spent(proxy)
    now = first
    while now < first + number or time.monotonic() < spent.began + LEAST:
        now = await _next(proxy, now)
    seconds, sidecar, haproxy = spent.since()
    dump = await asyncio.to_thread(_dump, proxy)
    return Audits(now - first, proxy.audits("whole") - whole, seconds, sidecar, haproxy, dump)


async def _next(proxy: Proxy, seen: float) -> float:
    """The number of audits once there is one more."""
    await proxy.until("another audit", lambda: proxy.audits() > seen, 1.0)
    return proxy.audits()


def _dump(proxy: Proxy) -> float:
    """Seconds, the least of some tries, to have all bytes of `show servers state`."""

    def once() -> float:
        began = time.perf_counter()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(proxy.directory / "cli.sock"))
            connection.sendall(b"show servers state\n")
            while connection.recv(1 << 18):
                pass
        return time.perf_counter() - began

    return min(once() for _ in range(DUMPS))
