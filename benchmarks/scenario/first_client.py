"""Asks a host every 2 ms, whatever became of the request before, and says when a certain task first answered.

Reads lines of standard input, answers with one each:

    ask <url> <host>       "asking": from now on it asks
    until <instance>       unix seconds of that task's first complete answer, and how many other answers there
                           were: then it no longer asks
"""

from __future__ import annotations

import asyncio
import sys

from testbed.load import Load, Target

RATE = 500.0
LOOK = 0.002
PATIENCE = 30.0


async def first_answer(load: Load, instance: str) -> float:
    """Unix seconds; the answers come in any order, so all that are under way are waited for."""
    async with asyncio.timeout(PATIENCE):
        while not any(sample.instance == instance for sample in load.samples[-200:]):  # noqa: ASYNC110
            await asyncio.sleep(LOOK)
    await load.stop()
    return min(sample.start + sample.latency for sample in load.samples if sample.instance == instance)


async def main() -> None:
    loop = asyncio.get_running_loop()
    load: Load | None = None
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        match line.split():
            case ["ask", url, host]:
                load = Load(Target.of(url, host), RATE, keep_alive=0.0)
                await load.start()
                print("asking", flush=True)
            case ["until", instance] if load is not None:
                moment = await first_answer(load, instance)
                print(moment, sum(sample.status not in (0, 200, 503) for sample in load.samples), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
