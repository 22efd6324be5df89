"""How long certificates last, and when somebody is to be told. Pure; times are seconds of Unix time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

DAY = 86_400
STAGES = (30, 7, 1, 0)
"""Days ahead of the end at which it is told; 0: it has come."""


def stage(not_after: float, now: float) -> int | None:
    """The last stage that has come, None before the first."""
    left = not_after - now
    return next((days for days in reversed(STAGES) if left <= days * DAY), None)


def next_stage(ends: Iterable[float], now: float) -> float | None:
    """When the next stage of any of these certificates comes, None when all have come."""
    times = (when for end in ends if (when := _next(end, now)) is not None)
    return min(times, default=None)


def _next(not_after: float, now: float) -> float | None:
    """Stages come in the order in which they are listed."""
    return next((when for days in STAGES if (when := not_after - days * DAY) > now), None)


def in_words(days: int, not_after: float) -> str:
    """The same on every proxy, and for as long as the stage lasts."""
    date = datetime.fromtimestamp(not_after, UTC).strftime("%Y-%m-%d %H:%M UTC")
    if not days:
        return f"expired on {date}"
    return f"expires in less than {days} day{'s' if days > 1 else ''}, on {date}"
