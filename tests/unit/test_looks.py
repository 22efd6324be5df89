"""The extension service's looks at proxies that say what the test wants, on streams in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from haproxy import look, looks
from haproxy.cluster import UP, Cluster
from haproxy.looks import Looks
from l7.v1 import views_pb2 as pb

ANSWER = b"1\n# be_id be_name srv_name srv_op_state srv_admin_state\n1 %s t1.aaaaaa 2 0\n"


class Aborted(Exception):
    """As gRPC ends a call."""


@dataclass
class Stream:
    """A proxy's end. It is also what the call's context is to the service."""

    asked: asyncio.Queue[int] = field(default_factory=asyncio.Queue)
    code: grpc.StatusCode | None = None
    _said: asyncio.Queue[pb.ShowRequest | None] = field(default_factory=asyncio.Queue)

    def say(self, look: int = 0, **message: Any) -> None:
        self._said.put_nowait(pb.ShowRequest(look=look, **message))

    def answer(self, look: int, backend: bytes = b"web") -> None:
        self.say(look, piece=pb.Piece(data=ANSWER % backend))
        self.say(look, end=pb.End(microseconds=1000))

    def close(self) -> None:
        self._said.put_nowait(None)

    async def requests(self) -> AsyncIterator[pb.ShowRequest]:
        while (request := await self._said.get()) is not None:
            yield request

    async def write(self, response: pb.ShowResponse) -> None:
        self.asked.put_nowait(response.look)

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        self.code = code
        raise Aborted(details)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "PATIENCE", 0.5)


@pytest.fixture
def seen() -> Looks:
    return Looks(Cluster(lambda backend, task: True), lambda: None)


@asynccontextmanager
async def connected(seen: Looks, *names: str) -> AsyncIterator[list[Stream]]:
    streams = [Stream() for _ in names]
    serving = [asyncio.create_task(seen.serve(each.requests(), each)) for each in streams]
    for name, stream in zip(names, streams, strict=True):
        stream.say(introduction=pb.Introduction(instance=name, proxy="haproxy/3.4.7"))
    await asyncio.sleep(0)
    yield streams
    for stream in streams:
        stream.close()
    await asyncio.gather(*serving, return_exceptions=True)


async def answered(seen: Looks, *streams: Stream) -> None:
    """One look, that these answer."""
    looking = asyncio.create_task(seen.look())
    for stream in streams:
        stream.answer(await stream.asked.get())
    await looking


async def test_all_that_answer_count_and_who_is_silent_does_not(seen: Looks) -> None:
    async with connected(seen, "a", "b", "c") as (one, two, three):
        await answered(seen, one, two)
        assert (seen.answered, seen.quorum, seen.silent) == (2, 2, 1)
        assert seen.cluster.verdicts == {("web", "t1"): UP}
        assert [each["missed"] for each in seen.document()] == ["", "", "no answer in time"]
        assert three.asked.get_nowait() == 1
        await answered(seen, one, two)
        assert three.asked.empty(), "it owes an answer"
        three.answer(1)
        while any(each.owes for each in seen.proxies.values()):  # noqa: ASYNC110 - its stream is read
            await asyncio.sleep(0)
        await answered(seen, one, two, three)
        assert (seen.answered, seen.silent) == (3, 0)
    assert not seen.proxies


async def test_an_answer_that_breaks_off_counts_nothing_and_is_not_asked_for_next(seen: Looks) -> None:
    async with connected(seen, "a", "b") as (one, two):
        await answered(seen, one, two)
        looking = asyncio.create_task(seen.look())
        number = await two.asked.get()
        two.say(number, piece=pb.Piece(data=ANSWER % b"other"))
        two.say(number, end=pb.End(error="haproxy is gone"))
        one.answer(await one.asked.get(), b"other")
        await looking
        assert seen.cluster.verdicts == {("web", "t1"): UP}, "as before"
        assert seen.silent == 1
        await answered(seen, one)
        assert two.asked.empty()
        assert seen.answered == 1
        await answered(seen, one, two)
        assert seen.answered == 2


async def test_what_is_said_of_an_earlier_look_is_not_taken(seen: Looks) -> None:
    async with connected(seen, "a") as (one,):
        await answered(seen, one)
        one.answer(1, b"late")
        await answered(seen, one)
        assert list(seen.cluster.states) == ["web"]


async def test_names_of_spares_are_translated(seen: Looks) -> None:
    async with connected(seen, "a") as (one,):
        looking = asyncio.create_task(seen.look())
        number = await one.asked.get()
        one.say(number, names=pb.Names(backends={"spare-http-0001": "web"}))
        one.answer(number, b"spare-http-0001")
        await looking
        assert seen.cluster.verdicts == {("web", "t1"): UP}


async def test_a_proxy_that_comes_again_takes_its_own_place(seen: Looks) -> None:
    async with connected(seen, "a", "a") as (old, new):
        assert len(seen.proxies) == 1
        await answered(seen, new)
        assert old.asked.empty()
        assert seen.answered == 1


async def test_without_any_proxy_nobody_has_seen_what_was_seen(seen: Looks) -> None:
    async with connected(seen, "a") as (one,):
        await answered(seen, one)
    await seen.look()
    assert (seen.answered, seen.cluster.counts[UP]) == (0, 1)


async def test_more_than_there_is_room_for_are_told_so(seen: Looks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "MOST", 1)
    async with connected(seen, "a", "b") as (one, two):
        pass
    assert (one.code, two.code) == (None, grpc.StatusCode.RESOURCE_EXHAUSTED)


async def test_who_does_not_say_who_he_is_is_refused(seen: Looks) -> None:
    stream = Stream()
    stream.say(1, end=pb.End())
    with pytest.raises(Aborted):
        await seen.serve(stream.requests(), stream)
    assert stream.code is grpc.StatusCode.INVALID_ARGUMENT
