"""The sidecar's end of the Sync stream, against a server in the same loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
import pytest

from l7.kit import stream as module
from l7.kit.backoff import Backoff
from l7.kit.errors import BrokenChain, ProtocolError
from l7.kit.stream import Stream
from l7.v1 import sync_pb2 as pb
from l7.v1 import sync_pb2_grpc


class Core(sync_pb2_grpc.SyncServiceServicer):
    """Each stream gets `answers`, then ends once `end` is set; `said` is what came in, stream by stream."""

    def __init__(self, *answers: pb.SyncResponse) -> None:
        self.answers = answers
        self.said: list[asyncio.Queue[pb.SyncRequest]] = []
        self.opened = asyncio.Queue[asyncio.Queue[pb.SyncRequest]]()
        self.end = asyncio.Event()

    async def Sync(
        self, requests: AsyncIterator[pb.SyncRequest], context: object
    ) -> AsyncIterator[pb.SyncResponse]:
        said = asyncio.Queue[pb.SyncRequest]()
        self.opened.put_nowait(said)
        listening = asyncio.create_task(self._listen(requests, said))
        try:
            for answer in self.answers:
                yield answer
            await self.end.wait()
        finally:
            listening.cancel()

    @staticmethod
    async def _listen(requests: AsyncIterator[pb.SyncRequest], said: asyncio.Queue[pb.SyncRequest]) -> None:
        async for request in requests:
            said.put_nowait(request)

    async def heard(self) -> asyncio.Queue[pb.SyncRequest]:
        return await asyncio.wait_for(self.opened.get(), 10)


@asynccontextmanager
async def streaming(core: Core, update: object) -> AsyncIterator[Stream]:
    server = grpc.aio.server()
    sync_pb2_grpc.add_SyncServiceServicer_to_server(core, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    hello = pb.Hello(instance="me", revision="r1")
    stream = Stream(f"127.0.0.1:{port}", None, lambda: pb.Hello(instance=hello.instance, revision="r1"), update)  # type: ignore[arg-type]
    running = asyncio.create_task(stream.run(asyncio.Event()))
    try:
        yield stream
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await server.stop(None)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKOFF", Backoff(first=0.01, limit=0.05))


async def test_says_hello_takes_updates_and_comes_back_after_the_end() -> None:
    taken = asyncio.Queue[pb.SyncResponse]()
    core = Core(pb.SyncResponse(results_in="r2"))
    async with streaming(core, lambda chunk, data: taken.put_nowait(chunk)) as stream:
        first = await core.heard()
        assert (await asyncio.wait_for(first.get(), 10)).hello.revision == "r1"
        assert (await asyncio.wait_for(taken.get(), 10)).results_in == "r2"
        assert stream.connected
        stream.send(pb.SyncRequest(ack=pb.Ack(revision="r2")))
        assert (await asyncio.wait_for(first.get(), 10)).ack.revision == "r2"
        core.end.set()  # wakes those that wait now
        core.end.clear()
        second = await core.heard()
        assert (await asyncio.wait_for(second.get(), 10)).hello.instance == "me"


async def test_a_core_that_accepts_and_never_answers_is_asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_ANSWER", 0.05)
    taken = asyncio.Queue[pb.SyncResponse]()
    core = Core()
    async with streaming(core, lambda chunk, data: taken.put_nowait(chunk)) as stream:
        await core.heard()
        core.answers = (pb.SyncResponse(results_in="r2"),)
        second = await core.heard()
        assert (await asyncio.wait_for(second.get(), 10)).hello.instance == "me"
        assert (await asyncio.wait_for(taken.get(), 10)).results_in == "r2"
        await asyncio.sleep(0.3)  # only the first answer is bounded
        assert stream.connected
        assert core.opened.empty()


async def test_a_core_that_is_slow_gets_more_time_from_one_try_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_ANSWER", 0.02)
    core = Core()
    async with streaming(core, lambda chunk, data: None) as stream:
        for _ in range(3):
            await core.heard()
        assert stream._patience >= 0.08


async def test_asks_for_the_whole_when_the_chain_is_broken() -> None:
    def broken(chunk: pb.SyncResponse, data: bytes) -> None:
        raise BrokenChain("not from r1")

    core = Core(pb.SyncResponse(results_in="r2"))
    async with streaming(core, broken):
        said = await core.heard()
        revisions = [(await asyncio.wait_for(said.get(), 10)).hello.revision for _ in range(2)]
        assert revisions == ["r1", ""]


async def test_refuses_what_makes_no_sense_and_stays() -> None:
    taken = asyncio.Queue[str]()

    def update(chunk: pb.SyncResponse, data: bytes) -> None:
        assert pb.SyncResponse.FromString(data) == chunk
        if chunk.results_in == "r2":
            raise ProtocolError("what is this")
        taken.put_nowait(chunk.results_in)

    core = Core(pb.SyncResponse(results_in="r2"), pb.SyncResponse(results_in="r3"))
    async with streaming(core, update):
        said = await core.heard()
        await asyncio.wait_for(said.get(), 10)
        nack = (await asyncio.wait_for(said.get(), 10)).nack
        assert (nack.revision, nack.reason) == ("r2", "what is this")
        assert await asyncio.wait_for(taken.get(), 10) == "r3"


async def test_what_is_said_without_a_stream_is_not_kept() -> None:
    stream = Stream("127.0.0.1:1", None, pb.Hello, lambda chunk, data: None)
    stream.send(pb.SyncRequest(ack=pb.Ack(revision="r1")))
    assert stream._outgoing.empty()
