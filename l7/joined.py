"""The applications' networks that proxies are to be on, counted as services come, change and go. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

Needs = Mapping[str, frozenset[str]]
"""Ids of networks, by service cluster."""


class Joined:
    """How many services need each network, by cluster."""

    def __init__(self, clusters: Iterable[str]) -> None:
        self._counts: dict[str, Counter[str]] = {name: Counter() for name in clusters}
        self._networks: dict[str, frozenset[str]] = dict.fromkeys(self._counts, frozenset())

    def change(self, old: Needs, new: Needs) -> None:
        """What a service needed, and what it needs."""
        for cluster in old.keys() | new.keys():
            before, after = old.get(cluster, frozenset()), new.get(cluster, frozenset())
            if before != after:
                self._count(cluster, before - after, after - before)

    def networks(self, cluster: str) -> frozenset[str]:
        """All that a cluster's services need; the same object until they change."""
        return self._networks[cluster]

    def _count(self, cluster: str, gone: frozenset[str], come: frozenset[str]) -> None:
        counts = self._counts[cluster]
        counts.update(come)
        counts.subtract(gone)
        for network in gone:
            if not counts[network]:
                del counts[network]
        if counts.keys() != self._networks[cluster]:
            self._networks[cluster] = frozenset(counts)
