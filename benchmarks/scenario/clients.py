"""Clients of the system under test, each a process of its own outside all nodes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from testbed.handshakes import HandshakeReport, handshakes_command
from testbed.load import Report, load_command
from testbed.namespace import TestbedError
from testbed.sessions import SessionReport, sessions_command
from testbed.system import TLS_PORT, System

RATE = 320.0
"""Requests per second of the constant load, so that it stays above 300 even where one is late."""

R = TypeVar("R", Report, SessionReport, HandshakeReport)


class Client(Generic[R]):
    """A running client program; `finish` ends it and gives its report."""

    def __init__(self, process: subprocess.Popen[Any], read: Callable[[bytes], R]) -> None:
        self._process = process
        self._read: Callable[[bytes], R] = read

    def finish(self, seconds: float = 0.0) -> R:
        """Lets it go on for some seconds more, then ends it."""
        time.sleep(seconds)  # a time to look on, not a wait for something
        output, _ = self._process.communicate(timeout=60)
        if self._process.returncode:
            raise TestbedError(f"{self._process.args!r} ended with status {self._process.returncode}")
        return self._read(output)


@contextmanager
def _running(system: System, command: list[str], read: Callable[[bytes], R]) -> Iterator[Client[R]]:
    process = system.swarm.run(None, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=system.repository)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise TestbedError(f"{command} did not start")
        yield Client(process, read)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@contextmanager
def load(system: System, host: str, rate: float = RATE, url: str = "") -> Iterator[Client[Report]]:
    """A constant load on a host, half on kept-alive connections; it has begun when the block does. `url`: of the
    proxy, the first one of l7 if not given."""
    command = load_command(url or system.url(), host, rate, "--announce")
    with _running(system, command, Report.from_json) as client:
        yield client


@contextmanager
def sessions(
    system: System, host: str, websockets: int = 20, downloads: int = 1
) -> Iterator[Client[SessionReport]]:
    """WebSockets and slow downloads, all of them open when the block begins."""
    command = sessions_command(system.url(), host, websockets, downloads)
    with _running(system, command, SessionReport.from_json) as client:
        yield client


@contextmanager
def handshakes(system: System, hosts: list[str], rate: float) -> Iterator[Client[HandshakeReport]]:
    """TLS handshakes with the first proxy of l7, for each of the hosts in turn."""
    address = system.url().rpartition("/")[2].partition(":")[0]
    with _running(system, handshakes_command(address, TLS_PORT, hosts, rate), HandshakeReport.from_json) as client:
        yield client
