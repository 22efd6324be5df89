"""HAProxy's own metrics through the admin port, on a real HAProxy whose servers change meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from haproxy.exporter import SOCKET
from haproxy.scrape import PAGE, Scrape
from l7.kit import http
from l7.kit.metrics import Metrics
from tests.integration.live_haproxy import free_port
from tests.integration.live_sidecar import App, Core, Proxy, apps, core_up, eventually, proxy, proxy_settings

pytestmark = pytest.mark.haproxy

Samples = Mapping[str, Mapping[frozenset[tuple[str, str]], float]]
"""By name, then by labels."""


class Admin:
    """The sidecar's admin server, as `l7 haproxy sidecar` has it."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}{PAGE}"

    async def get(self, query: str = "") -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(self.url + query) as answer:
            return answer.status, await answer.text()

    async def samples(self, query: str = "") -> Samples:
        status, text = await self.get(query)
        assert status == 200, text
        found: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
        for family in text_string_to_metric_families(text):
            for each in family.samples:
                labels = frozenset(each.labels.items())
                assert labels not in found.setdefault(each.name, {}), "a sample is there twice"
                found[each.name][labels] = each.value
        return found


@asynccontextmanager
async def admin_of(running: Proxy) -> AsyncIterator[Admin]:
    port = free_port()
    pages = {PAGE: Scrape(running.sidecar.reconciler).page}
    admin = http.Admin(Metrics("sidecar", "test"), lambda: "", dict, pages)
    async with http.listening(admin, f"127.0.0.1:{port}", ""):
        yield Admin(port)


@pytest.fixture
async def core() -> AsyncIterator[Core]:
    async with core_up() as core:
        yield core


@pytest.fixture
async def running(haproxy_binary: Path, tmp_path: Path, core: Core) -> AsyncIterator[Proxy]:
    async with proxy(haproxy_binary, proxy_settings(tmp_path), core.port) as running:
        yield running


async def serve(core: Core, running: Proxy, name: str, *applications: App) -> None:
    core.service(name, *applications)
    await core.applied()
    await eventually(lambda: running.servers(name), {app.name: True for app in applications})


def answered(samples: Samples, kind: str) -> dict[str, float]:
    """Answers with 200 by service, and by task with it: backends by the name that core has for them."""
    services = {dict(each)["proxy"]: dict(each)["backend"] for each in samples["l7_backend_info"]}
    found = {}
    for labels, value in samples[f"haproxy_{kind}_http_responses_total"].items():
        named = dict(labels)
        if named["code"] == "2xx" and named["proxy"] in services and named.get("server") != "hold":
            task = named.get("server", "").partition(".")[0]
            found["/".join(filter(None, (services[named["proxy"]], task)))] = value
    return found


async def test_counters_follow_services_and_servers(core: Core, running: Proxy) -> None:
    async with apps("one", "two", "three") as (one, two, three), admin_of(running) as admin:
        await serve(core, running, "a", one)
        await serve(core, running, "b", three)
        for name in ("a", "a", "b"):
            assert (await running.get(f"{name}.test"))[0] == 200
        samples = await admin.samples()
        assert answered(samples, "backend") == {"a": 2, "b": 1}
        assert answered(samples, "server") == {"a/one": 2, "b/three": 1}
        routes = {tuple(sorted(dict(each).items())) for each in samples["l7_route_info"]}
        assert routes == {(("backend", name), ("host", f"{name}.test"), ("path", "/")) for name in "ab"}

        await serve(core, running, "a", one, two)
        core.remove("b")
        await core.applied()
        await eventually(running.backends, {"a"})
        samples = await admin.samples()
        assert answered(samples, "backend") == {"a": 2}
        assert answered(samples, "server") == {"a/one": 2, "a/two": 0}


async def test_scrapes_go_on_while_servers_change(core: Core, running: Proxy) -> None:
    """Each answer is a whole one."""
    changed = asyncio.Event()

    async def scrape(admin: Admin) -> int:
        scrapes = 0
        while not changed.is_set():
            samples = await admin.samples()
            assert {"haproxy_backend_status", "l7_backend_info", "l7_route_info"} <= samples.keys()
            scrapes += 1
        return scrapes

    async with apps("one", "two") as (one, two), admin_of(running) as admin:
        await serve(core, running, "a", one)
        scraping = asyncio.create_task(scrape(admin))
        for _ in range(5):
            await serve(core, running, "a", one, two)
            await serve(core, running, "b", two)
            await serve(core, running, "a", two)
            core.remove("b")
            await core.applied()
        changed.set()
        assert await scraping > 5


async def test_what_is_asked_for_is_passed_on(core: Core, running: Proxy) -> None:
    async with apps("one") as (one,), admin_of(running) as admin:
        await serve(core, running, "a", one)
        default = await admin.samples()
        assert not any(name.startswith(("haproxy_process", "haproxy_frontend")) for name in default)
        assert "haproxy_process_uptime_seconds" in await admin.samples("?scope=global")
        proxies = {dict(each)["proxy"] for each in default["haproxy_backend_status"]}
        assert not {each for each in proxies if each.startswith("spare")} - {
            (await running.map("backends.map"))["a"]
        }
        whole = {dict(each)["server"] for each in default["haproxy_server_weight"]}
        assert "one" in {name.partition(".")[0] for name in whole}
        assert (await admin.get("?scope=nonsense"))[0] == 400


async def test_it_is_nobodys_but_the_owners(core: Core, running: Proxy) -> None:
    async with apps("one") as (one,), admin_of(running):
        await serve(core, running, "a", one)
        assert Path(running.settings.file(SOCKET)).stat().st_mode & 0o777 == 0o600
        for path in ("/metrics", PAGE, "/nginx_status", "/haproxy?stats"):
            assert await running.get("a.test", path) == (200, "one")
            assert (await running.get("elsewhere.test", path))[0] == 503


async def test_without_an_exporter_and_without_an_haproxy(core: Core, running: Proxy) -> None:
    async with apps("one") as (one,), admin_of(running) as admin:
        await serve(core, running, "a", one)
        exporter = Path(running.settings.file(SOCKET))
        exporter.rename(exporter.with_name("gone"))
        status, text = await admin.get()
        assert status == 404
        assert "PROMEX" in text
        Path(running.settings.socket).rename(exporter.with_name("gone.too"))
        status, text = await admin.get()
        assert status == 503
        assert "can't be asked" in text


async def test_an_answer_that_breaks_off_is_not_taken_for_the_whole(core: Core, running: Proxy) -> None:
    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"# TYPE haproxy_x gauge\nhaproxy_x 1\n")
        assert request.transport is not None
        request.transport.abort()
        return response

    async with apps("one") as (one,), admin_of(running) as admin:
        await serve(core, running, "a", one)
        exporter = Path(running.settings.file(SOCKET))
        exporter.unlink()
        application = web.Application()
        application.router.add_get("/metrics", half)
        runner = web.AppRunner(application)
        await runner.setup()
        try:
            await web.UnixSite(runner, str(exporter)).start()
            with pytest.raises(aiohttp.ClientError):
                await admin.get()
        finally:
            await runner.cleanup()
