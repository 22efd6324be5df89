"""The probe: retries until its check passes, stops when it is no longer wanted."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from haproxy import probe
from haproxy.accepting import Passed
from haproxy.checks import Check
from haproxy.model import HealthCheck, ProxyHeader, Secret
from haproxy.probe import Prober, Target, Trust, passes
from testbed.certificates import TestAuthority, self_signed
from tests.integration.live_haproxy import free_port


def target(name: str, check: Check) -> Target:
    return Target("a", name, Passed(name.partition(".")[0], check))


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[Check]:
    """A server whose connections all end with the block; the plain check of it."""
    under_way: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        with suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            await handler(reader, writer)
        writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    port = free_port()
    async with await asyncio.start_server(serve, "127.0.0.1", port, ssl=tls):
        yield Check("127.0.0.1", port)
    await asyncio.gather(*under_way)


@asynccontextmanager
async def answering(answer: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[Check, list[bytes]]]:
    """A server that answers `answer` to whatever it is asked; the plain check of it, and what it was asked."""
    asked: list[bytes] = []

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)

    async with serving(respond, tls) as check:
        yield check, asked


def by_http(check: Check, path: str = "/", host: str = "", *statuses: int, tls: bool = False) -> Check:
    return Check(check.address, check.port, tls, HealthCheck(path, host, statuses), patience=300)


def test_pauses_are_tight_first_and_then_grow_to_a_limit() -> None:
    numbers = list(islice(probe.pauses(), 60))
    assert numbers[: probe.QUICK_TRIES] == [probe.FIRST_PAUSE] * probe.QUICK_TRIES
    assert numbers == sorted(numbers)
    assert numbers[-1] == probe.LAST_PAUSE


async def test_accepted_as_soon_as_it_listens_and_only_then() -> None:
    check, accepted = Check("127.0.0.1", free_port()), asyncio.Queue[Target]()
    wanted, unwanted = target("t1.aa", check), target("t2.aa", check)
    prober = Prober(accepted.put_nowait)
    prober.want("a", {wanted, unwanted})
    prober.want("a", {wanted})
    assert not await passes(check)
    assert accepted.empty()
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", check.port)
    async with server:
        assert await asyncio.wait_for(accepted.get(), 10) == wanted
        prober.want("a", {wanted})
        await asyncio.sleep(0)
        assert accepted.empty()
    prober.want("a", set())
    assert prober._probes == {}
    prober.close()


async def test_close_ends_all() -> None:
    prober = Prober(lambda target: None)
    before = asyncio.all_tasks()
    prober.want("a", {target("t1.aa", Check("127.0.0.1", free_port()))})
    prober.close()
    await asyncio.gather(*(asyncio.all_tasks() - before), return_exceptions=True)
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize(("address", "port"), [("127.0.0.1", 0), ("127.0.0.1", 70_000), ("." * 300, 80)])
async def test_what_is_no_address_is_not_accepting(address: str, port: int) -> None:
    assert not await passes(Check(address, port))


@pytest.mark.parametrize(
    ("answer", "statuses", "passed"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", (), True),
        (b"HTTP/1.0 399\r\n", (), True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (), True),
        (b"HTTP/1.1 400 Bad\r\n\r\n", (), False),
        (b"HTTP/1.1 503 Sick\r\n\r\n", (), False),
        (b"HTTP/1.1 418 Teapot\r\n\r\n", (200, 418), True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (200, 418), False),
        (b"HTTP/2 200\r\n\r\n", (), False),
        (b"hello\r\n", (), False),
        (b"HTTP/1.1 200 OK", (), False),
        (b"", (), False),
        (b"x" * 100_000, (), False),
    ],
)
async def test_the_status_decides(answer: bytes, statuses: tuple[int, ...], passed: bool) -> None:
    async with answering(answer) as (check, asked):
        assert await passes(by_http(check, "/health?full", "a.test", *statuses)) is passed
    (request,) = asked
    assert request.startswith(b"GET /health?full HTTP/1.1\r\nhost: a.test\r\n")


async def test_a_check_without_a_host_names_one() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\n\r\n") as (check, asked):
        assert await passes(by_http(check))
    assert b"\r\nhost: localhost\r\n" in asked[0]


async def test_who_does_not_answer_in_time_fails() -> None:
    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(wait) as check:
        assert await passes(check)
        assert not await passes(by_http(check))


@pytest.mark.parametrize("path", ["/a b", "/a\r\nx: y", ""])
async def test_what_would_be_more_than_a_path_is_not_sent(path: str) -> None:
    async with answering(b"HTTP/1.1 200 OK\r\n\r\n") as (check, asked):
        assert not await passes(by_http(check, path))
    assert asked == []


async def test_tls(tmp_path_factory: pytest.TempPathFactory) -> None:
    context = self_signed(tmp_path_factory.mktemp("tls"))
    async with answering(b"HTTP/1.1 200 OK\r\n\r\n", context) as (check, _):
        assert await passes(Check(check.address, check.port, tls=True))
        assert await passes(by_http(check, tls=True))
        assert not await passes(by_http(check))
    async with answering(b"HTTP/1.1 200 OK\r\n\r\n") as (check, _):
        assert not await passes(Check(check.address, check.port, tls=True, patience=300))


@pytest.mark.parametrize(
    ("header", "start"),
    [(ProxyHeader.V1, b"PROXY UNKNOWN\r\n"), (ProxyHeader.V2, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0")],
)
async def test_the_header_of_the_proxy_protocol_comes_first(header: ProxyHeader, start: bytes) -> None:
    found: list[bytes] = []

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.append(await reader.readexactly(len(start)))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

    async with serving(respond) as check:
        assert await passes(replace(by_http(check), header=header))
    assert found == [start]


async def test_a_task_is_told_of_until_it_proves_itself_or_is_no_longer_wanted(tmp_path: Path) -> None:
    authority, trust, told = TestAuthority(), Trust(TestAuthority().certificate), asyncio.Queue[int]()
    (tmp_path / "task.pem").write_bytes(authority.issue("a.test").combined)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "task.pem")
    accepted, known = asyncio.Queue[Target](), dict[str, Trust | None](trust=None)

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(wait, context) as plain:
        check = replace(plain, tls=True, name="a.test", ca=Secret("c1", "ca"))
        one, other = target("t1.aa", check), target("t2.aa", check)
        prober = Prober(accepted.put_nowait, lambda check: known["trust"], lambda: told.put_nowait(0))
        prober.want("a", {one, other})
        await asyncio.sleep(0)
        assert not prober.refusals
        known["trust"] = trust
        for _ in range(2):
            await asyncio.wait_for(told.get(), 10)
        assert prober.refusals.keys() == {one, other}
        prober.want("a", {one})
        assert prober.refusals.keys() == {one}
        known["trust"] = Trust(authority.certificate)
        assert await asyncio.wait_for(accepted.get(), 10) == one
        assert not prober.refusals
        prober.close()


class Connections:
    """In place of `probe.ask`: most tasks pass; a silent one takes some time at its first try, for ever later."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tries, self.now, self.most = Counter[Check](), 0, 0
        monkeypatch.setattr(probe, "ask", self.ask)

    async def ask(self, check: Check, trust: Trust) -> bool:
        self.now += 1
        self.tries[check] += 1
        self.most = max(self.most, self.now)
        silent = check.address == SILENT_ADDRESS
        await asyncio.sleep(0 if not silent else 2 * probe.SILENT if self.tries[check] == 1 else 3600)
        self.now -= 1
        return not silent


