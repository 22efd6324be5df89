"""Clients of the system under test, each a process of its own outside all nodes."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import docker
from docker.errors import APIError

from benchmarks.scenario.installed import Installed, Place, places_of
from testbed.handshakes import HandshakeReport, handshakes_command
from testbed.load import Report, load_command
from testbed.namespace import TestbedError
from testbed.sessions import SessionReport, sessions_command
from testbed.swarm import Swarm
from testbed.system import PROXY, TLS_PORT, System

RATE = 320.0
"""Requests per second of the constant load, so that it stays above 300 even where one is late."""

LOOK = 0.1
"""Seconds between looks at which proxies live."""

R = TypeVar("R", Report, SessionReport, HandshakeReport)


class Client(Generic[R]):
    """A running client program; `finish` ends it and gives its report."""

    def __init__(self, process: subprocess.Popen[Any], read: Callable[[bytes], R]) -> None:
        self._process = process
        self._read: Callable[[bytes], R] = read
        self.before_end: Callable[[], None] = lambda: None

    def tell(self, line: str) -> None:
        """A line for its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def finish(self, seconds: float = 0.0) -> R:
        """Lets it go on for some seconds more, then ends it."""
        time.sleep(seconds)  # a time to look on, not a wait for something
        self.before_end()
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
def load(
    system: System, host: str, rate: float = RATE, url: str = "", others: Sequence[str] = ()
) -> Iterator[Client[Report]]:
    """A constant load on a host, half on kept-alive connections; it has begun when the block does. `url`: of the
    proxy, the first one of l7 if not given; `others`: to turn to in turn, and where a connection is refused."""
    more = [word for other in others for word in ("--also", other)]
    command = load_command(url or system.url(), host, rate, "--announce", *more)
    with _running(system, command, Report.from_json) as client:
        yield client


@contextmanager
def balanced(system: Installed, host: str, rate: float = RATE) -> Iterator[Client[Report]]:
    """The same from clients that know which proxies live, as a load balancer in front of them does, and turn to the
    next one where a connection is refused."""
    first, *others = _urls(places_of(system.swarm, system.proxies()))
    with load(system, host, rate, first, others) as client, _following(system, client):
        yield client


@contextmanager
def _following(system: Installed, client: Client[Report]) -> Iterator[None]:
    """Tells the client each change until the block ends, or the client does."""
    follower = Follower(system.swarm, client.tell)
    client.before_end = follower.stop
    try:
        yield
    finally:
        follower.stop()


class Follower:
    """Tells which proxies are to run, and run; a thread with its own connection to Docker."""

    def __init__(self, swarm: Swarm, tell: Callable[[str], None]) -> None:
        self._swarm = swarm
        self._tell = tell
        self._stop = threading.Event()
        self._errors: list[Exception] = []
        self._thread = threading.Thread(target=self._run, name="follower")
        self._thread.start()

    def stop(self) -> None:
        """Raises what ended it before, if anything did."""
        self._stop.set()
        self._thread.join()
        if self._errors:
            raise self._errors.pop()

    def _run(self) -> None:
        client: Any = docker.APIClient(base_url=self._swarm.node(0).url, version="auto", timeout=30)
        try:
            while not self._stop.wait(LOOK):
                tasks = client.tasks(filters={"service": PROXY, "desired-state": "running"})
                self._tell(" ".join(_urls(places_of(self._swarm, tasks))))
        except (OSError, APIError) as error:
            self._errors.append(error)
        finally:
            client.close()


def _urls(places: Iterable[Place]) -> list[str]:
    return [f"http://{address}:{port}" for address, port in sorted({*places})]


@contextmanager
def sessions(
    system: System, host: str, websockets: int = 20, downloads: int = 1, url: str = ""
) -> Iterator[Client[SessionReport]]:
    """WebSockets and slow downloads, all of them open when the block begins. `url`: as for `load`."""
    command = sessions_command(url or system.url(), host, websockets, downloads)
    with _running(system, command, SessionReport.from_json) as client:
        yield client


@contextmanager
def handshakes(system: System, hosts: list[str], rate: float) -> Iterator[Client[HandshakeReport]]:
    """TLS handshakes with the first proxy of l7, for each of the hosts in turn."""
    address = system.url().rpartition("/")[2].partition(":")[0]
    with _running(system, handshakes_command(address, TLS_PORT, hosts, rate), HandshakeReport.from_json) as client:
        yield client
