"""Keeps the secrets that proxies need attached to the extension services of their clusters.

Secrets reach a task only by its service's specification: attaching one replaces the task, start-first. So changes
are gathered: the first goes out at once, those that follow go together, with pauses that grow to a second, and
there is one update under way at a time. What Swarm holds already costs no call. A service that can't be updated is
tried again with growing pauses, which are its own: the other clusters don't wait for it.

Along with them goes the reference to the published configuration; it also advances by itself, seldom (`mounted`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

from l7.deploy.attachment import Attachment, Json, attach, attached
from l7.deploy.mounted import advance_at, references, referred, referring
from l7.deploy.published import Version
from l7.kit import logs, tasks
from l7.kit.backoff import Backoff
from l7.kit.errors import L7Error, Rejected
from l7.kit.metrics import Metrics
from l7.labels.table import EXTENSION_TYPE, PROXY_CLUSTER
from l7.model import Problem, Secret, Service, StoredSecret
from l7.swarm.engine import Outdated

_log = logs.get("deploy.attach")

PAUSE = 1.0
"""Seconds between the updates of extension services, while one change follows another."""
FIRST_PAUSE = 1 / 8
"""Part of it after a change that came alone: the next one does not wait for longer, and then twice as long."""

_RETRY = Backoff(first=0.2, limit=30.0)
_FORGIVEN = 300.0
"""Seconds after which something that is taken back counts as a new trouble."""
_TRIES = 5
"""How often a specification is read again because someone else was faster."""


def next_pause(pause: float, more: bool, longest: float) -> float:
    """Seconds after the next update. `more`: something came during this one's pause."""
    return min(2 * pause, longest) if more else longest * FIRST_PAUSE


Required = Callable[[str], frozenset[Secret]]
"""What the proxies of a cluster need."""


class ServiceApi(Protocol):
    """What is needed of `l7.swarm.engine.Engine`; raises as it does."""

    async def service_spec(self, id_: str) -> tuple[int, Json]: ...
    async def update_service(self, id_: str, version: int, spec: Json) -> None: ...
    async def secrets(self, ids: Iterable[str] | None = None) -> tuple[StoredSecret, ...]: ...
    async def configs(self, ids: Iterable[str] | None = None) -> tuple[StoredSecret, ...]: ...


class CacheView(Protocol):
    """What is read of the cache of Swarm's state."""

    @property
    def services(self) -> Mapping[str, Service]: ...


