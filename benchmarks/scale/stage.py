"""The whole system on a Swarm in memory: the product's own core, sidecars and HAProxy, each a process.

    FakeSwarm ─ Swarmkit (gRPC, TLS) ─ control.sock ─ l7 core ─ gRPC, mutual TLS ─ l7 haproxy sidecar ─ HAProxy
              └ engine_api ─────────── docker.sock ─┘                                └──── probes ───┐    └ checks
    every task's address is in 127.0.0.0/8 ──────────────────────────────────────── one listener ◀───┴──────┘

What is left of the first l7 is this process.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.scale.program import L7, PATIENCE, Line, Program, family, running
from l7.deploy import pki
from l7.kit.tls import TlsFiles
from testbed.haproxy_versions import haproxy
from testbed.processes import command_of
from tests.fakes.engine import EngineApi, engine_api
from tests.fakes.swarm import FakeSwarm
from tests.fakes.swarm_state import PROXY_LABELS
from tests.fakes.swarmkit import Swarmkit
from tests.integration.live_haproxy import free_port

PADDING = 560
"""Bytes of a task's message that l7 skips: a listing of 100,000 tasks is as long as Swarm's own then, 70 MB."""

SHARING = 100
"""Services on one network: with ten tasks each they fill a quarter of a /20."""

CHECK_INTERVAL = 3_600_000
"""Milliseconds. HAProxy's checks of 100,000 tasks every 2 s would be all that this machine does."""


QUIET = 2.0
"""Seconds without a line of the sidecar's log, after which nothing goes on any more."""


@dataclass(frozen=True, slots=True)
class World:
    """A Swarm in memory with its sockets. `directory`: for files of the scenario's; `port`: of every task."""

    directory: Path
    swarm: FakeSwarm
    swarmkit: Swarmkit
    docker: EngineApi
    port: int
    authority: pki.Authority

    def identity(self, name: str, identity: bytes) -> TlsFiles:
        ca, path = self.directory / "ca.pem", self.directory / f"{name}.pem"
        ca.write_bytes(self.authority.certificate)
        path.write_bytes(identity)
        return TlsFiles(str(ca), str(path))


@asynccontextmanager
async def world(services: int, tasks: int) -> AsyncIterator[World]:
    """So many services with as many tasks each, all running, and a proxy service on their networks."""
    with TemporaryDirectory(prefix="l7-scale-") as name:
        directory, port = Path(name), free_port()
        swarm = FakeSwarm(nodes=max(1, services * tasks // 100), first_address="127.1.0.0")
        swarm.populate(services, tasks, {"com.docker.lb.port": str(port)}, SHARING)
        swarm.create_service("proxy", PROXY_LABELS, swarm.networks)
        swarm.compact()
        async with (
            _listener(port),
            Swarmkit(swarm.source(), directory / "control.sock", PADDING) as swarmkit,
            engine_api(directory / "docker.sock", await swarmkit.trust_root()) as docker,
        ):
            for kind in ("tasks", "services", "nodes", "networks"):
                swarmkit.listed(kind)  # encoded now, and not while somebody measures
            yield World(directory, swarm, swarmkit, docker, port, pki.new_authority())


@asynccontextmanager
async def _listener(port: int) -> AsyncIterator[None]:
    """Takes every connection, and closes it: probes and checks want no more."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "0.0.0.0", port, backlog=4096)
    try:
        yield
    finally:
        server.close()


# ---------------------------------------------------------------- core


@dataclass(frozen=True, slots=True)
class Core:
    """A running core. `port`: of its gRPC server."""

    program: Program
    port: int

    @property
    def pid(self) -> int:
        return self.program.pid

    async def ready(self) -> Line:
        """Once it has a state to serve."""
        return await self.program.line("first state")


@asynccontextmanager
async def core_up(world: World, port: int = 0) -> AsyncIterator[Core]:
    """`l7 core` as in production, but for the services of the cluster, which it does not keep."""
    port = port or free_port()
    files = world.identity("core", pki.core_identity(world.authority))
    options = {
        "listen": f"127.0.0.1:{port}", "docker-url": world.docker.url, "watch-source": "swarmkit",
        "control-socket": world.swarmkit.path, "tls-ca": files.ca, "tls-identity": files.identity,
        "admin-socket": world.directory / "core-admin.sock",
    }  # fmt: skip
    given = (f"--{name}={value}" for name, value in options.items())
    async with running("core", [*L7, "core", "--no-fleet", *given]) as program:
        for event in ("admin listening", "following Swarm", "first state", "revision in effect"):
            program.journal(event)
        yield Core(program, port)


# ---------------------------------------------------------------- proxies


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running sidecar with its HAProxy."""

    program: Program
    directory: Path

    @property
    def pid(self) -> int:
        """Of the sidecar."""
        return self.program.pid

    @property
    def socket(self) -> Path:
        """HAProxy's Runtime API."""
        return self.directory / "cli.sock"

    def haproxy(self) -> list[int]:
        """Master and workers; none before the first start."""
        try:
            return family(int((self.directory / "haproxy.pid").read_text().split()[0]))
        except (OSError, IndexError):
            return []

    async def applied(self) -> Line:
        """Once its first revision is in effect."""
        return await self.program.line("applied")

    async def in_rotation(self, servers: int) -> None:
        """Once so many have been enabled, and nothing goes on any more. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE):
            while self.program.counts["in rotation"] < servers:  # noqa: ASYNC110 - of another process
                await asyncio.sleep(QUIET)
        await self.quiet()

    async def settled(self, core: Core) -> None:
        """Once what core has said last is in effect, and nothing goes on any more. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE):
            while not self._follows(core):  # noqa: ASYNC110 - of another process
                await asyncio.sleep(QUIET)
        await self.quiet()

    async def quiet(self) -> None:
        """Once the sidecar has said nothing for a while."""
        before = -1
        async with asyncio.timeout(PATIENCE):
            while before != self.program.counts.total():
                before = self.program.counts.total()
                await asyncio.sleep(QUIET)

    def _follows(self, core: Core) -> bool:
        said, applied = core.program.latest.get("state changed", {}), self.program.latest.get("applied", {})
        return said.get("revision") == applied.get("revision")


@asynccontextmanager
async def proxy_up(world: World, core: Core, series: str, name: str = "proxy") -> AsyncIterator[Proxy]:
    """`l7 haproxy sidecar` as in production, but for the interval of HAProxy's checks."""
    directory = world.directory / name
    files = world.identity(name, pki.proxy_identity(world.authority, ""))
    options = {
        "core": f"127.0.0.1:{core.port}", "tls-ca": files.ca, "tls-identity": files.identity, "instance": name,
        "binary": haproxy(series), "run-dir": directory, "bind": f"127.0.0.1:{free_port()}", "tls-bind": "",
        "admin": f"127.0.0.1:{free_port()}", "check-interval": CHECK_INTERVAL, "stop-grace": 1,
    }  # fmt: skip
    given = (f"--{name}={value}" for name, value in options.items())
    async with running(name, [*L7, "haproxy", "sidecar", *given]) as program:
        for event in ("update", "haproxy started", "applied"):
            program.journal(event)
        proxy = Proxy(program, directory)
        try:
            yield proxy
        finally:
            left = proxy.haproxy()
            await program.stop()
            _kill(left, directory)


def _kill(pids: list[int], directory: Path) -> None:
    """Whatever became of the sidecar, its HAProxy does not outlive it."""
    for pid in pids:
        if str(directory) in " ".join(command_of(pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
