"""Core's own state, as getting certificates needs it: what is wanted, what proxies answer, who has which answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from l7.build import Build
from l7.kit import logs
from l7.status import Extensions
from l7.store import Store

_log = logs.get("acme")


class Desk:
    """Lives in core's event loop. `changed` is called when problems may be others."""

    def __init__(self, build: Build, store: Store, extensions: Extensions, changed: Callable[[], None]) -> None:
        self._build = build
        self._store = store
        self._extensions = extensions
        self._changed = changed

    def wanted(self) -> Mapping[str, Mapping[str, str]] | None:
        """By service cluster: host -> name of a service that wants a certificate; None before Swarm was seen."""
        if not self._store.clusters():
            return None
        return {cluster: self._build.acme_services(cluster) for cluster in self._build.clusters}

    def show(self, cluster: str, challenges: Mapping[str, str]) -> None:
        """From now on the cluster's proxies answer so."""
        delta = self._build.set_challenges(cluster, challenges)
        if delta is not None:
            self._store.put(cluster, delta)
            _log.info("challenges changed", cluster=cluster, challenges=len(challenges), revision=delta.results_in)

    def proxies(self, cluster: str, token: str) -> tuple[int, int]:
        """How many of its proxies answer to the token, which the state has, and how many are connected."""
        applied = [each.applied for each in self._extensions if each.cluster == cluster]
        return sum(self._has(cluster, revision, token) for revision in applied) if token else 0, len(applied)

    def changed(self) -> None:
        self._changed()

    def _has(self, cluster: str, revision: str, token: str) -> bool:
        """Whether a state has the token: the way from it to the current one does not bring it."""
        way = self._store.since(cluster, revision) if revision else None
        return way is not None and all(known != token for known, _ in way.changes.challenges)
