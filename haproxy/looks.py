"""The extension service looks at all proxies of its cluster, again and again (`l7.v1.ViewService`).

Proxies come to it and are asked on the stream that they opened. What they send goes straight into `Health`; nothing
of an answer is kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from haproxy.aliases import Aliases
from haproxy.cluster import Cluster
from haproxy.look import Look
from l7.fastpath import Health
from l7.kit import logs, tasks
from l7.v1 import views_pb2 as pb

log = logs.get("looks")

MOST = 64
"""Proxies that are looked at, all that `Health` takes."""


@dataclass(eq=False, slots=True)
class Proxy:
    """One that is connected. `owes`: it has not ended its answer to a look; `left_out`: it broke off in the last
    one, and is not asked in the next."""

    slot: int
    instance: str
    version: str
    asked: asyncio.Queue[int | None] = field(default_factory=asyncio.Queue)
    aliases: Aliases = field(default_factory=lambda: Aliases({}))
    owes: bool = False
    left_out: bool = False
    missed: str = ""
    """Why it did not answer in the last look, "" when it did."""
    seconds: float = 0.0
    """What HAProxy took in the last one that it answered."""


class Full(Exception):
    """There are too many proxies."""


class Looks:
    """`cluster` is what they see together, `looked` is called when that is new. For one event loop."""

    def __init__(self, cluster: Cluster, looked: Callable[[], None]) -> None:
        self.cluster = cluster
        self.proxies: dict[int, Proxy] = {}
        self.answered = self.quorum = 0
        """In the last look that counted."""
        self.at = 0.0
        """When that ended, Unix time; 0: there was none."""
        self._health = Health(MOST)
        self._looked = looked
        self._look = Look(0, (), 0.0)
        self._news = asyncio.Event()

    @property
    def silent(self) -> int:
        """Proxies that are connected and did not answer."""
        return sum(bool(proxy.missed) for proxy in self.proxies.values())

    def document(self) -> list[dict[str, Any]]:
        """The proxies that are connected, as JSON values; `missed`: why one has no part in the last look."""
        proxies = sorted(self.proxies.values(), key=lambda each: each.instance)
        return [
            {"instance": each.instance, "proxy": each.version, "seconds": each.seconds, "missed": each.missed}
            for each in proxies
        ]

    # ------------------------------------------------------------ one proxy

    async def serve(self, requests: AsyncIterator[pb.ShowRequest], context: Any) -> None:
        """One stream, until its end."""
        first = await anext(requests, None)
        if first is None or not first.HasField("introduction") or not first.introduction.instance:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "the first message is an Introduction of somebody"
            )
            return
        try:
            with self._connected(first.introduction) as proxy:
                await tasks.race(self._hear(proxy, requests), self._ask(proxy, context))
        except Full as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))

    @contextmanager
    def _connected(self, who: pb.Introduction) -> Iterator[Proxy]:
        for other in [each for each in self.proxies.values() if each.instance == who.instance]:
            self._leave(other)
        slot = next((slot for slot in range(MOST) if slot not in self.proxies), None)
        if slot is None:
            raise Full(f"{MOST} proxies are looked at already")
        proxy = self.proxies[slot] = Proxy(slot, who.instance, who.proxy)
        log.info("proxy connected", instance=proxy.instance, proxy=proxy.version)
        try:
            yield proxy
        finally:
            self._leave(proxy)

    def _leave(self, proxy: Proxy) -> None:
        if self.proxies.get(proxy.slot) is proxy:
            del self.proxies[proxy.slot]
            proxy.asked.put_nowait(None)
            self._failed(proxy, "its stream has ended")
            log.info("proxy gone", instance=proxy.instance)

    async def _ask(self, proxy: Proxy, context: Any) -> None:
        while (number := await proxy.asked.get()) is not None:
            await context.write(pb.ShowResponse(look=number))

    async def _hear(self, proxy: Proxy, requests: AsyncIterator[pb.ShowRequest]) -> None:
        async for request in requests:
            if request.HasField("end"):
                proxy.owes = False
            if request.look == self._look.number and self._look.expects(proxy.slot):
                self._take(proxy, request)

    def _take(self, proxy: Proxy, request: pb.ShowRequest) -> None:
        kind = request.WhichOneof("message")
        if kind == "names":
            proxy.aliases = Aliases(request.names.backends)
        elif kind == "piece":
            self._feed(proxy, proxy.aliases.translate(request.piece.data))
        elif kind == "end" and request.end.error:
            self._failed(proxy, request.end.error)
        elif kind == "end":
            self._feed(proxy, proxy.aliases.rest())
            proxy.seconds = request.end.microseconds / 1e6
            self._look.ended(proxy.slot, proxy.seconds)
            self._news.set()

    def _feed(self, proxy: Proxy, data: bytes) -> None:
        self._health.feed(proxy.slot, data)
        self._look.said(proxy.slot, asyncio.get_running_loop().time())

    def _failed(self, proxy: Proxy, reason: str) -> None:
        self._look.failed(proxy.slot, reason)
        self._news.set()

    # ------------------------------------------------------------ a look

    async def run(self) -> None:
        """Again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._look.pause())
            if self.proxies or self.answered:
                await self.look()

    async def look(self) -> None:
        """Once, at all that are connected."""
        loop = asyncio.get_running_loop()
        look = self._look = Look(self._look.number + 1, self._willing(), loop.time())
        self._health.begin()
        for slot in self.proxies:
            if look.expects(slot):
                self.proxies[slot].owes = True
                self.proxies[slot].asked.put_nowait(look.number)
        while look.open:
            self._news.clear()
            with_time = look.expire(loop.time())
            if look.open:
                await tasks.race(self._news.wait(), asyncio.sleep(with_time))
        self._note(look)
        if look.spoilt:
            log.warning("look given up", proxies=[look.missed[slot] for slot in sorted(look.spoilt)])
        else:
            await self._conclude(look)
        self._looked()

    def _willing(self) -> list[int]:
        """Who is asked: not who still owes an answer, nor who broke off in the last look."""
        willing = [slot for slot, proxy in self.proxies.items() if not proxy.owes and not proxy.left_out]
        for proxy in self.proxies.values():
            proxy.left_out = False
        return willing

    def _note(self, look: Look) -> None:
        for slot, proxy in self.proxies.items():
            missed = look.missed.get(slot, "" if slot in look.answered else "it still answers an earlier look")
            if missed and not proxy.missed:
                log.warning("no view of a proxy", instance=proxy.instance, reason=missed)
            proxy.missed = missed
            proxy.left_out = slot in look.spoilt

    async def _conclude(self, look: Look) -> None:
        """Where nobody answered, what was seen before stays, as seen by nobody."""
        if look.answered:  # in a thread: of 100,000 servers the first look has something to say of each
            await asyncio.to_thread(self._aggregate, look)
            self.at, self.quorum = time.time(), look.quorum
        self.answered = len(look.answered)

    def _aggregate(self, look: Look) -> None:
        changes = self._health.end(look.quorum)
        self.cluster.looked(changes, self._health, len(look.answered), look.quorum)