SILENT_ADDRESS = "192.0.2.1"


async def test_all_of_many_are_asked_but_not_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    connections, accepted = Connections(monkeypatch), asyncio.Queue[Target]()
    prober = Prober(accepted.put_nowait)
    wanted = {target(f"t{n}", Check("127.0.0.1", n)) for n in range(10 * probe.AT_ONCE)}
    prober.want("a", wanted)
    async with asyncio.timeout(10):
        assert {await accepted.get() for _ in wanted} == wanted
    assert connections.most == probe.AT_ONCE


async def test_many_that_are_silent_keep_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SILENT", 0.01)
    connections, accepted = Connections(monkeypatch), asyncio.Queue[Target]()
    prober = Prober(accepted.put_nowait)
    silent = [Check(SILENT_ADDRESS, n) for n in range(2 * probe.AT_ONCE)]
    prober.want("gone", {target(f"t{check.port}", check) for check in silent})
    async with asyncio.timeout(10):
        while connections.tries.total() < len(silent) + probe.AT_ONCE:  # noqa: ASYNC110 - the second try of as many
            await asyncio.sleep(0.01)
        prober.want("a", {target("new", Check("127.0.0.1", 1))})
        assert (await accepted.get()).name == "new"
    prober.close()


async def test_without_a_descriptor_it_is_no_failure_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socket", none_left)
    assert await passes(Check("127.0.0.1", 1)) is False
