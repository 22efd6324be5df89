"""An extension's end of the Sync stream: keeps it open, hands updates in, sends acknowledgements out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import TypeAlias

import grpc
import grpc.aio

from l7.kit import logs
from l7.kit.backoff import Backoff
from l7.kit.channel import PROXY, open_channel
from l7.kit.errors import BrokenChain, ProtocolError
from l7.kit.tls import AUTHORITIES, NewestFiles
from l7.v1 import sync_pb2 as pb

log = logs.get("stream")

Outgoing: TypeAlias = "asyncio.Queue[pb.SyncRequest | None]"
"""Messages to core; None: the stream has ended."""

BACKOFF = Backoff(first=0.1, limit=5.0)
SYNC = "/l7.v1.SyncService/Sync"
"""As gRPC names the call: generated stubs drop the bytes of what they parse."""

HEALTHY = 5.0
"""Seconds after which a stream counts as good: its end is then retried quickly again."""

FIRST_ANSWER = 3.0
LONGEST_FIRST_ANSWER = 24.0
"""Seconds that core may take for its first answer, before the stream is opened anew; twice as long after each time
that it took longer. A server that is stopping accepts a connection and answers nothing on it, and keepalive
notices only when its process is gone."""


class Stream:
    """`hello` says who we are and what we hold; `update` takes a chunk, as a message and as it came, and may raise
    BrokenChain, upon which we ask for the whole state, or ProtocolError, upon which the revision is refused. `tls`
    gives the newest identity; `on_authorities` is told which CAs core trusts (`l7.kit.tls.authorities_digest`), ""
    when it does not say; `on_proxy` the oldest proxy of the cluster (`l7.kit.channel.PROXY`). `failed` is set once
    core could not be reached, or did not answer."""

    def __init__(
        self,
        address: str,
        tls: NewestFiles | None,
        hello: Callable[[], pb.Hello],
        update: Callable[[pb.SyncResponse, bytes], None],
    ) -> None:
        self.connected = False
        self._address = address
        self._tls = tls
        self._hello = hello
        self._update = update
        self._outgoing: Outgoing = asyncio.Queue()
        self._patience = FIRST_ANSWER
        self.failed = asyncio.Event()
        self.on_authorities: Callable[[str], None] = lambda digest: None
        self.on_proxy: Callable[[str], None] = lambda proxy: None

    def send(self, request: pb.SyncRequest) -> None:
        """Queue a message; dropped while there is no stream (Hello says what we hold when there is one again)."""
        if self.connected:
            self._outgoing.put_nowait(request)

    async def run(self, stop: asyncio.Event) -> None:
        """Connect, again and again, until cancelled or stopped; core's absence is never an error here."""
        delays = BACKOFF.jittered(Random())
        while not stop.is_set():
            since = asyncio.get_running_loop().time()
            try:
                await self._once()
                log.info("stream ended by core")
            except grpc.aio.AioRpcError as error:
                log.warning("stream lost", core=self._address, code=error.code().name, details=error.details())
            except TimeoutError:
                log.warning("no answer from core", core=self._address, seconds=self._patience)
                self._patience = min(LONGEST_FIRST_ANSWER, 2 * self._patience)
            finally:
                self.connected = False
            self.failed.set()
            if asyncio.get_running_loop().time() - since > HEALTHY:
                delays = BACKOFF.jittered(Random())
            await asyncio.sleep(next(delays))

    async def _once(self) -> None:
        self._outgoing = asyncio.Queue()
        try:
            await self._exchange()
        finally:
            self._outgoing.put_nowait(None)  # else gRPC's task would wait for our next request for ever

    async def _exchange(self) -> None:
        async with open_channel(self._address, self._tls and self._tls()) as channel:
            self._outgoing.put_nowait(pb.SyncRequest(hello=self._hello()))
            sync = channel.stream_stream(SYNC, pb.SyncRequest.SerializeToString, _parsed)
            call = sync(self._requests(self._outgoing))
            async with asyncio.timeout(self._patience) as first:
                async for response, data in call:
                    if not self.connected:
                        first.reschedule(None)
                        self._opened(await call.initial_metadata())
                    self._take(response, data)

    def _opened(self, metadata: grpc.aio.Metadata) -> None:
        self.connected = True
        self._patience = FIRST_ANSWER
        log.info("stream open", core=self._address)
        self.on_authorities(str(metadata.get(AUTHORITIES, "")))
        self.on_proxy(str(metadata.get(PROXY, "")))

    def _take(self, response: pb.SyncResponse, data: bytes) -> None:
        try:
            self._update(response, data)
        except BrokenChain as error:
            log.warning("asking for the complete state", reason=str(error))
            hello = self._hello()
            hello.revision = ""
            self.send(pb.SyncRequest(hello=hello))
        except ProtocolError as error:
            log.error("update makes no sense", revision=response.results_in, reason=str(error))
            self.send(pb.SyncRequest(nack=pb.Nack(revision=response.results_in, reason=str(error))))

    @staticmethod
    async def _requests(queue: Outgoing) -> AsyncIterator[pb.SyncRequest]:
        while (request := await queue.get()) is not None:
            yield request


def _parsed(data: bytes) -> tuple[pb.SyncResponse, bytes]:
    return pb.SyncResponse.FromString(data), data
