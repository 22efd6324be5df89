"""Gets and renews certificates, some at a time, and removes those that were renewed.

    wanted hosts, stored secrets ─▶ orders ─▶ order ─▶ challenge in the state, at every proxy ─▶ answer ─▶ secret

What was tried in vain is remembered here alone: a core that starts begins anew, and finds in Swarm what there is.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from l7.acme import problems
from l7.acme.client import Certificate, Client, Order, Overloaded, Refused
from l7.acme.issue import Issuer, Pace, Proxies
from l7.acme.orders import HOUR, MINUTE, SERVER, Attempt, Orders, failed, orders, renewal
from l7.issued import PREFIX, Issued, issued, labels_of, name_of, newest
from l7.kit import logs, tasks
from l7.kit.backoff import Backoff
from l7.kit.errors import ConfigError, L7Error, ProtocolError, Rejected, Unavailable
from l7.model import Problem, StoredSecret

_log = logs.get("acme")

_RETRY = Backoff(first=0.2, limit=10.0)

PARALLEL = 4
"""Orders at a time."""

_FORGOTTEN = frozenset({"accountDoesNotExist", "unauthorized"})
"""What an order is refused with when the server does not know our account (any more)."""

Wanted = Mapping[str, Mapping[str, str]]
"""By service cluster: host -> name of the service that wants a certificate."""


class Core(Proxies, Protocol):
    """What is needed of core, in its event loop."""

    def wanted(self) -> Wanted | None:
        """None before Swarm was seen."""

    def changed(self) -> None:
        """The problems may be others."""


class SecretApi(Protocol):
    """What is needed of `l7.swarm.engine.Engine`; raises as it does."""

    async def secrets(self, ids: Iterable[str] | None = None) -> tuple[StoredSecret, ...]: ...
    async def create_secret(self, name: str, data: bytes, labels: Mapping[str, str]) -> str: ...
    async def remove_secret(self, id_: str) -> None: ...


@dataclass(frozen=True, slots=True)
class _Failure:
    """An attempt that failed: when, and what to tell about it."""

    attempt: Attempt
    message: str
    kind: str = ""


class Keeper:
    """`client` None: the settings name no server. For one event loop; `run` it, and tell it what it asks for."""

    def __init__(
        self,
        core: Core,
        client: Client | None,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._core = core
        self._client = client
        self._pace = pace or Pace()
        self._clock = clock
        self._issuer = Issuer(core, self._pace)
        self._look = asyncio.Event()
        self._failures: dict[str, _Failure] = {}
        self._refusals: dict[str, Attempt] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._since: dict[str, float] = {}
        self._wanted: Wanted | None = None
        self._due: frozenset[str] = frozenset()

    # ------------------------------------------------------------ what it is told

    def look(self, secrets: Iterable[str] = ()) -> None:
        """What is wanted may have changed; `secrets`: names of those that came, changed or went."""
        if self._core.wanted() != self._wanted or any(name.startswith(PREFIX) for name in secrets):
            self._look.set()

    def heard(self) -> None:
        """A proxy came, went or acknowledged something."""
        self._issuer.heard()
        if self._note_proxies():
            self._look.set()

    def problems(self) -> tuple[Problem, ...]:
        """Hosts that wait for a certificate, and why; sorted."""
        if self._client is None:  # build has told each service
            return ()
        wanted = self._core.wanted() or {}
        told = {host: (failure.message, failure.kind) for host, failure in self._failures.items()}
        return problems.of(wanted, told, self._due)

    # ------------------------------------------------------------ the loop

    async def run(self, api: SecretApi, stop: asyncio.Event) -> None:
        """Until `stop`."""
        if self._client is None:
            await stop.wait()
            return
        try:
            while not stop.is_set():
                self._look.clear()
                wake = await self._turn(self._client, api)
                # What is stored is looked at now and then in any case: somebody may have removed it.
                pause = HOUR if wake is None else max(0.0, min(wake - self._clock(), HOUR))
                await tasks.race(stop.wait(), self._look.wait(), asyncio.sleep(pause))
        finally:
            await self._end()

    async def _end(self) -> None:
        running = list(self._running.values())
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _turn(self, client: Client, api: SecretApi) -> float | None:
        """One look at everything; when the next one is due."""
        wanted = self._wanted = self._core.wanted()
        if wanted is None:
            return None
        self._note_proxies()
        self._forget({host for hosts in wanted.values() for host in hosts})
        try:
            stored = await _stored(api)
        except L7Error as error:
            _log.warning("secrets cannot be listed", error=str(error))
            return self._clock() + MINUTE
        plan = self._plan(wanted, stored)
        await self._remove(api, plan.remove)
        self._start_all(client, api, plan.get, wanted)
        settles = [self._since[name] + self._pace.settle for name in wanted if name in self._since]
        times = [at for at in (plan.wake, *settles) if at is not None and at > self._clock()]
        return min(times, default=None)

    def _plan(self, wanted: Wanted, stored: Collection[Issued]) -> Orders:
        attempts = {host: failure.attempt for host, failure in self._failures.items()}
        there = {each.id for each in stored}
        self._refusals = {id_: refused for id_, refused in self._refusals.items() if id_ in there}
        hosts = {cluster: named.keys() for cluster, named in wanted.items()}
        plan = orders(hosts, stored, attempts, self._refusals, self._clock())
        if plan.due != self._due:
            self._due = plan.due
            self._core.changed()
        return plan

    def _note_proxies(self) -> bool:
        """Whether a cluster has its first proxies."""
        now, before = self._clock(), self._since
        connected = [name for name in self._wanted or () if self._core.proxies(name, "")[1]]
        self._since = {name: before.get(name, now) for name in connected}
        return any(name not in before for name in connected)

    def _forget(self, hosts: Collection[str]) -> None:
        """What nobody wants any more begins anew when somebody does again."""
        for host in self._failures.keys() - set(hosts) - ({SERVER} if hosts else set()):
            del self._failures[host]

    async def _remove(self, api: SecretApi, secrets: Iterable[Issued]) -> None:
        for each in secrets:
            try:
                await api.remove_secret(each.id)
            except L7Error as error:
                self._refusals[each.id] = failed(self._refusals.get(each.id), self._clock())
                # Rejected: it is still attached, and the service that has it about to be updated.
                log = _log.info if isinstance(error, Rejected) else _log.warning
                log("certificate not removed yet", host=each.host, secret=each.name, error=str(error))
            else:
                _log.info("certificate removed", host=each.host, secret=each.name)

    # ------------------------------------------------------------ one host

    def _start_all(self, client: Client, api: SecretApi, hosts: Iterable[str], wanted: Wanted) -> None:
        """As many as go at a time, of those that there are proxies for. A second core, which is about to take this
        one's place, has none yet: it orders nothing while the first one may be at it."""
        now = self._clock()
        settled = {name for name, since in self._since.items() if now >= since + self._pace.settle}
        for host in hosts:
            clusters = sorted(cluster for cluster in settled & wanted.keys() if host in wanted[cluster])
            if clusters and host not in self._running and len(self._running) < PARALLEL:
                task = asyncio.create_task(self._attempt(client, api, host, clusters), name=f"acme {host}")
                self._running[host] = task
                task.add_done_callback(partial(self._ended, host))

    def _ended(self, host: str, task: asyncio.Task[None]) -> None:
        del self._running[host]
        if not task.cancelled() and (error := task.exception()) is not None:
            # A fault of ours costs this host alone. Only places are logged: texts and variables may be keys.
            places = [f"{each.filename}:{each.lineno}" for each in traceback.extract_tb(error.__traceback__)]
            _log.error("order ended by a fault", host=host, error=type(error).__name__, places=places)
            self._fail(host, ProtocolError(f"a fault of l7 ({type(error).__name__}); core's log says where"))
        self._look.set()
        self._core.changed()

    async def _attempt(self, client: Client, api: SecretApi, host: str, clusters: Collection[str]) -> None:
        """From an order to a stored secret, or a failure that is told."""
        try:
            order = await self._order(client, host)
        except (ConfigError, Overloaded) as error:
            return self._fail(SERVER, error)
        except Refused as error:
            if error.kind in _FORGOTTEN:
                client.forget()
            return self._fail(host if client.connected and error.kind not in _FORGOTTEN else SERVER, error)
        try:
            await self._keep(api, await self._issuer.obtain(order, clusters))
        except L7Error as error:
            return self._fail(host, error)
        finally:
            order.close()
        for key in (host, SERVER):
            self._failures.pop(key, None)

    async def _order(self, client: Client, host: str) -> Order:
        await asyncio.to_thread(client.connect)
        order = await asyncio.to_thread(client.order, host)
        _log.info("certificate ordered", host=host)
        return order

    async def _keep(self, api: SecretApi, new: Certificate) -> None:
        """Stored. Without a leader of Swarm it is tried again: one more order would count against the limits of the
        server."""
        delays, deadline = _RETRY.delays(), time.monotonic() + self._pace.store
        while True:
            try:
                return await self._store(api, new)
            except Unavailable as error:
                if time.monotonic() >= deadline:
                    raise
                _log.warning("certificate not stored yet", host=new.host, error=str(error))
            await asyncio.sleep(next(delays))

    async def _store(self, api: SecretApi, new: Certificate) -> None:
        """Unless another core was faster, or an earlier try of ours came through."""
        name, there = name_of(new.host, new.pem), newest(await _stored(api)).get(new.host)
        if there is not None and renewal(there) > self._clock():
            if there.name != name:
                _log.info("certificate dropped: there is one by now", host=new.host, secret=there.name)
            return
        await api.create_secret(name, new.pem, labels_of(new.host, new.not_before, new.not_after))
        _log.info("certificate stored", host=new.host, secret=name, not_after=new.not_after)

    def _fail(self, host: str, error: L7Error) -> None:
        now, retry_after = self._clock(), float(getattr(error, "retry_after", 0.0))
        before = self._failures[host].attempt if host in self._failures else None
        if before is not None and before.again(HOUR) > now:
            return  # the same outage, noticed by several orders
        attempt = failed(before, now, now + retry_after if retry_after else 0.0)
        self._failures[host] = _Failure(attempt, str(error), error.kind if isinstance(error, Refused) else "")
        _log.warning("no certificate", host=host, error=str(error), failures=attempt.failures)


async def _stored(api: SecretApi) -> tuple[Issued, ...]:
    found = (issued(secret) for secret in await api.secrets())
    return tuple(each for each in found if each is not None)
