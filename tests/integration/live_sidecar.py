"""The real sidecar with a real HAProxy, between a core that is scripted and small applications. One event loop."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import grpc.aio

from haproxy.settings import Settings
from haproxy.sidecar import Options, Sidecar
from l7.kit.metrics import Metrics
from l7.v1 import secrets_pb2, secrets_pb2_grpc, sync_pb2_grpc
from l7.v1 import sync_pb2 as pb
from tests.integration.live_haproxy import free_port

PATIENCE = 40.0
"""Seconds until a wait is a failure: for what hangs, not for what a busy machine does slowly."""
T = TypeVar("T")


async def until(condition: Callable[[], Any], what: str = "") -> Any:
    """The condition's value as soon as it is true. Raises AssertionError when it takes too long."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not (value := condition()):  # noqa: ASYNC110 - of another process, mostly
                await asyncio.sleep(0.005)
            return value
    except TimeoutError as error:
        raise AssertionError(f"not in time: {what or condition}") from error


async def eventually(value: Callable[[], Awaitable[T]], wanted: T) -> None:
    """Asks until the value is the wanted one. Raises AssertionError with the last one when it takes too long."""
    last: T | None = None
    try:
        async with asyncio.timeout(PATIENCE):
            while (last := await value()) != wanted:  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.01)
    except TimeoutError as error:
        raise AssertionError(f"{last} is still not {wanted}") from error


# ---------------------------------------------------------------- core


