"""The proxy's side at scale: core's gRPC server with a state that the scenario moves, `l7 haproxy sidecar` with its
HAProxy, and one listener that is every task."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from benchmarks.scale.program import L7, Program, cpu, family, running
from benchmarks.scenario import bare
from l7 import delta as deltas
from l7.kit import logs
from l7.kit.metrics import Metrics
from l7.model import Changes, Delta, Snapshot
from l7.serve.grpc_api import Endpoint, Server, SyncApi
from l7.status import Extensions
from l7.store import Store
from testbed.haproxy_versions import haproxy
from testbed.namespace import TestbedError
from testbed.processes import command_of
from tests.integration.live_haproxy import free_port

PATIENCE = 600.0
"""Seconds for a proxy to take a whole state."""

CHECK_INTERVAL = 3_600_000
"""Milliseconds. HAProxy's checks of 100,000 tasks every 2 s would be all that this machine does."""

ORIGIN = """\
global
  nbthread 1
  maxconn 8000
  no strict-limits
defaults
  mode http
  timeout client 1h
  timeout connect 5s
  timeout server 1h
frontend origin
  bind 0.0.0.0:{port} backlog 8192
  http-request wait-for-body time 1h if METH_POST
  http-request return status 200 content-type text/plain string "ok"
"""
"""Every address of 127.0.0.0/8 leads here, so each task has one of its own. A POST is answered at its end."""


@contextmanager
def origin(series: str) -> Iterator[int]:
    """What answers for all tasks: an HAProxy, the cheapest there is; its port."""
    with TemporaryDirectory(prefix="l7-scale-") as directory:
        port, config = free_port(), Path(directory, "origin.cfg")
        config.write_text(ORIGIN.format(port=port))
        with bare.running([str(haproxy(series)), "-db", "-f", str(config)], port):
            yield port


# ---------------------------------------------------------------- core


@dataclass
class Core:
    """What core serves, by its own server. `state` is the current one, revision `r<number>`."""

    state: Snapshot
    extensions: Extensions = field(default_factory=Extensions)
    changes: int = field(init=False)
    port: int = 0

    def __post_init__(self) -> None:
        self.store = Store(lambda cluster: self.state)
        self.store.put("")
        self.changes = int(self.state.revision[1:])
        self._said = asyncio.Event()
        self.extensions.on_change = lambda: self._said.set()

    async def acknowledged(self) -> None:
        """Until the proxy says that the current revision is in effect. Raises TestbedError."""
        wanted = self.state.revision
        try:
            async with asyncio.timeout(PATIENCE):
                while wanted not in {each.applied for each in self.extensions}:
                    self._said.clear()
                    await self._said.wait()
        except TimeoutError as error:
            raise TestbedError(f"no acknowledgement of {wanted}: {list(self.extensions)}") from error

    def change(self, changes: Changes) -> str:
        """The proxies hear of it at once; the new revision."""
        self.changes += 1
        delta = Delta(self.state.revision, f"r{self.changes}", changes, time.time_ns())
        self.state = deltas.apply(self.state, delta)
        self.store.put("", delta)
        return delta.results_in


@asynccontextmanager
async def core_up(state: Snapshot) -> AsyncIterator[Core]:
    """Core's server on loopback."""
    logs.configure("error")
    core = Core(state)
    api = SyncApi(core.store, ("",), core.extensions, Metrics("core", "scale"))
    server = Server(api, [Endpoint("127.0.0.1:0")])
    await server.start()
    core.port = server.ports[0]
    try:
        yield core
    finally:
        await server.stop(grace=0.2)


# ---------------------------------------------------------------- the proxy


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running sidecar and its HAProxy. `port`: of HTTP; `admin`: of the sidecar's own pages."""

    program: Program
    directory: Path
    port: int
    admin: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def sidecar(self) -> list[int]:
        return [self.program.pid]

    def haproxy(self) -> list[int]:
        """Master and workers; none before the first start."""
        try:
            return family(int((self.directory / "haproxy.pid").read_text().split()[0]))
        except (OSError, IndexError):
            return []

    def metrics(self) -> dict[str, float]:
        """By name with labels, as they are exposed."""
        lines = [line.rpartition(" ") for line in self._get("metrics").decode().splitlines() if line[0] != "#"]
        return {name: float(value) for name, _, value in lines}

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = orjson.loads(self._get("status"))
        return document

    def audits(self, kind: str = "servers") -> float:
        """How many of a kind there were."""
        return self.metrics().get(f'l7_audits_total{{of="{kind}"}}', 0.0)

    def _get(self, page: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/{page}", timeout=60) as answer:
            content: bytes = answer.read()
        return content

    async def serves(self, tasks: int) -> None:
        """Until so many tasks are in rotation: HAProxy's own word, at the next audit."""
        await self.until(f"{tasks} tasks in rotation", lambda: self._up() >= tasks)

    def _up(self) -> float:
        return self.metrics().get('l7_servers{cluster="",state="up"}', 0.0)

    async def until(self, what: str, condition: Callable[[], bool], pause: float = 0.25) -> None:
        """Asks again and again, in a thread. Raises TestbedError when it takes too long."""
        until = time.monotonic() + PATIENCE
        while not await asyncio.to_thread(_true, condition):
            if time.monotonic() > until:
                raise TestbedError(f"waited {PATIENCE:.0f} s in vain for {what}: {self.program.last_words}")
            await asyncio.sleep(pause)


def _true(condition: Callable[[], bool]) -> bool:
    """Whether it holds; a program that is busy holds nothing."""
    try:
        return condition()
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


@asynccontextmanager
async def proxy_up(core: Core, series: str, **options: object) -> AsyncIterator[Proxy]:
    """`l7 haproxy sidecar` as in production, within the block, but for the interval of HAProxy's checks. One thread
    for HAProxy, so that the other core is for all else."""
    with TemporaryDirectory(prefix="l7-scale-") as name:
        directory, port, admin = Path(name), free_port(), free_port()
        given = {
            "core": f"127.0.0.1:{core.port}", "instance": "proxy", "binary": haproxy(series), "run-dir": name,
            "bind": f"127.0.0.1:{port}", "tls-bind": "", "admin": f"127.0.0.1:{admin}", "threads": 1,
            "check-interval": CHECK_INTERVAL, "stop-grace": 1, **options,
        }  # fmt: skip
        words = (f"--{option.replace('_', '-')}={value}" for option, value in given.items())
        async with running("sidecar", [*L7, "haproxy", "sidecar", *words]) as program:
            proxy = Proxy(program, directory, port, admin)
            try:
                yield proxy
            finally:
                left = proxy.haproxy()
                await program.stop()
                _kill(left, name)


def _kill(pids: list[int], directory: str) -> None:
    """Whatever became of the sidecar, its HAProxy does not outlive it."""
    for pid in pids:
        if directory in " ".join(command_of(pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


# ---------------------------------------------------------------- what it uses


@dataclass(slots=True)
class Spent:
    """CPU seconds of sidecar and HAProxy, and seconds of time, between two looks."""

    proxy: Proxy
    began: float = 0.0
    sidecar: float = 0.0
    haproxy: float = 0.0

    def __post_init__(self) -> None:
        self.began, self.sidecar, self.haproxy = self._now()

    def _now(self) -> tuple[float, float, float]:
        return time.monotonic(), cpu(self.proxy.sidecar()), cpu(self.proxy.haproxy())

    def since(self) -> tuple[float, float, float]:
        """Seconds; CPU seconds of the sidecar; those of HAProxy."""
        now, sidecar, haproxy = self._now()
        return now - self.began, sidecar - self.sidecar, haproxy - self.haproxy
