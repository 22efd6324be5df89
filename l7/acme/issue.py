"""One certificate: order, challenge at every proxy, answer, download. The order's own calls are made in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from l7.acme.client import Certificate, Challenge, Order
from l7.kit import logs
from l7.kit.errors import Unavailable

_log = logs.get("acme")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. `settle`: from a cluster's first proxy on, so that the others are there, too; `acknowledge`: for
    which proxies are waited for; `decide`: for which the server is, each time; `store`: for which Swarm is."""

    settle: float = 5.0
    acknowledge: float = 30.0
    decide: float = 90.0
    store: float = 300.0


class Proxies(Protocol):
    """What is needed of core, in its event loop."""

    def show(self, cluster: str, challenges: Mapping[str, str]) -> None:
        """From now on these are the answers of the cluster's proxies: token -> key authorization."""

    def proxies(self, cluster: str, token: str) -> tuple[int, int]:
        """How many of its proxies answer to the token, and how many are connected."""


class Issuer:
    """Several orders may be under way, in one event loop; tell it by `heard` what proxies acknowledge."""

    def __init__(self, proxies: Proxies, pace: Pace) -> None:
        self._proxies = proxies
        self._pace = pace
        self._heard = asyncio.Event()
        self._shown: dict[str, dict[str, str]] = {}

    def heard(self) -> None:
        """A proxy came, went or acknowledged something."""
        heard, self._heard = self._heard, asyncio.Event()
        heard.set()

    async def obtain(self, order: Order, clusters: Collection[str]) -> Certificate:
        """The certificate; meanwhile the proxies of `clusters` answer. Raises Unavailable or Refused."""
        for challenge in order.challenges:
            with self._showing(challenge, clusters):
                await self._everywhere(order.host, challenge, clusters)
                await asyncio.to_thread(order.answer, challenge)
                await self._decided(f"validate {order.host}", _validated(order))
        await asyncio.to_thread(order.finalize)
        return await self._decided(f"issue for {order.host}", _issued(order))

    async def _decided(self, what: str, waiting: Coroutine[Any, Any, T]) -> T:
        """What comes of waiting for the server, within bounds."""
        try:
            async with asyncio.timeout(self._pace.decide):
                return await waiting
        except TimeoutError as error:
            text = f"{what}: the ACME server came to no decision within {self._pace.decide:.0f} s"
            raise Unavailable(text) from error

    @contextmanager
    def _showing(self, challenge: Challenge, clusters: Collection[str]) -> Iterator[None]:
        """Within the block the proxies of the clusters have the answer, or are about to."""
        for cluster in clusters:
            self._shown.setdefault(cluster, {})[challenge.token] = challenge.key_authorization
            self._proxies.show(cluster, dict(self._shown[cluster]))
        try:
            yield
        finally:
            for cluster in clusters:
                self._shown[cluster].pop(challenge.token, None)
                self._proxies.show(cluster, dict(self._shown[cluster]))

    async def _everywhere(self, host: str, challenge: Challenge, clusters: Collection[str]) -> None:
        """Waits for all proxies, within bounds: one that refuses its state must not be what all depends on.
        Raises Unavailable when not a single one has it."""
        try:
            async with asyncio.timeout(self._pace.acknowledge):
                while not all(self._complete(cluster, challenge.token) for cluster in clusters):
                    await self._heard.wait()
        except TimeoutError as error:
            counts = [self._proxies.proxies(cluster, challenge.token) for cluster in clusters]
            has, connected = sum(each[0] for each in counts), sum(each[1] for each in counts)
            if not has:
                raise Unavailable(f"validate {host}: none of {connected} proxies took the challenge") from error
            _log.warning("challenge not everywhere", host=host, proxies=connected, have_it=has)

    def _complete(self, cluster: str, token: str) -> bool:
        has, connected = self._proxies.proxies(cluster, token)
        return has == connected > 0


async def _validated(order: Order) -> None:
    """Asks as often as the server wants to be asked: it has no other way to tell."""
    while True:
        pause = await asyncio.to_thread(order.validated)
        if not pause:
            return
        await asyncio.sleep(pause)


async def _issued(order: Order) -> Certificate:
    while True:
        certificate = await asyncio.to_thread(order.issued)
        if certificate is not None:
            return certificate
