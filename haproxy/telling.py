"""What core has been told on the stream that is open, so that it is told changes only. No IO."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from haproxy import health
from haproxy.cluster import batches
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
        self._all = True
        self._counters = pb.Counters()

    def problems(self, found: Sequence[pb.Problem]) -> None:
        """All there are."""
        if self._connected() and list(found) != self._problems:
            self._problems = list(found)
            self._send(pb.SyncRequest(report=pb.Report(problems=found)))

    def health(self, verdicts: health.Verdicts, changed: Sequence[health.Key], counters: pb.Counters) -> None:
        """Verdicts on all tasks, on whom they are others than at the last call, and totals of the proxy."""
        if not self._connected():
            return
        news = sorted(verdicts.tasks()) if self._all else changed
        if news or counters != self._counters:
            self._all, self._counters = False, counters
            for servers in batches(health.told(verdicts, news)):  # one message of all would be past gRPC's limit
                self._send(pb.SyncRequest(health=pb.Health(servers=servers, counters=counters)))
