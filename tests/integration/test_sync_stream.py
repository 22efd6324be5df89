"""Core's gRPC server with real connections on loopback: who may speak, and what a stream brings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from l7 import delta as deltas
from l7.deploy import pki
from l7.kit.channel import open_channel
from l7.kit.errors import ConfigError, Unavailable
from l7.kit.metrics import Metrics
from l7.kit.tls import TlsFiles
from l7.model import Backend, BackendChange, BackendSettings, Changes, Delta, Route, Server, Snapshot
from l7.serve import wire
from l7.serve.grpc_api import Endpoint, Publisher, SyncApi
from l7.serve.grpc_api import Server as GrpcServer
from l7.status import Extensions
from l7.store import Store
from l7.v1 import sync_pb2 as pb
from l7.v1 import sync_pb2_grpc as rpc


def snapshot(revision: str, tasks: int = 1, cluster: str = "") -> Snapshot:
    servers = {f"t{n:05}": Server(f"t{n:05}", n + 1, "10.0.0.1", 80) for n in range(tasks)}
    route = Route("a.example.org", "/", "web")
    return Snapshot(
        cluster, revision, {"web": Backend("web", BackendSettings(("web",)), servers)}, {route.key: route}
    )


def add(before: str, after: str, task: str, observed: int = 0) -> Delta:
    change = BackendChange("web", servers=(Server(task, 77, "10.0.0.2", 80),))
    return Delta(before, after, Changes(backends=(change,)), observed)


@dataclass
class Core:
    """A running server with a state that the test moves."""

    states: dict[str, Snapshot]
    store: Store = field(init=False)
    extensions: Extensions = field(default_factory=Extensions)
    metrics: Metrics = field(default_factory=lambda: Metrics("core", "test"))
    server: GrpcServer = field(init=False)
    api: SyncApi = field(init=False)
    publisher: Publisher | None = None

    def __post_init__(self) -> None:
        self.store = Store(lambda cluster: self.states[cluster])
        for cluster in self.states:
            self.store.put(cluster)

    def change(self, delta: Delta, cluster: str = "") -> None:
        self.states[cluster] = deltas.apply(self.states[cluster], delta)
        self.store.put(cluster, delta)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.ports[0]}"

    @asynccontextmanager
    async def running(self, files: TlsFiles | None, address: str = "127.0.0.1:0") -> AsyncIterator[Core]:
        self.api = SyncApi(self.store, ("", "blue"), self.extensions, self.metrics)
        self.api.publisher = self.publisher
        self.server = GrpcServer(self.api, [Endpoint(address, files)])
        await self.server.start()
        try:
            yield self
        finally:
            await self.server.stop(grace=0.2)


class Client:
    """One stream, as an extension of any make would use it."""

    def __init__(self, channel: grpc.aio.Channel, cluster: str = "", instance: str = "h1") -> None:
        self.cluster = cluster
        self.instance = instance
        self.role = pb.ROLE_UNSPECIFIED
        self.proxy = "haproxy/2.6.12"
        self.call: Any = rpc.SyncServiceStub(channel).Sync()  # type: ignore[no-untyped-call]

    async def hello(self, revision: str = "") -> None:
        hello = pb.Hello(cluster=self.cluster, instance=self.instance, proxy=self.proxy, revision=revision)
        hello.role = self.role
        await self.call.write(pb.SyncRequest(hello=hello))

    async def update_after_hello(self) -> Snapshot | Delta:
        await self.hello()
        return await self.update()

    async def say(self, **message: Any) -> None:
        await self.call.write(pb.SyncRequest(**message))

    async def chunks(self) -> list[pb.SyncResponse]:
        chunks: list[pb.SyncResponse] = []
        while not chunks or not chunks[-1].last:
            chunk = await self.call.read()
            assert chunk is not grpc.aio.EOF, "the stream ended"
            chunks.append(chunk)
        return chunks

    async def update(self) -> Snapshot | Delta:
        return wire.update_from(await self.chunks(), self.cluster)


@dataclass(frozen=True)
class Pki:
    directory: Path
    authority: pki.Authority

    def files(self, name: str, identity: bytes, authority: pki.Authority | None = None) -> TlsFiles:
        ca, path = self.directory / f"{name}.ca", self.directory / f"{name}.pem"
        ca.write_bytes((authority or self.authority).certificate)
        path.write_bytes(identity)
        return TlsFiles(str(ca), str(path))

    def core(self) -> TlsFiles:
        return self.files("core", pki.core_identity(self.authority))

    def proxy(self, cluster: str = "") -> TlsFiles:
        return self.files(f"proxy{cluster}", pki.proxy_identity(self.authority, cluster))


@pytest.fixture
def certificates(tmp_path: Path) -> Pki:
    return Pki(tmp_path, pki.new_authority())


@pytest.fixture
def core() -> Core:
    return Core({"": snapshot("1"), "blue": snapshot("b1", cluster="blue")})


async def until(condition: Any) -> None:
    while not condition():  # noqa: ASYNC110 - it changes at the other end of a socket
        await asyncio.sleep(0.005)


# ------------------------------------------------------------------------------------ who may speak


async def test_a_proxy_with_a_certificate_of_the_installation_gets_its_cluster(
    core: Core, certificates: Pki
) -> None:
    async with core.running(certificates.core()):
        address = core.address.replace("127.0.0.1", "localhost")
        async with open_channel(address, certificates.proxy("blue")) as channel:
            client = Client(channel, "blue")
            await client.hello()
            assert await client.update() == core.states["blue"]
            [connected] = core.extensions
            ca = pki.certificate_of(certificates.authority.certificate)
            assert connected.ca == ca.subject.rfc4514_string().removeprefix("CN=")
            mine = pki.not_after(Path(certificates.proxy("blue").identity).read_bytes())
            assert connected.identity_until[:13] == mine.isoformat()[:13]


async def test_a_certificate_of_another_cluster_is_refused(core: Core, certificates: Pki) -> None:
    async with core.running(certificates.core()):
        address = core.address.replace("127.0.0.1", "localhost")
        async with open_channel(address, certificates.proxy("blue")) as channel:
            client = Client(channel, "")
            await client.hello()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.call.read()
            assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
            assert "default" in caught.value.details()
    assert list(core.extensions) == []


async def test_cores_own_certificate_may_not_sync(core: Core, certificates: Pki) -> None:
    async with core.running(certificates.core()):
        async with open_channel(core.address.replace("127.0.0.1", "localhost"), certificates.core()) as channel:
            client = Client(channel)
            await client.hello()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.call.read()
            assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED


async def _unavailable(channel: grpc.aio.Channel) -> None:
    client = Client(channel)
    # Depending on when the handshake fails, it shows in the write or in the read.
    with pytest.raises((grpc.aio.AioRpcError, asyncio.InvalidStateError)):
        await client.update_after_hello()
    assert await client.call.code() == grpc.StatusCode.UNAVAILABLE


async def test_plain_is_refused_where_tls_is_asked(core: Core, certificates: Pki) -> None:
    async with core.running(certificates.core()):
        async with open_channel(core.address, None) as channel:
            await _unavailable(channel)


async def test_a_certificate_of_another_installation_is_refused(core: Core, certificates: Pki) -> None:
    stranger = pki.new_authority()
    # It trusts the right CA, so that only core can be the one who refuses.
    files = certificates.files("stranger", pki.proxy_identity(stranger, ""), certificates.authority)
    async with core.running(certificates.core()):
        async with open_channel(core.address.replace("127.0.0.1", "localhost"), files) as channel:
            await _unavailable(channel)


async def test_a_core_of_another_installation_is_refused(core: Core, certificates: Pki) -> None:
    files = certificates.files("wrong", pki.proxy_identity(certificates.authority, ""), pki.new_authority())
    async with core.running(certificates.core()):
        async with open_channel(core.address.replace("127.0.0.1", "localhost"), files) as channel:
            await _unavailable(channel)


async def test_no_certificate_is_refused(core: Core, certificates: Pki) -> None:
    async with core.running(certificates.core()):
        trust = grpc.ssl_channel_credentials(certificates.authority.certificate)
        async with grpc.aio.secure_channel(core.address.replace("127.0.0.1", "localhost"), trust) as channel:
            await _unavailable(channel)


async def test_plain_beyond_loopback_is_a_config_error(core: Core) -> None:
    with pytest.raises(ConfigError):
        async with core.running(None, "0.0.0.0:0"):
            pytest.fail("served in the open")
    with pytest.raises(ConfigError):
        open_channel("core:8080", None)


async def test_a_port_that_is_taken_is_unavailable(core: Core) -> None:
    async with core.running(None):
        taken = core.address
        with pytest.raises(Unavailable, match="listen"):
            async with Core(core.states).running(None, taken):
                pytest.fail("two servers on one port")


async def test_plain_works_over_a_unix_socket(core: Core, tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/core.sock"
    async with core.running(None, address), open_channel(address, None) as channel:
        client = Client(channel)
        await client.hello()
        assert await client.update() == core.states[""]


# ------------------------------------------------------------------------------- what a stream brings


@pytest.fixture
async def plain(core: Core) -> AsyncIterator[grpc.aio.Channel]:
    async with core.running(None), open_channel(core.address, None) as channel:
        yield channel


async def test_complete_then_incremental_chain(core: Core, plain: grpc.aio.Channel) -> None:
    client = Client(plain)
    await client.hello()
    held = await client.update()
    for number in (2, 3):
        core.change(add(str(number - 1), str(number), f"n{number}"))
        delta = await client.update()
        assert isinstance(held, Snapshot)
        assert isinstance(delta, Delta)
        held = deltas.apply(held, delta)
    assert held == core.states[""]


async def test_reconnect_with_a_known_revision_brings_only_the_difference(
    core: Core, plain: grpc.aio.Channel
) -> None:
    core.change(add("1", "2", "n2"))
    client = Client(plain)
    await client.hello("1")
    assert await client.update() == add("1", "2", "n2")


async def test_who_is_up_to_date_is_told_so(core: Core, plain: grpc.aio.Channel) -> None:
    client = Client(plain)
    await client.hello("1")
    assert await client.update() == Delta("1", "1", Changes())


async def test_a_big_state_comes_in_bounded_chunks(core: Core, plain: grpc.aio.Channel) -> None:
    core.states[""] = snapshot("big", tasks=40_000)
    core.store.put("")
    client = Client(plain)
    await client.hello()
    chunks = await client.chunks()
    assert len(chunks) > 2
    assert max(chunk.ByteSize() for chunk in chunks) < wire.CHUNK + 100_000
    assert wire.update_from(chunks) == core.states[""]


SMALL_WINDOW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536))


async def test_a_slow_reader_skips_to_the_newest(core: Core) -> None:
    core.states[""] = snapshot("0", tasks=40_000)  # 1.2 MB, far more than the reader's window takes
    core.store.put("")
    async with core.running(None), grpc.aio.insecure_channel(core.address, options=SMALL_WINDOW) as channel:
        client = Client(channel)
        await client.hello()
        first = [await client.call.read()]
        for number in range(1, 51):
            core.change(add(str(number - 1), str(number), f"n{number:05}"))
            await asyncio.sleep(0)
        while not first[-1].last:
            first.append(await client.call.read())
        complete, delta = wire.update_from(first), await client.update()
        assert isinstance(complete, Snapshot)
        assert isinstance(delta, Delta)
        assert (complete.revision, delta.results_in) == ("0", "50")
        assert deltas.apply(complete, delta) == core.states[""]


async def test_a_second_hello_brings_the_complete_state(core: Core, plain: grpc.aio.Channel) -> None:
    client = Client(plain)
    await client.hello("1")
    await client.update()
    await client.hello("")
    assert await client.update() == core.states[""]


async def test_a_refused_revision_is_not_sent_again(core: Core, plain: grpc.aio.Channel) -> None:
    client = Client(plain)
    await client.hello()
    await client.update()
    core.change(add("1", "2", "n2"))
    await client.update()
    await client.say(nack=pb.Nack(revision="2", reason="no such file"))
    await until(lambda: any(each.refused == "2" for each in core.extensions))
    assert [each.reason for each in core.extensions] == ["no such file"]
    core.change(add("2", "3", "n3"))
    assert await client.update() == core.states[""]


async def test_what_extensions_say_shows_in_status_and_metrics(core: Core, plain: grpc.aio.Channel) -> None:
    client = Client(plain)
    await client.hello("1")
    core.change(add("1", "2", "n2", observed=1))
    await client.update()
    server = pb.ServerHealth(backend="web", task="t0", status=pb.HEALTH_STATUS_DOWN)
    await client.say(health=pb.Health(servers=[server], counters=pb.Counters(reloads=3, worker_pid=42)))
    await client.say(ack=pb.Ack(revision="2", apply_microseconds=1500))
    await until(lambda: any(each.applied == "2" for each in core.extensions))
    (extension,) = core.extensions
    assert (extension.instance, extension.proxy, extension.reloads, extension.worker_pid) == (
        "h1", "haproxy/2.6.12", 3, 42,
    )  # fmt: skip
    assert extension.unhealthy == {("web", "t0"): "down"}
    text = core.metrics.exposition().decode()
    assert 'l7_convergence_seconds_count{stage="apply"} 1.0' in text
    assert 'l7_convergence_seconds_count{stage="push"}' in text
    assert 'l7_streams{cluster=""} 1.0' in text
    server.status = pb.HEALTH_STATUS_UP
    await client.say(health=pb.Health(servers=[server]))
    await until(lambda: not any(each.unhealthy for each in core.extensions))
    client.call.cancel()
    await until(lambda: not list(core.extensions))
    assert 'l7_streams{cluster=""} 0.0' in core.metrics.exposition().decode()


async def test_before_the_first_look_at_swarm_nothing_is_sent() -> None:
    core = Core({})
    async with core.running(None), open_channel(core.address, None) as channel:
        client = Client(channel)
        await client.hello()
        reading = asyncio.ensure_future(client.update())
        await until(lambda: len(list(core.extensions)) == 1)
        assert not reading.done()
        core.states[""] = snapshot("1")
        core.store.put("")
        assert await reading == core.states[""]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (pb.SyncRequest(ack=pb.Ack(revision="1")), grpc.StatusCode.INVALID_ARGUMENT),
        (pb.SyncRequest(), grpc.StatusCode.INVALID_ARGUMENT),
        (pb.SyncRequest(hello=pb.Hello()), grpc.StatusCode.INVALID_ARGUMENT),
        (pb.SyncRequest(hello=pb.Hello(cluster="red", instance="h")), grpc.StatusCode.NOT_FOUND),
    ],
)
async def test_a_stream_that_begins_wrongly_is_ended_with_a_reason(
    plain: grpc.aio.Channel, request_: pb.SyncRequest, status: grpc.StatusCode
) -> None:
    client = Client(plain)
    await client.call.write(request_)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.call.read()
    assert caught.value.code() == status
    assert caught.value.details()


async def test_a_stream_stays_with_its_cluster(plain: grpc.aio.Channel) -> None:
    client = Client(plain)
    await client.hello("1")
    await client.update()
    client.cluster = "blue"
    await client.hello()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.call.read()
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_core_stops_in_order_and_streams_end_cleanly(core: Core) -> None:
    async with core.running(None), open_channel(core.address, None) as channel:
        client = Client(channel)
        await client.hello()
        await client.update()
        await core.server.stop(grace=5)
        assert await client.call.read() is grpc.aio.EOF
        assert await client.call.code() == grpc.StatusCode.OK


async def test_health_service_follows_readiness(core: Core, plain: grpc.aio.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(plain)
    request = health_pb2.HealthCheckRequest(service="l7.v1.SyncService")
    assert (await stub.Check(request)).status == health_pb2.HealthCheckResponse.NOT_SERVING
    await core.server.say_ready(True)
    assert (await stub.Check(request)).status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_lists_the_service(plain: grpc.aio.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(plain)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    names = {service.name async for answer in call for service in answer.list_services_response.service}
    assert "l7.v1.SyncService" in names
