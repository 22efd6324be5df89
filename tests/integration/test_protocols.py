"""Every protocol passes through a real HAProxy, without a failed request, while its servers come, change and go."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
import httpx
import pytest

from haproxy import ops, policy
from haproxy.checks import check_of
from haproxy.model import HOLD, Backend, HealthCheck, Protocol, Server, ServerSettings
from haproxy.probe import passes
from haproxy.runtime.client import Runtime
from l7.v1 import sync_pb2 as pb
from testbed.certificates import self_signed
from testbed.protocols import GRPC_SERVICE, grpc_application, web_application
from tests.integration.live_backend import LiveBackend, live_backend
from tests.integration.live_sidecar import App, Core, core_up, proxy, proxy_settings, until

pytestmark = pytest.mark.haproxy

CYCLES = 12
"""Changes that a test goes through at least."""

WORKERS = 4
HTTP_CHECK = HealthCheck("/health")


# ---------------------------------------------------------------- servers, and how they change


@dataclass
class Changes(threading.Thread):
    """Changes the servers of a backend again and again, as the planner does: first what comes, then what goes.

    In turn, each of the applications is all that serves, one more beside it, or a new generation of itself.
    """

    live: LiveBackend
    ports: list[int]
    cycles: int = 0
    refused: list[object] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__()

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        with Runtime(self.live.proxy.runtime_url) as runtime:
            while not self._stopping.wait(0.05):
                self._change(runtime)
                self.cycles += 1

    def _change(self, runtime: Runtime) -> None:
        number = self.cycles % len(self.ports)
        words = self._keywords(1000 + self.cycles)
        server = Server(f"t{number}", number + 1, "127.0.0.1", self.ports[number])
        name = policy.server_name(server, words)
        rows = {row.name: row for row in runtime.servers_state(self.live.physical) if row.name != HOLD}
        identity = policy.runtime_id(server, name, {row.id for row in rows.values()} | {policy.HOLD_ID})
        where = self.live.physical
        self._apply(
            runtime,
            ops.AddServer(where, name, server.address, server.port, identity, 64, words),
            ops.EnableServer(where, name),
            ops.EnableHealth(where, name),
        )
        stay = sorted(row for row in rows if rows[row].enabled)[: self.cycles % 2]
        self._apply(
            runtime, *(ops.DisableServer(where, row) for row in rows if row not in stay and rows[row].enabled)
        )
        runtime.apply([ops.DeleteServer(where, row) for row in rows if not rows[row].enabled])

    def _keywords(self, connections: int) -> tuple[str, ...]:
        """Another generation each time."""
        (own,) = self.live.backend.settings
        backend = replace(self.live.backend, settings=(replace(own, max_connections=connections),))
        return policy.server_keywords(self.live.proxy.settings, self.live.proxy.capabilities, backend)

    def _apply(self, runtime: Runtime, *commands: ops.Op) -> None:
        self.refused += [result for result in runtime.apply(commands) if result.refusal is not None]

    def stop(self) -> None:
        self._stopping.set()
        self.join()


@contextmanager
def changing(live: LiveBackend, ports: list[int]) -> Iterator[Changes]:
    """Servers at `ports` serve, and change until the end of the block."""
    for number, port in enumerate(ports):
        live.put(Server(f"t{number}", number + 1, "127.0.0.1", port))
    changes = Changes(live, ports)
    changes.start()
    try:
        yield changes
    finally:
        changes.stop()
    assert changes.refused == []


@dataclass(frozen=True)
class Kind:
    """How a task is spoken to. `alpn`: what it offers over TLS."""

    protocol: Protocol
    alpn: tuple[str, ...] = ()
    check: HealthCheck | None = HTTP_CHECK

    def version(self, offered: str) -> str:
        """Of HTTP, as the task sees it; `offered` to it over TLS."""
        over_tls = "h2" in self.alpn and "h2" in offered
        return "2" if self.protocol is Protocol.H2C or over_tls else "1.1"


KINDS = {
    "http": Kind(Protocol.HTTP),
    "h2c": Kind(Protocol.H2C),
    "h2c-tcp": Kind(Protocol.H2C, check=None),
    "https": Kind(Protocol.HTTPS, ("http/1.1",)),
    "https-h2": Kind(Protocol.HTTPS, ("h2", "http/1.1")),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@contextmanager
def serving(binary: Path, directory: Path, kind: Kind) -> Iterator[tuple[LiveBackend, Changes]]:
    """A proxy in front of three tasks of this kind, which change."""
    own = ServerSettings(protocol=kind.protocol, check_interval=100)
    backend = Backend("web", ("web",), settings=(own,), check=kind.check)
    with ExitStack() as stack:
        file = directory / "task.pem"
        if kind.alpn:
            self_signed(directory)
        tls = file if kind.alpn else None
        ports = [stack.enter_context(web_application(f"t{n}", tls, *kind.alpn)) for n in range(3)]
        live = stack.enter_context(live_backend(binary, directory, backend, max_connections=2000))
        yield live, stack.enter_context(changing(live, ports))


async def repeat(changes: Changes, once: Callable[[], Awaitable[None]], until: int = CYCLES) -> int:
    """`once` again and again, by several workers, until so many changes were made; how often it was."""
    count = 0

    async def work() -> None:
        nonlocal count
        while changes.cycles < until:
            await once()
            count += 1

    async with asyncio.timeout(60):
        await asyncio.gather(*(work() for _ in range(WORKERS)))
    return count


# ---------------------------------------------------------------- HTTP


@pytest.mark.parametrize("http2", [False, True], ids=["client-http1", "client-h2"])
async def test_requests(haproxy_binary: Path, tmp_path: Path, kind: Kind, http2: bool) -> None:
    """Clear text from the client; HTTP/2 without upgrade.

    Bodies of all workers together are smaller than a connection's window: a request of httpcore that waits for
    more of it may miss that another request has read of it.
    """
    seen: set[str] = set()
    with serving(haproxy_binary, tmp_path, kind) as (live, changes):
        for port in changes.ports:
            assert await passes(check_of(live.backend, Server("t", 1, "127.0.0.1", port)))
        version = kind.version(live.proxy.capabilities.server_alpn)
        url = "http://{}:{}".format(*live.proxy.address)
        async with httpx.AsyncClient(
            http1=not http2, http2=http2, base_url=url, timeout=10, trust_env=False
        ) as client:

            async def once() -> None:
                for method, body in (("GET", b""), ("POST", b"x" * 4_000)):
                    answer = await client.request(method, "/", headers={"host": "a.test"}, content=body)
                    assert answer.status_code == 200, (answer.headers, answer.text)
                    assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
                    said = answer.json()
                    assert (said["version"], said["bytes"]) == (version, len(body))
                    seen.add(said["app"])

            assert await repeat(changes, once) >= WORKERS
    assert seen == {"t0", "t1", "t2"}


@pytest.mark.parametrize("http2", [False, True], ids=["client-http1", "client-h2"])
async def test_server_sent_events(haproxy_binary: Path, tmp_path: Path, http2: bool) -> None:
    with serving(haproxy_binary, tmp_path, KINDS["http"]) as (live, changes):
        url = "http://{}:{}".format(*live.proxy.address)
        async with httpx.AsyncClient(
            http1=not http2, http2=http2, base_url=url, timeout=10, trust_env=False
        ) as client:

            async def once() -> None:
                async with client.stream("GET", "/events?n=30", headers={"host": "a.test"}) as answer:
                    assert answer.status_code == 200
                    events = [line async for line in answer.aiter_lines() if line]
                assert [line.split()[:2] for line in events] == [["data:", str(n)] for n in range(30)]
                assert len({line.split()[2] for line in events}) == 1

            assert await repeat(changes, once) >= WORKERS


@pytest.mark.parametrize("kind", ["http", "h2c", "https", "https-h2"], indirect=True)
async def test_websockets(haproxy_binary: Path, tmp_path: Path, kind: Kind) -> None:
    """Connections live through all changes, also those of the server that they are on."""
    with serving(haproxy_binary, tmp_path, kind) as (live, changes):
        url = "ws://{}:{}/ws".format(*live.proxy.address)
        headers = {"host": "a.test", "origin": "https://App.Example:8443"}

        async def talk(session: aiohttp.ClientSession) -> int:
            number = 0
            async with session.ws_connect(url, headers=headers) as socket:
                hello = json.loads(await socket.receive_str())
                assert hello["origin"] == "https://App.Example:8443"
                while changes.cycles < CYCLES:
                    await socket.send_str(f"text {number}")
                    assert await socket.receive_str() == f"text {number}"
                    await socket.send_bytes(bytes([number % 256]) * 500)
                    assert await socket.receive_bytes() == bytes([number % 256]) * 500
                    number += 1
                    await asyncio.sleep(0.005)
            return number

        async with aiohttp.ClientSession() as session, asyncio.timeout(60):
            numbers = await asyncio.gather(*(talk(session) for _ in range(WORKERS)))
    assert min(numbers) > 5


# ---------------------------------------------------------------- gRPC


@pytest.fixture(params=[Protocol.H2C, Protocol.HTTPS], ids=["h2c", "https"])
def rpc(
    request: pytest.FixtureRequest, haproxy_binary: Path, tmp_path: Path
) -> Iterator[tuple[LiveBackend, Changes]]:
    own = ServerSettings(protocol=request.param, check_interval=100)
    self_signed(tmp_path)
    tls = tmp_path / "task.pem" if request.param is Protocol.HTTPS else None
    with ExitStack() as stack:
        ports = [stack.enter_context(grpc_application(f"t{n}", tls)) for n in range(3)]
        backend = Backend("web", ("web",), settings=(own,))
        live = stack.enter_context(live_backend(haproxy_binary, tmp_path, backend, max_connections=2000))
        if tls and "h2" not in live.proxy.capabilities.server_alpn:
            pytest.skip("this HAProxy speaks no HTTP/2 over TLS to tasks")
        yield live, stack.enter_context(changing(live, ports))


def channel(live: LiveBackend) -> grpc.aio.Channel:
    options = (("grpc.default_authority", "a.test"), ("grpc.use_local_subchannel_pool", 1))
    return grpc.aio.insecure_channel("{}:{}".format(*live.proxy.address), options=options)


async def requests_of(number: int) -> AsyncIterator[bytes]:
    for each in range(number):
        yield b"%d" % each
        await asyncio.sleep(0.01)


Call = Callable[[grpc.aio.Channel], Awaitable[Any]]


async def unary(to: grpc.aio.Channel) -> None:
    answer = await to.unary_unary(f"/{GRPC_SERVICE}/Unary")(b"hello", timeout=10)
    assert answer in (b"t0 hello", b"t1 hello", b"t2 hello")


async def server_streaming(to: grpc.aio.Channel) -> None:
    answers = [answer async for answer in to.unary_stream(f"/{GRPC_SERVICE}/Serve")(b"hello", timeout=10)]
    assert [answer.split()[1:] for answer in answers] == [[b"hello", b"%d" % n] for n in range(10)]


async def client_streaming(to: grpc.aio.Channel) -> None:
    answer = await to.stream_unary(f"/{GRPC_SERVICE}/Collect")(requests_of(10), timeout=10)
    assert answer == b"10"


async def both_streaming(to: grpc.aio.Channel) -> None:
    """Each answer before the next request."""
    call = to.stream_stream(f"/{GRPC_SERVICE}/Talk")(timeout=20)
    for number in range(20):
        await call.write(b"%d" % number)
        assert (await call.read()).split()[1] == b"%d" % number
        await asyncio.sleep(0.005)
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize("call", [unary, server_streaming, client_streaming, both_streaming])
async def test_grpc(rpc: tuple[LiveBackend, Changes], call: Call) -> None:
    live, changes = rpc
    for port in changes.ports:
        assert await passes(check_of(live.backend, Server("t", 1, "127.0.0.1", port)))
    async with channel(live) as to:
        assert await repeat(changes, lambda: call(to)) >= WORKERS


async def test_a_grpc_method_that_does_not_exist_is_the_servers_answer(rpc: tuple[LiveBackend, Changes]) -> None:
    live, _ = rpc
    async with channel(live) as to:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await to.unary_unary(f"/{GRPC_SERVICE}/Nothing")(b"", timeout=10)
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


# ---------------------------------------------------------------- with the sidecar


def edits(core: Core, servers: list[App]) -> Iterator[None]:
    """The service `a`, again and again otherwise: keywords, policy, tasks. Each is to be applied."""
    balances = (pb.BALANCE_UNSPECIFIED, pb.BALANCE_LEAST_CONNECTIONS, pb.BALANCE_HASH)
    for number in range(CYCLES):
        core.service("a", *servers[: 1 + number % len(servers)])
        own = pb.ServerSettings(protocol=pb.PROTOCOL_H2C, max_connections=100 + number // 2)
        core.backends["a"].settings.CopyFrom(
            pb.BackendSettings(
                services=["a"], expected=True, server_settings=[own], balance=balances[number // 3 % len(balances)]
            )
        )
        yield


@pytest.mark.parametrize("call", [unary, client_streaming, both_streaming])
async def test_grpc_while_the_service_is_edited(haproxy_binary: Path, tmp_path: Path, call: Call) -> None:
    with ExitStack() as stack:
        ports = [stack.enter_context(grpc_application(f"t{n}")) for n in range(3)]
        servers = [App(f"t{n}", n + 1, port) for n, port in enumerate(ports)]
        async with core_up() as core, proxy(haproxy_binary, proxy_settings(tmp_path), core.port) as running:
            changes = edits(core, servers)
            next(changes)
            await core.applied()
            authority = (("grpc.default_authority", "a.test"), ("grpc.use_local_subchannel_pool", 1))
            async with grpc.aio.insecure_channel(f"127.0.0.1:{running.port}", options=authority) as to:
                await until_answered(to)
                over, count = asyncio.Event(), 0

                async def work() -> None:
                    nonlocal count
                    while not over.is_set():
                        await call(to)
                        count += 1

                working = [asyncio.create_task(work()) for _ in range(WORKERS)]
                for _ in changes:
                    await core.applied()
                    before = count
                    await until(lambda: count > before or any(task.done() for task in working))  # noqa: B023
                over.set()
                await asyncio.gather(*working)
            assert (running.sidecar.reloads, core.nacks) == (0, {})


async def until_answered(to: grpc.aio.Channel) -> None:
    """The first request waits until the first server is in rotation."""
    await to.unary_unary(f"/{GRPC_SERVICE}/Unary")(b"hello", timeout=10, wait_for_ready=True)