@dataclass
class Core(sync_pb2_grpc.SyncServiceServicer):
    """Sends what it is told to; `said` is all that the sidecar said."""

    backends: dict[str, pb.Backend] = field(default_factory=dict)
    routes: dict[tuple[str, str], pb.Route] = field(default_factory=dict)
    rules: dict[str, pb.Rules] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    tls_hosts: dict[str, pb.TlsHost] = field(default_factory=dict)
    challenges: dict[str, str] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    said: list[pb.SyncRequest] = field(default_factory=list)
    number: int = 0
    port: int = 0
    _streams: set[asyncio.Queue[pb.SyncResponse]] = field(default_factory=set)
    _server: grpc.aio.Server | None = None

    @property
    def revision(self) -> str:
        return f"r{self.number}"

    async def up(self) -> None:
        self._server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        sync_pb2_grpc.add_SyncServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def down(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def Sync(self, requests: AsyncIterator[pb.SyncRequest], context: Any) -> AsyncIterator[pb.SyncResponse]:
        queue: asyncio.Queue[pb.SyncResponse] = asyncio.Queue()
        listening = asyncio.create_task(self._listen(requests, queue))
        self._streams.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._streams.discard(queue)
            listening.cancel()

    async def _listen(self, requests: AsyncIterator[pb.SyncRequest], queue: asyncio.Queue[pb.SyncResponse]) -> None:
        async for request in requests:
            self.said.append(request)
            if request.HasField("hello") and self.number:
                current = request.hello.revision == self.revision
                queue.put_nowait(self.incremental(self.revision) if current else self.complete())

    def complete(self) -> pb.SyncResponse:
        challenges = [pb.Challenge(token=each, key_authorization=text) for each, text in self.challenges.items()]
        changes = pb.Changes(
            backends=self.backends.values(), routes=self.routes.values(), rules=self.rules.values(),
            config=pb.Config(json=json.dumps(self.config).encode()), tls_hosts=self.tls_hosts.values(),
            challenges=challenges, secret_sources=pb.SecretSources(addresses=self.sources),
        )  # fmt: skip
        return pb.SyncResponse(kind=pb.UPDATE_KIND_COMPLETE, results_in=self.revision, last=True, changes=changes)

    def incremental(self, start: str, changes: pb.Changes | None = None) -> pb.SyncResponse:
        return pb.SyncResponse(
            kind=pb.UPDATE_KIND_INCREMENTAL, applies_to=start, results_in=self.revision, last=True, changes=changes
        )

    def send(self, response: pb.SyncResponse) -> None:
        for queue in self._streams:
            queue.put_nowait(response)

    def push(self) -> str:
        """The current state is a new revision; its name."""
        self.number += 1
        self.send(self.complete())
        return self.revision

    async def applied(self) -> None:
        """Push, and wait for its acknowledgement."""
        revision = self.push()
        await self.acknowledged(revision)

    async def acknowledged(self, revision: str) -> None:
        await until(lambda: revision in self.acks, f"ack of {revision}; {self.nacks}")

    @property
    def acks(self) -> list[str]:
        return [request.ack.revision for request in self.said if request.HasField("ack")]

    @property
    def nacks(self) -> dict[str, str]:
        return {request.nack.revision: request.nack.reason for request in self.said if request.HasField("nack")}

    @property
    def problems(self) -> list[pb.Problem]:
        """Of the last report."""
        reports = [request.report for request in self.said if request.HasField("report")]
        return list(reports[-1].problems) if reports else []

    # -------------------------------------------------------------- what Swarm would say

    def tls(self, host: str, certificate: str, key: str = "", ca: str = "", verify: int = 0) -> None:
        """TLS of a host by secrets with these ids, which are their names, too."""
        pair = pb.KeyPair(certificate=secret(certificate), key=secret(key) if key else None)
        self.tls_hosts[host] = pb.TlsHost(
            host=host, service=host.partition(".")[0] if host != "*" else "", certificate=pair,
            client_ca=secret(ca) if ca else None, client_certificate=pb.ClientCertificate.Name(verify),
        )  # fmt: skip

    def route(self, host: str, backend: str, path: str = "/") -> None:
        self.routes[host, path] = pb.Route(host=host, path=path, backend=backend)

    def backend(self, name: str, *apps: App, expected: bool = True, leaving: int | None = None) -> None:
        """A backend of these applications; `leaving`: all of them go, SIGTERM comes in so many milliseconds."""
        servers = [
            pb.Server(
                task=app.name, id=app.id, address="127.0.0.1", port=app.port, weight=64,
                state=pb.SERVER_STATE_READY if leaving is None else pb.SERVER_STATE_LEAVING,
                stop_in_milliseconds=leaving or 0,
            )
            for app in apps
        ]  # fmt: skip
        settings = pb.BackendSettings(services=[name], expected=expected)
        self.backends[name] = pb.Backend(name=name, settings=settings, servers=servers)

    def service(self, name: str, *apps: App) -> None:
        """A backend and the route `<name>.test` to it."""
        self.backend(name, *apps)
        self.route(f"{name}.test", name)

    def remove(self, name: str) -> None:
        del self.backends[name]
        self.routes = {key: route for key, route in self.routes.items() if route.backend != name}


def secret(name: str) -> pb.Secret:
    return pb.Secret(id=name, name=name)


@dataclass
class Secrets(secrets_pb2_grpc.SecretServiceServicer):
    """A task of the extension service. `contents` by id; `asked` is every id that was ever asked for."""

    contents: dict[str, bytes] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    port: int = 0
    _server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def up(self) -> None:
        self._server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        secrets_pb2_grpc.add_SecretServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self.port = self._server.add_insecure_port(self.address)
        await self._server.start()

    async def down(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def Fetch(
        self, request: secrets_pb2.FetchRequest, context: Any
    ) -> AsyncIterator[secrets_pb2.FetchResponse]:
        for each in request.ids:
            self.asked.add(each)
            if each in self.contents:
                yield secrets_pb2.FetchResponse(id=each, data=self.contents[each])


@asynccontextmanager
async def secrets_up() -> AsyncIterator[Secrets]:
    service = Secrets()
    await service.up()
    try:
        yield service
    finally:
        await service.down()


@asynccontextmanager
async def core_up() -> AsyncIterator[Core]:
    core = Core()
    await core.up()
    try:
        yield core
    finally:
        await core.down()


# ---------------------------------------------------------------- applications and clients


@dataclass
class App:
    """Answers with its name. `/slow` waits for `let_go`; `/ws` switches protocols and echoes."""

    name: str
    id: int
    port: int = field(default_factory=free_port)
    tls: ssl.SSLContext | None = None
    requests: int = 0
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    async def up(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    def stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def down(self) -> None:
        self.stop_listening()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await asyncio.sleep(0)  # what is aborted is closed in the loop's next round

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.tls is not None:
            writer.transport.pause_reading()  # the client's first word is TLS already
        task = asyncio.create_task(self._serve(self.tls, reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _serve(
        self, tls: ssl.SSLContext | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """TLS begins here, not in the server, which would keep a handshake that nobody can end to itself."""
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
                if tls is not None:
                    await writer.start_tls(tls)
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    await self._answer(head.split()[1], reader, writer)
            writer.close()
        except asyncio.CancelledError:
            writer.transport.abort()  # `close` would wait for the other end's last word
            raise

    async def _answer(self, path: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests += 1
        if path == b"/slow":
            await self.let_go.wait()
        if path == b"/ws":
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
            while data := await reader.read(1000):
                writer.write(data)
            raise ConnectionError("closed")
        body = self.name.encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))


@asynccontextmanager
async def apps(*names: str) -> AsyncIterator[list[App]]:
    """Running applications, with ids 1, 2 …"""
    running = [App(name, number) for number, name in enumerate(names, 1)]
    async with AsyncExitStack() as stack:
        for app in running:
            await app.up()
            stack.push_async_callback(app.down)
        yield running


class Client:
    """One connection to the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, host: str, path: str = "/", *headers: str) -> tuple[int, str]:
        """Status and body; (0, "") when the connection ends without an answer."""
        await self.send(host, path, *headers)
        return await self.answer()

    async def send(self, host: str, path: str = "/", *headers: str) -> None:
        lines = (f"GET {path} HTTP/1.1", f"host: {host}", *headers, "", "")
        self.writer.write("\r\n".join(lines).encode())

    async def answer(self) -> tuple[int, str]:
        async with asyncio.timeout(PATIENCE):
            try:
                head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
            except (asyncio.IncompleteReadError, ConnectionError):
                return 0, ""
            length = (
                int(head.partition("content-length:")[2].split("\r\n")[0] or 0) if "content-length" in head else 0
            )
            return int(head.split()[1]), (await self.reader.readexactly(length)).decode()

    def close(self) -> None:
        self.writer.close()


# ---------------------------------------------------------------- the proxy


@dataclass
class Visitor:
    """Asks a proxy from outside: by HTTP at `port`, and by its Runtime API."""

    settings: Settings
    clients: list[Client] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.settings.bind[0].rpartition(":")[2])

    async def client(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(client)
        return client

    async def get(self, host: str, path: str = "/") -> tuple[int, str]:
        """One request on a connection of its own."""
        client = await self.client()
        answer = await client.ask(host, path, "connection: close")
        client.close()
        return answer

    async def command(self, line: str) -> str:
        return await command(self.settings.socket, line)

    async def servers(self, backend: str) -> dict[str, bool]:
        """Task -> whether it is enabled, of the servers of a logical backend, as HAProxy itself says."""
        physical = (await self.map("backends.map")).get(backend)
        if physical is None:
            return {}
        text = await self.command(f"show servers state {physical}")
        rows = [line.split() for line in text.splitlines() if line and line[0].isdigit() and len(line) > 2]
        return {row[3].partition(".")[0]: not int(row[6]) & 0x3B for row in rows if row[3] != "hold"}

    async def backends(self) -> set[str]:
        """Logical backends that have a place."""
        return set(await self.map("backends.map"))

    async def map(self, name: str) -> dict[str, str]:
        text = await self.command(f"show map {self.settings.file(name)}")
        return {row[1]: row[2] for row in (line.split() for line in text.splitlines()) if len(row) == 3}


@dataclass
class Proxy(Visitor):
    """A running sidecar and its HAProxy."""

    sidecar: Sidecar = field(kw_only=True)
    task: asyncio.Task[None] = field(kw_only=True)
    stop: asyncio.Event = field(kw_only=True)

    @property
    def worker(self) -> int | None:
        return self.sidecar._thread.runtime.pid


async def connected(socket: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await asyncio.open_unix_connection(socket)
            except (ConnectionRefusedError, FileNotFoundError):
                await asyncio.sleep(0.01)


async def command(socket: str, line: str) -> str:
    """One Runtime API command on a connection of its own; a socket that is about to listen is waited for."""
    reader, writer = await connected(socket)
    writer.write(line.encode() + b"\n")
    async with asyncio.timeout(PATIENCE):
        answer = (await reader.read()).decode()
    writer.close()
    return answer


def proxy_settings(directory: Path, **changes: Any) -> Settings:
    settings = Settings(
        run_dir=str(directory), bind=(f"127.0.0.1:{free_port()}",), max_connections=200, threads=1,
        spare_backends=4, spare_backends_other=4, connect_timeout=100, check_interval=500,
    )  # fmt: skip
    return replace(settings, **changes)


@asynccontextmanager
async def proxy(binary: Path, settings: Settings, core: int, **options: Any) -> AsyncIterator[Proxy]:
    """The sidecar runs within the block; it and its HAProxy are gone after it, whatever happened."""
    options = {"stop_grace": 1.0, "instance": "proxy", **options}
    chosen = Options(core=f"127.0.0.1:{core}", binary=str(binary), **options)
    sidecar = Sidecar(chosen, settings, Metrics("sidecar", "test"), "test")
    stop = asyncio.Event()
    task = asyncio.create_task(sidecar.run(stop))
    running = Proxy(settings, sidecar=sidecar, task=task, stop=stop)
    try:
        yield running
    finally:
        for client in running.clients:
            client.close()
        stop.set()
        try:
            await asyncio.wait((task,), timeout=PATIENCE)
        finally:
            task.cancel()
            if not options.get("attach"):
                end(sidecar.process.master)
                await until(lambda: not sidecar.process.alive())


def end(pid: int) -> None:
    """Whatever became of it: no HAProxy of a test outlives the test."""
    if pid > 0:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
