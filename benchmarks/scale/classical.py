"""The usual way to change HAProxy: the whole configuration written anew, checked, and the master told to reload.

It is the configuration that l7 itself would start with, so that what differs is the way a change gets in.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.scale.program import family
from benchmarks.scale.proxy_stage import CHECK_INTERVAL
from haproxy import policy
from haproxy.model import Backend, Desired, Route, Server
from haproxy.process import Process
from haproxy.render import render_files
from haproxy.runtime.client import Master, Runtime, master_url, unix_url
from haproxy.settings import Settings
from l7.kit.errors import Unavailable
from l7.model import Snapshot
from testbed.haproxy_versions import haproxy
from testbed.namespace import TestbedError
from tests.integration.live_haproxy import capabilities_of, free_port, server_names, write_files

PATIENCE = 120.0


@dataclass(slots=True)
class Classical:
    """A running HAProxy. `port`: of HTTP; `checks`: CPU seconds of all checks so far."""

    settings: Settings
    process: Process
    checks: float = 0.0
    runtime: Runtime = field(init=False)

    def __post_init__(self) -> None:
        self.runtime = Runtime(unix_url(self.settings.socket))

    @property
    def port(self) -> int:
        return int(self.settings.bind[0].rpartition(":")[2])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def pids(self) -> list[int]:
        """Master and workers, those that still end included."""
        return family(self.process.master)

    def write(self, state: Snapshot) -> None:
        """All files, for HAProxy to load."""
        able, wanted = capabilities_of(Path(self.process.binary)), desired(state)
        placement = policy.place(self.settings, able, wanted.backends)
        ready = server_names(self.settings, able, wanted)
        write_files(Path(self.settings.run_dir), render_files(self.settings, able, wanted, placement, ready))

    async def change(self, state: Snapshot) -> None:
        """By a reload; returns once the new worker serves."""
        await asyncio.to_thread(self.write, state)
        before = _children()
        await self.process.check()
        self.checks += _children() - before
        await asyncio.to_thread(self._reload)

    def _reload(self) -> None:
        old = self._worker()
        Master(master_url(self.settings.master_socket)).reload()
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if self._worker() not in (0, old):
                return
            time.sleep(0.005)  # of another process
        raise TestbedError(f"no new worker in {PATIENCE:.0f} s")

    def _worker(self) -> int:
        """Who answers; 0: nobody, between two workers."""
        self.runtime.reopen()
        with suppress(Unavailable):
            info = self.runtime.info()
            return 0 if info.stopping else info.pid
        return 0


def _children() -> float:
    """CPU seconds of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@asynccontextmanager
async def classical_up(series: str, state: Snapshot) -> AsyncIterator[Classical]:
    """HAProxy with this state, on one thread, within the block."""
    binary = str(haproxy(series))
    with TemporaryDirectory(prefix="l7-scale-") as name:
        settings = replace(
            Settings(run_dir=name, bind=(f"127.0.0.1:{free_port()}",), threads=1, check_interval=CHECK_INTERVAL),
            access_log=False, max_connections=3000, spare_backends=len(state.backends) + 10,
        )  # fmt: skip
        proxy = Classical(settings, Process(settings, binary))
        proxy.write(state)
        try:
            await proxy.process.start()
            yield proxy
        finally:
            await proxy.process.stop(0)
            proxy.runtime.close()


def desired(state: Snapshot) -> Desired:
    """In HAProxy's words, all that a scenario's state has."""
    backends = {
        name: Backend(
            name, (name,), servers={s.task: Server(s.task, s.id, s.address, s.port) for s in each.servers.values()}
        )
        for name, each in state.backends.items()
    }
    routes = {key: Route(each.host, each.path, each.backend) for key, each in state.routes.items()}
    return Desired(state.revision, backends, routes)
