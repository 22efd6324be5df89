"""Keeps the services of all clusters as the settings want them: looks, plans, applies, one round after the other.

A round is made when something of ours has changed in Swarm, when the settings ask for something else, and now and
then to find what was missed. What Swarm refuses is tried again with growing pauses; it costs its own cluster only.

While core is updated, two of them run for a moment, perhaps with different settings: only the one whose task is of
its service's present specification acts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Protocol

from l7.config import Cluster, Settings
from l7.deploy import names
from l7.deploy.actions import Action, Plan, UpdateService
from l7.deploy.apply import Seen, apply, observe
from l7.deploy.decisions import Decision, Present, decide
from l7.deploy.existing import Existing
from l7.deploy.file_mode import Files
from l7.deploy.issuer import Issuer
from l7.deploy.own import NOBODY, Asking, Own, fetch_own_service, fetch_spec, own
from l7.deploy.plan import Situation, digest, plan
from l7.deploy.ports import Publishers
from l7.deploy.rollbacks import Rollbacks
from l7.deploy.stored import KIND, Stored, newest, stored
from l7.deploy.wanted import Installation
from l7.kit import logs, tasks
from l7.kit.backoff import Backoff
from l7.kit.errors import L7Error
from l7.kit.metrics import Metrics
from l7.labels.table import EXTENSION_TYPE, PROXY_TYPE
from l7.model import Node, Problem, Service, StoredSecret, Task, TaskState
from l7.swarm.engine import Outdated

_log = logs.get("deploy.fleet")

BATCH = 0.3
"""Seconds in which changes are gathered: each new task of a proxy costs its connections."""
WAIT = 2.0
"""Seconds between looks while an update goes on; its end is news by itself, should that be missed."""
RETRY = Backoff(first=0.5, limit=30.0)

Json = Mapping[str, Any]


class CacheView(Protocol):
    """What is read of the cache of Swarm's state."""

    @property
    def services(self) -> Mapping[str, Service]: ...
    @property
    def nodes(self) -> Mapping[str, Node]: ...
    @property
    def secrets(self) -> Mapping[str, StoredSecret]: ...
    def tasks_of(self, service: str, /) -> Mapping[str, Task]: ...


