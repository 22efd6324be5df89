"""What the proxies of a cluster see together, as metrics and as a document. Pure.

Metrics have series for a bounded number of backends, so that 10,000 of them are no burden for who scrapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import nsmallest
from typing import Any

from haproxy.cluster import DOWN, MAINTENANCE, UP, Cluster, Load
from l7.kit.metrics import Metrics

MOST = 1000
"""Backends with series of their own."""
LISTED = 1000
"""Servers that the document names, at the most."""
STATES = {UP: "up", DOWN: "down", MAINTENANCE: "maint"}


def fill(metrics: Metrics, name: str, cluster: Cluster) -> None:
    """The gauges that are about `name`, a service cluster."""
    counts, load = cluster.counts, cluster.load
    for verdict, state in STATES.items():
        metrics.cluster_servers.labels(name, state).set(counts[verdict])
    metrics.cluster_servers.labels(name, "split").set(len(cluster.splits))
    metrics.cluster_sessions.labels(name).set(load.sessions)
    metrics.cluster_queued.labels(name).set(load.queued)
    metrics.cluster_backends.labels(name).set(len(cluster.states))
    metrics.cluster_backend_servers.clear()
    metrics.cluster_backend_sessions.clear()
    for backend in busiest(cluster.loads):
        for verdict, state in STATES.items():
            metrics.cluster_backend_servers.labels(name, backend, state).set(cluster.states[backend][verdict])
        metrics.cluster_backend_sessions.labels(name, backend).set(cluster.loads[backend].sessions)


def busiest(loads: Mapping[str, Load], most: int = MOST) -> list[str]:
    """By all sessions there were: an order that seldom changes."""
    return nsmallest(most, loads, key=lambda name: (-loads[name].total, name))


def document(cluster: Cluster) -> dict[str, Any]:
    """As JSON values: totals, servers that are not up, and those that the proxies see differently."""
    counts, load = cluster.counts, cluster.load
    down = (key for key, verdict in cluster.others.items() if verdict == DOWN)
    return {
        "servers": {state: counts[verdict] for verdict, state in STATES.items()},
        "sessions": load.sessions,
        "queued": load.queued,
        "backends": len(cluster.states),
        "down": [{"backend": backend, "task": task} for backend, task in nsmallest(LISTED, down)],
        "split": [
            {"backend": backend, "task": task, "up": split.up, "proxies": split.proxies}
            for (backend, task), split in nsmallest(LISTED, cluster.splits.items(), key=lambda each: each[0])
        ],
    }
