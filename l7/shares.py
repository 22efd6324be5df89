"""Shares of services in a backend → weights of their servers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EVEN = 64
"""Weight of each task where no service has a share of its own: the traffic follows the number of tasks."""

LARGEST = 256
"""HAProxy's largest weight."""

UNSAID = 100
"""Share of a service that does not say one, beside services that do."""


@dataclass(frozen=True, slots=True)
class Share:
    """A service in a backend: its `weight` (above 0, None: not given) and the number of `tasks` that divide it."""

    weight: int | None
    tasks: int


def weights(shares: Sequence[Share]) -> tuple[int, ...]:
    """Weight of each task of each service, 1..256, so that the services' totals are as their shares.

    The largest is 256, so that the others lose least by rounding. A service without tasks counts for nothing.
    """
    if all(share.weight is None for share in shares):
        return (EVEN,) * len(shares)
    exact = [_each(share) for share in shares]
    largest = max((each for each, share in zip(exact, shares, strict=True) if share.tasks), default=max(exact))
    return tuple(min(LARGEST, max(1, round(each * LARGEST / largest))) for each in exact)


def _each(share: Share) -> float:
    return (UNSAID if share.weight is None else share.weight) / max(1, share.tasks)
