"""How long a proxy that is told to stop may let connections finish. Pure."""

from __future__ import annotations

MARGIN = 1500
"""Milliseconds in which the proxy cuts what is left and ends by itself, before Docker ends it."""


def stop_grace(period: int) -> float:
    """Seconds for the sidecar's `--stop-grace`; `period`: milliseconds from the stop signal to Docker's SIGKILL."""
    return round((period - min(MARGIN, period // 4)) / 1000, 3)
