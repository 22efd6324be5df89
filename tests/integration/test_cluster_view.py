"""The extension service over two real proxies: what they see together, in its metrics, its status and core's."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from haproxy import look, pace, show
from haproxy.service import ExtensionService, Options
from l7.model import Backend, BackendSettings, Route, Server, ServerState, Snapshot
from l7.status import service_document
from tests.integration.live_haproxy import free_port
from tests.integration.live_sidecar import App, Proxy, apps, command, proxy, proxy_settings, until
from tests.integration.test_publish_stream import Stored
from tests.integration.test_sync_stream import Core

pytestmark = pytest.mark.haproxy


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "SETTLE", 0.05)
    monkeypatch.setattr(look, "INTERVAL", 0.1)
    monkeypatch.setattr(look, "PATIENCE", 0.5)
    monkeypatch.setattr(show, "SHARE", 1)  # a proxy that was stopped took long for its answer


def state(*tasks: App) -> Snapshot:
    servers = {
        each.name: Server(each.name, each.id, "127.0.0.1", each.port, 64, ServerState.READY) for each in tasks
    }
    web = Backend("web", BackendSettings(("web",), expected=True), servers)
    route = Route("web.test", "/", "web")
    return Snapshot("", "1", {"web": web}, {("web.test", "/"): route})


@dataclass
class Cluster:
    core: Core
    service: ExtensionService
    proxies: tuple[Proxy, Proxy]

    @property
    def seen(self) -> dict[str, Any]:
        assert self.service.follower is not None
        return self.service.follower.status()

    @property
    def told(self) -> dict[str, Any]:
        """What core shows of it."""
        (service,) = self.core.api.services
        return service_document(service)["view"] or {}

    async def metric(self, line: str) -> bool:
        """Whether its metrics have this line."""
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{self.service.options.admin}/metrics") as answer:
                return line in (await answer.text()).splitlines()


@asynccontextmanager
async def cluster(binary: Path, directory: Path, *tasks: App) -> AsyncIterator[Cluster]:
    """Checks are seldom, so that a server is as a proxy was told."""
    core = Core({"": state(*tasks)}, publisher=Stored())
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(core.running(None))
        admin = f"127.0.0.1:{free_port()}"
        options = Options(
            "127.0.0.1:0", str(directory / "x"), core=core.address, run_dir=str(directory), admin=admin
        )
        service, stop = ExtensionService(replace(options, published=str(directory / "y"))), asyncio.Event()
        running = asyncio.create_task(service.run(stop))
        stack.push_async_callback(asyncio.wait_for, running, 10)
        stack.callback(stop.set)
        await until(lambda: service.follower)
        port = core.server.ports[0]
        proxies = []
        for name in ("one", "two"):
            (directory / name).mkdir()
            settings = proxy_settings(directory / name, check_interval=60_000)
            options_of = {"extension": f"127.0.0.1:{service.port}", "published": "", "instance": name}
            proxies.append(await stack.enter_async_context(proxy(binary, settings, port, **options_of)))
        await until(lambda: all(each.sidecar.revision == "1" for each in proxies))
        yield Cluster(core, service, (proxies[0], proxies[1]))


async def mark(proxy: Proxy, task: str, health: str) -> None:
    """Let a proxy find a server up or down."""
    physical = proxy.sidecar.reconciler.seen.placement["web"]
    rows = (await command(proxy.settings.socket, f"show servers state {physical}")).splitlines()
    (name,) = [row.split()[3] for row in rows if f" {task}." in row]
    assert not (await command(proxy.settings.socket, f"set server {physical}/{name} health {health}")).strip()


async def test_verdicts_are_those_of_most_proxies_and_where_they_differ_it_shows(
    haproxy_binary: Path, tmp_path: Path
) -> None:
    async with apps("t1", "t2") as tasks, cluster(haproxy_binary, tmp_path, *tasks) as both:
        await until(lambda: both.seen["servers"] == {"up": 2, "down": 0, "maint": 0}, str(both.seen))
        await until(lambda: both.told and (both.told["proxies"], both.told["up"]) == (2, 2))
        assert [each["missed"] for each in both.seen["proxies"]] == ["", ""]
        assert await both.metric('l7_cluster_servers{cluster="",state="up"} 2.0')
        assert await both.metric('l7_cluster_backend_servers{backend="web",cluster="",state="up"} 2.0')

        await mark(both.proxies[1], "t1", "down")
        split = [{"backend": "web", "task": "t1", "up": 1, "proxies": 2}]
        await until(lambda: both.seen["split"] == split, str(both.seen))
        await until(lambda: both.told["split"] == split)
        assert both.told["unhealthy"] == [{"backend": "web", "task": "t1"}], "one of two is not most"
        assert both.seen["servers"] == {"up": 1, "down": 1, "maint": 0}
        assert await both.metric('l7_cluster_servers{cluster="",state="split"} 1.0')

        await mark(both.proxies[0], "t1", "down")
        await until(lambda: not both.told["split"])
        assert both.told["unhealthy"] == [{"backend": "web", "task": "t1"}], "they agree"

        for each in both.proxies:
            await mark(each, "t1", "up")
        await until(lambda: both.told["unhealthy"] == [] and both.told["up"] == 2)
        assert both.told["split"] == []


async def test_a_proxy_that_does_not_answer_has_no_part_in_it(haproxy_binary: Path, tmp_path: Path) -> None:
    async with apps("t1") as tasks, cluster(haproxy_binary, tmp_path, *tasks) as both:
        await until(lambda: both.told and both.told["proxies"] == 2)
        worker = both.proxies[1].worker
        assert worker is not None
        try:
            os.kill(worker, signal.SIGSTOP)
            await until(lambda: (both.told["proxies"], both.told["silent"]) == (1, 1), str(both.seen))
            await mark(both.proxies[0], "t1", "down")
            await until(lambda: both.told["unhealthy"] == [{"backend": "web", "task": "t1"}])
            await mark(both.proxies[0], "t1", "up")
            await until(lambda: both.told["unhealthy"] == [], "the other one is most")
            assert await both.metric('l7_cluster_proxies{cluster="",state="silent"} 1.0')
        finally:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGCONT)
        await until(lambda: (both.told["proxies"], both.told["silent"]) == (2, 0), str(both.seen))
