"""The loop: observe, plan, apply, verify, acknowledge.

Level-triggered: an event says only *what* to look at (a backend, a host), never what to do. Each pass plans the
touched backends and hosts anew from desired and observed, applies, reads back what it touched, and plans again,
until there is nothing left to do. Three outcomes: converged (acknowledged), again later (a deletion that has to
wait), refused (HAProxy said no twice; what it refused stays as it was, the reason goes to core).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Protocol

from haproxy import observe
from haproxy.accepting import Accepting
from haproxy.apply import RuntimeThread
from haproxy.capabilities import Capabilities
from haproxy.clocks import Clocks
from haproxy.mirror import Mirror, Touched
from haproxy.model import HOLD, Backend, Server, ServerState
from haproxy.observe import Observation
from haproxy.ops import AddMapRow, DeleteBackend, DeleteMapRow, DeleteServer, DisableServer, Op, SetMapRow
from haproxy.plan import BackendPlan, Place, join, plan_backend, plan_routes
from haproxy.policy import server_keywords, server_name, spare_names
from haproxy.probe import Prober, Target
from haproxy.routes import rows_for_host
from haproxy.runtime.client import Result, Runtime
from haproxy.runtime.replies import Reason
from haproxy.settings import ROUTES_MAP, Settings
from l7.kit import logs
from l7.kit.errors import ProtocolError

log = logs.get("reconcile")

MAX_PASSES = 8
"""A removal takes four passes (disable, delete servers, delete backend, nothing left); many more are a loop."""

MAX_REFUSALS = 2
REFUSED_PAUSE = 5.0
"""Seconds until what HAProxy refused is tried again without a new reason."""


class AuditKind(Enum):
    """SERVERS: their states, every second or so. WHOLE: the maps too."""

    SERVERS = "servers"
    WHOLE = "whole"


class PoolExhausted(Exception):
    """Before 3.4: no spare backend is left; the pool must grow, by a reload."""


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
        self, settings: Settings, capabilities: Capabilities, mirror: Mirror, listener: Listener
    ) -> None:
        self.settings = settings
        self.capabilities = capabilities
        self.mirror = mirror
        self.seen = Observation()
        self.accepting = Accepting()
        self.converged = asyncio.Event()
        self._listener = listener
        self._clocks = Clocks()
        self._prober = Prober(self._accepted)
        self._backends: set[str] = set()
        self._hosts: set[str] = set()
        self._wake = asyncio.Event()
        self._received: tuple[str, float] | None = None
        self.audit_seconds = 0.0
        self._audit: AuditKind | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._reserved: dict[str, str] = {}
        self._logical: dict[str, str] = {}

    # -------------------------------------------------------------- what is to be looked at

    def update(self, touched: Touched) -> None:
        """The mirror has changed."""
        now = time.monotonic()
        self._received = (self.mirror.revision, now)
        self.converged.clear()
        for name in touched.backends:
            for due in self._clocks.left(name, self.wanted(name), now):
                self._at(due, name)
        self.touch(touched.backends, touched.hosts)

    def touch(self, backends: Iterable[str] = (), hosts: Iterable[str] = ()) -> None:
        """Look at these again."""
        self._backends.update(backends)
        self._hosts.update(hosts)
        self._wake.set()

    def touch_all(self) -> None:
        """Look at everything that is wanted or there."""
        orphans = {name for name in self.seen.servers.keys() - self.seen.placement.values() if self._there(name)}
        self._reserved.update((name, name) for name in orphans if not self._dynamic)
        self.touch(
            {*self.mirror.backends, *self.seen.placement, *orphans}, {*self.mirror.hosts, *self.seen.routes}
        )

    def audit(self, kind: AuditKind) -> None:
        """Compare what HAProxy says with what we last saw, at the next turn of the loop."""
        if self._audit is not AuditKind.WHOLE:
            self._audit = kind
        self._wake.set()

    @property
    def unusable(self) -> set[str]:
        """Logical backends without a usable server."""
        return set(self._clocks.unusable)

    @property
    def _dynamic(self) -> bool:
        return self.capabilities.dynamic_backends

    def _accepted(self, target: Target) -> None:
        self.accepting.add(target.backend, [target.name])
        self.touch([target.backend])

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
        self._prober.close()

    async def converge(self, thread: RuntimeThread) -> None:
        """Work off everything touched so far, then acknowledge or refuse the mirror's revision."""
        self._wake.clear()
        if self._audit is not None:
            kind, self._audit = self._audit, None
            await self._look(thread, kind)
        backends, self._backends = self._backends, set()
        hosts, self._hosts = self._hosts, set()
        received = self._received
        finished = False
        try:
            refused = await self._passes(thread, set(backends), hosts)
            finished = True
        finally:
            if not finished:  # interrupted: whoever comes next looks at all of it again
                self.touch(backends, hosts)
        if refused:
            self._refuse(refused, hosts)
        elif received == self._received:
            self._acknowledge()

    async def _passes(self, thread: RuntimeThread, backends: set[str], hosts: set[str]) -> dict[str, str]:
        """Plan and apply until nothing is left; what HAProxy refused, by backend ("" for routes), with reasons."""
        tries: dict[str, int] = {}
        refused: dict[str, str] = {}
        for _ in range(MAX_PASSES):
            plans = {name: self._plan_backend(name) for name in sorted(backends - refused.keys())}
            routes = [] if "" in refused else self._plan_routes(hosts)
            ops = join(plans.values(), routes)
            if not ops:
                return refused
            results = await thread.apply(ops)
            backends = {name for name, plan in plans.items() if plan}
            await thread.call(self._read_back, thread.runtime, backends, routes)
            for name, reason in self._note(results).items():
                tries[name] = tries.get(name, 0) + 1
                if tries[name] >= MAX_REFUSALS:
                    refused[name] = reason
        return refused | dict.fromkeys(backends or {""}, f"not converged after {MAX_PASSES} passes")

    def _acknowledge(self) -> None:
        if self._backends or self._hosts:
            return
        self.converged.set()
        if self._received is not None:
            revision, since = self._received
            self._received = None
            self._listener.acknowledged(revision, time.monotonic() - since)

    def _refuse(self, refused: dict[str, str], hosts: set[str]) -> None:
        for name, reason in sorted(refused.items()):
            log.error("refused by haproxy", revision=self.mirror.revision, backend=name, reason=reason)
        self._listener.refused(self.mirror.revision, "; ".join(f"{n}: {r}" for n, r in sorted(refused.items())))
        if self._retry is not None:
            self._retry.cancel()
        again = frozenset(refused) - {""}, frozenset(hosts if "" in refused else ())
        self._retry = asyncio.get_running_loop().call_later(REFUSED_PAUSE, self.touch, *again)

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
        place = self._place(name, want)
        if place is None:
            return BackendPlan()
        now = time.monotonic()
        self._logical[place.physical] = name
        self._probe(name, place)
        if self._clocks.usable(name, place.rows, now):
            self._at(now + self.settings.hold_deadline / 1000 + 0.01, name)
        accepting = self.accepting.of(name)
        situation = self._clocks.situation(name, want, place.rows, accepting, self.settings, now)
        return plan_backend(name, want, place, situation, self.settings, self.capabilities)

    def _place(self, name: str, want: Backend | None) -> Place | None:
        """Where the backend lives or will live. None: it is not wanted and not there."""
        physical = self.seen.placement.get(name)
        mapped = physical is not None
        if physical is None:
            physical = name if self._dynamic else self._reserved.get(name)
        if physical is None and want is not None:
            physical = self._reserved[name] = self._spare()
        if physical is None or (want is None and not mapped and not self._there(physical)):
            self._forget(name)
            return None
        return Place(physical, mapped, physical in self.seen.servers, self.seen.servers.get(physical, {}))

    def _there(self, physical: str) -> bool:
        """Whether HAProxy has it though it has no row: left over from a plan that was cut. Ours have no dot in
        their name when they are made at run time; a spare is in use when it has servers."""
        if self._dynamic:
            return physical in self.seen.servers and "." not in physical
        return bool(self.seen.servers.get(physical, {}).keys() - {HOLD})

    def _spare(self) -> str:
        taken = {*self.seen.placement.values(), *self._reserved.values()}
        for spare in spare_names(self.settings):
            if spare not in taken and self.seen.servers.get(spare, {}).keys() <= {HOLD}:
                return spare
        raise PoolExhausted

    def _probe(self, name: str, place: Place) -> None:
        """Probe what runs and is not in rotation; forget what is no longer wanted."""
        wanted = self.wanted(name)
        enabled = {s for s in wanted if s in place.rows and place.rows[s].enabled}
        self.accepting.add(name, enabled | {s for s in wanted if s in self.accepting})
        self.accepting.keep(name, wanted)
        self._prober.want(
            name,
            {
                Target(name, s, server.address, server.port)
                for s, server in wanted.items()
                if server.state is ServerState.READY and s not in self.accepting
            },
        )

    def _forget(self, name: str) -> None:
        self.accepting.keep(name, ())
        self._reserved.pop(name, None)
        self._clocks.forget(name)
        self._prober.want(name, set())

    def _plan_routes(self, hosts: set[str]) -> list[Op]:
        ops: list[Op] = []
        for host in sorted(hosts):
            want = rows_for_host(host, self.mirror.hosts.get(host, {}))
            ops += plan_routes(want, self.seen.routes.get(host, {}), self.settings)
        return ops

    # -------------------------------------------------------------- verifying

    async def start(self, thread: RuntimeThread) -> None:
        """Learn the whole state of an HAProxy that was just started or found."""
        self.seen = await thread.call(observe.read_all, thread.runtime, self.settings)
        self._reserved.clear()
        self.touch_all()

    async def _look(self, thread: RuntimeThread, kind: AuditKind) -> None:
        before, since = self.seen, time.monotonic()
        if kind is AuditKind.WHOLE:
            self.seen = await thread.call(observe.read_all, thread.runtime, self.settings)
        else:
            servers = await thread.call(observe.read_servers, thread.runtime)
            self.seen = Observation(servers, before.placement, before.routes)
        self.audit_seconds = time.monotonic() - since
        count, backends, hosts = observe.drift(before, self.seen)
        if count:
            log.warning("drift", differences=count, backends=sorted(backends), hosts=sorted(hosts))
            self._listener.drifted(count)
        self.touch({self._logical.get(name, name) for name in backends if self._owned(name)}, hosts)
        self._listener.observed(self.seen)

    def _owned(self, physical: str) -> bool:
        return physical in self._logical or self._there(physical)

    def _read_back(self, runtime: Runtime, backends: set[str], routes: Sequence[Op]) -> None:
        """Runs in the runtime's thread; the loop waits for it, so nobody else touches `seen` meanwhile."""
        observe.read_backends(runtime, self.settings, self.seen, sorted(backends))
        keys = [op.key for op in routes if isinstance(op, AddMapRow | SetMapRow | DeleteMapRow)]
        observe.read_routes(runtime, self.settings, self.seen, keys)
        for name in backends & self.seen.placement.keys():
            self._reserved.pop(name, None)

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
                reasons[self._owner(result.op)] = f"{result.op}: {result.refusal.text}"
        return reasons

    def _done(self, op: Op, now: float) -> None:
        if isinstance(op, DisableServer):
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
            return "" if op.map == self.settings.file(ROUTES_MAP) else op.key
        if op.backend not in self._logical:
            raise ProtocolError(f"an op for a backend that was not planned: {op}")
        return self._logical[op.backend]
