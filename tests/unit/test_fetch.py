"""The fetcher, against sources in the same loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from haproxy import fetch as module
from haproxy.fetch import BATCH, Fetcher
from haproxy.vault import Vault
from l7.v1 import secrets_pb2 as pb
from l7.v1 import secrets_pb2_grpc as rpc


class Source(rpc.SecretServiceServicer):
    """A task of the extension service; what it has and what was asked of it. `fails` aborts, `hangs` waits."""

    def __init__(self, **contents: bytes) -> None:
        self.contents = contents
        self.asked: list[list[str]] = []
        self.fails = False
        self.hangs = asyncio.Event()
        self.hangs.set()

    async def Fetch(self, request: pb.FetchRequest, context: Any) -> AsyncIterator[pb.FetchResponse]:
        self.asked.append(list(request.ids))
        if self.fails:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")
        for id in request.ids:
            await self.hangs.wait()
            if id in self.contents:
                yield pb.FetchResponse(id=id, data=self.contents[id])


@asynccontextmanager
async def serving(source: Source, address: str) -> AsyncIterator[str]:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    rpc.add_SecretServiceServicer_to_server(source, server)  # type: ignore[no-untyped-call]
    server.add_insecure_port(address)
    await server.start()
    try:
        yield address
    finally:
        await server.stop(None)


class Fetching:
    """A fetcher with its vault; `arrived` says what came, in order."""

    def __init__(self, directory: Path) -> None:
        self.vault = Vault(directory)
        self.news = asyncio.Queue[frozenset[str]]()
        self.fetcher = Fetcher(self.vault, None, "", self.news.put_nowait)

    async def there(self, *ids: str) -> None:
        while not self.vault.ids >= set(ids):
            await asyncio.wait_for(self.news.get(), 10)


@pytest.fixture
async def fetching(tmp_path: Path) -> AsyncIterator[Fetching]:
    each = Fetching(tmp_path / "vault")
    stop = asyncio.Event()
    running = asyncio.create_task(each.fetcher.run(stop))
    yield each
    stop.set()
    await asyncio.wait_for(running, 10)


@pytest.fixture
def socket(tmp_path: Path) -> Callable[[str], str]:
    return lambda name: f"unix:{tmp_path}/{name}"


async def test_what_is_missing_comes_from_the_first_source_that_has_it(
    fetching: Fetching, socket: Callable[[str], str]
) -> None:
    new, old = Source(a=b"A", c=b"C"), Source(a=b"A", b=b"B")
    fetching.vault.put("c", b"C")
    async with serving(new, socket("new")) as first, serving(old, socket("old")) as second:
        fetching.fetcher.want(frozenset("abc"), (first, second))
        await fetching.there("a", "b")
    assert [fetching.vault.get(id) for id in "abc"] == [b"A", b"B", b"C"]
    assert new.asked == [["a", "b"]], "what is in the vault is not asked for"
    assert old.asked == [["b"]]
    assert fetching.fetcher.missing == frozenset()


async def test_a_source_that_comes_later_is_found(fetching: Fetching, socket: Callable[[str], str]) -> None:
    """Nothing listens yet, then it does not have it yet: each is asked again until it has."""
    source, address = Source(), socket("one")
    fetching.fetcher.want(frozenset("a"), (address,))
    async with serving(source, address):
        while len(source.asked) < 2:  # noqa: ASYNC110 - at the other end of a socket
            await asyncio.sleep(0.01)
        source.contents["a"] = b"A"
        await fetching.there("a")


@pytest.mark.parametrize("trouble", ["fails", "hangs"])
async def test_one_bad_source_does_not_keep_from_the_other(
    fetching: Fetching, socket: Callable[[str], str], trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    bad, good = Source(a=b"bad"), Source(a=b"A")
    if trouble == "fails":
        bad.fails = True
    else:
        bad.hangs.clear()
    async with serving(bad, socket("bad")) as first, serving(good, socket("good")) as second:
        fetching.fetcher.want(frozenset("a"), (socket("nobody"), first, second))
        await fetching.there("a")
        bad.hangs.set()
    assert fetching.vault.get("a") == b"A"
    assert bad.asked


async def test_a_new_source_is_asked_at_once(
    fetching: Fetching, socket: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not after the pause that the failures of the old one have led to."""
    monkeypatch.setattr(module, "BACKOFF", module.Backoff(first=3600, limit=3600))
    source = Source(a=b"A")
    fetching.fetcher.want(frozenset("a"), (socket("nobody"),))
    await asyncio.sleep(0.05)
    async with serving(source, socket("one")) as address:
        fetching.fetcher.want(frozenset("a"), (address,))
        await fetching.there("a")


async def test_many_come_in_batches_and_each_batch_is_told(
    fetching: Fetching, socket: Callable[[str], str]
) -> None:
    contents = {f"id{number:04}": b"%d" % number for number in range(2 * BATCH + 1)}
    source = Source(**contents)
    async with serving(source, socket("one")) as address:
        fetching.fetcher.want(frozenset(contents), (address,))
        news = [await asyncio.wait_for(fetching.news.get(), 10) for _ in range(3)]
    assert [len(each) for each in news] == [BATCH, BATCH, 1]
    assert frozenset().union(*news) == set(contents) == fetching.vault.ids
    assert [len(ids) for ids in source.asked] == [BATCH, BATCH, 1]


async def test_what_nobody_asked_for_is_not_taken(fetching: Fetching, socket: Callable[[str], str]) -> None:
    class Eager(Source):
        async def Fetch(self, request: pb.FetchRequest, context: object) -> AsyncIterator[pb.FetchResponse]:
            self.asked.append(list(request.ids))
            yield pb.FetchResponse(id="other", data=b"!")

    eager, good = Eager(), Source(a=b"A")
    async with serving(eager, socket("eager")) as first, serving(good, socket("good")) as second:
        fetching.fetcher.want(frozenset("a"), (first, second))
        await fetching.there("a")
    assert fetching.vault.ids == {"a"}
    assert eager.asked


async def test_what_is_not_wanted_any_more_is_not_taken(fetching: Fetching, socket: Callable[[str], str]) -> None:
    source = Source(a=b"A", b=b"B")
    source.hangs.clear()
    async with serving(source, socket("one")) as address:
        fetching.fetcher.want(frozenset("a"), (address,))
        while not source.asked:  # noqa: ASYNC110 - at the other end of a socket
            await asyncio.sleep(0.01)
        fetching.fetcher.want(frozenset("b"), (address,))
        source.hangs.set()
        await fetching.there("b")
    assert fetching.vault.ids == {"b"}


async def test_saying_the_same_again_asks_nobody(fetching: Fetching, socket: Callable[[str], str]) -> None:
    source = Source(a=b"A")
    async with serving(source, socket("one")) as address:
        for _ in range(3):
            fetching.fetcher.want(frozenset("a"), (address,))
            await fetching.there("a")
    assert len(source.asked) == 1
