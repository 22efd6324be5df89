"""A constant load that notices every failure: ``python -m testbed.load --url http://host:port --rate 300``.

Open loop: requests start when the clock says so, whether earlier ones were answered or not, so a proxy that stalls
is charged for it. Half of them go out on kept-alive connections, half on new ones. Nothing is ever retried, but
with `again`, once, elsewhere, what went out on a new connection that is reset before any answer: the kernel takes
connections that a program which stops never sees (RFC 9110, section 9.2.2: a client may do that).

A request has failed if its answer has another status than the expected one, if the connection is refused, reset or
closed before the end of the answer, or after 10 s without an answer. One exception is counted apart as
``stale_keepalive``: a kept-alive connection that ends before any byte of an answer (RFC 9112, section 9.3.1: a
client has to expect that).

As a program it runs until its duration is over, SIGINT, SIGTERM, or the end of its standard input if that is a
pipe, and prints its report; each line of that input, of URLs, takes the place of the addresses that are asked.
Inside a network namespace: ``swarm.run(None, load_command(...), ...)``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import math
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import orjson

from testbed.answers import parse_answer
from testbed.program import stop_event

TIMEOUT = 10.0
_INSTANCE = re.compile(rb"instance=(\S+)(?: version=(\S+))?")


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked: ``GET path`` of ``host``, at address and port; `status` is the expected one.

    `others`: further addresses. Each new connection goes to the next one in turn, and on to another where it is
    refused, as clients do that know several proxies.
    """

    address: str
    port: int
    host: str
    path: str = "/"
    status: int = 200
    others: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, url: str, host: str | None = None, status: int = 200) -> Target:
        """From ``http://address:port/path``; `host` is the Host header (default: the URL's)."""
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.hostname or "127.0.0.1", parts.port or 80, host or parts.netloc, path, status)

    def request(self, keep: bool) -> bytes:
        connection = "keep-alive" if keep else "close"
        return f"GET {self.path} HTTP/1.1\r\nHost: {self.host}\r\nConnection: {connection}\r\n\r\n".encode()


@dataclass(frozen=True, slots=True)
class Sample:
    """One request: start (unix seconds), latency (seconds), HTTP status (0: none), who answered in which version,
    and why it failed ("" if it did not): status, connect, reset, early_close, timeout, garbage, stale_keepalive."""

    start: float
    latency: float
    status: int = 0
    instance: str = ""
    failure: str = ""
    kept_alive: bool = False
    version: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What a load saw. Times in milliseconds; `timeline` has per second [sent, failed, slowest in ms]; `failures`
    the first hundred as [unix seconds, kind, status, latency in ms], with stale_keepalive where there is room;
    `again`: when requests were sent again."""

    sent: int = 0
    ok: int = 0
    failed: int = 0
    stale_keepalive: int = 0
    by_kind: dict[str, int] = field(default_factory=dict)
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0
    instances: dict[str, int] = field(default_factory=dict)
    timeline: list[list[float]] = field(default_factory=list)
    failures: list[list[Any]] = field(default_factory=list)
    started: float = 0.0
    seconds: float = 0.0
    again: list[float] = field(default_factory=list)

    @classmethod
    def from_json(cls, text: str | bytes) -> Report:
        return cls(**orjson.loads(text))

    def to_json(self) -> bytes:
        return orjson.dumps(self)


def build_report(samples: Sequence[Sample], started: float, seconds: float) -> Report:
    """Counts `samples`; the latencies are those of answered requests, the slowest is over all of them."""
    kinds = Counter(sample.failure for sample in samples if sample.failure)
    stale = kinds.pop("stale_keepalive", 0)
    failed = sum(kinds.values())
    bad = [sample for sample in samples if sample.failure]
    bad.sort(key=lambda sample: sample.failure == "stale_keepalive")
    answered = sorted(sample.latency * 1000 for sample in samples if not sample.failure)
    return Report(
        sent=len(samples),
        ok=len(answered),
        failed=failed,
        stale_keepalive=stale,
        by_kind=dict(kinds),
        p50_ms=percentile(answered, 50),
        p99_ms=percentile(answered, 99),
        max_ms=round(max((sample.latency * 1000 for sample in samples), default=0.0), 3),
        instances=dict(Counter(sample.instance for sample in samples if sample.instance)),
        timeline=_timeline(samples, started),
        failures=[[s.start, s.failure, s.status, round(s.latency * 1000, 3)] for s in bad[:100]],
        started=started,
        seconds=round(seconds, 3),
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Nearest rank; 0.0 of nothing."""
    if not ordered:
        return 0.0
    return round(ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)], 3)


