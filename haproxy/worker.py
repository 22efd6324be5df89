"""The HAProxy that the sidecar runs: its settings and files, its start, and every reload, each with a reason.

There are three reasons: "spare-pool" (before 3.4, a pool of spare backends has to grow), "settings" (the operator's
configuration has changed) and "first-use" (a service wants a TCP port that is not open yet).
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from haproxy import policy, render, settings_file, state
from haproxy.apply import RuntimeThread
from haproxy.config import Complaint, configured
from haproxy.mirror import Mirror, Touched
from haproxy.ports import Ports, is_free
from haproxy.process import POLL, START_TIMEOUT, Process, fitting_connections
from haproxy.reconcile import Reconciler
from haproxy.runtime.client import Master, master_url
from haproxy.sayable import sayable
from haproxy.settings import AUTH_MAP, Settings
from haproxy.tls import ANY, NO_STORES, Stores
from haproxy.verdicts import Verdicts, complaints_told
from l7.kit import logs
from l7.kit.errors import L7Error, Rejected, Unavailable
from l7.kit.metrics import Metrics
from l7.v1 import sync_pb2 as pb

log = logs.get("worker")

LONGEST_REASON = 500
"""Characters of HAProxy's own words in a Problem."""


class Keeper(Protocol):
    """Who has the contents of TLS stores (`haproxy.contents`)."""

    @property
    def wanted(self) -> Stores:
        """All that is to be had now."""
        ...

    def accepted(self) -> Stores:
        """What HAProxy has taken, the last that is known, and what it can only take by a reload."""
        ...

    def written(self, stores: Stores) -> None:
        """These are in files now, for HAProxy to start from."""
        ...


class Keepless:
    """Where there is no TLS."""

    wanted = NO_STORES

    def accepted(self) -> Stores:
        return NO_STORES

    def written(self, stores: Stores) -> None:
        pass


