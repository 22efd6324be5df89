"""The loop: observe, plan, apply, verify, acknowledge.

Level-triggered: an event says only *what* to look at (a backend, a host, the rules of a service), never what to
do. Each pass plans what was touched anew from desired and observed, applies, reads back what it touched, and plans
again, until there is nothing left to do. Three outcomes: converged (acknowledged), again later (a deletion that has
to wait), refused (HAProxy said no twice; what it refused stays as it was, the reason goes to core).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import Enum
from functools import partial
from typing import Protocol

from haproxy import health, observation, observe
from haproxy.admission import Admission
from haproxy.apply import RuntimeThread
from haproxy.capabilities import Capabilities
from haproxy.mirror import Mirror, Touched
from haproxy.model import HOLD, Server
from haproxy.moves import Routes
from haproxy.observation import Observation
from haproxy.ops import (
    AddMapRow,
    DeleteAuthority,
    DeleteBackend,
    DeleteCertificate,
    DeleteMapRow,
    DeleteServer,
    DisableServer,
    EnableServer,
    Op,
    SetMapRow,
)
from haproxy.places import PoolExhausted
from haproxy.plan import BackendPlan, join
from haproxy.planning import Planner
from haproxy.policy import policy_of
from haproxy.refusals import Refusals
from haproxy.routes import sni_host
from haproxy.runtime import codec
from haproxy.runtime.client import Result, Runtime
from haproxy.runtime.replies import Reason
from haproxy.servers import Servers
from haproxy.settings import AUTH_MAP, Settings
from haproxy.stores import differing as differing_stores
from haproxy.stores import in_order
from haproxy.work import CHALLENGES, ROUTES, Work, rules_owner, store_owner, work_of
from l7.fastpath import Health
from l7.kit import logs
from l7.kit.errors import ProtocolError, Unavailable

log = logs.get("reconcile")

MAX_PASSES = 10
"""A service that moves to a new backend takes five (build it, move the routes, disable and delete the servers of
the old one, delete it, nothing left), two more where rules or canaries follow; many more are a loop."""

MAX_REFUSALS = 2
REFUSED_PAUSE = 5.0
"""Seconds until what HAProxy refused is tried again without a new reason."""


NO_SPARE = "no spare backend is left: raise `spare_backends` or `spare_backends_other`"

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

    def observed(self, seen: Observation, changes: Collection[health.Change]) -> None:
        """After each audit: what HAProxy has, and of which servers the verdict is another than at the last one."""


    def stored(self, names: Collection[str]) -> None:
        """These TLS stores may be other than before."""
        ...


class Reconciler:
    """Keeps one HAProxy process equal to the mirror."""

    def __init__(
        self,
        settings: Settings,
        capabilities: Capabilities,
        mirror: Mirror,
        listener: Listener,
        pool_grows: bool = True,
        pending: Callable[[], bool] = lambda: False,
    ) -> None:
        """`pending`: whether a part of the revision is still to come, by a reload."""
        self.mirror = mirror
        self.planner = Planner(settings, capabilities, mirror, self._at, lambda key: self.touch(Work({key})))
        self._listener = listener
        self._work = Work()
        self._wake = asyncio.Event()
        self._servers = Servers()
        self._health = Health()
        self._received: Received = None
        self.audit_seconds = dict.fromkeys(AuditKind, 0.0)
        self._audit: AuditKind | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._refusals = Refusals()
        self._pool_grows = pool_grows
        self._pending = pending

    @property
    def seen(self) -> Observation:
        """What HAProxy answered last."""
        return self.planner.seen

    @property
    def admission(self) -> Admission:
        return self.planner.admission

    @property
    def settings(self) -> Settings:
        return self.planner.settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        self.planner.settings = settings

    def wanted(self, key: str) -> Mapping[str, Server]:
        """Servers of a logical backend by their HAProxy name."""
        return self.planner.wanted(key)

    def holding(self) -> list[str]:
        """Physical backends without a usable server in which requests may wait."""
        return self.planner.holding()

    # -------------------------------------------------------------- what is to be looked at

    def update(self, touched: Touched) -> None:
        """The mirror has changed."""
        self._received = (self.mirror.revision, time.monotonic())
        self.planner.update(touched)
        rules = {*touched.rules, CHALLENGES} if touched.challenges else set(touched.rules)
        hosts = {*touched.hosts, *map(sni_host, touched.tls_hosts)}
        self.touch(Work(set(touched.backends), hosts, rules))

    def touch(self, work: Work) -> None:
        """Look at these again."""
        self._work.join(work)
        self._wake.set()

    def touch_all(self) -> None:
        """Look at everything that is wanted or there."""
        self.touch(self.planner.everything())

    def audit(self, kind: AuditKind) -> None:
        """Compare what HAProxy says with what we last saw, at the next turn of the loop."""
        if self._audit is not AuditKind.WHOLE:
            self._audit = kind
        self._wake.set()

    def _at(self, when: float, owner: str) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(max(0.0, when - time.monotonic()), self.touch, work_of((owner,)))

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
                self.touch(work)
        if refused is not None:
            self._settle(work, refused)

    def _take(self) -> Work:
        """What was touched so far. Routes that were refused are looked at with any others."""
        work, self._work = self._work, Work()
        if work.hosts and ROUTES in self._refusals.reasons:
            work.hosts |= self._refusals.hosts
        return work

    async def _passes(self, thread: RuntimeThread, work: Work, received: Received) -> dict[str, str] | None:
        """Plan and apply until nothing is left; what was refused, by owner, with reasons.

        None: the mirror has changed meanwhile. Going on would plan routes by the new state and backends by a list
        from before it, and lead requests to a backend that is not there yet. In `work` is then what still has to be
        looked at: with all of it again, while updates come faster than passes end, each would have more to do.
        """
        left = Work(set(work.backends), set(), set(work.rules), set(work.stores))
        tries, refused = Counter[str](), dict[str, str]()
        self._refusals.looked_at(left.owners)
        for _ in range(MAX_PASSES):
            if self._received is not received:
                left.join(work_of(refused))
                work.backends, work.rules, work.stores = left.backends, left.rules, left.stores
                return None
            work.hosts |= self.planner.worth_another_look(left)
            known = tries.keys() | self._refusals.reasons.keys()
            stores = self._plan_stores(left.stores, refused)
            plans, routes = self._plan(left, work.hosts, known, refused)
            ops = join(plans.values(), routes.ops, stores.values())
            if not ops:
                if routes.waiting:
                    self._refusals.withhold(routes.protected.keys() | routes.targets, routes.waiting)
                return self._without_pool(refused | _problems(routes))
            results = await thread.apply(ops)
            self.planner.release(routes.released)
            left = _left(plans | stores, routes)
            await thread.call(self._read_back, thread.runtime, left, ops)
            left.add(self.planner.stores.unblocked() if stores else ())
            left.add(routes.protected)
            reasons = self._note(results)
            left.add(stores=self.planner.stores.released(result.op for result in results if result.ok))
            tries = Counter({owner: tries[owner] + 1 for owner in reasons})
            refused |= {owner: reason for owner, reason in reasons.items() if tries[owner] >= MAX_REFUSALS}
        stuck = left.owners or {ROUTES}
        return refused | dict.fromkeys(stuck, f"not converged after {MAX_PASSES} passes")

    # -------------------------------------------------------------- planning

    def _plan_stores(self, names: Collection[str], refused: dict[str, str]) -> dict[str, BackendPlan]:
        """By owner: CAs first, which the others name."""
        if not names:
            return {}
        plans = {"": BackendPlan(self.planner.stores.transactions())}
        for name in in_order(names, self.settings):
            owner = store_owner(name)
            if owner not in refused:
                plans[owner] = self._plan_or_refuse(owner, partial(self.planner.stores.plan, name), refused)
        return plans

    def _plan(
        self, left: Work, hosts: set[str], known: Iterable[str], refused: dict[str, str]
    ) -> tuple[dict[str, BackendPlan], Routes]:
        """By owner, and for the routes. Rules first: a route whose rules can't be said stays away."""
        planner = self.planner
        rules = {
            rules_owner(name): self._plan_or_refuse(rules_owner(name), partial(planner.rules, name), refused)
            for name in sorted(left.rules)
            if rules_owner(name) not in refused
        }
        routes = planner.hosts(() if ROUTES in refused else hosts, {*known, *refused})
        for name in routes.ruling:
            rules.pop(rules_owner(name), None)
        planned = (left.backends | routes.targets) - refused.keys() - routes.protected.keys()
        # What is wanted comes first: it learns from a backend that goes which tasks accept connections.
        order = sorted(planned, key=lambda name: (name not in self.mirror.backends, name))
        plans = {name: self._plan_or_refuse(name, partial(planner.backend, name), refused) for name in order}
        for name, going in routes.protected.items():
            plans[name] = planner.leaving(name, going)
        return plans | rules, routes

    def _plan_or_refuse(self, owner: str, make: Callable[[], BackendPlan], refused: dict[str, str]) -> BackendPlan:
        """Nobody pays for a neighbour: what can't be planned or said keeps its state, all others go on."""
        try:
            plan = make()
            for op in (*plan.opening, *plan.closing):
                codec.encode(op, self.planner.capabilities.payload_limit)
        except PoolExhausted:
            refused[owner] = NO_SPARE
        except (ProtocolError, ValueError) as error:
            refused[owner] = str(error)
        else:
            return plan
        return BackendPlan()

    def _without_pool(self, refused: dict[str, str]) -> dict[str, str]:
        """All else is done by now. Raises PoolExhausted when more spares would help."""
        missing = {owner for owner, reason in refused.items() if reason == NO_SPARE}
        if self._pool_grows and missing:
            raise PoolExhausted(*{policy_of(self.mirror.backends[key]) for key in missing})
        return refused

    # -------------------------------------------------------------- how it went

    def _settle(self, work: Work, refused: dict[str, str]) -> None:
        self._refusals.settle(work, refused)
        if work.stores:
            self._listener.stored(work.stores)
        if self._refusals:
            self._refuse()
        else:
            self._acknowledge()

    def _acknowledge(self) -> None:
        self._refusals.forget_said()
        if self._work or self._pending():
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
        self.touch(self._refusals.again())

    # -------------------------------------------------------------- verifying

    async def start(self, thread: RuntimeThread) -> None:
        """Learn the whole state of an HAProxy that was just started or found."""
        servers = Servers()
        await thread.call(observe.read_servers, thread.runtime, servers)
        self.planner.adopt(await thread.call(observe.read_all, thread.runtime, self.settings, servers))
        self._servers = servers
        self.touch_all()

    async def _look(self, thread: RuntimeThread, kind: AuditKind) -> None:
        before, since = self.seen, time.monotonic()
        info = await thread.call(thread.runtime.info)
        if info.stopping:  # somebody else's reload: our connections lead to the old worker (management guide, 4)
            raise Unavailable("haproxy was reloaded by somebody else")
        differing, verdicts = await thread.call(observe.look, thread.runtime, self._servers, self._health)
        now = before
        if kind is AuditKind.WHOLE:
            now = await thread.call(observe.read_all, thread.runtime, self.settings, self._servers)
            changed = differing_stores(before.stores, now.stores)
            known = before.stores.contents
            now.stores.contents = {name: each for name, each in known.items() if name not in changed}
            self.touch(Work(stores=set(self.planner.stores.doomed)))
        self.planner.seen = now
        self.audit_seconds[kind] = time.monotonic() - since
        self._drifted(observation.drift(differing, before, now))
        self._listener.observed(now, verdicts)

    def _drifted(self, found: observation.Drift) -> None:
        work, places = found.work, self.planner.places
        if found.count:
            log.warning(
                "drift", differences=found.count, backends=sorted(work.backends), hosts=sorted(work.hosts),
                rules=sorted(work.rules), stores=sorted(work.stores),
            )  # fmt: skip
            self._listener.drifted(found.count)
        places.orphans(self.seen, work.backends)
        backends = {places.logical(name) or name for name in work.backends}
        self.touch(Work(backends, work.hosts, work.rules, work.stores))

    def _read_back(self, runtime: Runtime, left: Work, ops: Sequence[Op]) -> None:
        """Runs in the runtime's thread; the loop waits for it, so nobody else touches `seen` meanwhile."""
        homes = self.planner.places.homes(sorted(left.backends))
        observe.read_backends(runtime, self.settings, self.seen, self._servers, homes, ops)
        observe.read_rows(runtime, self.settings, self.seen, ops)
        observe.read_stores(runtime, self.settings, self.seen, ops)

    def _note(self, results: Iterable[Result]) -> dict[str, str]:
        """Take note of what was done; the reasons of what was refused, by owner."""
        reasons: dict[str, str] = {}
        now = time.monotonic()
        for result in results:
            if result.refusal is None:
                self._done(result.op, now)
                continue
            busy = result.refusal.reason is Reason.BUSY
            if busy and isinstance(result.op, DeleteServer | DeleteBackend):
                self._busy(result.op, now)
            elif busy and isinstance(result.op, DeleteCertificate | DeleteAuthority):
                self.planner.stores.doomed.add(result.op.store)
            else:
                reasons.setdefault(self.planner.owner(result.op), f"{_said(result.op)}: {result.refusal.text}")
        return reasons

    def _done(self, op: Op, now: float) -> None:
        clocks = self.planner.clocks
        self.planner.stores.done(op)
        if isinstance(op, EnableServer) and op.name != HOLD:
            log.info("in rotation", backend=self.planner.owner(op), server=op.name)
        elif isinstance(op, DisableServer):
            clocks.disabled(self.planner.owner(op), op.name, now)
        elif isinstance(op, DeleteServer):
            seconds = clocks.gone(self.planner.owner(op), op.name, now)
            if seconds is not None and op.name != HOLD:
                self._listener.drained(seconds)

    def _busy(self, op: DeleteServer | DeleteBackend, now: float) -> None:
        backend = self.planner.owner(op)
        server = op.name if isinstance(op, DeleteServer) else HOLD
        self._at(self.planner.clocks.refused(backend, server, now), backend)


def _left(plans: dict[str, BackendPlan], routes: Routes) -> Work:
    """What has to be looked at again after these plans."""
    return work_of({owner for owner, plan in plans.items() if plan} | routes.released)


def _said(op: Op) -> str:
    """For people: without passwords, of which rows are made."""
    if isinstance(op, AddMapRow | SetMapRow | DeleteMapRow) and op.map.endswith(f"/{AUTH_MAP}"):
        return f"{codec.verb(op)} {op.map}"
    return str(op)


def _problems(routes: Routes) -> dict[str, str]:
    """As a reason of what was refused."""
    return {ROUTES: "; ".join(f"{host}: {why}" for host, why in routes.problems.items())} if routes.problems else {}
