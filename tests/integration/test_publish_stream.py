"""What extension services publish, at core's gRPC server with real connections: who may, and what is taken."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from l7.deploy import pki
from l7.kit.channel import open_channel
from l7.kit.errors import Rejected
from l7.publication import Publication
from l7.v1 import sync_pb2 as pb
from l7.v1 import sync_pb2_grpc as rpc
from tests.integration.pki_parts import Pki
from tests.integration.test_sync_stream import Client, Core, snapshot


@pytest.fixture
def installation(tmp_path: Path) -> Pki:
    return Pki(tmp_path, pki.new_authority())


@pytest.fixture
def core() -> Core:
    return Core({"": snapshot("1"), "blue": snapshot("b1", cluster="blue")})


@asynccontextmanager
async def plainly(core: Core) -> AsyncIterator[grpc.aio.Channel]:
    async with core.running(None), open_channel(core.address, None) as channel:
        yield channel


@dataclass
class Stored:
    """A publisher that keeps what it is given."""

    publications: list[Publication] = field(default_factory=list)
    reason: str = ""

    async def publish(self, publication: Publication) -> tuple[str, ...]:
        if self.reason:
            raise Rejected("it", self.reason)
        self.publications.append(publication)
        return ("object",)


def piece(name: str = "", data: bytes = b"", **more: Any) -> pb.PublishConfigRequest:
    files = [pb.ConfigFile(name=name, data=data)] if name else []
    return pb.PublishConfigRequest(files=files, **more)


async def published(channel: grpc.aio.Channel, *pieces: pb.PublishConfigRequest) -> pb.PublishConfigResponse:
    stub = rpc.SyncServiceStub(channel)  # type: ignore[no-untyped-call]
    answer: pb.PublishConfigResponse = await stub.PublishConfig(iter(pieces), timeout=10)
    return answer


HEAD = piece(revision="r1", configuration="ab" * 16, counts={"routes": 2})


async def test_a_configuration_comes_in_pieces(core: Core) -> None:
    core.publisher = kept = Stored()
    async with plainly(core) as channel:
        answer = await published(channel, HEAD, piece("a", b"1"), piece("b", b"2"), piece("a", b"3"))
    assert list(answer.objects) == ["object"]
    assert kept.publications == [Publication("", "r1", "ab" * 16, {"a": b"13", "b": b"2"}, {"routes": 2})]


@pytest.mark.parametrize(
    "pieces",
    [
        (),
        (HEAD,),
        (piece("a", b"1", configuration="../x"),),
        (HEAD, piece("../a", b"1")),
        (HEAD, piece("/a", b"1")),
        (HEAD, piece("manifest.json", b"1")),
        (HEAD, *(piece(f"f{number}", b"1") for number in range(1001))),
    ],
)
async def test_a_configuration_that_makes_no_sense_is_refused(
    core: Core, pieces: tuple[pb.PublishConfigRequest, ...]
) -> None:
    core.publisher = kept = Stored()
    async with plainly(core) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await published(channel, *pieces)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert not kept.publications


async def test_a_configuration_that_cannot_be_stored_is_refused_with_the_reason(core: Core) -> None:
    core.publisher = Stored(reason="too large")
    async with plainly(core) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await published(channel, HEAD, piece("a", b"1"))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "too large" in (caught.value.details() or "")


@pytest.mark.parametrize("who", ["proxy", "another cluster's", "core"])
async def test_only_the_extension_service_of_a_cluster_publishes(core: Core, installation: Pki, who: str) -> None:
    core.publisher = kept = Stored()
    blue = {
        "proxy": installation.proxy("blue"),
        "another cluster's": installation.extension(),
        "core": installation.core(),
    }[who]
    head = piece("a", b"1", cluster="blue")
    async with core.running(installation.core()):
        async with open_channel(core.address, blue) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await published(channel, head)
            assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
        assert not kept.publications
        async with open_channel(core.address, installation.extension("blue")) as channel:
            await published(channel, head)
    assert kept.publications[0].cluster == "blue"


async def test_an_extension_service_follows_and_is_no_proxy(core: Core, installation: Pki) -> None:
    async with core.running(installation.core()), open_channel(core.address, installation.extension()) as channel:
        stranger = Client(channel)
        await stranger.hello()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stranger.call.read()
        assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
        client = Client(channel)
        client.role = pb.ROLE_EXTENSION
        await client.hello()
        await client.update()
        assert [each.instance for each in core.api.services] == ["h1"]
        assert list(core.api.extensions) == []
