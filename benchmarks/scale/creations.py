"""1,000 services created route by route, each from its event to the first answer; alone, and while tasks churn.

The event is the message that core sends; the service's one task listens already. From the event on a request is
sent every two milliseconds, whether or not those before were answered: until the route is there HAProxy refuses,
and who comes between the route and its first server is held for one pace of HAProxy's tries (250 ms). The first
right answer counts; how long the longest of these requests waited is told beside it. Then the next one is created.

Churn replaces tasks of all services meanwhile, a hundred per second, 5,000 in all at least: as many creations are
added as that takes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from benchmarks.scale.case import Case
from benchmarks.scale.proxy_stage import Core, Proxy, Spent, core_up, origin, proxy_up
from benchmarks.scale.proxy_state import Replacing, Tasks, created, host, snapshot
from benchmarks.scenario.result import Outcome, spread
from testbed.namespace import TestbedError

CREATED, CREATED_SHORT = 1000, 100
CHURNED, CHURNED_SHORT = 5000, 300
AT_ONCE, PAUSE = 10, 0.1
"""Tasks that are replaced together, and seconds until the next ones are."""

LONGEST = 60.0
"""Seconds for one route."""

PACE = 0.002
"""Seconds between requests."""

FIRST = 5_000_000
"""Number of the task of the first service that is created."""


def run(case: Case, outcome: Outcome) -> None:
    asyncio.run(_run(case, outcome))


async def _run(case: Case, outcome: Outcome) -> None:
    """On the largest cluster."""
    services = case.services[-1]
    with origin(case.haproxy) as port:
        tasks = Tasks(port)
        state = snapshot(services, case.tasks, tasks)
        pool = 2 * services + 3 * CREATED
        async with core_up(state) as core, proxy_up(core, case.haproxy, spare_backends=pool) as proxy:
            await core.acknowledged()
            await proxy.serves(services * case.tasks)
            bench = Bench(core, proxy, tasks)
            number = CREATED_SHORT if case.short else CREATED
            alone = await bench.creations("alone", number, outcome)
            churn = Replacing(services, case.tasks, tasks)
            async with churning(core, churn, CHURNED_SHORT if case.short else CHURNED) as churned:
                beside = await bench.creations("beside churn", number, outcome, churned)
            outcome.figures["tasks replaced meanwhile"] = churn.done
            outcome.check("reloads", proxy.status()["haproxy"]["reloads"], 0)
    size = f"beside {services:,} services of {case.tasks} tasks"
    outcome.figures["size"] = size
    outcome.ratio("p50 beside churn / alone", beside["p50"] / alone["p50"])
    outcome.ratio("p99 beside churn / alone", beside["p99"] / alone["p99"])


@asynccontextmanager
async def churning(core: Core, churn: Replacing, least: int) -> AsyncIterator[asyncio.Event]:
    """Within the block tasks are replaced; the event is set once there were so many."""
    enough = asyncio.Event()

    async def go() -> None:
        while True:
            core.change(churn.next(AT_ONCE))
            if churn.done >= least:
                enough.set()
            await asyncio.sleep(PAUSE)

    going = asyncio.create_task(go())
    try:
        yield enough
    finally:
        going.cancel()


@dataclass(slots=True)
class Bench:
    """Creates services, each under another name."""

    core: Core
    proxy: Proxy
    tasks: Tasks
    made: int = 0

    async def creations(
        self, name: str, number: int, outcome: Outcome, enough: asyncio.Event | None = None
    ) -> dict[str, float]:
        """Milliseconds from event to answer of so many services, and of more until `enough`; into the outcome."""
        spent, took = Spent(self.proxy), list[float]()
        crowd, waited = Crowd(self.proxy.port), list[float]()
        while len(took) < number or not (enough is None or enough.is_set()):
            first, longest = await self._one(crowd)
            took.append(first * 1e3)
            waited.append(longest * 1e3)
        crowd.close()
        seconds, sidecar, haproxy = spent.since()
        found = spread(took)
        outcome.figures[f"{name}: ms from event to first answer"] = found
        outcome.figures[f"{name}: ms that the longest request waited"] = spread(waited)
        outcome.figures[f"{name}: CPU per creation, sidecar: ms"] = round(sidecar / len(took) * 1e3, 2)
        outcome.figures[f"{name}: CPU per creation, HAProxy: ms"] = round(haproxy / len(took) * 1e3, 2)
        outcome.figures[f"{name}: seconds"] = round(seconds, 1)
        return found

    async def _one(self, crowd: Crowd) -> tuple[float, float]:
        """Seconds until the first answer; the longest that one of the requests waited."""
        name, server = f"created{self.made:05}", self.tasks.server(FIRST + self.made)
        self.made += 1
        began = time.perf_counter()
        self.core.change(created(name, (server,)))
        try:
            async with asyncio.timeout(LONGEST):
                return await crowd.first(host(name)) - began, await crowd.longest()
        except TimeoutError as error:
            raise TestbedError(f"no answer for {name}: {self.proxy.program.last_words}") from error


class Crowd:
    """Clients that ask one after the other, each on a connection that is kept alive."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[Client] = []
        self._asking: set[asyncio.Task[tuple[int, float]]] = set()
        self._answered = asyncio.Event()
        self._at = 0.0

    async def first(self, host: str) -> float:
        """When the first of them had a good answer, by the clock of `time.perf_counter`."""
        self._answered.clear()
        while not self._answered.is_set():
            asking = asyncio.create_task(self._ask(host))
            self._asking.add(asking)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._answered.wait(), PACE)
        return self._at

    async def longest(self) -> float:
        """Seconds, once all that was asked is answered."""
        answers = await asyncio.gather(*self._asking)
        self._asking.clear()
        return max(took for _, took in answers)

    async def _ask(self, host: str) -> tuple[int, float]:
        began = time.perf_counter()
        client = self._idle.pop() if self._idle else await Client.open(self._port)
        status = await client.status(host)
        now = time.perf_counter()
        self._idle.append(client)
        if status == 200 and not self._answered.is_set():
            self._at = now
            self._answered.set()
        return status, now - began

    def close(self) -> None:
        for client in self._idle:
            client.close()


class Client:
    """One kept-alive connection to the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def status(self, host: str) -> int:
        """Of one answer."""
        self._writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
        await self._reader.readexactly(int(length or 0))
        return int(head.split()[1])

    def close(self) -> None:
        self._writer.close()
