"""Keeps published configurations in Swarm, as Docker config objects (`published` says which).

Of each service cluster the newest publication counts: what comes while one is being stored takes the place of what
waits. There is at most one new version a second; a failure is tried again with growing pauses, by cluster.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Protocol

from l7.deploy import published
from l7.deploy.published import Part, Version, newest, parts_of, plan, too_large, too_large_to_mount, versions
from l7.kit import logs, tasks
from l7.kit.backoff import Backoff
from l7.kit.bundle import Bundle, pack
from l7.kit.errors import L7Error, Rejected
from l7.kit.metrics import Metrics
from l7.model import Problem, StoredSecret
from l7.publication import Publication

_log = logs.get("deploy.publish")

PAUSE = 1.0
"""Seconds between two versions of a cluster."""
_RETRY = Backoff(first=1.0, limit=60.0)
_REMEMBERED = 90.0
"""Seconds after which what Swarm's events say counts more than what we did ourselves: an audit has passed."""


class ConfigApi(Protocol):
    """What is needed of `l7.swarm.engine.Engine`; raises as it does."""

    async def create_config(self, name: str, data: bytes, labels: Mapping[str, str]) -> StoredSecret: ...
    async def label_config(self, id_: str, labels: Mapping[str, str]) -> StoredSecret: ...
    async def remove_config(self, id_: str) -> None: ...


@dataclass(slots=True)
class _Offer:
    """A publication that is to be stored. `stored`: names of its objects, none when another one came."""

    publication: Publication
    stored: asyncio.Future[tuple[str, ...]]


@dataclass(slots=True)
class _Cluster:
    """`due`: seconds of the monotonic clock before which nothing is stored."""

    offer: _Offer | None = None
    due: float = 0.0
    delays: Iterator[float] | None = None
    problem: Problem | None = None


@dataclass(slots=True)
class _Seen:
    """The config objects there are: what Swarm said, and what we did that it has not said yet."""

    listed: Mapping[str, StoredSecret] = field(default_factory=dict)
    done: dict[str, tuple[StoredSecret | None, float]] = field(default_factory=dict)

    def note(self, id_: str, now: StoredSecret | None) -> None:
        """Made, changed, or removed (None)."""
        self.done[id_] = now, time.monotonic()

    def all(self) -> list[StoredSecret]:
        """By id; what we did counts until Swarm has said so, or has had the time to."""
        listed = {each.id: each for each in self.listed.values() if each.name.startswith(published.NAME)}
        horizon = time.monotonic() - _REMEMBERED
        for id_, (config, at) in list(self.done.items()):
            if at < horizon or _agrees(listed.get(id_), config):
                del self.done[id_]
            elif config is None:
                listed.pop(id_, None)
            else:
                listed[id_] = config
        return list(listed.values())


def _agrees(listed: StoredSecret | None, done: StoredSecret | None) -> bool:
    if listed is None or done is None:
        return listed is done
    return listed.version >= done.version


