"""Backoff: how long to wait before the next try. The numbers are pure, the waiting is one function."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Backoff:
    """Growing delays in seconds: `first`, then times `factor` each, never above `limit`.

    `jitter` is the share of each delay that is left to chance, 0 (none) to 1 (all of it): many clients of
    one peer that came back must not return in the same instant.
    """

    first: float = 0.1
    factor: float = 2.0
    limit: float = 5.0
    jitter: float = 0.5

    def delays(self) -> Iterator[float]:
        """The delays without jitter, without end."""
        delay = self.first
        while True:
            yield min(delay, self.limit)
            delay = min(delay * self.factor, self.limit)

    def jittered(self, random: Random) -> Iterator[float]:
        """The delays, each shortened by a random part of up to `jitter` of it."""
        for delay in self.delays():
            yield delay * (1 - self.jitter * random.random())


async def retry(backoff: Backoff, random: Random) -> AsyncIterator[int]:
    """Numbers of tries, 0, 1, 2 … without end: the first at once, each later one after its delay.

        async for attempt in retry(Backoff(), Random()):
            try:
                return await connect()
            except Unavailable as error:
                log.warning("connect failed", attempt=attempt, error=str(error))

    To begin anew with short delays (the peer was fine for a while), start a new iterator.
    """
    attempt = 0
    yield attempt
    for delay in backoff.jittered(random):
        await asyncio.sleep(delay)
        attempt += 1
        yield attempt
