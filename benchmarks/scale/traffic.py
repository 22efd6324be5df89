"""p99 of live traffic under churn and audits, beside two identical quiet runs, whose difference is the noise.

Rounds of three runs, one after the other: quiet, churn, quiet. The load goes to one service, which does not change;
tasks of all others are replaced, a hundred per second. Audits come as the sidecar makes them, in quiet runs, too.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

from benchmarks.scale.case import Case
from benchmarks.scale.creations import churning
from benchmarks.scale.proxy_stage import Core, Proxy, Spent, core_up, origin, proxy_up
from benchmarks.scale.proxy_state import Replacing, Tasks, created, host, snapshot
from benchmarks.scenario.result import Outcome
from testbed.load import Report, load_command
from testbed.namespace import TestbedError

RATE = 200.0
SECONDS, ROUNDS = 20.0, 4
QUIET, CHURN, QUIET_AGAIN = RUNS = ("quiet", "churn", "quiet again")
LATENCIES = ("p50_ms", "p99_ms", "max_ms")
LOADED = "loaded"
FIRST = 5_000_000
"""Number of the first task of the service that is asked."""

ROOT = Path(__file__).resolve().parents[2]


def run(case: Case, outcome: Outcome) -> None:
    asyncio.run(_run(case, outcome))


async def _run(case: Case, outcome: Outcome) -> None:
    """On the largest cluster."""
    services = case.services[-1]
    with origin(case.haproxy) as port:
        tasks = Tasks(port)
        state = snapshot(services, case.tasks, tasks)
        async with core_up(state) as core, proxy_up(core, case.haproxy, spare_backends=2 * services + 10) as proxy:
            core.change(created(LOADED, tasks.servers(FIRST, case.tasks)))
            await core.acknowledged()
            await proxy.serves((services + 1) * case.tasks)
            bench = Bench(core, proxy, Replacing(services, case.tasks, tasks))
            for _ in range(1 if case.short else ROUNDS):
                await bench.round()
            outcome.check("reloads", proxy.status()["haproxy"]["reloads"], 0)
    outcome.figures["size"] = f"{services:,} services of {case.tasks} tasks"
    outcome.figures["tasks replaced"] = bench.churn.done
    bench.tell(outcome)


class Bench:
    """The reports of all runs, by kind, and what was spent in them."""

    def __init__(self, core: Core, proxy: Proxy, churn: Replacing) -> None:
        self.core, self.proxy, self.churn = core, proxy, churn
        self.reports: dict[str, list[Report]] = {kind: [] for kind in RUNS}
        self.spent: dict[str, list[tuple[float, float, float]]] = {kind: [] for kind in RUNS}
        self.audits = dict.fromkeys(RUNS, 0.0)

    async def round(self) -> None:
        for kind in RUNS:
            audits, spent = self.proxy.audits(), Spent(self.proxy)
            async with churning(self.core, self.churn, 0) if kind == CHURN else nullcontext():
                self.reports[kind].append(await load(self.proxy.url, SECONDS))
            self.spent[kind].append(spent.since())
            self.audits[kind] += self.proxy.audits() - audits
            await self.core.acknowledged()

    def tell(self, outcome: Outcome) -> None:
        for kind in RUNS:
            outcome.figures[kind] = self._figures(kind)
            outcome.check(f"{kind}: failed requests", sum(each.failed for each in self.reports[kind]), 0)
        for name in ("p50", "p99"):
            churn, noise = self._against_quiet(f"{name}_ms")
            outcome.ratio(f"{name}, churn / quiet", churn)
            outcome.figures[f"{name}, one quiet run / the other (noise)"] = round(noise, 3)

    def _figures(self, kind: str) -> dict[str, Any]:
        """Medians over the rounds; the sum of requests and audits."""
        reports, spent = self.reports[kind], self.spent[kind]
        shares = [(sidecar / seconds, haproxy / seconds) for seconds, sidecar, haproxy in spent]
        return {
            **{what: statistics.median(getattr(each, what) for each in reports) for what in LATENCIES},
            "sent": sum(each.sent for each in reports),
            "audits": self.audits[kind],
            "share of one CPU, sidecar: %": round(statistics.median(each for each, _ in shares) * 100, 1),
            "share of one CPU, HAProxy: %": round(statistics.median(each for _, each in shares) * 100, 1),
        }

    def _against_quiet(self, what: str) -> tuple[float, float]:
        """Medians over the rounds: churn against the mean of both quiet runs, and the greater of these against the
        other."""
        rounds = zip(*(self.reports[kind] for kind in RUNS), strict=True)
        found = [tuple(getattr(report, what) for report in reports) for reports in rounds]
        churn = statistics.median(churn / ((quiet + again) / 2) for quiet, churn, again in found)
        return churn, statistics.median(max(quiet, again) / min(quiet, again) for quiet, _, again in found)


@asynccontextmanager
async def loading(url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A constant load on the service `LOADED` by a process of its own; it has begun when the block does."""
    command = load_command(url, host(LOADED), RATE, "--announce")
    pipe = asyncio.subprocess.PIPE
    client = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, cwd=ROOT, limit=1 << 24)
    try:
        assert client.stdout is not None
        if await client.stdout.readline() != b"ready\n":
            raise TestbedError(f"{command} did not start")
        yield client
    finally:
        if client.returncode is None:
            client.kill()
        await client.wait()


async def finish(client: asyncio.subprocess.Process) -> Report:
    """Ends the load. Raises TestbedError when its program fails."""
    output, _ = await client.communicate(b"")  # its standard input ends
    if client.returncode:
        raise TestbedError(f"the load ended with status {client.returncode}")
    return Report.from_json(output)


async def load(url: str, seconds: float) -> Report:
    """The load for so long."""
    async with loading(url) as client:
        await asyncio.sleep(seconds)  # a time to look on, not a wait for something
        return await finish(client)
