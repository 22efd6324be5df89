"""The load generator's verdicts, against a server that misbehaves on purpose."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from testbed import program
from testbed.answers import parse_answer
from testbed.load import Connection, Load, Report, Sample, Target, build_report, percentile
from testbed.sessions import Sessions, mask

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\ninstance=a\n"
Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served(behaviour: Behaviour) -> AsyncIterator[Target]:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await behaviour(reader, writer)
        except (EOFError, OSError):
            pass  # the client went first
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield Target("127.0.0.1", server.sockets[0].getsockname()[1], "app.example.org")


async def head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def well_behaved(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await head(reader)
        writer.write(ANSWER)


async def load_until(
    target: Target, samples: int, keep_alive: float = 0.5, timeout: float = 5.0, failure: str | None = None,
    again: bool = False,
) -> Report:
    """Until so many requests ended, or so many of them by this failure. How many that takes is the machine's
    matter: a slow one has more requests under way at once, and they share no connections."""
    load = Load(target, rate=200, keep_alive=keep_alive, timeout=timeout)
    load.again = again
    await load.start()
    async with asyncio.timeout(30):
        await load.seen(samples)
        while failure is not None and [each.failure for each in load.samples].count(failure) < samples:
            await load.seen(len(load.samples) + 1)
    return await load.stop()


async def test_good_answers_are_counted_by_instance() -> None:
    async with served(well_behaved) as target:
        report = await load_until(target, 40)
    assert report.failed == report.stale_keepalive == 0
    assert report.sent == report.ok == report.instances["a"] >= 40
    assert 0 < report.p50_ms <= report.p99_ms <= report.max_ms
    assert sum(row[0] for row in report.timeline) == report.sent


async def test_half_of_the_requests_share_connections() -> None:
    opened = 0

    async def counting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        await well_behaved(reader, writer)

    async with served(counting) as target:
        report = await load_until(target, 60)
    assert report.sent / 2 <= opened < report.sent * 0.8


async def close_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await head(reader)


async def close_half_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await head(reader)
    writer.write(ANSWER[:-3])


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await head(reader)
    abort(writer)


def abort(writer: asyncio.StreamWriter) -> None:
    linger_zero = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_zero)
    writer.transport.abort()


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await head(reader)
    writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")


async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await head(reader)
    writer.write(b"SSH-2.0-what\r\n\r\n")


async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(-1)


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (close_at_once, "early_close"),
        (close_half_way, "early_close"),
        (reset, "reset"),
        (refuse, "status"),
        (babble, "garbage"),
        (stay_silent, "timeout"),
    ],
)
async def test_each_misbehaviour_is_a_failure_of_its_kind(behaviour: Behaviour, kind: str) -> None:
    async with served(behaviour) as target:
        report = await load_until(target, 6, keep_alive=0.0, timeout=0.3)
    assert report.by_kind == {kind: report.failed}
    assert report.failed == report.sent
    assert report.ok == 0


async def test_nobody_listening_is_a_failure() -> None:
    async with served(well_behaved) as target:
        pass
    report = await load_until(target, 4, keep_alive=0.0)
    assert report.by_kind == {"connect": report.sent}


@pytest.mark.parametrize("again", [True, False])
async def test_a_request_whose_new_connection_is_reset_may_be_sent_to_another_address(again: bool) -> None:
    async with served(reset) as bad, served(well_behaved) as good:
        both = replace(bad, others=((good.address, good.port),))
        report = await load_until(both, 10, keep_alive=0.0, again=again)
    assert (report.by_kind.get("reset", 0) == 0) == again
    assert (len(report.again) >= 5) == again
    assert report.ok + report.failed == report.sent
    assert Report.from_json(report.to_json()) == report


async def test_a_request_is_sent_again_once() -> None:
    async with served(reset) as bad, served(reset) as worse:
        both = replace(bad, others=((worse.address, worse.port),))
        report = await load_until(both, 4, keep_alive=0.0, again=True)
    assert (report.by_kind, len(report.again)) == ({"reset": report.sent}, report.sent)


async def test_an_answer_that_breaks_off_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    arrived, receive = asyncio.Semaphore(0), Connection.data_received

    def data_received(connection: Connection, data: bytes) -> None:
        receive(connection, data)
        arrived.release()

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(ANSWER[:20])
        await arrived.acquire()
        abort(writer)

    monkeypatch.setattr(Connection, "data_received", data_received)
    async with served(half) as bad, served(half) as worse:
        both = replace(bad, others=((worse.address, worse.port),))
        report = await load_until(both, 4, keep_alive=0.0, again=True)
    assert report.again == []
    assert report.failed == report.sent


async def test_a_kept_alive_connection_that_ends_unanswered_is_counted_apart() -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(ANSWER)
        await head(reader)  # and closes instead of a second answer

    async with served(once) as target:
        report = await load_until(target, 5, keep_alive=1.0, failure="stale_keepalive")
    assert report.failed == 0
    assert report.stale_keepalive >= 5
    assert report.ok + report.stale_keepalive == report.sent


def test_what_failed_is_listed_before_what_a_client_has_to_expect() -> None:
    stale = [Sample(float(second), 0.001, failure="stale_keepalive") for second in range(200)]
    report = build_report([*stale, Sample(300.0, 0.5, failure="reset")], 0.0, 300.0)
    assert (report.failed, report.failures[0]) == (1, [300.0, "reset", 0, 500.0])


async def test_a_failure_is_told_when_it_happens(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        load = Load(Target("127.0.0.1", nobody.getsockname()[1], "app.example.org"), rate=200)
        load.tell = True
        await load.start()
        await load.seen(1)
        assert "app.example.org: Sample(" in capsys.readouterr().err
        await load.stop()


async def test_the_first_request_of_a_connection_is_never_stale() -> None:
    async with served(close_at_once) as target:
        report = await load_until(target, 6, keep_alive=1.0)
    assert (report.stale_keepalive, report.failed) == (0, report.sent)


async def test_a_kept_alive_connection_that_ends_within_an_answer_is_a_failure() -> None:
    async def half_the_second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(ANSWER)
        await close_half_way(reader, writer)

    async with served(half_the_second) as target:
        report = await load_until(target, 3, keep_alive=1.0, failure="early_close")
    assert report.stale_keepalive == 0
    assert report.by_kind["early_close"] >= 3


@pytest.mark.parametrize("cut", range(1, len(ANSWER)))
def test_an_incomplete_answer_is_awaited(cut: int) -> None:
    assert parse_answer(ANSWER[:cut]) is None


def test_an_answer_says_whether_its_connection_stays() -> None:
    assert parse_answer(ANSWER) == (200, b"instance=a\n", True)
    assert parse_answer(b"HTTP/1.1 204 X\r\nConnection: close\r\n\r\n") == (204, b"", False)
    assert parse_answer(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n") is None


def test_percentiles_are_nearest_rank() -> None:
    hundred = [float(n) for n in range(1, 101)]
    assert [percentile(hundred, p) for p in (50, 99, 100)] == [50.0, 99.0, 100.0]
    assert percentile([], 99) == 0.0


def test_the_report_survives_json() -> None:
    samples = [Sample(100.2, 0.001, 200, "a"), Sample(101.5, 0.5, 503, "", "status"), Sample(101.6, 10.0)]
    report = build_report(samples, started=100.0, seconds=2.0)
    assert report.timeline == [[1, 0, 1.0], [2, 1, 10000.0]]
    assert Report.from_json(report.to_json()) == report


@pytest.mark.parametrize("payload", [b"", b"a", b"hello, world"])
def test_masking_is_its_own_inverse(payload: bytes) -> None:
    assert mask(mask(payload, b"\x01\x02\x03\x04"), b"\x01\x02\x03\x04") == payload


async def test_cut_sessions_are_reported() -> None:
    async def one_byte(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"Upgrade" in await head(reader):
            writer.write(b"HTTP/1.1 101 X\r\n\r\n")
            await reader.readexactly(6)
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 36000000\r\n\r\nx")

    async with served(one_byte) as target:
        sessions = Sessions(target, websockets=2, downloads=1)
        await sessions.start()
        async with asyncio.timeout(10):
            await sessions.all_cut()
        report = await sessions.stop()
    assert (report.opened, report.cut) == (3, 3)
    assert sorted(str(reason[1]) for reason in report.reasons) == ["download", "websocket", "websocket"]


async def test_new_connections_go_to_the_places_of_the_last_line() -> None:
    async with served(well_behaved) as first, served(well_behaved) as second:
        load = Load(first, rate=200, keep_alive=0)
        load.turn_to(f"http://127.0.0.1:1 http://127.0.0.1:{second.port}")
        await load.start()
        await load.seen(5)
        load.turn_to("")  # nobody to turn to: as before
        await load.seen(10)
        report = await load.stop()
        assert report.failed == 0
        load.turn_to("http://127.0.0.1:1")
        await load.start()
        await load.seen(report.sent + 5)
        assert (await load.stop()).by_kind.keys() == {"connect"}


async def test_lines_come_in_pieces() -> None:
    told: list[str] = []
    lines = program.Lines(told.append)
    for piece in (b"one t", b"wo\nthr", b"ee\n\nfo"):
        lines.take(piece)
    assert told == ["one two", "three", ""]