class Publisher:
    """`publish` takes what is to be stored, `take` what there is, and `run` does the rest. For one event loop.

    `more`: further files of a publication. `pins`: the pinned revision of a cluster, "" for none; `held`: ids of
    configs that its services need.
    """

    def __init__(self, clusters: Iterable[str], metrics: Metrics, pause: float = PAUSE) -> None:
        self._clusters = {name: _Cluster() for name in clusters}
        self._metrics = metrics
        self._pause = pause
        self._seen: _Seen | None = None
        self._configs = _Seen()
        self._wake = asyncio.Event()
        self._random = Random()
        self.more: Callable[[Publication], Mapping[str, bytes]] = lambda publication: {}
        self.pins: Callable[[str], str] = lambda cluster: ""
        self.held: Callable[[str], Collection[str]] = lambda cluster: ()
        self.on_problems: Callable[[], None] = lambda: None
        self.on_stored: Callable[[], None] = lambda: None

    def take(self, configs: Mapping[str, StoredSecret] | None) -> None:
        """All configs by name; None: not known yet, so nothing is stored."""
        before, self._seen = self._seen, None if configs is None else self._configs
        if configs is not None:
            self._configs.listed = configs
        if before is None and self._seen is not None:
            self._wake.set()
            self.on_stored()

    def versions(self, cluster: str) -> tuple[Version, ...]:
        """What is stored, the newest first; nothing before it is known."""
        return versions(self._seen.all(), cluster) if self._seen is not None else ()

    def newest(self, cluster: str) -> Version | None:
        """What a task of the cluster is to start from without core."""
        return newest(self.versions(cluster))

    def problems(self) -> tuple[Problem, ...]:
        return tuple(each.problem for each in self._clusters.values() if each.problem is not None)

    async def publish(self, publication: Publication) -> tuple[str, ...]:
        """Names of the objects that hold it, when they are there; none when a newer publication came first.

        Raises Rejected for what is too large.
        """
        cluster = self._clusters[publication.cluster]
        if cluster.offer is not None:
            _settle(cluster.offer, ())
        cluster.offer = _Offer(publication, asyncio.get_running_loop().create_future())
        self._wake.set()
        return await asyncio.shield(cluster.offer.stored)

    async def run(self, api: ConfigApi, stop: asyncio.Event) -> None:
        """Stores until `stop`."""
        try:
            while not stop.is_set():
                self._wake.clear()
                for name in self._due():
                    await self._store(api, name)
                again = [asyncio.sleep(wait)] if (wait := self._wait()) is not None else []
                await tasks.race(stop.wait(), self._wake.wait(), *again)
        finally:
            for each in self._clusters.values():
                if each.offer is not None:
                    each.offer.stored.cancel()

    # ------------------------------------------------------------ inside

    def _open(self) -> Iterator[tuple[str, _Cluster]]:
        if self._seen is not None:
            yield from ((name, each) for name, each in self._clusters.items() if each.offer is not None)

    def _due(self) -> list[str]:
        now = time.monotonic()
        return [name for name, each in self._open() if each.due <= now]

    def _wait(self) -> float | None:
        """Seconds until something is due."""
        dues = [each.due for _, each in self._open()]
        return max(0.0, min(dues) - time.monotonic()) if dues else None

    async def _store(self, api: ConfigApi, name: str) -> None:
        """Bring Swarm to what is offered, or note when to try again."""
        cluster, offer = self._clusters[name], self._clusters[name].offer
        if offer is None:
            return
        before = cluster.problem
        try:
            names, worked = await self._bring(api, offer.publication)
        except _TooLarge as error:
            self._count(name, "too large")
            remedy = _TOO_LARGE if offer.publication.deployment is None else _TOO_LARGE_TO_MOUNT
            self._done(cluster, offer, _problem(name, str(error), remedy), error)
        except L7Error as error:
            self._later(cluster, name, error)
        else:
            cluster.due = time.monotonic() + self._pause if worked else 0.0
            self._done(cluster, offer, None, names)
        if cluster.problem != before:
            self.on_problems()

    async def _bring(self, api: ConfigApi, publication: Publication) -> tuple[tuple[str, ...], bool]:
        """Names of the objects, and whether Swarm had to do with it."""
        found = self.versions(publication.cluster)
        same = newest(found)
        if same is not None and same.content == publication.content:
            return tuple(part.name for part in same.parts), False
        files = {**publication.files, **self.more(publication)}
        bundle = Bundle(publication.cluster, publication.revision, publication.state, files)
        archive = await asyncio.to_thread(pack, bundle)
        if why := too_large_to_mount(publication) or too_large(archive):
            raise _TooLarge(f"the configuration of service cluster {publication.cluster or 'default'!r}", why)
        wanted = parts_of(publication, archive, _now())
        cluster = publication.cluster
        await self._carry_out(api, cluster, plan(found, wanted, self.pins(cluster), self.held(cluster)))
        return tuple(part.name for part in wanted), True

    async def _carry_out(self, api: ConfigApi, cluster: str, todo: published.Plan) -> None:
        await self._remove(api, cluster, todo.clear)
        for part in todo.make:
            await self._make(api, cluster, part)
        if todo.mark is not None:
            labels = {**dict(todo.mark.labels), published.PUBLISHED: _now()}
            self._configs.note(todo.mark.id, await api.label_config(todo.mark.id, labels))
            self._count(cluster, "again")
        self.on_stored()
        await self._remove(api, cluster, todo.remove)

    async def _make(self, api: ConfigApi, cluster: str, part: Part) -> None:
        made = await api.create_config(part.name, part.data, part.labels)
        self._configs.note(made.id, made)
        self._count(cluster, "stored")
        _log.info(
            "configuration stored", cluster=cluster, revision=part.labels[published.REVISION], name=part.name,
            bytes=len(part.data), state=part.labels[published.STATE],
        )  # fmt: skip

    async def _remove(self, api: ConfigApi, cluster: str, configs: Iterable[StoredSecret]) -> None:
        for config in configs:
            with suppress(Rejected):  # a service refers to it, or somebody else was faster
                await api.remove_config(config.id)
                self._configs.note(config.id, None)
                self._count(cluster, "removed")

    def _done(self, cluster: _Cluster, offer: _Offer, problem: Problem | None, outcome: _Outcome) -> None:
        if cluster.offer is offer:
            cluster.offer = None
        cluster.delays, cluster.problem = None, problem
        _settle(offer, outcome)

    def _later(self, cluster: _Cluster, name: str, error: L7Error) -> None:
        cluster.delays = cluster.delays or _RETRY.jittered(self._random)
        cluster.due = time.monotonic() + next(cluster.delays)
        cluster.problem = _problem(name, f"configuration could not be stored: {error}", _AGAIN)
        self._count(name, "failed")
        _log.warning("configuration not stored", cluster=name, error=str(error))

    def _count(self, cluster: str, what: str) -> None:
        self._metrics.published.labels(cluster, what).inc()


class _TooLarge(Rejected):
    """No try helps."""


_Outcome = tuple[str, ...] | Exception


def _settle(offer: _Offer, outcome: _Outcome) -> None:
    if offer.stored.done():
        return
    if isinstance(outcome, Exception):
        offer.stored.set_exception(outcome)
        offer.stored.exception()  # nobody may be waiting any more
    else:
        offer.stored.set_result(outcome)


_AGAIN = "it is tried again; see core's log"
_TOO_LARGE = "proxies go on live; one that starts without core takes the state of its extension service"
_TOO_LARGE_TO_MOUNT = "proxies stay at the configuration before; HitlessServiceUpdate = true has no such limit"


def _problem(cluster: str, message: str, remedy: str) -> Problem:
    return Problem("", "", "", message, remedy, cluster, fatal=False)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
