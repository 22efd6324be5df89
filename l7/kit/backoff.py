"""Backoff: how long to wait before the next try. Pure: the waiting is the caller's."""

from __future__ import annotations

from collections.abc import Iterator
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
