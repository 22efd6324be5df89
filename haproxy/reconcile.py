"""The loop: observe, plan, apply, verify, acknowledge.

Level-triggered: an event says only *what* to look at (a backend, a host), never what to do. Each pass plans the
touched backends and hosts anew from desired and observed, applies, reads back what it touched, and plans again,
until there is nothing left to do. Three outcomes: converged (acknowledged), again later (a deletion that has to
wait), refused (HAProxy said no twice; what it refused stays as it was, the reason goes to core).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from enum import Enum
from typing import Protocol

from haproxy import observation, observe
from haproxy.admission import Admission
from haproxy.apply import RuntimeThread
from haproxy.capabilities import Capabilities
from haproxy.clocks import Clocks
from haproxy.mirror import Mirror, Touched
from haproxy.model import HOLD, Server
from haproxy.moves import Prospects, Routes, plan_hosts
from haproxy.observation import Observation
from haproxy.ops import (
    AddMapRow,
    DeleteBackend,
    DeleteMapRow,
    DeleteServer,
    DisableServer,
    EnableServer,
    Op,
    SetMapRow,
)
from haproxy.places import Places, PoolExhausted
from haproxy.plan import BackendPlan, join, plan_backend
from haproxy.policy import server_keywords, server_name, spare_names
from haproxy.refusals import ROUTES, Refusals, Work
from haproxy.runtime import codec
from haproxy.runtime.client import Result, Runtime
from haproxy.runtime.replies import Reason
from haproxy.settings import ROUTES_MAP, Settings
from l7.kit import logs
from l7.kit.errors import ProtocolError, Unavailable

log = logs.get("reconcile")

MAX_PASSES = 8
"""A service that moves to a new backend takes five (build it, move the routes, disable and delete the servers of
the old one, delete it, nothing left); many more are a loop."""

MAX_REFUSALS = 2
REFUSED_PAUSE = 5.0
"""Seconds until what HAProxy refused is tried again without a new reason."""


NO_SPARE = "no spare backend is left: raise `spare_backends`"

Received = tuple[str, float] | None
"""The newest revision that is not acknowledged yet, and when it came. Each update makes a new one."""


class AuditKind(Enum):
    """SERVERS: their states, every second or so. WHOLE: the maps too."""

    SERVERS = "servers"
    WHOLE = "whole"


class Listener(Protocol):
    """Who wants to know how it went. Times in seconds."""

    def acknowledged(self, revision: str, seconds: float) -> None: ...

    def refused(self, revision: str, reason: str) -> None: ...

    def drained(self, seconds: float) -> None: ...

    def drifted(self, differences: int) -> None: ...

    def observed(self, seen: Observation) -> None: ...


class Reconciler:
    """Keeps one HAProxy process equal to the mirror."""

    def __init__(
        self,
        settings: Settings,
        capabilities: Capabilities,
        mirror: Mirror,
        listener: Listener,
        pool_grows: bool = True,
    ) -> None:
        self._settings = settings
        self.capabilities = capabilities
        self.mirror = mirror
        self.seen = Observation()
        self.admission = Admission(self.wanted, self._accepts, lambda name: self.mirror.backends.get(name))
        self._listener = listener
        self._clocks = Clocks()
        self._backends: set[str] = set()
        self._hosts: set[str] = set()
        self._wake = asyncio.Event()
        self._received: Received = None
        self.audit_seconds = 0.0
        self._audit: AuditKind | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._refusals = Refusals()
        self._late: dict[str, set[str]] = {}
        self._pool_grows = pool_grows
        self._places = Places(self._spares())

    # -------------------------------------------------------------- what is to be looked at

    def update(self, touched: Touched) -> None:
        """The mirror has changed."""
        now = time.monotonic()
        self._received = (self.mirror.revision, now)
        for name in touched.backends:
            want = self.mirror.backends.get(name)
            for due in self._clocks.left(name, want.servers.values() if want else (), now):
                self._at(due, name)
            self.admission.ask(name)  # the first connection is made while the rest is planned
        self.touch(touched.backends, touched.hosts)

    def _accepts(self, backend: str) -> None:
        self.touch([backend])

    def touch(self, backends: Iterable[str] = (), hosts: Iterable[str] = ()) -> None:
        """Look at these again."""
        self._backends.update(backends)
        self._hosts.update(hosts)
        self._wake.set()

    def touch_all(self) -> None:
        """Look at everything that is wanted or there."""
        orphans = self._places.orphans(self.seen, self.seen.servers)
        self.touch({*self.mirror.backends, *self.seen.placement, *orphans}, {*self.mirror.hosts, *self.seen.routes})

    def audit(self, kind: AuditKind) -> None:
        """Compare what HAProxy says with what we last saw, at the next turn of the loop."""
        if self._audit is not AuditKind.WHOLE:
            self._audit = kind
        self._wake.set()

    def holding(self) -> list[str]:
        """Physical backends without a usable server in which requests may wait."""
        homes = self._places.homes(self._clocks.unusable).values()
        holds = ((home, self.seen.servers.get(home, {}).get(HOLD)) for home in homes)
        return [home for home, hold in holds if hold is not None and hold.enabled]

    @property
    def settings(self) -> Settings:
        return self._settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        """The pool has grown."""
        self._settings = settings
        self._places.resize(self._spares())

    def _spares(self) -> Iterable[str] | None:
        return None if self.capabilities.dynamic_backends else spare_names(self._settings)

    def _at(self, when: float, backend: str) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(max(0.0, when - time.monotonic()), self.touch, [backend])

    # -------------------------------------------------------------- the loop

    async def run(self, thread: RuntimeThread) -> None:
        """Converge whenever something was touched; ends by cancellation, Unavailable or PoolExhausted."""
        while True:
            await self._wake.wait()
            await self.converge(thread)

    def close(self) -> None:
        self.admission.close()
        if self._retry is not None:
            self._retry.cancel()

    async def converge(self, thread: RuntimeThread) -> None:
        """Work off everything touched so far, then acknowledge or refuse the mirror's revision."""
        self._wake.clear()
        if self._audit is not None:
            kind, self._audit = self._audit, None
            await self._look(thread, kind)
        work = self._take()
        received = self._received
        finished = False
        try:
            refused = await self._passes(thread, work, received)
            finished = refused is not None
        finally:
            if not finished:  # interrupted or overtaken: whoever comes next looks at all of it again
                self.touch(*work)
        if refused is not None:
            self._settle(work, refused)

    def _take(self) -> Work:
        """What was touched so far. Routes that were refused are looked at with any others."""
        if self._hosts and ROUTES in self._refusals.reasons:
            self._hosts |= self._refusals.hosts
        backends, self._backends = self._backends, set()
        hosts, self._hosts = self._hosts, set()
        return backends, hosts

    async def _passes(self, thread: RuntimeThread, work: Work, received: Received) -> dict[str, str] | None:
        """Plan and apply until nothing is left; what was refused, by backend ("" for routes), with reasons.

        None: the mirror has changed meanwhile. Going on would plan routes by the new state and backends by a list
        from before it, and lead requests to a backend that is not there yet.
        """
        backends, tries, refused = set(work[0]), Counter[str](), dict[str, str]()
        self._refusals.looked_at(backends)
        for _ in range(MAX_PASSES):
            if self._received is not received:
                return None
            work[1].update(host for host, late in self._late.items() if not late.isdisjoint(backends))
            broken = tries.keys() | self._refusals.reasons.keys()
            routes = self._plan_hosts(() if ROUTES in refused else work[1], broken)
            planned = (backends | routes.targets) - refused.keys() - routes.protected
            # What is wanted comes first: it learns from a backend that goes which tasks accept connections.
            order = sorted(planned, key=lambda name: (name not in self.mirror.backends, name))
            plans = {name: self._plan_or_refuse(name, refused) for name in order}
            ops = join(plans.values(), routes.ops)
            if not ops:
                self._refusals.withhold(routes.protected | routes.targets, routes.waiting)
                return self._without_pool(refused | _problems(routes))
            results = await thread.apply(ops)
            backends = {name for name, plan in plans.items() if plan}
            await thread.call(self._read_back, thread.runtime, backends, routes.ops)
            backends |= routes.protected
            reasons = self._note(results)
            tries = Counter({name: tries[name] + 1 for name in reasons})
            refused |= {name: reason for name, reason in reasons.items() if tries[name] >= MAX_REFUSALS}
        return refused | dict.fromkeys(backends or {ROUTES}, f"not converged after {MAX_PASSES} passes")

    def _plan_or_refuse(self, name: str, refused: dict[str, str]) -> BackendPlan:
        """Nobody pays for a neighbour: what can't be planned or said keeps its state, all others go on."""
        try:
            plan = self._plan_backend(name)
            for op in (*plan.opening, *plan.closing):
                codec.encode(op)
        except PoolExhausted:
            refused[name] = NO_SPARE
        except (ProtocolError, ValueError) as error:
            refused[name] = str(error)
        else:
            return plan
        return BackendPlan()

    def _without_pool(self, refused: dict[str, str]) -> dict[str, str]:
        """All else is done by now. Raises PoolExhausted when more spares would help."""
        if self._pool_grows and NO_SPARE in refused.values():
            raise PoolExhausted
        return refused

    # -------------------------------------------------------------- how it went

    def _settle(self, work: Work, refused: dict[str, str]) -> None:
        self._refusals.settle(work, refused)
        if self._refusals:
            self._refuse()
        else:
            self._acknowledge()

    def _acknowledge(self) -> None:
        self._refusals.forget_said()
        if self._backends or self._hosts:
            return
        if self._received is not None:
            revision, since = self._received
            self._received = None
            self._listener.acknowledged(revision, time.monotonic() - since)

    def _refuse(self) -> None:
        """Say so once per revision and reason, and try again after a while."""
        reasons = self._refusals.news(self.mirror.revision)
        if reasons is not None:
            log.error("refused by haproxy", revision=self.mirror.revision, reasons=reasons)
            self._listener.refused(self.mirror.revision, reasons)
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(REFUSED_PAUSE, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self.touch(*self._refusals.again())

    # -------------------------------------------------------------- planning

    def wanted(self, backend: str) -> dict[str, Server]:
        """Servers of a logical backend by their HAProxy name."""
        want = self.mirror.backends.get(backend)
        if want is None:
            return {}
        keywords = server_keywords(self.settings, self.capabilities, want)
        return {server_name(server, keywords): server for server in want.servers.values()}

    def _plan_backend(self, name: str) -> BackendPlan:
        want = self.mirror.backends.get(name)
        place = self._places.place(name, want is not None, self.seen)
        if place is None:
            self._forget(name)
            return BackendPlan()
        now = time.monotonic()
        self.admission.learn(name, place.rows)
        if self._clocks.usable(name, want, place.rows, now):
            self._at(now + self.settings.hold_deadline / 1000 + 0.01, name)
        accepting = self.admission.accepting.of(name)
        situation = self._clocks.situation(name, want, place.rows, accepting, self.settings, now)
        return plan_backend(name, want, place, situation, self.settings, self.capabilities)

    def _forget(self, name: str) -> None:
        self.admission.forget(name)
        self._clocks.forget(name)

    def _plan_hosts(self, hosts: Collection[str], broken: Collection[str]) -> Routes:
        want, now = self.mirror.backends, time.monotonic()

        def may_come(name: str) -> bool:
            return self._clocks.holds(name, want.get(name), self.settings, now)

        routes = plan_hosts(hosts, self.mirror.hosts, Prospects(want, broken, may_come), self.seen, self.settings)
        for host in hosts:
            self._late.pop(host, None)
        self._late |= routes.late
        return routes

    # -------------------------------------------------------------- verifying

    async def start(self, thread: RuntimeThread) -> None:
        """Learn the whole state of an HAProxy that was just started or found."""
        self.seen = await thread.call(observe.read_all, thread.runtime, self.settings)
        self._places.adopt(self.seen)
        self.touch_all()

    async def _look(self, thread: RuntimeThread, kind: AuditKind) -> None:
        before, since = self.seen, time.monotonic()
        info = await thread.call(thread.runtime.info)
        if info.stopping:  # somebody else's reload: our connections lead to the old worker (management guide, 4)
            raise Unavailable("haproxy was reloaded by somebody else")
        if kind is AuditKind.WHOLE:
            self.seen = await thread.call(observe.read_all, thread.runtime, self.settings)
        else:
            servers = await thread.call(observe.read_servers, thread.runtime)
            self.seen = Observation(servers, before.placement, before.routes)
        self.audit_seconds = time.monotonic() - since
        count, backends, hosts = observation.drift(before, self.seen)
        if count:
            log.warning("drift", differences=count, backends=sorted(backends), hosts=sorted(hosts))
            self._listener.drifted(count)
        self._places.orphans(self.seen, backends)
        self.touch({self._places.logical(name) or name for name in backends}, hosts)
        self._listener.observed(self.seen)

    def _read_back(self, runtime: Runtime, backends: set[str], routes: Sequence[Op]) -> None:
        """Runs in the runtime's thread; the loop waits for it, so nobody else touches `seen` meanwhile."""
        observe.read_backends(runtime, self.settings, self.seen, self._places.homes(sorted(backends)))
        keys = [op.key for op in routes if isinstance(op, AddMapRow | SetMapRow | DeleteMapRow)]
        observe.read_routes(runtime, self.settings, self.seen, keys)

    def _note(self, results: Iterable[Result]) -> dict[str, str]:
        """Take note of what was done; the reasons of what was refused, by logical backend, "" for routes."""
        reasons: dict[str, str] = {}
        now = time.monotonic()
        for result in results:
            if result.refusal is None:
                self._done(result.op, now)
            elif result.refusal.reason is Reason.BUSY and isinstance(result.op, DeleteServer | DeleteBackend):
                self._busy(result.op, now)
            else:
                reasons.setdefault(self._owner(result.op), f"{result.op}: {result.refusal.text}")
        return reasons

    def _done(self, op: Op, now: float) -> None:
        if isinstance(op, EnableServer) and op.name != HOLD:
            log.info("in rotation", backend=self._owner(op), server=op.name)
        elif isinstance(op, DisableServer):
            self._clocks.disabled(self._owner(op), op.name, now)
        elif isinstance(op, DeleteServer):
            seconds = self._clocks.gone(self._owner(op), op.name, now)
            if seconds is not None and op.name != HOLD:
                self._listener.drained(seconds)

    def _busy(self, op: DeleteServer | DeleteBackend, now: float) -> None:
        backend = self._owner(op)
        server = op.name if isinstance(op, DeleteServer) else HOLD
        self._at(self._clocks.refused(backend, server, now), backend)

    def _owner(self, op: Op) -> str:
        """The logical backend that an op is about; "" for a route."""
        if isinstance(op, AddMapRow | SetMapRow | DeleteMapRow):
            return ROUTES if op.map == self.settings.file(ROUTES_MAP) else op.key
        owner = self._places.logical(op.backend)
        return op.backend if owner is None else owner


def _problems(routes: Routes) -> dict[str, str]:
    """As a reason of what was refused."""
    return {ROUTES: "; ".join(f"{host}: {why}" for host, why in routes.problems.items())} if routes.problems else {}
