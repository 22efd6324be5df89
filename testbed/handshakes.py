"""A constant rate of TLS handshakes that notices every failure, and which certificate was shown when:
``python -m testbed.handshakes --address 10.0.0.1 --port 443 --hosts a.test,b.test --rate 300``.

Open loop, as `testbed.load`: a handshake starts when the clock says so. Each is a connection of its own, to the
next of the hosts in turn, without resumption. Certificates are not verified: their fingerprints are counted, by
host, with the time of the first. A handshake has failed if the connection is refused or reset, TLS says no, or 10 s
pass.

As a program it runs until SIGINT, SIGTERM or the end of its standard input, and prints its report as one line.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import ssl
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson

from testbed.load import percentile
from testbed.program import stop_event

TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class HandshakeReport:
    """What was seen. Times in milliseconds but for `failures` ([unix seconds, host, kind], the first hundred) and
    `seen`: host -> SHA-256 of a certificate -> [unix seconds of the first, of the last, how many]."""

    sent: int = 0
    failed: int = 0
    by_kind: dict[str, int] = field(default_factory=dict)
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0
    seconds: float = 0.0
    seen: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    failures: list[list[Any]] = field(default_factory=list)

    @classmethod
    def from_json(cls, text: str | bytes) -> HandshakeReport:
        return cls(**orjson.loads(text))

    def to_json(self) -> bytes:
        return orjson.dumps(self)

    def failed_of(self, *hosts: str) -> int:
        """How many of these hosts' handshakes are among the first hundred that failed."""
        return sum(1 for _, host, _ in self.failures if host in hosts)


class Handshakes:
    """Runs in the caller's event loop, between `start` and `stop`."""

    def __init__(self, address: str, port: int, hosts: list[str], rate: float = 300.0) -> None:
        self.address, self.port, self.hosts, self.rate = address, port, hosts, rate
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        self._latencies: list[float] = []
        self._failures: list[list[Any]] = []
        self._seen: dict[str, dict[str, list[float]]] = {}
        self._under_way: set[asyncio.Task[None]] = set()
        self._clock: asyncio.Task[None] | None = None
        self._started = 0.0

    @property
    def ended(self) -> int:
        """How many handshakes have ended so far, well or not."""
        return len(self._latencies) + len(self._failures)

    async def start(self) -> None:
        self._started = time.time()
        self._clock = asyncio.create_task(self._tick())

    async def stop(self) -> HandshakeReport:
        """Starts no more, waits for those under way, and reports."""
        assert self._clock is not None
        self._clock.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._clock
        seconds = time.time() - self._started
        await asyncio.gather(*self._under_way)
        ordered = sorted(self._latencies)
        return HandshakeReport(
            sent=self.ended,
            failed=len(self._failures),
            by_kind=dict(Counter(kind for _, _, kind in self._failures)),
            p50_ms=percentile(ordered, 50),
            p99_ms=percentile(ordered, 99),
            max_ms=round(ordered[-1], 3) if ordered else 0.0,
            seconds=round(seconds, 3),
            seen=self._seen,
            failures=self._failures[:100],
        )

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        begin, count = loop.time(), 0
        while True:
            due = int((loop.time() - begin) * self.rate) + 1
            for number in range(count, due):
                task = asyncio.create_task(self._handshake(self.hosts[number % len(self.hosts)]))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
            count = max(count, due)
            await asyncio.sleep(max(0.0, begin + count / self.rate - loop.time()))

    async def _handshake(self, host: str) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(TIMEOUT):
                certificate = await self._connect(host)
        except TimeoutError:
            self._failures.append([time.time(), host, "timeout"])
        except ssl.SSLError as error:
            self._failures.append([time.time(), host, f"tls: {error.reason}"])
        except OSError as error:
            self._failures.append([time.time(), host, type(error).__name__])
        else:
            self._latencies.append((time.monotonic() - began) * 1000)
            self._note(host, hashlib.sha256(certificate).hexdigest())

    async def _connect(self, host: str) -> bytes:
        """The certificate that was shown, DER."""
        _, writer = await asyncio.open_connection(
            self.address, self.port, ssl=self._context, server_hostname=host, ssl_handshake_timeout=TIMEOUT
        )
        try:
            found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            return found
        finally:
            writer.transport.abort()

    def _note(self, host: str, fingerprint: str) -> None:
        now = time.time()
        row = self._seen.setdefault(host, {}).setdefault(fingerprint, [now, now, 0])
        row[1], row[2] = now, row[2] + 1


def handshakes_command(address: str, port: int, hosts: list[str], rate: float = 300.0) -> list[str]:
    """The command line of a program that prints "ready", runs until its standard input ends, and prints its
    report. The repository must be the working directory."""
    words = ["--address", address, "--port", str(port), "--hosts", ",".join(hosts), "--rate", str(rate)]
    return [sys.executable, "-m", "testbed.handshakes", *words]


async def _run(arguments: argparse.Namespace) -> HandshakeReport:
    client = Handshakes(arguments.address, arguments.port, arguments.hosts.split(","), arguments.rate)
    stopped = stop_event()
    await client.start()
    print("ready", flush=True)
    await stopped.wait()
    return await client.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="testbed.handshakes", description="constant rate of TLS handshakes")
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, default=443)
    parser.add_argument("--hosts", required=True, help="between commas")
    parser.add_argument("--rate", type=float, default=300.0, help="handshakes per second")
    sys.stdout.write(asyncio.run(_run(parser.parse_args())).to_json().decode() + "\n")


if __name__ == "__main__":
    main()
