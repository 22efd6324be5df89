"""Applications that speak HTTP/1.1, HTTP/2, TLS, WebSocket and gRPC, each in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from hypercorn.asyncio import serve
from hypercorn.config import Config

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

GRPC_SERVICE = "l7.test.Echo"
EVENTS_PAUSE = 0.01


@contextmanager
def web_application(name: str, certificate: Path | None = None, *alpn: str) -> Iterator[int]:
    """Answers its name; its port. HTTP/1.1, or HTTP/2 without upgrade; with `certificate` (PEM with key): over TLS.

    `/events?n=N`: N server-sent events, with pauses. A WebSocket begins with a message that has the Origin as it
    arrived, and echoes.
    """
    config = Config()
    config.accesslog = config.errorlog = None
    config.graceful_timeout = 0.2
    if certificate is not None:
        config.certfile = config.keyfile = str(certificate)
        config.alpn_protocols = list(alpn)

    @asynccontextmanager
    async def running() -> AsyncIterator[int]:
        listening = socket.create_server(("127.0.0.1", 0))
        port = int(listening.getsockname()[1])
        config.bind = [f"fd://{listening.detach()}"]
        stop = asyncio.Event()
        serving = asyncio.create_task(serve(_application(name), config, shutdown_trigger=stop.wait))
        try:
            yield port
        finally:
            stop.set()
            await serving

    with _in_a_thread(running()) as port:
        yield port


def _application(name: str) -> Any:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "websocket":
            await _echo_frames(name, scope, receive, send)
        elif scope["path"] == "/events":
            await _send_events(name, scope, send)
        else:
            await _answer(name, scope, receive, send)

    return application


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _answer(name: str, scope: Scope, receive: Receive, send: Send) -> None:
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    body = json.dumps({"app": name, "version": scope["http_version"], "bytes": size}).encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _send_events(name: str, scope: Scope, send: Send) -> None:
    number = int(scope["query_string"].partition(b"n=")[2])
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for event in range(number):
        data = b"data: %d %s\n\n" % (event, name.encode())
        await send({"type": "http.response.body", "body": data, "more_body": True})
        await asyncio.sleep(EVENTS_PAUSE)
    await send({"type": "http.response.body", "body": b""})


async def _echo_frames(name: str, scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    origin = dict(scope["headers"]).get(b"origin", b"").decode()
    await send({"type": "websocket.send", "text": json.dumps({"app": name, "origin": origin})})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})


@contextmanager
def grpc_application(name: str, certificate: Path | None = None) -> Iterator[int]:
    """A gRPC server; its port. `certificate`: over TLS, PEM with key. Methods of GRPC_SERVICE, messages are bytes:
    `Unary` answers its name and the request; `Serve` does so ten times, with pauses; `Collect` answers the number
    of requests; `Talk` answers each."""

    async def unary(request: bytes, context: Any) -> bytes:
        return name.encode() + b" " + request

    async def answers(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for number in range(10):
            yield b"%s %s %d" % (name.encode(), request, number)
            await asyncio.sleep(EVENTS_PAUSE)

    async def collect(requests: AsyncIterator[bytes], context: Any) -> bytes:
        return b"%d" % len([request async for request in requests])

    async def talk(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield name.encode() + b" " + request

    methods = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Serve": grpc.unary_stream_rpc_method_handler(answers),
        "Collect": grpc.stream_unary_rpc_method_handler(collect),
        "Talk": grpc.stream_stream_rpc_method_handler(talk),
    }

    @asynccontextmanager
    async def running() -> AsyncIterator[int]:
        server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(GRPC_SERVICE, methods),))
        port = _grpc_port(server, certificate)
        await server.start()
        try:
            yield port
        finally:
            await server.stop(None)

    with _in_a_thread(running()) as port:
        yield port


def _grpc_port(server: grpc.aio.Server, certificate: Path | None) -> int:
    if certificate is None:
        return int(server.add_insecure_port("127.0.0.1:0"))
    pem = certificate.read_bytes()
    return int(server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pem, pem)])))


@contextmanager
def _in_a_thread(running: AbstractAsyncContextManager[int]) -> Iterator[int]:
    """Enter an asynchronous context in a loop and thread of its own, and leave it there."""
    started: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def live() -> None:
        stop = asyncio.Event()
        try:
            async with running as port:
                started.set_result((port, asyncio.get_running_loop(), stop))
                await stop.wait()
        except OSError as error:
            started.set_exception(error)

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    port, loop, stop = started.result()
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
