"""Service clusters that are pinned: their labels and settings stay as they were, while tasks come and go. Pure.

A pinned cluster is compiled from what was written when a revision was published (`inputs`). Services that are not
in it are not routed there, and what others wrote since waits. Whatever a cluster is compiled from is noted, so that
it can be published along with the state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from l7.config import Settings
from l7.input_log import InputLog
from l7.inputs import NOTHING, Inputs, Written, difference, inputs_of, pinned_by, rewritten, with_settings, written
from l7.model import Problem, Service, ServiceSpec

ClusterOf = Callable[[Service, ServiceSpec], str]
"""The cluster that a service's specification names."""


@dataclass(frozen=True, slots=True)
class Pin:
    """A revision, and what it was compiled from."""

    revision: str
    inputs: Inputs


class Pinning:
    """`settings` are those in force: with a pinned cluster's own of then."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._own = settings
        self._pins: dict[str, Pin] = {}
        self._logs = {name: InputLog() for name in settings.clusters}
        self._places: dict[str, tuple[tuple[str, str], ...]] = {}
        self._held: dict[tuple[str, str], dict[str, tuple[int, Written]]] = {}
        self._noted: dict[str, tuple[int, frozenset[str]]] = {}
        self._waiting: dict[str, tuple[str, str]] = {}

    def pin(self, pins: Mapping[str, Pin]) -> None:
        """From now on these clusters, and no others. All services have to be compiled again."""
        known = self._own.clusters
        self._pins = {name: pin for name, pin in pins.items() if name in known}
        pinned = {name: with_settings(known[name], pin.inputs) for name, pin in self._pins.items()}
        self.settings = replace(self._own, clusters={**known, **pinned})
        self._noted.clear()
        for log in self._logs.values():
            log.forget()

    def service(self, service: Service, cluster_of: ClusterOf) -> Service:
        """As it is to be compiled: with what it said then, where its cluster is pinned."""
        self._waiting.pop(service.id, None)
        if not self._pins:
            return service
        now = written(service)
        cluster = pinned_by(service.name, {name: pin.inputs for name, pin in self._pins.items()})
        if cluster is not None:
            then = self._pins[cluster].inputs.services[service.name]
            if difference(now, then):
                self._waiting[service.id] = cluster, service.name
            return rewritten(service, then)
        wanted = cluster_of(service, service.spec)
        if wanted in self._pins and now.now != NOTHING.now:
            self._waiting[service.id] = wanted, service.name
            return rewritten(service, NOTHING)
        if service.previous is not None and cluster_of(service, service.previous) in self._pins:
            return replace(service, previous=None)
        return service

    def note(self, service_id: str, service: Service | None, clusters: Collection[str]) -> None:
        """What these clusters were compiled from; a service that is gone (None) is none of theirs any more."""
        clusters = frozenset(clusters) & self._logs.keys()
        if service is None:
            self._waiting.pop(service_id, None)
            self._noted.pop(service_id, None)
        elif self._noted.get(service_id) == (service.version, clusters):
            return  # a task came or went: nobody has written anything
        else:
            self._noted[service_id] = service.version, clusters
        for cluster, name in self._places.pop(service_id, ()):
            self._hold(cluster, name, service_id, None)
        text = NOTHING if service is None else written(service)
        if service is not None and text.now != NOTHING.now:
            self._places[service_id] = tuple((cluster, service.name) for cluster in clusters)
            for cluster in clusters:
                self._hold(cluster, service.name, service_id, (service.created, text))

    def _hold(self, cluster: str, name: str, service_id: str, text: tuple[int, Written] | None) -> None:
        """Of two services of a name, of which Swarm removes one just now, the younger one counts."""
        held = self._held.setdefault((cluster, name), {})
        if text is None:
            held.pop(service_id, None)
        else:
            held[service_id] = text
        newest = max(held.items(), key=lambda each: (each[1][0], each[0]), default=None)
        self._logs[cluster].put(name, newest[1][1] if newest is not None else None)
        if not held:
            del self._held[cluster, name]

    def settle(self, revisions: Iterable[tuple[str, str]]) -> None:
        """(cluster, revision): what was noted so far makes these states."""
        for cluster, revision in revisions:
            self._logs[cluster].settle(revision)

    def inputs(self, cluster: str, revision: str) -> Inputs | None:
        """What a state was compiled from; None when that is not known any more."""
        services = self._logs[cluster].at(revision)
        return None if services is None else inputs_of(self.settings.clusters[cluster], services)

    def problems(self) -> Iterator[Problem]:
        """That a cluster is pinned, and what waits."""
        for cluster, pin in sorted(self._pins.items()):
            waiting = sorted(name for where, name in self._waiting.values() if where == cluster)
            yield _pinned(cluster, pin.revision, waiting)


def _pinned(cluster: str, revision: str, waiting: list[str]) -> Problem:
    shown = ", ".join(waiting[:_SHOWN]) + (f" and {len(waiting) - _SHOWN} more" if len(waiting) > _SHOWN else "")
    what = f"labels of these wait: {shown}" if waiting else "no service's labels wait"
    message = f"the service cluster is pinned: routes and settings stay as they were; {what}"
    remedy = f"l7 unpin{f' --cluster {cluster}' if cluster else ''}"
    return Problem("", "", revision[:12], message, remedy, cluster, fatal=False)


_SHOWN = 20