def _timeline(samples: Sequence[Sample], started: float) -> list[list[float]]:
    rows: list[list[float]] = []
    for sample in samples:
        second = max(0, int(sample.start - started))
        rows.extend([0, 0, 0.0] for _ in range(second + 1 - len(rows)))
        row = rows[second]
        row[0] += 1
        row[1] += bool(sample.failure)
        row[2] = round(max(row[2], sample.latency * 1000), 3)
    return rows


class Connection(asyncio.Protocol):
    """One connection with at most one request under way; its answer, or how it ended, is in `done`."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.done: asyncio.Future[tuple[int, bytes]] | None = None
        self.buffer = b""
        self.closed = False
        self.place = ("", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def ask(self, request: bytes) -> asyncio.Future[tuple[int, bytes]]:
        assert self.transport is not None
        self.buffer = b""
        self.done = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.done

    def data_received(self, data: bytes) -> None:
        if self.done is None or self.done.done():
            self.close()  # an answer that nobody asked for: this connection is of no further use
            return
        self.buffer += data
        try:
            answer = parse_answer(self.buffer)
        except ValueError:
            self.done.set_exception(_Failure("garbage"))
            self.close()
            return
        if answer is not None:
            status, body, keep = answer
            self.done.set_result((status, body))
            if not keep:
                self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        if self.done is not None and not self.done.done():
            self.done.set_exception(_Failure("reset" if error else "early_close"))

    def close(self) -> None:
        self.closed = True
        if self.transport is not None:
            self.transport.close()


class _Failure(Exception):
    @property
    def kind(self) -> str:
        return str(self)


class Load:
    """Asks `target` at `rate` requests per second, between `start` and `stop`.

    `keep_alive` of them (0.5: half) go out on kept-alive connections, of which at most one per request under way is
    open. Runs in the caller's event loop; use the program where that should not be disturbed.
    """

    def __init__(self, target: Target, rate: float = 300.0, keep_alive: float = 0.5, timeout: float = TIMEOUT):
        self.target = target
        self._places = [(target.address, target.port), *target.others]
        self.rate = rate
        self.keep_alive = keep_alive
        self.timeout = timeout
        self.samples: list[Sample] = []
        self._idle: list[Connection] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._clock: asyncio.Task[None] | None = None
        self._started = 0.0
        self._counted = asyncio.Condition()
        self._turn = itertools.count()
        self.tell = self.again = False
        self._sent_again: list[float] = []

    async def start(self) -> None:
        self._started = time.time()
        self._clock = asyncio.create_task(self._tick(), name="load")

    def turn_to(self, urls: str) -> None:
        """From now on new connections go to these, between spaces, in turn; at least one."""
        found = (Target.of(url) for url in urls.split())
        self._places = [(each.address, each.port) for each in found] or self._places

    async def seen(self, count: int) -> None:
        """Returns when `count` requests have ended since the start."""
        async with self._counted:
            await self._counted.wait_for(lambda: len(self.samples) >= count)

    async def stop(self) -> Report:
        """Starts no more requests, waits for those under way (at most the timeout), and reports."""
        assert self._clock is not None
        self._clock.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._clock
        seconds = time.time() - self._started
        await asyncio.gather(*self._under_way)
        for connection in self._idle:
            connection.close()
        await asyncio.sleep(0)  # lets the transports close
        return self.report(seconds)

    def report(self, seconds: float | None = None) -> Report:
        """What was seen so far; `seconds` is how long requests were started (default: until now)."""
        lasted = time.time() - self._started if seconds is None else seconds
        return replace(build_report(self.samples, self._started, lasted), again=self._sent_again)

    async def _tick(self) -> None:
        """Starts each request at its time; those that are due together (a late wake-up) start together."""
        loop = asyncio.get_running_loop()
        begin, count, credit = loop.time(), 0, 0.0
        while True:
            due = int((loop.time() - begin) * self.rate) + 1
            while count < due:
                credit += self.keep_alive
                keep = credit >= 1.0
                credit -= keep
                self._launch(keep)
                count += 1
            await asyncio.sleep(max(0.0, begin + count / self.rate - loop.time()))

    def _launch(self, keep: bool) -> None:
        task = asyncio.create_task(self._request(keep))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _request(self, keep: bool) -> None:
        start, began = time.time(), time.monotonic()
        reused = self._take_idle() if keep else None
        status, instance, version, failure = 0, "", "", ""
        try:
            async with asyncio.timeout(self.timeout):
                status, instance, version = await self._answered(reused, keep)
        except TimeoutError:
            failure = "timeout"
        except _Failure as error:
            failure = error.kind
            if reused is not None and not reused.buffer and failure in ("reset", "early_close"):
                failure = "stale_keepalive"
        if not failure and status != self.target.status:
            failure = "status"
        latency = time.monotonic() - began
        sample = Sample(start, latency, status, instance, failure, keep, version)
        self.samples.append(sample)
        if self.tell and failure not in ("", "stale_keepalive"):
            print(f"{self.target.host}: {sample}", file=sys.stderr, flush=True)
        async with self._counted:
            self._counted.notify_all()

    def _take_idle(self) -> Connection | None:
        """An open idle connection, the longest unused first: each is used in turn and none grows stale unseen."""
        while self._idle:
            connection = self._idle.pop(0)
            if not connection.closed:
                return connection
        return None

    async def _answered(self, reused: Connection | None, keep: bool) -> tuple[int, str, str]:
        connection = reused or await self._connect(self._places)
        others = [each for each in self._places if each != connection.place]
        try:
            return await self._exchange(connection, keep)
        except _Failure as error:
            if not (self.again and others) or reused or connection.buffer or error.kind != "reset":
                raise
        self._sent_again.append(time.time())
        return await self._exchange(await self._connect(others), keep)

    async def _exchange(self, connection: Connection, keep: bool) -> tuple[int, str, str]:
        try:
            status, body = await connection.ask(self.target.request(keep))
        except (asyncio.CancelledError, _Failure):
            connection.close()
            raise
        if keep and not connection.closed:
            self._idle.append(connection)
        else:
            connection.close()
        found = _INSTANCE.search(body)
        instance, version = (word.decode() for word in found.groups(b"")) if found else ("", "")
        return status, instance, version

    async def _connect(self, places: Sequence[tuple[str, int]]) -> Connection:
        first = next(self._turn) % len(places)
        for place in (*places[first:], *places[:first]):
            try:
                _, connection = await asyncio.get_running_loop().create_connection(Connection, *place)
            except OSError:
                continue
            connection.place = place
            return connection
        raise _Failure("connect")


def load_command(url: str, host: str | None = None, rate: float = 300.0, *more: str) -> list[str]:
    """The command line of a load that runs until its standard input ends or it gets SIGINT; the report is the one
    line of its standard output. The repository must be the working directory."""
    command = [sys.executable, "-m", "testbed.load", "--url", url, "--rate", str(rate), "--json", *more]
    return [*command, "--host", host] if host else command


async def _run(arguments: argparse.Namespace) -> Report:
    target = Target.of(arguments.url, arguments.host, arguments.status)
    others = (Target.of(url) for url in arguments.also)
    target = replace(target, others=tuple((each.address, each.port) for each in others))
    load = Load(target, arguments.rate, arguments.keep_alive, arguments.timeout)
    load.tell, load.again, stopped = arguments.tell, arguments.again, stop_event(load.turn_to)
    await load.start()
    if arguments.announce:
        print("ready", flush=True)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stopped.wait(), arguments.duration)
    return await load.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="testbed.load", description="constant HTTP load; never retries")
    parser.add_argument("--url", required=True, help="http://address:port/path")
    parser.add_argument("--also", action="append", default=[], help="another address to turn to, as a URL; repeat")
    parser.add_argument("--again", action="store_true", help="ask another address where a new connection is reset")
    parser.add_argument("--host", help="Host header; default: the URL's")
    parser.add_argument("--rate", type=float, default=300.0, help="requests per second")
    parser.add_argument("--keep-alive", type=float, default=0.5, help="share on kept-alive connections")
    parser.add_argument("--duration", type=float, help="seconds; default: until stopped")
    parser.add_argument("--timeout", type=float, default=TIMEOUT, help="seconds until a request has failed")
    parser.add_argument("--status", type=int, default=200, help="the expected status")
    parser.add_argument("--announce", action="store_true", help='print "ready" once it has begun')
    parser.add_argument("--tell", action="store_true", help="print each failure to stderr, as it happens")
    parser.add_argument("--json", action="store_true", help="the whole report as JSON")
    arguments = parser.parse_args()
    report = asyncio.run(_run(arguments))
    if arguments.json:
        sys.stdout.write(report.to_json().decode() + "\n")
        return
    print(f"sent {report.sent}, ok {report.ok}, failed {report.failed} {report.by_kind or ''}")
    print(f"p50 {report.p50_ms} ms, p99 {report.p99_ms} ms, max {report.max_ms} ms")


if __name__ == "__main__":
    main()
