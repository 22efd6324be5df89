"""The sidecar: one HAProxy, one stream to core, one reconciler between them.

The proxy outlives whatever fails around it: without core the last good state serves on; a sidecar that comes back
adopts the HAProxy that runs; an HAProxy that ends is started again with the whole current state.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from haproxy import checks, health
from haproxy.apply import RuntimeThread
from haproxy.attach import require_static
from haproxy.capabilities import Capabilities, capabilities, dotted
from haproxy.contents import Contents
from haproxy.held import count_held
from haproxy.journal import Journal
from haproxy.leaving import leave
from haproxy.mirror import Mirror, Touched
from haproxy.observation import Observation
from haproxy.places import PoolExhausted
from haproxy.process import Process, version_of
from haproxy.readiness import Readiness
from haproxy.reconcile import AuditKind, Reconciler
from haproxy.runtime.client import Runtime, unix_url
from haproxy.seek import Places, Seeker
from haproxy.settings import Settings
from haproxy.show import Show
from haproxy.standins import StandIns, stand_ins
from haproxy.telling import Telling
from haproxy.work import Work
from haproxy.worker import Worker
from l7.kit import logs, tasks
from l7.kit.backoff import Backoff
from l7.kit.errors import Incompatible, L7Error, ProtocolError, Rejected, Unavailable
from l7.kit.identity import Identity
from l7.kit.metrics import Metrics
from l7.kit.stream import Stream
from l7.kit.tls import NewestFiles, TlsFiles
from l7.v1 import sync_pb2 as pb
from l7.v1 import views_pb2

log = logs.get("sidecar")

SERVERS_INTERVAL = 1.0
WHOLE_INTERVAL = 30.0
AUDIT_SHARE = 20
"""Audits of a kind may take at most 1/20 of the time: slow ones are made less often."""

RESTARTS = Backoff(first=0.1, limit=5.0)
GOOD_SESSION = 5.0
"""Seconds after which a loss of HAProxy counts as a new trouble, mended quickly again."""
SAVE_PAUSE = 0.5
HELD_POLL = 0.1
"""Seconds between looks at requests that wait."""


class _ReloadDue(Exception):
    """The running HAProxy can't express something that is wanted."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the sidecar is told. `attach`: URL of the Runtime API of an HAProxy that someone else runs; `extension`,
    `published`: where a state may be while core is away (`haproxy.seek`)."""

    core: str
    instance: str
    cluster: str = ""
    binary: str = "haproxy"
    tls: TlsFiles | None = None
    attach: str = ""
    stop_grace: float = 30.0
    extension: str = ""
    published: str = ""


class Sidecar:
    """All parts of the sidecar. `run` is its life; `readiness` is set at the first confirmed revision."""

    def __init__(self, options: Options, settings: Settings, metrics: Metrics, version: str) -> None:
        self.options = options
        self.metrics = metrics
        self.mirror = Mirror()
        self._journal = Journal(Path(settings.file("desired.pb")), self.mirror)
        self.readiness = Readiness(settings, metrics)
        self.revision = ""
        self.drift = 0
        self._version = version
        self._synced = asyncio.Event()
        self._held = 0
        self._observed_at = 0
        self._saving: asyncio.TimerHandle | None = None
        self._updated = asyncio.Event()
        self._problems: dict[str, tuple[pb.Problem, ...]] = {}
        self._stand_ins = StandIns()
        self._verdicts = health.Verdicts()
        self._touched: set[str] = set()
        self._looked_by = settings
        url = options.attach or unix_url(settings.socket)
        self._thread = RuntimeThread(Runtime(url, on_command=self._count))
        self.capabilities = self._capabilities()
        self.contents = Contents(settings, self.capabilities, self.mirror, metrics, self._look, self._report)
        self.reconciler = Reconciler(
            settings, self.capabilities, self.mirror, self, not options.attach, lambda: bool(self._due())
        )
        self.reconciler.planner.material = self.contents.material
        self.reconciler.admission.told = self._report
        self.worker = Worker(settings, options.binary, self._thread, self.reconciler, metrics, self.contents)
        self.identity = Identity(options.tls, settings.file("identity"), options.core) if options.tls else None
        self.stream = Stream(
            options.core, self.identity.files if self.identity else None, self._hello, self._update
        )
        self._heard = asyncio.Event()
        self._telling = Telling(self.stream.send, lambda: self.stream.connected)

    @property
    def settings(self) -> Settings:
        """Those of the running HAProxy."""
        return self.worker.settings

    @property
    def process(self) -> Process:
        return self.worker.process

    @property
    def reloads(self) -> int:
        return self.worker.reloads

    # -------------------------------------------------------------- life

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then HAProxy finishes what it has, for up to `stop_grace` seconds."""
        Path(self.settings.run_dir).mkdir(parents=True, exist_ok=True)
        kept = self._journal.load()
        if kept:
            self._take(self.mirror.everything)
            log.info("state found", revision=self.mirror.revision)
        following = asyncio.create_task(self._follow(stop, kept))
        serving = asyncio.create_task(self._serve())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((following, serving, stopping), return_when=asyncio.FIRST_COMPLETED)
            for task in (following, serving):
                if task.done():
                    task.result()  # Incompatible and the like: not ours to swallow
            if not self.options.attach:
                await _cancel(serving)
                await leave(self.process, self._thread, self.settings, self.options.stop_grace)
        finally:
            await _cancel(stopping, following, serving)
            self.contents.close()
            self.reconciler.close()
            self._thread.close()

    async def _follow(self, stop: asyncio.Event, kept: bool) -> None:
        """Core, a certificate by which it knows us, and what there is without it. `kept`: we have a state."""
        identity, options = self.identity, self.options
        files = identity.files if identity else None
        fallback = (options.extension,) if options.extension else ()
        parts = [self.stream.run(stop), self.contents.run(stop, files, options.cluster, fallback)]
        if identity is not None:
            identity.load()
            self.stream.on_authorities = identity.core_trusts
            parts.append(identity.run(stop))
        if not kept:
            parts.append(self._seek(stop, files))
        if options.extension:
            parts.append(self._show(files).run())
        await tasks.race(*parts)

    def _show(self, files: NewestFiles | None) -> Show:
        who = views_pb2.Introduction(instance=self.options.instance, proxy=self._proxy)
        extension = (self.options.extension, self.options.cluster)
        return Show(self._thread.runtime.url, extension, files, who, lambda: self.reconciler.seen.placement)

    async def _seek(self, stop: asyncio.Event, files: NewestFiles | None) -> None:
        places = Places(self.options.cluster, self.options.extension, self.options.published)
        await Seeker(places, files, self._found, self._heard, self.stream.failed).run()
        await stop.wait()

    def _found(self, update: pb.SyncResponse) -> None:
        """A state that is not core's word. Raises ProtocolError for one that makes no sense."""
        touched = self.mirror.load(update.results_in, update.changes)
        self._journal.begin(update)
        self._take(touched)

    async def _serve(self) -> None:
        """HAProxy up, converged, and watched, again and again. Not before there is a state: an empty one would
        take everything out of an HAProxy that serves already. The first one begins to listen with its certificates:
        a client who comes before them would be refused."""
        await self._synced.wait()
        if not (self.options.attach or self.readiness.was_set):
            await self.contents.complete()
        delays = RESTARTS.delays()
        while True:
            since = time.monotonic()
            try:
                await self._ensure_haproxy()
                await self._sessions()
            except (Unavailable, Rejected, ProtocolError, TimeoutError) as error:
                log.warning("haproxy lost", error=str(error))
                if time.monotonic() - since > GOOD_SESSION:
                    delays = RESTARTS.delays()
                await asyncio.sleep(next(delays))

    async def _sessions(self) -> None:
        """One per worker: a reload replaces it."""
        while True:
            try:
                await self._session()
            except PoolExhausted as missing:
                await self.worker.grow(missing.policies)
            except _ReloadDue:
                await self.worker.renew()
                self._report()

    async def _session(self) -> None:
        """Drive one HAProxy process until it is gone. Raises what ended it."""
        await self._thread.call(self._thread.runtime.reopen)
        await self.reconciler.start(self._thread)
        parts: list[Coroutine[Any, Any, None]] = [self.reconciler.run(self._thread), self._audits()]
        if not self.options.attach:
            parts += [self._ended(), self._until_reload()]
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await _cancel(*tasks)

    async def _ended(self) -> None:
        await self.process.ended()
        raise Unavailable("the haproxy process has ended")

    async def _until_reload(self) -> None:
        while not self._due():
            self._updated.clear()
            await self._updated.wait()
        await self._nobody_waits()
        raise _ReloadDue

    async def _nobody_waits(self) -> None:
        """The worker that is replaced hears of no successor any more: who waits in it waits in vain. Whoever came
        before has had the time to wait; somebody may always be coming."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.settings.hold_timeout / 1000):
                while await self._measure_held():  # noqa: ASYNC110 - of another process
                    await asyncio.sleep(HELD_POLL)

    def _due(self) -> str:
        """The reason for a reload of ours."""
        return "" if self.options.attach else self.worker.due()

    async def _audits(self) -> None:
        """A whole one of thousands of certificates takes long, and core hears of servers' health all the same."""
        spent, last_whole = self.reconciler.audit_seconds, time.monotonic()
        while True:
            await asyncio.sleep(max(SERVERS_INTERVAL, AUDIT_SHARE * spent[AuditKind.SERVERS]))
            pause = max(WHOLE_INTERVAL, AUDIT_SHARE * spent[AuditKind.WHOLE])
            whole = time.monotonic() - last_whole > pause
            if whole:
                last_whole = time.monotonic()
            kind = AuditKind.WHOLE if whole else AuditKind.SERVERS
            self.reconciler.audit(kind)
            self.metrics.audits.labels(kind.value).inc()
            await self._measure_held()

    # -------------------------------------------------------------- haproxy

    def _capabilities(self) -> Capabilities:
        if self.options.attach:
            return self._thread.runtime.capabilities()
        return capabilities(version_of(self.options.binary))

    async def _ensure_haproxy(self) -> None:
        if self.options.attach:
            await self._thread.call(self._thread.runtime.reopen)
            missing = await self._thread.call(require_static, self._thread.runtime, self.settings)
            if missing:
                raise Incompatible("the attached HAProxy lacks: " + "; ".join(missing))
            return
        await self.worker.ensure()
        self._report()

    # -------------------------------------------------------------- seen from outside

    def not_ready(self) -> str:
        """Why the proxy cannot be used yet; "" when it can."""
        return self.readiness.missing

    def status(self) -> dict[str, Any]:
        """For /status."""
        return {
            "cluster": self.options.cluster,
            "instance": self.options.instance,
            "revision": self.revision,
            "wanted": self.mirror.revision,
            "core": {"address": self.options.core, "connected": self.stream.connected},
            "haproxy": {
                "version": dotted(self.capabilities.version),
                "worker_pid": self._thread.runtime.pid,
                "reloads": self.reloads,
            },
            "routes": len(self.mirror.routes),
            "backends": len(self.mirror.backends),
            "drift": self.drift,
            "tls": self.contents.status,
        }

    # -------------------------------------------------------------- the stream

    def _hello(self) -> pb.Hello:
        """Whoever hears it may know nothing of us: health and problems are told from the beginning."""
        self._telling.forget()
        return pb.Hello(
            cluster=self.options.cluster,
            instance=self.options.instance,
            software=self._version,
            proxy=self._proxy,
            revision=self.mirror.revision,
        )

    def _update(self, response: pb.SyncResponse, data: bytes) -> None:
        self._journal.take(response, data)
        touched = self.mirror.apply(response, data)
        if touched is None:
            return
        self._journal.commit()
        self._heard.set()
        self._observed_at = response.observed_unix_nano
        log.info(
            "update", revision=self.mirror.revision, backends=len(touched.backends), hosts=len(touched.hosts),
            kind=pb.UpdateKind.Name(response.kind),
        )  # fmt: skip
        self._take(touched)

    def _take(self, touched: Touched) -> None:
        """The mirror has changed."""
        self._touched |= touched.backends
        self.contents.update(touched)
        self.worker.update(touched)
        self.reconciler.update(touched)
        self._updated.set()
        self._synced.set()
        for name in touched.rules:
            found = checks.problems(self.mirror.rules.get(name), self.capabilities)
            if found:
                self._problems[name] = found
            else:
                self._problems.pop(name, None)
        self._report()

    def _look(self, work: Work) -> None:
        """Contents have come, or gone."""
        self.reconciler.touch(work)
        self._updated.set()

    def _report(self) -> None:
        """Tell core what can't be done here, when that has changed."""
        found = [problem for name in sorted(self._problems) for problem in self._problems[name]]
        found += self.worker.problems(static=bool(self.options.attach))
        found += [*self._stand_ins.problems, *self.contents.problems, *self.reconciler.admission.problems]
        self._telling.problems(found)

    # -------------------------------------------------------------- how it went (reconcile.Listener)

    def acknowledged(self, revision: str, seconds: float) -> None:
        self.revision = revision
        self.readiness.set()
        if self._saving is None:  # once for many changes
            self._saving = asyncio.get_running_loop().call_later(SAVE_PAUSE, self._save)
        self.metrics.set_revision(self.options.cluster, revision)
        self.metrics.routes.labels(self.options.cluster).set(len(self.mirror.routes))
        self.metrics.convergence.labels("apply").observe(seconds)
        if self._observed_at:
            age = (time.time_ns() - self._observed_at) / 1e9
            self.metrics.convergence.labels("all").observe(max(0.0, age))
        log.info("applied", revision=revision, seconds=round(seconds, 6))
        micros = int(seconds * 1e6)
        self.stream.send(pb.SyncRequest(ack=pb.Ack(revision=revision, apply_microseconds=micros)))

    def _save(self) -> None:
        self._saving = None
        self._journal.save()

    def refused(self, revision: str, reason: str) -> None:
        """All that was not refused is in effect: a proxy is not kept from its work by one bad backend."""
        self.readiness.set()
        self.stream.send(pb.SyncRequest(nack=pb.Nack(revision=revision, reason=reason)))

    def stored(self, names: Collection[str]) -> None:
        self.contents.stored(names, self.reconciler.planner.stores.holds)

    def drained(self, seconds: float) -> None:
        self.metrics.drain.observe(seconds)

    def drifted(self, differences: int) -> None:
        self.drift += differences
        self.metrics.drift.inc(differences)

    def observed(self, seen: Observation, changes: Collection[health.Change]) -> None:
        names = self._verdicts.names(changes, seen.placement, self._untold())
        changed = self._verdicts.renew(names, self.mirror.backends)
        for name in names:
            keys, backend = self._verdicts.keys_of(name), self.mirror.named.get(name)
            self._stand_ins.note(name, stand_ins(keys, seen, backend, self.reconciler.planner.wanted))
        lacking = {each.service for each in self.contents.material.lacks}  # that says more
        if self._stand_ins.look(self.settings.hold_deadline / 1000, lacking):
            self._report()
        self.metrics.set_servers(self.options.cluster, self._verdicts.counts())
        counters = pb.Counters(
            reloads=self.reloads, drift=self.drift, held_requests=self._held,
            worker_pid=self._thread.runtime.pid or 0,
        )  # fmt: skip
        self._telling.health(self._verdicts, changed, counters)

    def _untold(self) -> set[str]:
        """Keys of backends of which something else is wanted since the last look; all of them by other settings."""
        untold, self._touched = self._touched, set()
        if self._looked_by is not self.settings:
            self._looked_by = self.settings
            untold |= self.mirror.backends.keys()
        return untold

    async def _measure_held(self) -> int:
        """Requests of backends without a usable server that no server has: they wait for a successor."""
        held = await self._thread.call(count_held, self._thread.runtime, self.reconciler.holding())
        self.metrics.held.set(held)
        self._held = held
        return held

    def _count(self, verb: str, result: str, seconds: float) -> None:
        del seconds
        self.metrics.commands.labels(verb, result).inc()

    @property
    def _proxy(self) -> str:
        """What core knows it by."""
        return f"haproxy/{dotted(self.capabilities.version)}"


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError | L7Error):
            raise result
