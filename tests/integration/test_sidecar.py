"""The sidecar's way of a change, on a real HAProxy: adding, scaling, moving and removing, with no reload."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from l7.v1 import sync_pb2 as pb
from tests.integration.live_sidecar import App, Core, Proxy, apps, core_up, eventually, proxy, proxy_settings, until

pytestmark = pytest.mark.haproxy


@pytest.fixture
async def core() -> AsyncIterator[Core]:
    async with core_up() as core:
        yield core


@pytest.fixture
async def running(haproxy_binary: Path, tmp_path: Path, core: Core) -> AsyncIterator[Proxy]:
    async with proxy(haproxy_binary, proxy_settings(tmp_path), core.port) as running:
        yield running


async def serve(core: Core, running: Proxy, name: str, *applications: App) -> None:
    """The service with exactly these tasks, all of them in rotation."""
    core.service(name, *applications)
    await core.applied()
    await eventually(lambda: running.servers(name), {app.name: True for app in applications})


async def test_first_state_then_changes_without_a_reload(core: Core, running: Proxy) -> None:
    async with apps("one", "two", "three") as (one, two, three):
        await until(lambda: core.said)
        assert core.said[0].hello.instance == "proxy"
        assert running.sidecar.not_ready()
        await serve(core, running, "a", one)
        assert not running.sidecar.not_ready()
        assert await running.get("a.test") == (200, "one")
        worker = running.worker

        await serve(core, running, "a", one, two)
        await serve(core, running, "b", three)
        assert {await running.get("a.test") for _ in range(6)} == {(200, "one"), (200, "two")}
        assert await running.get("b.test") == (200, "three")

        core.route("a.test", "b", "/p")
        await core.applied()
        assert await running.get("a.test", "/p") == (200, "three")
        core.remove("b")
        await core.applied()
        assert (await running.get("b.test"))[0] == 503
        await eventually(running.backends, {"a"})
        assert (running.worker, running.sidecar.reloads, running.sidecar.drift) == (worker, 0, 0)


async def test_a_task_gets_no_request_before_it_listens(core: Core, running: Proxy) -> None:
    late = App("late", 1)
    core.service("a", late)
    await core.applied()
    asking = asyncio.create_task(running.get("a.test"))
    await eventually(lambda: waiting(running), True)
    assert await running.servers("a") == {"late": False}
    await late.up()
    try:
        assert await asking == (200, "late")
        assert late.requests == 1
    finally:
        await late.down()


async def test_a_path_is_answered_as_before_until_its_new_service_can(core: Core, running: Proxy) -> None:
    late = App("late", 2)
    async with apps("one") as (one,):
        await serve(core, running, "a", one)
        core.backend("b", late)
        core.route("a.test", "b", "/p")
        await core.applied()
        assert await running.servers("b") == {"late": False}
        assert await running.get("a.test", "/p") == (200, "one")
        await late.up()
        try:
            await eventually(lambda: running.get("a.test", "/p"), (200, "late"))
            assert await running.get("a.test", "/q") == (200, "one")
        finally:
            await late.down()


async def test_core_hears_of_requests_that_wait(core: Core, running: Proxy) -> None:
    late = App("late", 1)
    core.service("a", late)
    await core.applied()
    await until(lambda: any(request.HasField("health") for request in core.said))
    asking = asyncio.create_task(running.get("a.test"))
    await until(lambda: any(request.health.counters.held_requests == 1 for request in core.said))
    await late.up()
    try:
        assert await asking == (200, "late")
    finally:
        await late.down()


async def waiting(running: Proxy) -> bool:
    """Whether a request has tried the placeholder."""
    counters = await running.command("show stat -1 2 -1")
    return any(row.split(",")[7] not in ("", "0") for row in counters.splitlines() if "BACKEND" in row)


async def test_the_last_server_serves_until_it_is_due_and_then_requests_wait(core: Core, running: Proxy) -> None:
    async with apps("old", "new") as (old, new):
        await serve(core, running, "a", old)
        core.backend("a", old, leaving=800)
        await core.applied()
        assert await running.servers("a") == {"old": True}
        assert await running.get("a.test") == (200, "old")

        await eventually(lambda: running.servers("a"), {"old": False})
        old.stop_listening()
        asking = [asyncio.create_task(running.get("a.test")) for _ in range(3)]
        await eventually(lambda: waiting(running), True)
        core.backend("a", new)
        await core.applied()
        assert await asyncio.gather(*asking) == [(200, "new")] * 3


async def test_the_last_server_goes_as_soon_as_its_successor_serves(core: Core, running: Proxy) -> None:
    async with apps("old", "new") as (old, new):
        await serve(core, running, "a", old)
        core.backend("a", old, leaving=60_000)
        settings = core.backends["a"]
        core.backend("a", new)
        core.backends["a"].servers.extend(settings.servers)
        await core.applied()
        await eventually(lambda: running.servers("a"), {"old": False, "new": True})


async def test_open_connections_outlive_the_removal_of_their_server(core: Core, running: Proxy) -> None:
    async with apps("one", "two") as (one, two):
        await serve(core, running, "a", one)
        tunnel, kept = await running.client(), await running.client()
        assert (await tunnel.ask("a.test", "/ws", "connection: upgrade", "upgrade: echo"))[0] == 101
        assert await kept.ask("a.test") == (200, "one")

        core.service("a", two)
        await core.applied()
        await eventually(lambda: running.servers("a"), {"one": False, "two": True})
        assert await kept.ask("a.test") == (200, "two")
        tunnel.writer.write(b"still there")
        assert await tunnel.reader.readexactly(11) == b"still there"
        assert await running.servers("a") == {"one": False, "two": True}

        tunnel.close()
        await eventually(lambda: running.servers("a"), {"two": True})
        assert await kept.ask("a.test") == (200, "two")


async def test_what_is_left_past_the_drain_timeout_is_cut(haproxy_binary: Path, tmp_path: Path, core: Core) -> None:
    settings = proxy_settings(tmp_path, drain_timeout=300)
    async with proxy(haproxy_binary, settings, core.port) as running, apps("one", "two") as (one, two):
        await serve(core, running, "a", one)
        tunnel = await running.client()
        assert (await tunnel.ask("a.test", "/ws", "connection: upgrade", "upgrade: echo"))[0] == 101
        core.service("a", two)
        await core.applied()
        assert await tunnel.reader.read() == b""
        await eventually(lambda: running.servers("a"), {"two": True})
        assert core.nacks == {}


async def test_a_service_that_goes_with_a_connection_open_leaves_nothing_behind(core: Core, running: Proxy) -> None:
    async with apps("one", "two") as (one, two):
        await serve(core, running, "keeps", two)
        await serve(core, running, "a", one)
        before = set((await running.command("show backend")).split())
        tunnel = await running.client()
        assert (await tunnel.ask("a.test", "/ws", "connection: upgrade", "upgrade: echo"))[0] == 101
        core.remove("a")
        await core.applied()
        assert (await running.get("a.test"))[0] == 503
        tunnel.close()
        await eventually(running.backends, {"keeps"})
        gone = {"a"} if running.sidecar.capabilities.dynamic_backends else set[str]()

        async def backends() -> set[str]:
            return set((await running.command("show backend")).split())

        await eventually(backends, before - gone)
        assert core.nacks == {}


async def test_a_route_moves_between_backends_without_an_error(core: Core, running: Proxy) -> None:
    async with apps("one", "two") as (one, two):
        await serve(core, running, "a", one)
        statuses: list[int] = []
        moved = asyncio.Event()

        async def ask() -> None:
            client = await running.client()
            while not moved.is_set():
                statuses.append((await client.ask("a.test"))[0])

        asking = asyncio.create_task(ask())
        for number in range(10):
            old, new = ("a", "b") if number % 2 == 0 else ("b", "a")
            del core.backends[old]
            core.backend(new, one, two)
            core.route("a.test", new)
            await core.applied()
        moved.set()
        await asking
        assert len(statuses) > 10
        assert set(statuses) == {200}


async def test_changes_chain_and_a_broken_chain_is_mended(core: Core, running: Proxy) -> None:
    async with apps("one", "two") as (one, two):
        await serve(core, running, "a", one)
        core.service("a", two)
        start, core.number = core.revision, core.number + 1
        server = pb.Backend(name="a", servers=core.backends["a"].servers, removed_servers=["one"])
        core.send(core.incremental(start, pb.Changes(backends=[server])))
        await core.acknowledged(core.revision)
        await eventually(lambda: running.servers("a"), {"two": True})

        core.service("a", one)
        core.number += 1
        core.send(core.incremental("never", pb.Changes()))
        await core.acknowledged(core.revision)
        await eventually(lambda: running.servers("a"), {"one": True})
        hellos = [request.hello.revision for request in core.said if request.HasField("hello")]
        assert hellos == ["", ""]


async def test_what_cannot_be_said_is_refused_and_others_go_on(core: Core, running: Proxy) -> None:
    async with apps("one", "two", "no name") as (one, two, nameless):
        await serve(core, running, "a", one)
        core.service("x", nameless)
        core.service("b", two)
        revision = core.push()
        await until(lambda: core.nacks)
        assert "is no name that HAProxy takes" in core.nacks[revision]
        await eventually(lambda: running.servers("b"), {"two": True})
        assert await running.get("b.test") == (200, "two")
        assert await running.get("a.test") == (200, "one")
        assert revision not in core.acks

        core.remove("x")
        await core.applied()


async def test_an_update_that_makes_no_sense_is_refused_and_the_stream_goes_on(core: Core, running: Proxy) -> None:
    async with apps("one") as (one,):
        await serve(core, running, "a", one)
        core.backends["a"].servers[0].state = pb.SERVER_STATE_UNSPECIFIED
        revision = core.push()
        await until(lambda: core.nacks)
        assert "unknown state" in core.nacks[revision]
        core.service("a", one)
        await core.applied()
        assert await running.get("a.test") == (200, "one")


async def test_the_pool_of_spares_grows_by_one_reload(haproxy_binary: Path, tmp_path: Path, core: Core) -> None:
    settings = proxy_settings(tmp_path, spare_backends=2)
    async with proxy(haproxy_binary, settings, core.port) as running, apps("one", "two", "three") as tasks:
        names = ("a", "b", "c")
        for name, app in zip(names[:2], tasks[:2], strict=True):
            await serve(core, running, name, app)
        await serve(core, running, names[2], tasks[2])
        for name, app in zip(names, tasks, strict=True):
            assert await running.get(f"{name}.test") == (200, app.name)
        reloads = 0 if running.sidecar.capabilities.dynamic_backends else 1
        assert running.sidecar.reloads == reloads
        value = running.sidecar.metrics.registry.get_sample_value("l7_reloads_total", {"reason": "spare-pool"})
        assert (value or 0) == reloads
        assert last_reload(running) == (1 if reloads else None)


async def test_a_reload_that_fails_does_not_make_the_pool_grow_further(
    haproxy_binary: Path, tmp_path: Path, core: Core
) -> None:
    settings = proxy_settings(tmp_path, spare_backends=1)
    async with proxy(haproxy_binary, settings, core.port) as running, apps("one", "two") as (one, two):
        await serve(core, running, "a", one)
        if running.sidecar.capabilities.dynamic_backends:
            pytest.skip("this HAProxy has no pool")
        tries = tmp_path / "tries"
        refusing = tmp_path / "refusing"
        refusing.write_text(f"#!/bin/sh\necho again >> {tries}; exit 1\n")
        refusing.chmod(0o755)
        running.sidecar.process.binary = str(refusing)
        core.service("b", two)
        core.push()
        await until(lambda: tries.exists() and tries.read_text().count("again") == 3)
        assert last_reload(running) == 0
        running.sidecar.process.binary = str(haproxy_binary)
        await eventually(lambda: running.servers("b"), {"two": True})
        assert (running.sidecar.reloads, running.sidecar.settings.spare_pools) == (1, (("http", 3),))
        await until(lambda: last_reload(running) == 1)  # counted once the new worker serves


def last_reload(running: Proxy) -> float | None:
    """Whether it succeeded; None before the first."""
    registry = running.sidecar.metrics.registry
    return registry.get_sample_value("l7_last_reload_success", {"reason": "spare-pool"})
