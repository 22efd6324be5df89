"""SyncApi with a transport that does what the test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from structlog.testing import capture_logs

from l7.kit.metrics import Metrics
from l7.model import Snapshot
from l7.serve.grpc_api import SyncApi
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
