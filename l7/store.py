"""The current desired state per service cluster, a short history of changes, and wake-ups for its readers.

A reader never queues: it is woken, looks at what is current, and asks for the difference to what it has.
So a slow one skips whatever came in between, and memory does not grow with the number of readers.
Lives in one event loop; not for use from several threads.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from l7 import delta as deltas
from l7.model import Changes, Delta, Snapshot


@dataclass(slots=True)
class _Cluster:
    revision: str
    history: deque[Delta]


@dataclass(slots=True)
class Store:
    """What is current, by service cluster.

    `whole` gives the complete state of a cluster; it is asked only when somebody needs it, so that a change
    costs the change. `history` is how many deltas are kept per cluster: whoever lags further behind gets
    the whole state.

    A cluster has no state before its first `put`, and nothing is served: "not seen yet" must never look
    like "not there". An empty cluster is put like any other.
    """

    whole: Callable[[str], Snapshot]
    history: int = 256
    _clusters: dict[str, _Cluster] = field(default_factory=dict)
    _readers: dict[str, set[asyncio.Event]] = field(default_factory=dict)

    def put(self, cluster: str, delta: Delta | None = None) -> None:
        """`whole(cluster)` has changed; `delta` is how it follows from the one before, None when unknown."""
        revision = delta.results_in if delta else self.whole(cluster).revision
        known = self._clusters.get(cluster)
        history = known.history if known else deque(maxlen=self.history)
        if known is None or delta is None or delta.applies_to != known.revision:
            history.clear()
        if delta is not None and delta.applies_to != delta.results_in:
            history.append(delta)
        self._clusters[cluster] = _Cluster(revision, history)
        for wake in self._readers.get(cluster, ()):
            wake.set()

    def revision(self, cluster: str) -> str:
        """The current revision of a cluster; "" while nothing is known."""
        known = self._clusters.get(cluster)
        return known.revision if known else ""

    def snapshot(self, cluster: str) -> Snapshot | None:
        """The current state of a cluster; None while nothing is known."""
        return self.whole(cluster) if cluster in self._clusters else None

    def clusters(self) -> tuple[str, ...]:
        """Names of the clusters that have a state, sorted."""
        return tuple(sorted(self._clusters))

    def since(self, cluster: str, revision: str) -> Delta | None:
        """What leads from `revision` to the current state, as one delta; None when too far back or unknown."""
        known = self._clusters.get(cluster)
        if known is None:
            return None
        if known.revision == revision:
            return Delta(revision, revision, Changes())
        chain = _chain(known.history, revision)
        return deltas.join(chain) if chain else None

    @contextmanager
    def reader(self, cluster: str) -> Iterator[asyncio.Event]:
        """Within the block, the event is set whenever the cluster's state may have changed."""
        wake = asyncio.Event()
        wake.set()
        self._readers.setdefault(cluster, set()).add(wake)
        try:
            yield wake
        finally:
            self._readers[cluster].discard(wake)


def _chain(history: deque[Delta], revision: str) -> list[Delta]:
    """The end of `history` that starts from `revision`, its latest occurrence; empty when there is none.

    A revision is a digest of content, so it may come again (A, B, A): the latest start is the shortest way.
    """
    chain: list[Delta] = []
    for delta in reversed(history):
        chain.append(delta)
        if delta.applies_to == revision:
            return chain[::-1]
    return []
