"""SyncApi with a transport that does what the test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from structlog.testing import capture_logs

from l7.kit.metrics import Metrics
from l7.model import Problem, Snapshot
from l7.serve import wire
from l7.serve.grpc_api import SyncApi
from l7.serve.session import Report
from l7.status import Extensions
from l7.store import Store
from l7.v1 import sync_pb2 as pb

HELLO = pb.SyncRequest(hello=pb.Hello(instance="h1"))


class Aborted(Exception):
    """What the call ended with."""


class Transport:
    """Keeps the first message under way until the extension has asked again."""

    def __init__(self, security: bytes = b"insecure") -> None:
        self.security = security
        self.written: list[pb.SyncResponse] = []
        self.first, self.asked, self.second = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"transport_security_type": [self.security]}

    def peer(self) -> str:
        return "test"

    async def write(self, message: pb.SyncResponse) -> None:
        self.written.append(message)
        (self.second if self.first.is_set() else self.first).set()
        await self.asked.wait()

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise Aborted(code)

    async def requests(self) -> AsyncIterator[pb.SyncRequest]:
        yield HELLO
        await self.first.wait()
        yield HELLO
        self.asked.set()
        await self.second.wait()


def api() -> SyncApi:
    store = Store(lambda cluster: Snapshot(cluster, "r1", {}, {}))
    store.put("")
    return SyncApi(store, [""], Extensions(), Metrics("core", "1"))


async def test_an_update_is_logged_by_its_own_revision_whatever_was_said_meanwhile() -> None:
    transport = Transport()
    with capture_logs() as lines:
        await api().Sync(transport.requests(), transport)
    assert [message.results_in for message in transport.written] == ["r1", "r1"]
    assert next(line["revision"] for line in lines if line["event"] == "update sent") == "r1"


@pytest.mark.parametrize("security", [b"ssl", b"something else"])
async def test_without_a_certificate_only_a_plain_connection_is_served(security: bytes) -> None:
    transport = Transport(security)
    with pytest.raises(Aborted, match="PERMISSION_DENIED"):
        await api().Sync(transport.requests(), transport)
    assert transport.written == []


# ---------------------------------------------------------------- what proxies report


def reported(*labels: str) -> pb.SyncRequest:
    told = {"service": "web", "message": "needs HAProxy 3.4", "remedy": "update"}
    problems = [pb.Problem(label=label, **told) for label in labels]
    return pb.SyncRequest(report=pb.Report(problems=problems))


class Reporting(Transport):
    """Says hello and what the test puts in; ends when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked.set()
        self.says: asyncio.Queue[pb.SyncRequest | None] = asyncio.Queue()

    async def requests(self) -> AsyncIterator[pb.SyncRequest]:
        yield HELLO
        while (message := await self.says.get()) is not None:
            yield message


async def test_a_report_replaces_the_one_before_it_and_goes_with_its_extension() -> None:
    served, transport, news = api(), Reporting(), asyncio.Queue[frozenset[Problem]]()
    served.on_problems = lambda: news.put_nowait(served.extensions.problems())
    stream = asyncio.create_task(served.Sync(transport.requests(), transport))
    transport.says.put_nowait(reported("a", "b"))
    assert {problem.label for problem in await news.get()} == {"a", "b"}
    transport.says.put_nowait(reported("b", "c"))
    assert await news.get() == {
        Problem("web", label, "", "needs HAProxy 3.4", "update", fatal=False) for label in ("b", "c")
    }
    transport.says.put_nowait(reported())
    assert await news.get() == frozenset()
    transport.says.put_nowait(reported("a"))
    assert len(await news.get()) == 1
    transport.says.put_nowait(None)
    assert await news.get() == frozenset()
    await stream


async def test_what_two_proxies_report_counts_once() -> None:
    served, one, two = api(), Reporting(), Reporting()
    news = asyncio.Queue[int]()
    served.on_problems = lambda: news.put_nowait(len(served.extensions.problems()))
    streams = [asyncio.create_task(served.Sync(each.requests(), each)) for each in (one, two)]
    for each in (one, two):
        each.says.put_nowait(reported("a"))
        assert await news.get() == 1
    one.says.put_nowait(None)
    assert await news.get() == 1, "the other one still says it"
    two.says.put_nowait(None)
    assert await news.get() == 0
    await asyncio.gather(*streams)


def test_a_report_is_escaped_and_cut_like_a_label() -> None:
    problem = pb.Problem(service="web\x1b[2J", label="l", message="x" * 5000, remedy="\n")
    read = wire.message_from(pb.SyncRequest(report=pb.Report(problems=[problem])))
    assert isinstance(read, Report)
    [told] = read.problems
    assert told.service == "web\\x1b[2J"
    assert len(told.message) == 500
    assert told.remedy == "\\n"
