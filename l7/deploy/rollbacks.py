"""Updates that Swarm took back, and when each may be tried once more. No IO; the clock is the caller's.

Where tasks follow core by themselves, an update is what an operator asked for, and repeating it would only cost
connections. In file mode it is also how routes reach the proxies: a roll that failed for a passing reason would
leave them behind until something changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random

from l7.deploy.existing import Existing
from l7.kit.backoff import Backoff

AGAIN = Backoff(first=30.0, limit=900.0)
"""Seconds: each try may take a proxy away for a moment."""


@dataclass(slots=True)
class _Taken:
    """`at`: when it is tried again, in seconds of the caller's clock."""

    digest: str
    at: float
    delays: Iterator[float]


class Rollbacks:
    """`tried` says what Swarm accepted, `note` what has become of it."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._tried: dict[str, str] = {}
        self._taken: dict[str, _Taken] = {}

    def tried(self, name: str, digest: str) -> None:
        """Swarm has begun to bring this service to a specification of this digest."""
        self._tried[name] = digest

    def note(self, service: Existing, digest: str, now: float, again: bool) -> bool:
        """Whether Swarm has taken an update back since the last time. `digest`: of what the service is now;
        `again`: the update is to be tried again."""
        tried = self._tried.get(service.name)
        if not service.rolled_back or tried is None or digest == tried:
            return False
        del self._tried[service.name]
        before = self._taken.get(service.name)
        same = before is not None and before.digest == tried
        delays = before.delays if before is not None and same else AGAIN.jittered(self._random)
        self._taken[service.name] = _Taken(tried, now + next(delays) if again else math.inf, delays)
        return True

    def standing(self, now: float) -> Mapping[str, str]:
        """Digests that are not to be tried now, by service."""
        for each in self._taken.values():
            each.at = each.at if each.at > now else _NOW
        return {name: each.digest for name, each in self._taken.items() if each.at > now}

    def pauses(self, now: float) -> Iterator[float]:
        """Seconds until something that stood at the last look may be tried again."""
        return (max(0.0, each.at - now) for each in self._taken.values() if _NOW < each.at < math.inf)


_NOW = -math.inf
