"""What core has been told on the stream that is open, so that it is told changes only. No IO."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from haproxy import health
from l7.v1 import sync_pb2 as pb


class Telling:
    """`send` drops what it is given while there is no stream, which `connected` tells."""

    def __init__(self, send: Callable[[pb.SyncRequest], None], connected: Callable[[], bool]) -> None:
        self._send = send
        self._connected = connected
        self.forget()

    def forget(self) -> None:
        """Whoever listens from now on may know nothing of us."""
        self._problems: list[pb.Problem] = []
        self._verdicts: health.Verdicts = {}
        self._counters = pb.Counters()

    def problems(self, found: Sequence[pb.Problem]) -> None:
        """All there are."""
        if self._connected() and list(found) != self._problems:
            self._problems = list(found)
            self._send(pb.SyncRequest(report=pb.Report(problems=found)))

    def health(self, now: health.Verdicts, counters: pb.Counters) -> None:
        """Verdicts on all servers, and totals of the proxy."""
        if not self._connected():
            return
        changed = health.changed(self._verdicts, now)
        if changed or counters != self._counters:
            self._verdicts, self._counters = now, counters
            self._send(pb.SyncRequest(health=pb.Health(servers=changed, counters=counters)))
