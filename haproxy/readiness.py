"""Whether the proxy can be used: told on /readyz, as a metric, and as a file for the health check of the container.

The file outlives the sidecar: an HAProxy that was ready once serves its last good state, whatever becomes of core
and sidecar, so the health check (`l7.healthcheck`) asks HAProxy itself, and for this file.
"""

from __future__ import annotations

from pathlib import Path

from haproxy import state
from haproxy.settings import READY, Settings
from l7.kit.metrics import Metrics


class Readiness:
    """`is_set` at the first state that HAProxy has taken, and from then on. `was_set`: an earlier sidecar got so
    far, in this container."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.is_set = False
        self._file = Path(settings.file(READY))
        self.was_set = self._file.exists()
        self._metrics = metrics

    def set(self) -> None:
        if self.is_set:
            return
        self.is_set = True
        self._metrics.ready.set(1)
        state.write(self._file, b"")

    @property
    def missing(self) -> str:
        """Why the proxy cannot be used yet; "" when it can."""
        return "" if self.is_set else "no complete state of the cluster has been applied yet"
