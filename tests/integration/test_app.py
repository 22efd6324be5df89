"""The test application behaves as the scenarios assume: otherwise a failed request would be its fault."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from testbed import app
from testbed.answers import parse_answer
from testbed.load import Target
from testbed.sessions import WebSocket

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Running:
    process: asyncio.subprocess.Process
    port: int
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def line(self) -> str:
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), 10)).decode()

    async def connect(self) -> Streams:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        return reader, writer

    async def ask(self, path: str, more: str = "", streams: Streams | None = None) -> tuple[int, str, bool]:
        """Status, body, and whether the connection stays."""
        reader, writer = streams or await self.connect()
        writer.write(f"GET {path} HTTP/1.1\r\nHost: app\r\n{more}\r\n".encode())
        data = b""
        while (answer := parse_answer(data)) is None:
            part = await asyncio.wait_for(reader.read(65536), 10)
            if not part:
                raise EOFError(data)
            data += part
        if streams is None:
            writer.close()
        return answer[0], answer[1].decode(), answer[2]

    async def exchange(self, path: str, more: str = "") -> str:
        """All of the answer, as it came."""
        reader, writer = await self.connect()
        writer.write(f"GET {path} HTTP/1.1\r\nHost: app\r\nConnection: close\r\n{more}\r\n".encode())
        return (await asyncio.wait_for(reader.read(), 10)).decode()

    async def until_accepted(self, count: int) -> None:
        """Returns when that many requests have reached it."""
        while json.loads((await self.ask("/log"))[1])["requests"] < count:
            count += 1  # the question counts as well

    async def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert (await self.line()).startswith("SIGTERM ")

    async def refuses(self) -> None:
        """Returns when connections are refused."""
        while True:
            try:
                await self.connect()
            except ConnectionRefusedError:
                return


@asynccontextmanager
async def running(**environment: str) -> AsyncIterator[Running]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"PORT": str(port), "INSTANCE": "one", "VERSION": "7"} | environment
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(app.executable(), env=environment, stdout=pipe)
    one = Running(process, port)
    try:
        assert re.fullmatch(r"listening \d{19}\n", await one.line())
        yield one
    finally:
        for writer in one.writers:
            writer.close()
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_it_says_who_it_is_under_any_path() -> None:
    async with running() as one:
        for path in ("/", "/some/where", "/a/b?c=d"):
            assert await one.ask(path) == (200, "instance=one version=7\n", True)
        assert (await one.ask("/any/root/healthz"))[1] == "ok\n"


@pytest.mark.parametrize("status", [204, 301, 404, 503])
async def test_it_answers_the_status_asked_for(status: int) -> None:
    async with running() as one:
        assert (await one.ask(f"/root/status/{status}"))[0] == status


async def test_echo_shows_the_request_as_it_came() -> None:
    async with running() as one:
        body = (await one.ask('/x/echo?q="1"', 'X-Odd: a"b\\c\r\nX-Odd: second\r\n'))[1]
    echo = json.loads(body)
    assert echo["request"] == 'GET /x/echo?q="1" HTTP/1.1'
    assert echo["headers"] == [["Host", "app"], ["X-Odd", 'a"b\\c'], ["X-Odd", "second"]]
    assert (echo["instance"], echo["version"]) == ("one", "7")


async def test_bodies_are_skipped_and_pipelined_requests_answered() -> None:
    async with running() as one:
        reader, writer = await one.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 3\r\n\r\nabc")
        writer.write(b"POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        writer.write(b"HEAD /healthz HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n")
        data = await asyncio.wait_for(reader.read(-1), 10)
    assert data.count(b"HTTP/1.1 200") == 3
    assert data.count(b"instance=one version=7\n") == 2
    assert data.endswith(b"Connection: close\r\n\r\n"), "HEAD has no body"


async def test_a_download_has_its_length() -> None:
    async with running() as one:
        assert len((await one.ask("/download?bytes=12345&ms=120"))[1]) == 12345


async def test_websockets_echo() -> None:
    async with running() as one:
        client = await WebSocket.open(Target("127.0.0.1", one.port, "app"))
        assert [await client.echo(text) for text in ("one", "", "x" * 125)] == ["one", "", "x" * 125]
        await client.close()


async def test_a_websockets_origin_is_told() -> None:
    async with running() as one:
        reader, writer = await one.connect()
        key = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: eA==\r\nOrigin: http://here"
        writer.write(f"GET /ws HTTP/1.1\r\nHost: app\r\n{key}\r\n\r\n".encode())
        assert b"X-Origin: http://here\r\n" in await reader.readuntil(b"\r\n\r\n")


async def test_it_can_be_made_sick_and_well() -> None:
    async with running(SICK="1") as one:
        assert (await one.ask("/healthz"))[0] == 503
        assert (await one.ask("/"))[0] == 200, "only /healthz says so"
        await one.ask("/well")
        assert (await one.ask("/healthz"))[0] == 200
        await one.ask("/sick")
        assert (await one.ask("/healthz"))[0] == 503


async def test_it_fails_as_often_as_it_is_told_to() -> None:
    async with running() as one:
        await one.ask("/fail?n=2")
        assert (await one.ask("/healthz"))[0] == 200
        assert [(await one.ask(path))[0] for path in ("/", "/echo", "/")] == [500, 500, 200]
        await one.ask("/fail?n=5&status=503")
        assert (await one.ask("/"))[0] == 503
        await one.ask("/fail?n=0")
        assert (await one.ask("/"))[0] == 200


async def test_it_sets_a_cookie_once() -> None:
    async def cookie(sent: str, path: str = "/session") -> str:
        answer = await one.exchange(path, f"Cookie: {sent}\r\n")
        return found[1] if (found := re.search(r"Set-Cookie: (\S+);", answer)) else ""

    async with running() as one:
        assert await cookie("other=1; xsession=2") == "session=one.1"
        assert await cookie("session2=1") == "session=one.2"
        assert await cookie("other=1; session=one.1; more=2") == ""
        assert await cookie("session=one.1", "/session?name=JSESSIONID&x=1") == "JSESSIONID=one.3"


async def test_it_redirects_where_it_is_told_to() -> None:
    async with running() as one:
        answer = await one.exchange("/redirect?to=http://there/x?a=1&b=2")
        assert answer.startswith("HTTP/1.1 302 ")
        assert "\r\nLocation: http://there/x?a=1&b=2\r\n" in answer


async def test_it_sends_events() -> None:
    async with running() as one:
        status, body, keep = await one.ask("/sse?n=3&ms=1")
        assert (status, keep) == (200, True)
        assert re.findall(r"data: (\d) one\n\n", body) == ["1", "2", "3"]


async def test_text_has_its_length() -> None:
    async with running() as one:
        _, body, _ = await one.ask("/text?bytes=1000")
        assert (len(body), body[:9]) == (1000, "the same ")


async def test_requests_are_logged_with_their_time() -> None:
    async with running(LOG_REQUESTS="1") as one:
        await one.ask("/first")
        assert re.fullmatch(r"\d{19} /first\n", await one.line())


async def test_sigterm_finishes_what_is_under_way() -> None:
    async with running() as one:
        idle, fresh, busy = await one.connect(), await one.connect(), await one.connect()
        assert (await one.ask("/", streams=idle))[2]
        slow = asyncio.create_task(one.ask("/slow?ms=600", streams=busy))
        await one.until_accepted(2)
        await one.stop()

        await one.refuses()
        assert await asyncio.wait_for(idle[0].read(-1), 10) == b"", "idle connections end"
        assert await one.ask("/", streams=fresh) == (200, "instance=one version=7\n", False), "just opened"
        assert await slow == (200, "instance=one version=7\n", False)
        assert await asyncio.wait_for(one.process.wait(), 10) == 0


async def test_it_does_not_wait_for_connections_that_never_ask() -> None:
    async with running() as one:
        await one.connect()
        await one.ask("/")
        await one.stop()
        assert await asyncio.wait_for(one.process.wait(), 6) == 0


async def test_it_exits_at_once_when_told_to() -> None:
    async with running(EXIT_AT_ONCE="1") as one:
        busy = await one.connect()
        slow = asyncio.create_task(one.ask("/slow?ms=5000", streams=busy))
        await one.until_accepted(1)
        await one.stop()
        with pytest.raises((EOFError, ConnectionResetError)):
            await slow
        assert await asyncio.wait_for(one.process.wait(), 10) == 0


async def test_health_check_of_its_own() -> None:
    async with running() as one:
        for port, expected in ((one.port, 0), (1, 1)):
            check = await asyncio.create_subprocess_exec(app.executable(), "check", env={"PORT": str(port)})
            assert await check.wait() == expected
