"""Follows Swarm: keeps the cache true, whatever source it comes from, and says what changed.

    async with Watch(Settings()) as watch:
        async for change in watch.changes():
            compile_again(watch.cache, change.touched)

Two sources feed one cache, one at a time. SwarmKit's Watch pushes every change but exists only on a manager, at
its control socket; the Docker Engine API is polled. With `auto`, SwarmKit is used whenever its socket is there and
answers, Docker otherwise, and the change over happens while running. While no source answers, the cache stays as
it was.

Secrets and configs come by a source of their own, beside whichever is in use: it may fail alone, and the rest goes
on. The first change waits for it, though: what is served must not forget the certificates for a moment.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Literal, TypeAlias

from l7.kit import logs
from l7.kit.backoff import Backoff
from l7.kit.errors import ConfigError, L7Error, Unavailable
from l7.kit.tasks import race
from l7.swarm.cache import NOTHING, Cache, Listing, Touched
from l7.swarm.engine import PATIENT, Address, Engine
from l7.swarm.polling import DockerSource
from l7.swarm.source import Source, Update
from l7.swarm.stored import StoredSource
from l7.swarm.swarmkit import SwarmkitSource

_log = logs.get("swarm.watch")

WatchSource: TypeAlias = Literal["auto", "swarmkit", "docker"]

_STABLE = 5.0  # a connection that held for so many seconds makes the next try a first one
_LOOK = 0.5  # seconds between looks for a better source
_RECONNECT = Backoff(first=0.05, limit=5.0)
_BETTER = Backoff(first=_LOOK, limit=30.0)


@dataclass(frozen=True, slots=True)
class Settings:
    """Durations in seconds. `control_socket` may be the directory that holds `control.sock`.

    `coalesce`: the first change is told at once, those within this time after it together. `grace`: what an
    audit finds missing may still be on its way for so long.
    """

    docker: Address = field(default_factory=Address)
    control_socket: Path = Path("/var/run/docker/swarm/control.sock")
    source: WatchSource = "auto"
    poll_interval: float = 3.0
    audit_interval: float = 60.0
    coalesce: float = 0.005
    grace: float = 1.0


@dataclass(frozen=True, slots=True)
class Change:
    """What to compile again, and when the first of it was learnt (nanoseconds of Unix time)."""

    touched: Touched
    observed: int


@dataclass(frozen=True, slots=True)
class Status:
    """For people. Times are nanoseconds of Unix time, 0 for never; `since` is when `connected` last changed.

    `polls`: of tasks, by a source that has to ask for them.
    `healed` counts objects that an audit found to have been missed. `secrets_listed`: when the secrets and configs
    were last listed, 0 if never; `secrets_error`: why they are not followed now, "" when they are.
    """

    source: str = ""
    connected: bool = False
    since: int = 0
    last_event: int = 0
    connects: int = 0
    relists: int = 0
    polls: int = 0
    audits: int = 0
    healed: int = 0
    last_error: str = ""
    secrets_listed: int = 0
    secrets_error: str = ""


class Watch:
    """Follows Swarm from entry to exit. `sources`, best first, replaces those that `settings` names, and `stored`
    the source of secrets and configs (None beside given sources: there are none)."""

    def __init__(
        self, settings: Settings, sources: Sequence[Source] | None = None, stored: Source | None = None
    ) -> None:
        self.cache = Cache()
        self.status = Status()
        self._settings = settings
        self._engine: Engine | None = None
        self._stored = stored
        self._stored_seen = asyncio.Event()
        self._sources = sources if sources is not None else self._make_sources()
        if self._stored is None:
            self._stored_seen.set()
        self._synced_by: Source | None = None
        self._random = Random()
        self._looks = _BETTER.jittered(self._random)
        self._patience: dict[str, float] = {}
        self._pending = NOTHING
        self._observed = 0
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Watch:
        self._task = asyncio.create_task(self._run(), name="swarm.watch")
        self._task.add_done_callback(lambda _: self._news.set())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            await _cancelled([self._task])
        for source in (*self._sources, *([self._stored] if self._stored else ())):
            await source.close()
        if self._engine is not None:
            await self._engine.close()

    async def changes(self) -> AsyncGenerator[Change, None]:
        """Changes of the cache, for one reader; the first is the first complete sync (`touched.all`).

        Ends only by an error that no retry can help.
        """
        while True:
            await self._news.wait()
            if self._task is not None and self._task.done():
                self._task.result()
                return
            change = Change(self._pending, self._observed)
            self._pending, self._observed = NOTHING, 0
            self._news.clear()
            told = time.monotonic()
            yield change
            await asyncio.sleep(told + self._settings.coalesce - time.monotonic())

    # ------------------------------------------------------------ choosing a source

    def _make_sources(self) -> list[Source]:
        settings = self._settings
        self._engine = Engine(settings.docker)
        swarmkit = SwarmkitSource(settings.control_socket, self._engine.trust_root)
        docker = DockerSource(self._engine, settings.poll_interval)
        # An engine of its own: a list of configs, with all their content, must not hold up the others.
        self._stored = self._stored or StoredSource(Engine(settings.docker, PATIENT))
        chosen: dict[WatchSource, list[Source]] = {
            "auto": [swarmkit, docker], "swarmkit": [swarmkit], "docker": [docker],
        }  # fmt: skip
        return chosen[settings.source]

    async def _run(self) -> None:
        parts = [self._run_sources()] + ([self._run_stored(self._stored)] if self._stored else [])
        await race(*parts)

    async def _run_sources(self) -> None:
        delays = _RECONNECT.jittered(self._random)
        while True:
            started = time.monotonic()
            for source in self._sources:
                if await self._try(source):
                    break
            if time.monotonic() - started > _STABLE:
                delays = _RECONNECT.jittered(self._random)
            await asyncio.sleep(next(delays))

    async def _try(self, source: Source) -> bool:
        """Follow a source for as long as it works and there is no better one; whether it worked at all."""
        if source is not self._sources[-1] and not self._worth_a_try(source):
            return False
        connects = self.status.connects
        try:
            await self._follow(source)
        except L7Error as error:
            if isinstance(error, ConfigError) and self._synced_by is None:
                raise  # no retry helps; later, a file may just be being replaced
            self._note(source, "source failed", error)
        worked = self.status.connects > connects
        if not worked:
            self._patience[source.name] = time.monotonic() + next(self._looks)
        return worked

    def _worth_a_try(self, source: Source) -> bool:
        return source.available() and time.monotonic() >= self._patience.get(source.name, 0.0)

    async def _follow(self, source: Source) -> None:
        parts = (self._pump(source), self._audits(source), self._better_than(source))
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await _cancelled(tasks)
            self._set_connected(False)

    async def _better_than(self, source: Source) -> None:
        """Returns when a better source is worth a try; not at all from the best."""
        better = self._sources[: list(self._sources).index(source)]
        while True:
            await asyncio.sleep(_LOOK)
            if any(self._worth_a_try(each) for each in better):
                return

    # ------------------------------------------------------------ following one

    async def _pump(self, source: Source) -> None:
        resume = self.cache.version if self._synced_by is source else 0
        started = time.monotonic()
        async with aclosing(source.updates(resume)) as updates:
            async for update in updates:
                if not self.status.connected:
                    await self._stored_seen.wait()
                    self._connected(source, update)
                self._take(update)
                self._count(update)
                if time.monotonic() - started > _STABLE:
                    self._looks = _BETTER.jittered(self._random)

    def _count(self, update: Update) -> None:
        if isinstance(update, Listing) and update.tasks is not None and update.services is None:
            self.status = replace(self.status, polls=self.status.polls + 1)

    async def _run_stored(self, source: Source) -> None:
        delays = _RECONNECT.jittered(self._random)
        while True:
            started = time.monotonic()
            try:
                await self._follow_stored(source)
            except L7Error as error:
                self._stored_failed(source, error)
            if time.monotonic() - started > _STABLE:
                delays = _RECONNECT.jittered(self._random)
            await asyncio.sleep(next(delays))

    async def _follow_stored(self, source: Source) -> None:
        async with aclosing(source.updates(0)) as updates:
            async for update in updates:
                self._take(update)
                if isinstance(update, Listing):
                    self.status = replace(self.status, secrets_listed=time.time_ns(), secrets_error="")
                    self._stored_seen.set()

    def _stored_failed(self, source: Source, error: L7Error) -> None:
        self._note(source, "secrets and configs are not followed", error)
        self.status = replace(self.status, secrets_error=str(error))
        if not isinstance(error, Unavailable):
            # Docker answers, and will not tell: the rest must not wait for it.
            self._stored_seen.set()

    def _take(self, update: Update) -> None:
        observed = time.time_ns()
        if isinstance(update, Listing):
            touched = self.cache.replace(update)
        else:
            touched = NOTHING
            for event in update:
                touched |= self.cache.apply(event)
            self.status = replace(self.status, last_event=observed)
        self._tell(touched, observed)

    def _tell(self, touched: Touched, observed: int) -> None:
        if touched and self._synced_by is not None:
            self._pending |= touched
            self._observed = self._observed or observed
            self._news.set()

    async def _audits(self, source: Source) -> None:
        while True:
            await asyncio.sleep(self._settings.audit_interval)
            if not self.status.connected:
                continue
            try:
                await self._audit(source)
            except L7Error as error:
                self._note(source, "audit failed", error)

    async def _audit(self, source: Source) -> None:
        """Compare the cache with all there is, and heal it: events may have been lost."""
        self.cache.begin_audit()
        listing = await self._list(source)
        if self.cache.differs(listing):
            # What is new in the listing may just be on its way here.
            await asyncio.sleep(self._settings.grace)
        touched, healed = self.cache.heal(listing)
        self.status = replace(self.status, audits=self.status.audits + 1, healed=self.status.healed + healed)
        if healed:
            _log.warning("missed changes healed by audit", source=source.name, objects=healed)
        self._tell(touched, time.time_ns())

    async def _list(self, source: Source) -> Listing:
        """Everything, with the secrets and configs as long as they are followed."""
        listing = await source.list()
        if self._stored is None or self.status.secrets_error:
            return listing
        stored = await self._stored.list()
        return replace(listing, secrets=stored.secrets, configs=stored.configs)

    # ------------------------------------------------------------ status

    def _connected(self, source: Source, update: Update) -> None:
        relisted = isinstance(update, Listing)
        self._set_connected(True)
        self.status = replace(
            self.status,
            source=source.name,
            connects=self.status.connects + 1,
            relists=self.status.relists + relisted,
        )
        _log.info("following Swarm", source=source.name, relisted=relisted)
        first, self._synced_by = self._synced_by is None, source
        if first:
            self._tell(Touched(all=True), time.time_ns())

    def _set_connected(self, connected: bool) -> None:
        if connected != self.status.connected:
            self.status = replace(self.status, connected=connected, since=time.time_ns())

    def _note(self, source: Source, what: str, error: L7Error) -> None:
        _log.warning(what, source=source.name, error=str(error))
        self.status = replace(self.status, last_error=str(error))


async def _cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
