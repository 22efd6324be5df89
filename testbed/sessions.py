"""Connections that stay: WebSockets that echo, and slow downloads. Each reports whether it was ever cut.

``python -m testbed.sessions --url http://address:port --host h --websockets 20 --downloads 1`` holds them until
SIGINT, SIGTERM or the end of its standard input (a pipe). It prints "ready" once all are open, then its report as
JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import orjson

from testbed.load import Target
from testbed.program import stop_event

_PATIENCE = 10.0  # seconds for an echo, an answer, or the next byte of a download


class Cut(Exception):
    """The connection ended, or fell silent, when it should not have."""


@dataclass(frozen=True, slots=True)
class SessionReport:
    """`opened` sessions of which `cut` ended early; `echoes` and `received` bytes they carried. `reasons` has for
    each cut [unix seconds, what, why]."""

    opened: int = 0
    cut: int = 0
    echoes: int = 0
    received: int = 0
    reasons: list[list[str | float]] = field(default_factory=list)

    @classmethod
    def from_json(cls, text: str | bytes) -> SessionReport:
        return cls(**orjson.loads(text))


def mask(payload: bytes, key: bytes) -> bytes:
    """RFC 6455, section 5.3; its own inverse."""
    return bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


class WebSocket:
    """A client for short text messages."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, target: Target) -> WebSocket:
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET {target.path} HTTP/1.1\r\nHost: {target.host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection(target.address, target.port)
        writer.write(request.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in head.split(b"\r\n")[0]:
            writer.close()
            raise Cut(f"no WebSocket: {head.splitlines()[0].decode(errors='replace')}")
        return cls(reader, writer)

    async def echo(self, text: str) -> str:
        """Sends `text` (under 126 bytes) and waits for the next message."""
        payload, key = text.encode(), os.urandom(4)
        self.writer.write(bytes((0x81, 0x80 | len(payload))) + key + mask(payload, key))
        opcode, length = await self.reader.readexactly(2)
        if opcode & 15 == 8:
            raise Cut("the server closed it")
        return (await self.reader.readexactly(length & 127)).decode()

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


class Sessions:
    """Holds WebSockets and downloads on `target` between `start` and `stop`."""

    def __init__(self, target: Target, websockets: int = 20, downloads: int = 1, interval: float = 0.2) -> None:
        self.target = target
        self.websockets = websockets
        self.downloads = downloads
        self.interval = interval
        self._ends = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._opened = self._echoes = self._received = 0
        self._reasons: list[list[str | float]] = []

    async def start(self) -> None:
        """Opens all of them; returns when each has carried something, or was cut."""
        ready = [asyncio.Event() for _ in range(self.websockets + self.downloads)]
        for i, event in enumerate(ready):
            what, hold = ("websocket", self._echo) if i < self.websockets else ("download", self._download)
            self._tasks.append(asyncio.create_task(self._hold(what, hold, event)))
        for event in ready:
            await event.wait()

    async def all_cut(self) -> None:
        """Returns when not one of them is left."""
        await asyncio.wait(self._tasks)

    async def stop(self) -> SessionReport:
        """Ends all of them in order and reports."""
        self._ends.set()
        await asyncio.gather(*self._tasks)
        return SessionReport(self._opened, len(self._reasons), self._echoes, self._received, self._reasons)

    async def _hold(
        self, what: str, hold: Callable[[asyncio.Event], Awaitable[None]], ready: asyncio.Event
    ) -> None:
        self._opened += 1
        try:
            await hold(ready)
        except (Cut, OSError, EOFError, TimeoutError) as error:
            self._reasons.append([time.time(), what, f"{type(error).__name__} {error}".strip()])
        ready.set()

    async def _pause(self) -> None:
        """The interval, or less when it is time to end."""
        try:
            await asyncio.wait_for(self._ends.wait(), self.interval)
        except TimeoutError:
            return

    async def _echo(self, ready: asyncio.Event) -> None:
        async with asyncio.timeout(_PATIENCE):
            socket = await WebSocket.open(self.target)
        try:
            while not self._ends.is_set():
                text = f"message {self._echoes}"
                async with asyncio.timeout(_PATIENCE):
                    if await socket.echo(text) != text:
                        raise Cut("another message came back")
                self._echoes += 1
                ready.set()
                await self._pause()
        finally:
            socket.writer.close()

    async def _download(self, ready: asyncio.Event) -> None:
        """A download of an hour at 10 kB/s, given up when it is time to end."""
        reader, writer = await asyncio.open_connection(self.target.address, self.target.port)
        path = f"{self.target.path.rstrip('/')}/download?bytes=36000000&ms=3600000"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {self.target.host}\r\n\r\n".encode())
        try:
            async with asyncio.timeout(_PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head.split(b"\r\n")[0]:
                raise Cut(head.splitlines()[0].decode(errors="replace"))
            while not self._ends.is_set():
                async with asyncio.timeout(_PATIENCE):
                    data = await reader.read(4096)
                if not data:
                    raise Cut("early end")
                self._received += len(data)
                ready.set()
        finally:
            writer.close()


def sessions_command(url: str, host: str, websockets: int = 20, downloads: int = 1) -> list[str]:
    """The command line of the program; see `load_command`."""
    numbers = ["--websockets", str(websockets), "--downloads", str(downloads)]
    return [sys.executable, "-m", "testbed.sessions", "--url", url, "--host", host, *numbers]


async def _run(arguments: argparse.Namespace) -> SessionReport:
    target = Target.of(arguments.url, arguments.host)
    sessions = Sessions(target, arguments.websockets, arguments.downloads)
    stopped = stop_event()
    await sessions.start()
    print("ready", flush=True)
    await stopped.wait()
    return await sessions.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="testbed.sessions", description="holds WebSockets and downloads")
    parser.add_argument("--url", required=True, help="http://address:port/path")
    parser.add_argument("--host", help="Host header; default: the URL's")
    parser.add_argument("--websockets", type=int, default=20)
    parser.add_argument("--downloads", type=int, default=1)
    sys.stdout.write(orjson.dumps(asyncio.run(_run(parser.parse_args()))).decode() + "\n")


if __name__ == "__main__":
    main()