class TouchedView(Protocol):
    """What changed: these services (by id), secrets by name, nodes, networks, or all."""

    @property
    def services(self) -> frozenset[str]: ...
    @property
    def secrets(self) -> frozenset[str]: ...
    @property
    def nodes(self) -> bool: ...
    @property
    def networks(self) -> bool: ...
    @property
    def all(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Options:
    """`service`: name of core's own, "" to find out; `port`: where core listens; `enabled` False: the clusters'
    services are somebody else's affair. `audit`: seconds between looks where nothing seems to have changed."""

    service: str = ""
    port: int = 8080
    enabled: bool = True
    audit: float = 60.0


class Fleet:
    """Tell it what changed by `take`; `run` does the rest. For one event loop.

    `joined`: ids of the applications' networks that a cluster's proxies are to be on; `published`: references to
    its published configuration, for tasks that are new anyway. `issuer` makes the identities
    of new clusters, None: they are made by hand.
    """

    def __init__(
        self,
        settings: Settings,
        options: Options,
        metrics: Metrics,
        joined: Callable[[str], frozenset[str]],
        issuer: Issuer | None = None,
    ) -> None:
        self._settings = settings
        self._options = options
        self._metrics = metrics
        self._joined = joined
        self._issuer = issuer
        self._cache: CacheView | None = None
        self._publishers = Publishers()
        self._wake = asyncio.Event()
        self._joined_before: dict[str, frozenset[str]] = {}
        self._service = options.service
        self._template: Json | None = None
        self._failures: dict[str, Problem] = {}
        self._retries: dict[str, _Retry] = {}
        self._problems: tuple[Problem, ...] = ()
        self._seen: tuple[Existing, ...] = ()
        self._random = Random()
        self._rollbacks = Rollbacks(self._random)
        self._said = ""
        self._pki: set[str] = set()
        self.published: Callable[[str], tuple[Json, ...]] = lambda cluster: ()
        self.files: Callable[[str], Files | None] = lambda cluster: None
        self.on_problems: Callable[[], None] = lambda: None

    def take(self, cache: CacheView, touched: TouchedView) -> None:
        """Note that Swarm has changed."""
        first, self._cache = self._cache is None, cache
        ports = self._publishers.take(cache, touched)
        joined = {name: self._joined(name) for name in self._settings.clusters}
        moved, self._joined_before = joined != self._joined_before, joined
        ours = any(self._is_ours(cache.services.get(id_), id_) for id_ in touched.services)
        pki = self._concerns(cache, touched)
        ground = touched.all or touched.nodes or touched.networks
        if first or ground or ports or moved or ours or pki:
            self._wake.set()

    def look(self) -> None:
        """Something else than Swarm has changed: what is published."""
        self._wake.set()

    def held(self, cluster: str) -> frozenset[str]:
        """Ids of configs that its services need, as last seen: Docker protects none that Swarm would go back to."""
        return frozenset().union(*(each.configs for each in self._seen if each.cluster == cluster))

    def problems(self) -> tuple[Problem, ...]:
        """What is not as the settings want it; sorted."""
        return tuple(sorted({*self._problems, *self._failures.values()}))

    def document(self) -> list[dict[str, Any]]:
        """The services of the clusters, for /status."""
        found = sorted(self._seen, key=lambda each: (each.cluster, each.is_proxy, each.name))
        return [_document(each) for each in found]

    async def run(self, api: Asking, stop: asyncio.Event) -> None:
        """Keeps the services until `stop`."""
        if not self._options.enabled:
            await stop.wait()
            return
        await tasks.first(stop, self._run(api))

    # ------------------------------------------------------------ inside

    def _is_ours(self, service: Service | None, id_: str) -> bool:
        if service is None:
            return any(each.id == id_ for each in self._seen)
        labels = service.spec.labels
        return EXTENSION_TYPE in labels or PROXY_TYPE in labels or service.name == self._service

    def _concerns(self, cache: CacheView, touched: TouchedView) -> bool:
        """Whether a secret of the PKI came or went. By name, as configs are among what is touched."""
        named = cache.secrets if touched.all else touched.secrets
        now = {name for name in named if (each := cache.secrets.get(name)) is not None and KIND in each.labels}
        gone = self._pki.intersection(named) - now
        self._pki = now if touched.all else (self._pki | now) - gone
        return bool(now or gone)

    async def _run(self, api: Asking) -> None:
        await self._wake.wait()
        delays = RETRY.jittered(self._random)
        while True:
            try:
                pause = await self._round(api)
                delays = RETRY.jittered(self._random)
            except L7Error as error:
                _log.warning("services not looked at", error=str(error))
                pause = next(delays)
            await self._sleep(pause)

    async def _sleep(self, seconds: float) -> None:
        """Less when something changes; not so little that changes are not gathered."""
        await asyncio.sleep(min(BATCH, seconds))  # the pause that gathers, not one that waits for something
        try:
            async with asyncio.timeout(max(0.0, seconds - BATCH)):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _round(self, api: Asking) -> float:
        """One look, and what follows from it; seconds until the next one."""
        self._wake.clear()
        seen = await observe(api, self._running())
        me = await self._own(api, seen)
        if me is None:
            return WAIT
        if not me.service and not me.endpoint:
            self._say_once("core is no service of this Swarm: it keeps no services")
            return self._options.audit
        self._metrics.audits.labels("services").inc()
        self._seen = seen.services
        self._note_rollbacks()
        made = plan(self._settings.clusters, self._situation(seen, me))
        self._note(made)
        return await self._act(api, made)

    async def _own(self, api: Asking, seen: Seen) -> Own | None:
        """Core's own service as it is; None when another core is about to take this one's place."""
        if not self._service:
            self._service = await fetch_own_service(api)
        if not self._service:
            return replace(NOBODY, endpoint=self._settings.endpoint_override)
        spec = await fetch_spec(api, self._service)
        # Where it may be placed is no matter of a task that is placed already: Swarm does not replace it for that.
        template = {key: value for key, value in spec["TaskTemplate"].items() if key != "Placement"}
        self._template = self._template or template
        if template != self._template:
            self._say_once("another core takes over")
            return None
        return own(spec, self._options.port, seen.managers, self._settings.endpoint_override)

    def _say_once(self, words: str) -> None:
        if self._said != words:
            self._said = words
            _log.info(words)

    def _running(self) -> dict[str, int]:
        """How many tasks of our services serve."""
        if self._cache is None:
            return {}
        services = self._cache.services.values()
        ours = (each for each in services if {PROXY_TYPE, EXTENSION_TYPE} & set(each.spec.labels))
        return {each.id: sum(map(_serves, self._cache.tasks_of(each.id).values())) for each in ours}

    def _situation(self, seen: Seen, me: Own) -> Situation:
        cache = self._cache
        ours = {each.id for each in seen.services}
        everybody = cache.services.values() if cache is not None else ()
        return Situation(
            Installation(me.image, me.endpoint, me.networks, seen.network_ids, *self._identities()),
            self._decisions(seen),
            seen.services,
            frozenset(each.name for each in everybody if each.id not in ours),
            seen.managed_networks,
            seen.subnets,
            seen.wide,
            self._rollbacks.standing(time.monotonic()),
            {name: self.published(name) for name in self._settings.clusters},
            {name: files for name in self._settings.clusters if (files := self.files(name)) is not None},
        )

    def _decisions(self, seen: Seen) -> dict[str, Decision]:
        clusters = self._settings.clusters.values()
        nodes = self._cache.nodes.values() if self._cache is not None else ()
        present = {each.name: Present(each.id, each.applied) for each in seen.services}
        joined = {each.name: self._to_join(each, seen) for each in clusters}
        return decide(clusters, nodes, self._publishers, present, joined)

    def _to_join(self, cluster: Cluster, seen: Seen) -> frozenset[str]:
        """While the proxies are being rolled, no other network is added: the next roll takes all that came."""
        joined, service = self._joined(cluster.name), names.proxy_service(cluster)
        busy = next((each for each in seen.services if each.name == service and each.in_flight), None)
        return joined & busy.networks if busy is not None else joined

    def _identities(self) -> tuple[dict[str, Stored], dict[str, Stored]]:
        """Secrets of the PKI: of the newest generation by base name, others by id."""
        found = self._stored()
        generation = newest(found)
        older = {each.id: each for each in found if each.generation < generation}
        return {each.base: each for each in found if each.generation == generation}, older

    def _stored(self) -> list[Stored]:
        secrets = self._cache.secrets.values() if self._cache is not None else ()
        return [stored(each.id, each.name, dict(each.labels)) for each in secrets if KIND in each.labels]

    def _note_rollbacks(self) -> None:
        for each in self._seen:
            cluster = self._settings.clusters.get(each.cluster)
            rolls = each.is_proxy and cluster is not None and not cluster.hitless
            if self._rollbacks.note(each, digest(each.applied), time.monotonic(), again=rolls):
                _log.error("update rolled back", service=each.name, cluster=each.cluster, reason=each.message,
                           again=rolls)  # fmt: skip

    def _note(self, made: Plan) -> None:
        if made.problems != self._problems:
            self._problems = made.problems
            self.on_problems()

    # ------------------------------------------------------------ doing

    async def _act(self, api: Asking, made: Plan) -> float:
        """Seconds until the next look."""
        done = False
        for action in made.actions:
            if self._turn(action) <= time.monotonic():
                done |= await self._do(api, action)
        self._forget_all_but(made)
        if done:
            return 0.0
        now = time.monotonic()
        turns = [*(retry.at - now for retry in self._retries.values()), *self._rollbacks.pauses(now)]
        return min([*turns, WAIT if made.waiting else self._options.audit])

    def _turn(self, action: Action) -> float:
        retry = self._retries.get(_key(action))
        return retry.at if retry is not None else 0.0

    async def _do(self, api: Asking, action: Action) -> bool:
        """Whether Swarm took it."""
        key = _key(action)
        try:
            authority = self._issuer.authority() if self._issuer is not None else None
            await apply(api, action, authority, newest(self._stored()))
        except Outdated:
            return True  # somebody else was faster: look again
        except L7Error as error:
            self._failed(action, error)
            return False
        if isinstance(action, UpdateService):  # what Swarm never took is nothing that it took back
            self._rollbacks.tried(action.name, action.digest)
        self._retries.pop(key, None)
        self._failures.pop(key, None)
        self._metrics.fleet.labels(action.cluster, key.partition(" ")[0]).inc()
        _log.info(_DONE[type(action).__name__], name=action.name, cluster=action.cluster,
                  replaces=getattr(action, "replaces", None))  # fmt: skip
        return True

    def _failed(self, action: Action, error: L7Error) -> None:
        key = _key(action)
        before = self._retries.get(key)
        delays = before.delays if before is not None else RETRY.jittered(self._random)
        self._retries[key] = _Retry(time.monotonic() + next(delays), delays)
        problem = _refusal(action, error)
        if self._failures.get(key) != problem:
            self._failures[key] = problem
            _log.warning("not done", action=key, cluster=action.cluster, error=str(error))
            self.on_problems()

    def _forget_all_but(self, made: Plan) -> None:
        """What is not wanted any more is no failure any more."""
        wanted = {_key(action) for action in made.actions}
        gone = (self._retries.keys() | self._failures.keys()) - wanted
        for key in gone:
            self._retries.pop(key, None)
            if self._failures.pop(key, None) is not None:
                self.on_problems()


@dataclass(frozen=True, slots=True)
class _Retry:
    """When to try again, in seconds of the monotonic clock, and the pauses after."""

    at: float
    delays: Iterator[float]


_DONE = {
    "CreateNetwork": "network created",
    "CreateIdentity": "identity created",
    "CreateService": "service created",
    "UpdateService": "service updated",
    "RemoveService": "service removed",
    "RemoveNetwork": "network removed",
}


def _key(action: Action) -> str:
    return f"{type(action).__name__} {action.name}"


def _refusal(action: Action, error: L7Error) -> Problem:
    words = _DONE[type(action).__name__].split()
    message = f"{words[0]} can't be {words[1]}: {error}"
    remedy = "it is tried again; what is there stays as it is"
    return Problem("", "", action.name, message, remedy, action.cluster, fatal=False)


def _serves(task: Task) -> bool:
    return task.state == task.desired == TaskState.RUNNING


def _document(each: Existing) -> dict[str, Any]:
    container = each.spec["TaskTemplate"]["ContainerSpec"]
    return {
        "name": each.name,
        "cluster": each.cluster,
        "proxy": each.is_proxy,
        "image": container.get("Image", ""),
        "replicas": each.replicas,
        "running": each.running,
        "update": each.update,
        "message": each.message,
    }