class Worker:
    """`settings` are those that the running HAProxy has; `base` those of the command line."""

    def __init__(
        self,
        base: Settings,
        binary: str,
        thread: RuntimeThread,
        reconciler: Reconciler,
        metrics: Metrics,
        keeper: Keeper | None = None,
    ) -> None:
        self.base = base
        self.settings = base
        self.process = Process(base, binary)
        self.reloads = 0
        self._thread = thread
        self._reconciler = reconciler
        self._metrics = metrics
        self._keeper: Keeper = keeper or Keepless()
        self._ports = Ports()
        self._wished = base
        self._complaints: tuple[Complaint, ...] = ()
        self._verdicts = Verdicts()
        self._bad_default: bytes | None = None

    @property
    def _mirror(self) -> Mirror:
        return self._reconciler.mirror

    # -------------------------------------------------------------- what is wanted

    def update(self, touched: Touched) -> None:
        """The mirror has changed."""
        self._ports.update(touched.hosts, self._mirror.hosts)
        if touched.config:
            wished, self._complaints = configured(self.base, self._mirror.config)
            self._wished = _fitting(wished, self.base)
            self._verdicts.forget(self._wished)

    def due(self) -> str:
        """The reason for a reload, "" when none is needed."""
        if self._lasting(self._own()) != self._lasting(self.settings):
            return "settings"
        target = self._target()
        if target.default_certificate != self.settings.default_certificate:
            return "settings"
        return "first-use" if set(target.extra_tcp_ports) - set(self.settings.extra_tcp_ports) else ""

    def problems(self, static: bool) -> list[pb.Problem]:
        """What the operator's configuration says and can't be done. `static`: HAProxy is someone else's."""
        found = complaints_told(self._complaints)
        if static and self._lasting(self._wished) != self._lasting(self.base):
            message = "Config: has no effect on an HAProxy that someone else runs"
            remedy = "give `l7 haproxy render --static` the same settings, and include its output"
            found.append(pb.Problem(message=message, remedy=remedy))
        found += self._verdicts.told()
        open_settings = self.base if static else self.settings
        return found + self._ports.problems(open_settings, self._mirror, static, self._wished.allow_policy_reload)

    def _own(self) -> Settings:
        """What the operator wants, if HAProxy takes it; else what it has."""
        return self._verdicts.allowed(self._wished, self.settings)

    def _lasting(self, settings: Settings) -> Settings:
        """Without what follows from the services, and from no operator's word."""
        return replace(
            settings, spare_pools=(), extra_tcp_ports=(), allow_policy_reload=True, default_certificate=False
        )

    def _target(self) -> Settings:
        """What HAProxy is to have now."""
        own = self._own()
        allowed = self._wished.allow_policy_reload
        extra = self._ports.outside(own) if allowed else self._ports.open_outside(own, self.settings)
        default = bool(own.tls_bind) and self._default() not in (None, self._bad_default)
        return replace(
            own, spare_pools=self.settings.spare_pools, extra_tcp_ports=extra, default_certificate=default
        )

    def _default(self) -> bytes | None:
        """The certificate for clients that name no host, or an unknown one."""
        material = self._reconciler.planner.material
        entry = material.entries.get(ANY)
        return None if entry is None else material.pem.get(entry.store)

    def _use(self, settings: Settings) -> None:
        self.settings = self.process.settings = self._reconciler.settings = settings

    # -------------------------------------------------------------- start

    async def ensure(self) -> None:
        """HAProxy runs after this: it did, or is found again, or is started with the whole current state."""
        if self.process.alive():
            return
        if self.process.adopt():
            self._use(settings_file.load(self.base))
            return
        await self.process.buried(self._thread.runtime.pid or 0)
        self._refuse_busy(self._target().extra_tcp_ports)
        while True:
            self._use(self._target())
            try:
                return await self._start()
            except Rejected as error:
                if self._lasting(self.settings) == self._lasting(self.base):
                    raise
                before = replace(self.base, spare_pools=self.settings.spare_pools)
                self._refuse(error, before)
                self._use(before)

    async def _start(self) -> None:
        await self._with_newest(self.process.start)
        settings_file.save(self.settings)

    async def _with_newest(self, load: Callable[[], Awaitable[None]]) -> None:
        """Where HAProxy does not load the newest certificates, those that it had at the latest: once it runs it
        says which one it refuses. Not these at first: of what was sent a moment ago nobody may have heard yet."""
        accepted = self._keeper.accepted()
        self.write_files(self._keeper.wanted)
        try:
            await load()
        except Rejected as error:
            if same_content(accepted, self._keeper.wanted):
                raise
            log.error("the newest certificates are refused", error=str(error))
            self.write_files(accepted)
            await load()

    def _refuse_busy(self, ports: Iterable[int]) -> None:
        """HAProxy does not start with a port that somebody else has, and before 3.0 a reload does not say so."""
        busy = {port for port in ports if not is_free(self.settings.tcp_address, port)}
        self._ports.refuse(busy, "somebody else listens there")

    def _refuse(self, error: Exception, before: Settings) -> None:
        """What was tried is taken back to what was `before` it."""
        log.error("configuration refused", error=str(error))
        tried = self._verdicts.allowed(self._wished, before)
        self._verdicts.refuse(tried, before, " ".join(str(error).split())[:LONGEST_REASON])

    def write_files(self, stores: Stores) -> None:
        """The complete current state, as HAProxy will load it."""
        capabilities = self._reconciler.planner.capabilities
        desired = sayable(self._mirror.keyed, self.settings, capabilities)
        placed = self._reconciler.seen.placement
        placement = policy.place(self.settings, capabilities, desired.backends, placed)
        if missing := desired.backends.keys() - placement.keys():
            self._widen({policy.policy_of(desired.backends[key]) for key in missing})
            placement = policy.place(self.settings, capabilities, desired.backends, placement)
        ready = self._reconciler.admission.accepting.all()
        files = render.render_files(self.settings, capabilities, desired, placement, ready, stores)
        files[AUTH_MAP] += self._reconciler.planner.passwords_of_before()
        for name, content in files.items():
            path = Path(self.settings.file(name))
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            state.write(path, content)
        self._keeper.written(stores)

    def _widen(self, policies: Iterable[policy.Policy]) -> None:
        """More spare backends of these policies, by half again what is needed."""
        needed = Counter(map(policy.policy_of, self._mirror.backends.values()))
        sizes = dict(self.settings.spare_pools)
        for each in policies:
            size = policy.pool_size(self.settings, each)
            sizes[each.kind] = max(needed[each] + needed[each] // 2, size * 2)
        self._use(replace(self.settings, spare_pools=tuple(sorted(sizes.items()))))

    # -------------------------------------------------------------- reload

    async def grow(self, policies: Collection[policy.Policy]) -> None:
        """No spare backend of these is left (before 3.4): a new service, or a new policy of one, costs a reload."""
        before = self.settings
        self._widen(policies)
        try:
            await self._reload("spare-pool")
        except (L7Error, TimeoutError):
            self._use(before)  # else each further try would double it
            raise

    async def renew(self) -> None:
        """One reload for all that is due. What HAProxy refuses is not tried again until it changes.

        Raises Unavailable when HAProxy is gone.
        """
        before = self.settings
        self._refuse_busy(set(self._target().extra_tcp_ports) - set(before.extra_tcp_ports))
        reason = self.due()
        if not reason:
            return
        self._use(self._target())
        try:
            await self._reload(reason)
        except (Rejected, TimeoutError) as error:
            self._take_back(reason, before, error)
        except Unavailable:
            self._use(before)  # whether it took place is unknown: the next session finds it due again
            raise

    def _take_back(self, reason: str, before: Settings, error: Exception) -> None:
        """HAProxy goes on as it was, and so do its files: the next start must not fail."""
        tried = self.settings
        self._use(before)
        if tried.default_certificate and not before.default_certificate:
            self._bad_default = self._default()
        if self._lasting(tried) != self._lasting(before):
            self._refuse(error, before)
        elif reason != "settings":
            opened = set(tried.extra_tcp_ports) - set(before.extra_tcp_ports)
            self._ports.refuse(opened, str(error)[:LONGEST_REASON] or "HAProxy did not come up with it")
        self.write_files(self._keeper.accepted())

    async def _reload(self, reason: str) -> None:
        """Write everything anew and let the master replace its worker. Raises what kept it from that."""
        try:
            await self._load_anew(reason)
        except (L7Error, TimeoutError):
            self._metrics.reloaded(reason, False, time.time())
            raise
        self._metrics.reloaded(reason, True, time.time())

    async def _load_anew(self, reason: str) -> None:
        await self._with_newest(self.process.check)
        self.reloads += 1
        self._metrics.reloads.labels(reason).inc()
        log.warning(
            "reload", reason=reason, spare_pools=dict(self.settings.spare_pools),
            extra_tcp_ports=self.settings.extra_tcp_ports,
        )  # fmt: skip
        old = self._thread.runtime.pid
        await self._thread.call(Master(master_url(self.settings.master_socket)).reload)
        await self._replaced(old)
        settings_file.save(self.settings)

    async def _replaced(self, old: int | None) -> None:
        """Wait until the socket leads to the new worker; before 3.0 the master says nothing."""
        runtime = self._thread.runtime
        async with asyncio.timeout(START_TIMEOUT):
            while True:
                await self._thread.call(runtime.reopen)
                with suppress(Unavailable):  # between the two workers
                    info = await self._thread.call(runtime.info)
                    if info.pid != old and not info.stopping:
                        return
                await asyncio.sleep(POLL)


def _fitting(wished: Settings, base: Settings) -> Settings:
    """No more open files than there may be, and no more connections than need these."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptors = min(wished.open_files, most) if wished.open_files else most
    if (wished.max_connections, wished.open_files) == (base.max_connections, base.open_files):
        return wished
    fitting = fitting_connections(wished.max_connections, descriptors, bool(wished.tls_bind))
    return replace(wished, max_connections=fitting, open_files=descriptors if wished.open_files else 0)


def same_content(one: Stores, other: Stores) -> bool:
    return replace(one, credentials=other.credentials) == other
