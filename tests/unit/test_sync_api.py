"""SyncApi with a transport that does what the test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from structlog.testing import capture_logs

from l7.kit.metrics import Metrics
from l7.model import Snapshot
from l7.serve.grpc_api import SyncApi
from l7.status import Extensions
from l7.store import Store
from l7.v1 import sync_pb2 as pb

HELLO = pb.SyncRequest(hello=pb.Hello(instance="h1"))


class Transport:
    """Keeps the first message under way until the extension has asked again."""

    def __init__(self) -> None:
        self.written: list[pb.SyncResponse] = []
        self.first, self.asked, self.second = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def auth_context(self) -> dict[str, list[bytes]]:
        return {}

    def peer(self) -> str:
        return "test"

    async def write(self, message: pb.SyncResponse) -> None:
        self.written.append(message)
        (self.second if self.first.is_set() else self.first).set()
        await self.asked.wait()

    async def requests(self) -> AsyncIterator[pb.SyncRequest]:
        yield HELLO
        await self.first.wait()
        yield HELLO
        self.asked.set()
        await self.second.wait()


async def test_an_update_is_logged_by_its_own_revision_whatever_was_said_meanwhile() -> None:
    store = Store(lambda cluster: Snapshot(cluster, "r1", {}, {}))
    store.put("")
    api, transport = SyncApi(store, [""], Extensions(), Metrics("core", "1")), Transport()
    with capture_logs() as lines:
        await api.Sync(transport.requests(), transport)
    assert [message.results_in for message in transport.written] == ["r1", "r1"]
    assert next(line["revision"] for line in lines if line["event"] == "update sent") == "r1"