class TouchedView(Protocol):
    """The services (by id) that changed, or all."""

    @property
    def services(self) -> AbstractSet[str]: ...
    @property
    def all(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class _Goal:
    """An extension service at a version, and what it shall have. `published`: content of the published
    configuration whose turn has come, "" for none."""

    service: Service
    cluster: str
    wanted: frozenset[Secret]
    published: str = ""


@dataclass(frozen=True, slots=True)
class _Retry:
    """A goal that was not reached: when to try again, in seconds of the monotonic clock, and the pauses after."""

    goal: _Goal
    at: float
    delays: Iterator[float]


@dataclass(frozen=True, slots=True)
class _Hold:
    """What was given to a service was taken back: when `wanted` may be given again, and the pauses after."""

    wanted: frozenset[Secret]
    at: float
    delays: Iterator[float]


class _TakenBack(L7Error):
    """Swarm has gone back to the specification of before, or somebody has changed it."""


class Attacher:
    """Tell it what changed by `take`; `run` does the rest. For one event loop."""

    def __init__(self, clusters: Iterable[str], metrics: Metrics, pause: float = PAUSE) -> None:
        self._clusters = tuple(clusters)
        self._metrics = metrics
        self._pause = pause
        self._services: dict[str, Service] = {}
        self._required: dict[str, frozenset[Secret]] = {}
        self._done: dict[str, _Goal] = {}
        self._refused: dict[str, tuple[Problem, ...]] = {}
        self._retries: dict[str, _Retry] = {}
        self._given: dict[str, frozenset[Secret]] = {}
        self._holds: dict[str, _Hold] = {}
        self._wake = asyncio.Event()
        self._random = Random()
        self._newest: dict[str, tuple[Version, float]] = {}
        self._mounted: dict[str, frozenset[str]] = {}
        self._advanced: dict[str, float] = {}
        self._began = time.monotonic()
        self.on_problems: Callable[[], None] = lambda: None

    def publish(self, cluster: str, newest: Version | None) -> None:
        """Note what is published of a cluster by now."""
        before = self._newest.get(cluster)
        if newest is None:
            self._newest.pop(cluster, None)
        elif before is None or before[0] != newest:
            same = before is not None and before[0].revision == newest.revision
            self._newest[cluster] = newest, before[1] if before is not None and same else time.monotonic()
            self._wake.set()

    def take(self, cache: CacheView, touched: TouchedView, required: Required | None) -> None:
        """Note what the proxies need by now, and which extension services there are. `required` None: it can't be
        said, since Swarm's secrets are not known; so nothing is attached or detached."""
        for id_ in (*cache.services, *self._services) if touched.all else touched.services:
            service = cache.services.get(id_)
            if service is not None and EXTENSION_TYPE in service.spec.labels:
                self._services[id_] = service
            else:
                self._services.pop(id_, None)
        self._required = {cluster: required(cluster) for cluster in self._clusters} if required else {}
        for gone in (self._done.keys() | self._refused.keys() | self._retries.keys()) - self._services.keys():
            self._forget(gone)
        if self._due():
            self._wake.set()

    def problems(self) -> tuple[Problem, ...]:
        """Clusters whose secrets nobody hands out, and secrets that Swarm would not attach; sorted."""
        served = {_cluster(service) for service in self._services.values()}
        homeless = (_no_service(name) for name, needed in self._required.items() if needed and name not in served)
        return tuple(sorted({*homeless, *(each for found in self._refused.values() for each in found)}))

    async def run(self, api: ServiceApi, stop: asyncio.Event) -> None:
        """Attaches and detaches until `stop`."""
        pause = next_pause(0.0, False, self._pause)
        while not stop.is_set():
            self._wake.clear()
            if await self._round(api):
                await tasks.first(stop, asyncio.sleep(pause))
                pause = next_pause(pause, bool(self._open()), self._pause)
            turns = [*(self._turn(goal) for goal in self._open()), *self._advances()]
            again = [asyncio.sleep(min(turns) - time.monotonic())] if turns else []
            await tasks.race(stop.wait(), self._wake.wait(), *again)

    # ------------------------------------------------------------ inside

    def _open(self) -> list[_Goal]:
        """The services that may not have what they shall have."""
        goals = (
            _Goal(service, cluster, self._required[cluster], self._due_version(service, cluster))
            for service in self._services.values()
            if (cluster := _cluster(service)) in self._required
        )
        return [goal for goal in goals if self._done.get(goal.service.id) != goal]

    def _due_version(self, service: Service, cluster: str) -> str:
        """Content of the published configuration that it is to be given now, or was given last; "" for none."""
        at = self._advance_at(service.id, cluster)
        if at is not None and at <= time.monotonic():
            return self._newest[cluster][0].content
        done = self._done.get(service.id)
        return done.published if done is not None else ""

    def _advance_at(self, id_: str, cluster: str) -> float | None:
        """When it is to be given the newest configuration; None: it has it, or what it has is not known."""
        if cluster not in self._newest or id_ not in self._mounted:
            return None
        newest, since = self._newest[cluster]
        return advance_at(self._mounted[id_], newest, since, self._advanced.get(id_, self._began))

    def _advances(self) -> list[float]:
        """When the next ones are due."""
        now = time.monotonic()
        found = (self._advance_at(each.id, _cluster(each)) for each in self._services.values())
        return [at for at in found if at is not None and at > now]

    def _due(self) -> list[_Goal]:
        """Those whose turn it is."""
        now = time.monotonic()
        return [goal for goal in self._open() if self._turn(goal) <= now]

    def _turn(self, goal: _Goal) -> float:
        """When it may be tried: at once, if it was not tried before."""
        retry, hold = self._retries.get(goal.service.id), self._holds.get(goal.service.id)
        held = hold.at if hold is not None and hold.wanted == goal.wanted else 0.0
        return max(held, retry.at if retry is not None and retry.goal == goal else 0.0)

    async def _round(self, api: ServiceApi) -> bool:
        """One look at each service that is due; whether Swarm had to do with one of them."""
        worked = False
        for goal in self._due():
            worked |= await self._settle(api, goal)
        return worked

    async def _settle(self, api: ServiceApi, goal: _Goal) -> bool:
        """Bring a service to its goal, or note when to try again; whether it was updated, or could not be."""
        id_, failed, worked = goal.service.id, False, True
        try:
            refused, worked = await self._bring(api, goal)
        except L7Error as error:
            refused, failed = (_not_attached(goal, error),), True
            _log.warning("secrets not attached", service=goal.service.name, cluster=goal.cluster, error=str(error))
        if id_ not in self._services:  # it was removed meanwhile
            return worked
        if failed:
            self._retries[id_] = self._later(goal)
            self._done.pop(id_, None)  # what came of the attempt is not known
        else:
            self._retries.pop(id_, None)
            self._done[id_] = goal
        before, self._refused[id_] = self._refused.get(id_, ()), refused
        if refused != before:
            self.on_problems()
        return worked

    def _later(self, goal: _Goal) -> _Retry:
        before = self._retries.get(goal.service.id)
        same = before is not None and before.goal == goal
        delays = before.delays if before is not None and same else _RETRY.jittered(self._random)
        return _Retry(goal, time.monotonic() + next(delays), delays)

    def _held(self, goal: _Goal) -> _Hold:
        """Each attempt replaces the task, and while Swarm takes it back each time, starts one that fails."""
        before, now = self._holds.get(goal.service.id), time.monotonic()
        same = before is not None and before.wanted == goal.wanted and now - before.at < _FORGIVEN
        delays = before.delays if before is not None and same else _RETRY.jittered(self._random)
        return _Hold(goal.wanted, now + next(delays), delays)

    def _forget(self, id_: str) -> None:
        self._given.pop(id_, None)
        self._holds.pop(id_, None)
        self._done.pop(id_, None)
        self._refused.pop(id_, None)
        self._retries.pop(id_, None)
        self._mounted.pop(id_, None)
        self._advanced.pop(id_, None)

    async def _bring(self, api: ServiceApi, goal: _Goal) -> tuple[tuple[Problem, ...], bool]:
        """Attach what there is; problems for what is not there any more, and whether there was an update."""
        try:
            return (), await self._update(api, goal, goal.wanted)
        except Rejected:
            gone = await _gone(api, goal.wanted)
            if not gone:
                raise
            updated = await self._update(api, goal, goal.wanted - gone)
            return tuple(_removed(goal, secret) for secret in sorted(gone)), updated

    async def _update(self, api: ServiceApi, goal: _Goal, wanted: frozenset[Secret]) -> bool:
        for left in reversed(range(_TRIES)):
            version, spec = await api.service_spec(goal.service.id)
            self._mounted[goal.service.id] = referred(spec)
            attachment = self._attachment(goal, spec, wanted)
            taken = self._given.pop(goal.service.id, frozenset()) & wanted - attached(spec)
            self._given[goal.service.id] = attached(spec)
            if attachment is None:
                return False
            if taken:
                self._holds[goal.service.id] = self._held(goal)
                names = ", ".join(sorted(each.name for each in taken))
                raise _TakenBack(f"{names} was taken back (docker service ps {goal.service.name})")
            try:
                await api.update_service(goal.service.id, version, attachment.spec)
            except Outdated:
                if not left:
                    raise
            else:
                self._note(goal, attachment)
                return True
        return False

    def _attachment(self, goal: _Goal, spec: Json, wanted: frozenset[Secret]) -> Attachment | None:
        """The newest configuration goes along with whatever replaces the task, and by itself when its turn has
        come."""
        newest, _ = self._newest.get(goal.cluster, (None, 0.0))
        attachment = attach(spec, wanted)
        if attachment is not None:
            return replace(attachment, spec=referring(attachment.spec, references(newest)))
        if newest is None or newest.content != goal.published:
            return None
        advanced = referring(spec, references(newest))
        return None if advanced is spec else Attachment(advanced)

    def _note(self, goal: _Goal, attachment: Attachment) -> None:
        self._mounted[goal.service.id] = referred(attachment.spec)
        self._given[goal.service.id] = attached(attachment.spec)
        self._advanced[goal.service.id] = time.monotonic()
        come, gone = len(attachment.attached), len(attachment.detached)
        self._metrics.attachments.labels(goal.cluster, "attached").inc(come)
        self._metrics.attachments.labels(goal.cluster, "detached").inc(gone)
        _log.info(
            "extension service updated",
            service=goal.service.name,
            cluster=goal.cluster,
            attached=come,
            detached=gone,
            secrets=len(goal.wanted),
        )


def _cluster(service: Service) -> str:
    return dict(service.spec.labels).get(PROXY_CLUSTER, "")


async def _gone(api: ServiceApi, wanted: frozenset[Secret]) -> frozenset[Secret]:
    """Those that Swarm does not have (any more)."""
    secrets = {each.id for each in wanted if not each.config}
    configs = {each.id for each in wanted if each.config}
    there = {each.id for each in await api.secrets(secrets)} if secrets else set()
    there |= {each.id for each in await api.configs(configs)} if configs else set()
    return frozenset(each for each in wanted if each.id not in there)


# ---------------------------------------------------------------- problems


def _no_service(cluster: str) -> Problem:
    return Problem(
        "",
        "",
        "",
        "TLS needs the extension service of the cluster, which is not there",
        "core makes it, unless its own problems say why not; with --no-fleet: create one with the label "
        f"{EXTENSION_TYPE[0]}={EXTENSION_TYPE[1]}",
        cluster,
        fatal=False,
    )


def _removed(goal: _Goal, secret: Secret) -> Problem:
    what = "config" if secret.config else "secret"
    message = f"is the name of a {what} that was removed before the proxies got it"
    return _problem(goal, secret.name, message, f"create the {what} again")


def _not_attached(goal: _Goal, error: L7Error) -> Problem:
    message = f"secrets could not be attached to the extension service: {error}"
    return _problem(goal, "", message, "it is tried again; see core's log")


def _problem(goal: _Goal, value: str, message: str, remedy: str) -> Problem:
    return Problem(
        goal.service.name, "", value, message, remedy, goal.cluster, service_id=goal.service.id, fatal=False
    )
