"""A process of sidecars without HAProxy: their streams to core, which take every state and acknowledge it.

    python -m benchmarks.scale.follower --core 127.0.0.1:8080 --tls-ca … --tls-identity … --number 5 --first 0

The connection, its certificates, its pauses and what it says are those of a sidecar. What comes is parsed, and not
made servers of: on proxies of their own that is no cost of core's, and here it would be all that the machine does.
Each line of its log is an update that was acknowledged.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from random import Random

import grpc.aio

from l7.kit import logs
from l7.kit.backoff import Backoff
from l7.kit.channel import open_channel
from l7.kit.tls import TlsFiles
from l7.v1 import sync_pb2 as pb
from l7.v1 import sync_pb2_grpc

log = logs.get("follower")

BACKOFF = Backoff(first=0.1, limit=5.0)
"""As in `l7.kit.stream`."""


class Follower:
    """One stream after the other."""

    def __init__(self, core: str, files: TlsFiles, name: str) -> None:
        self._core, self._files, self._name = core, files, name
        self._revision = ""
        self._bytes = 0

    async def run(self) -> None:
        for pause in BACKOFF.jittered(Random()):
            with suppress(grpc.aio.AioRpcError):
                await self._follow()
            await asyncio.sleep(pause)

    async def _follow(self) -> None:
        outgoing: asyncio.Queue[pb.SyncRequest] = asyncio.Queue()
        hello = pb.Hello(instance=self._name, software="follower", proxy="none", revision=self._revision)
        outgoing.put_nowait(pb.SyncRequest(hello=hello))
        async with open_channel(self._core, self._files, own=True) as channel:
            stub = sync_pb2_grpc.SyncServiceStub(channel)  # type: ignore[no-untyped-call]
            async for response in stub.Sync(_requests(outgoing)):
                self._bytes += response.ByteSize()
                if response.last:
                    outgoing.put_nowait(self._taken(response))

    def _taken(self, response: pb.SyncResponse) -> pb.SyncRequest:
        self._revision = response.results_in
        kind = pb.UpdateKind.Name(response.kind)
        log.info("taken", instance=self._name, revision=self._revision, kind=kind, bytes=self._bytes)
        self._bytes = 0
        return pb.SyncRequest(ack=pb.Ack(revision=self._revision))


async def _requests(queue: asyncio.Queue[pb.SyncRequest]) -> AsyncIterator[pb.SyncRequest]:
    while True:
        yield await queue.get()


async def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.scale.follower", description=__doc__)
    for name in ("--core", "--tls-ca", "--tls-identity"):
        parser.add_argument(name, required=True)
    parser.add_argument("--number", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number in the name of the first one")
    given = parser.parse_args()
    logs.configure("info")
    files = TlsFiles(given.tls_ca, given.tls_identity)
    numbers = range(given.first, given.first + given.number)
    await asyncio.gather(*(Follower(given.core, files, f"follower{number}").run() for number in numbers))


if __name__ == "__main__":
    asyncio.run(main())
