"""TLS while things die, on a real HAProxy: handshakes go on, and what was newest serves afterwards."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from haproxy.process import Process
from haproxy.settings import Settings
from l7.v1 import sync_pb2 as pb
from testbed.certificates import TestAuthority
from tests.integration.live_sidecar import App, Proxy, eventually, proxy, secret, until
from tests.integration.test_sidecar_tls import certificate_file, task_context
from tests.integration.tls_visitor import crowd
from tests.integration.tls_world import PREFIX, World, tls_world

pytestmark = [pytest.mark.haproxy, pytest.mark.timeout(120)]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with tls_world(tmp_path) as world:
        yield world


@pytest.fixture
async def running(haproxy_binary: Path, world: World) -> AsyncIterator[Proxy]:
    async with proxy(haproxy_binary, world.settings, world.core.port) as running:
        yield running


async def leave(running: Proxy) -> None:
    """The sidecar is gone from one moment to the next; its HAProxy goes on."""
    running.task.cancel()
    await until(running.task.done)


# ---------------------------------------------------------------- TLS that is passed on


async def test_connections_are_passed_on_to_tasks_that_come_and_go(
    world: World, running: Proxy, tmp_path: Path
) -> None:
    app_authority = TestAuthority("of the application")
    one, two = (App(name, number, tls=task_context(tmp_path, app_authority, "pass.test"))
                for number, name in enumerate(("one", "two"), 11))  # fmt: skip
    await one.up()
    await two.up()
    try:
        terminated = world.host("a.test", "a1")
        passed(world, one)
        await world.core.applied()
        await eventually(lambda: world.visitor.get("pass.test"), (200, "one"))
        assert await world.visitor.shown("a.test") == terminated
        passed(world, one, two)
        await world.core.applied()
        await eventually(lambda: running.servers("pass.tls.tcp"), {"one": True, "two": True})
        assert {await world.visitor.get("pass.test") for _ in range(8)} == {(200, "one"), (200, "two")}
        passed(world, two)
        await world.core.applied()
        assert {await world.visitor.get("pass.test") for _ in range(4)} == {(200, "two")}
        world.core.remove("pass.tls")
        await world.core.applied()
        await world.shows("pass.test", "")
        assert await running.map("sni.map") == {}
        assert running.sidecar.reloads == 0
    finally:
        await one.down()
        await two.down()


async def test_a_host_changes_to_the_applications_own_certificate_and_back_without_a_gap(
    world: World, running: Proxy, tmp_path: Path
) -> None:
    own = App("own", 11, tls=task_context(tmp_path, TestAuthority("of the application"), "a.test"))
    ours = world.host("a.test", "a1")
    await world.core.applied()
    await world.shows("a.test", ours)
    async with crowd(world.visitor, ["a.test"]) as clients:
        host, route = world.core.tls_hosts.pop("a.test"), world.core.routes.pop(("a.test", "/"))
        world.core.backends.pop("a")
        passed(world, own, host="a.test")
        await world.core.applied()
        assert await world.visitor.get("a.test") == (200, "web")
        await own.up()
        try:
            await eventually(lambda: world.visitor.get("a.test"), (200, "own"))
            await until(lambda: world.files("tls/certificates") == set())
            world.core.remove("pass.tls")
            world.core.service("a", world.app)
            world.core.tls_hosts["a.test"], world.core.routes["a.test", "/"] = host, route
            await world.core.applied()
            await eventually(lambda: world.visitor.get("a.test"), (200, "web"))
            number = clients.number
            await until(lambda: clients.number > number + 10)
        finally:
            await own.down()
    assert clients.failed == []


def passed(world: World, *tasks: App, host: str = "pass.test") -> None:
    world.core.backend("pass.tls", *tasks)
    world.core.backends["pass.tls"].settings.tcp = True
    world.core.route(f"@{host}", "pass.tls")


# ---------------------------------------------------------------- restarts


async def test_all_of_it_is_there_after_a_restart_without_core_and_sources(
    haproxy_binary: Path, world: World, tmp_path: Path
) -> None:
    inside = TestAuthority("inside")
    task = App("safe", 7, tls=task_context(tmp_path, inside, "safe.test"))
    await task.up()
    try:
        async with proxy(haproxy_binary, world.settings, world.core.port) as running:
            shown = world.host("a.test", "a1")
            tls = pb.ServerSettings(protocol=pb.PROTOCOL_HTTPS, tls_ca=secret("ca"), tls_name="safe.test")
            world.core.service("safe", task)
            world.core.backends["safe"].settings.server_settings.append(tls)
            world.core.tls("safe.test", "a1")
            world.host("safe.test", "s1")
            world.secrets.contents["ca"] = inside.certificate
            await world.core.applied()
            await world.shows("a.test", shown)
            await eventually(lambda: world.visitor.get("safe.test"), (200, "safe"))
            key = await running.map("auth.map")
            await until(Path(world.settings.file("desired.pb")).exists)
        await world.secrets.down()
        await world.core.down()
        for path in Path(world.settings.run_dir).rglob("*"):
            if path.is_file() and not path.name.endswith((".sock", ".pid")):
                assert path.stat().st_mode & 0o077 == 0, path
        async with proxy(haproxy_binary, world.settings, world.core.port) as running:
            await world.shows("a.test", shown)
            await eventually(lambda: world.visitor.get("safe.test"), (200, "safe"))
            assert await running.map("auth.map") == key
    finally:
        await task.down()


async def test_the_sidecar_dies_while_a_certificate_changes(haproxy_binary: Path, world: World) -> None:
    other = world.host("b.test", "b1")
    first = world.host("a.test", "a1")
    async with proxy(haproxy_binary, world.settings, world.core.port) as running:
        await world.core.applied()
        await world.shows("a.test", first)
        await world.shows("b.test", other)
        async with crowd(world.visitor, ["a.test", "b.test"]) as clients:
            await leave(running)
            second = world.host("a.test", "a2")
            await world.secrets.down()
            world.core.number += 1
            async with proxy(haproxy_binary, world.settings, world.core.port) as again:
                await world.core.acknowledged(world.core.revision)
                assert await world.visitor.shown("a.test") == first
                await world.secrets.up()
                await world.shows("a.test", second)
                assert (again.sidecar.reloads, again.sidecar.drift) == (0, 0)
                number = clients.number
                await until(lambda: clients.number > number + 10)
                assert clients.failed == []


async def test_haproxy_dies_while_no_source_answers(world: World, running: Proxy) -> None:
    other, first = world.host("b.test", "b1"), world.host("a.test", "a1")
    await world.core.applied()
    await world.shows("a.test", first)
    await world.shows("b.test", other)
    await world.secrets.down()
    second = world.host("a.test", "a2")
    await world.core.applied()
    worker = running.worker
    os.kill(running.sidecar.process.master, signal.SIGKILL)
    await until(lambda: running.worker not in (None, worker), "another worker")
    await world.shows("a.test", first)
    await world.shows("b.test", other)
    await world.secrets.up()
    await world.shows("a.test", second)
    await until(lambda: second_is_kept(world))


def second_is_kept(world: World) -> bool:
    return world.secrets.contents["a2"].partition(b"-----BEGIN PRIVATE")[0] in certificate_file(world, "a.test")


async def test_what_somebody_else_changed_is_put_right(
    world: World, running: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("haproxy.sidecar.WHOLE_INTERVAL", 0.5)
    shown = world.host("a.test", "a1")
    await world.core.applied()
    await world.shows("a.test", shown)
    store = world.settings.file("tls/certificates/a.test.pem")
    crt_list = world.settings.file("tls/certificates.list")
    line = (await running.command(f"show ssl crt-list -n {crt_list}")).splitlines()[1].split()[0]
    await running.command(f"del ssl crt-list {crt_list} {line}")
    await running.command(f"del ssl cert {store}")
    assert await world.visitor.shown("a.test") == ""
    await world.shows("a.test", shown)
    assert running.sidecar.drift > 0
    assert running.sidecar.reloads == 0


async def test_one_of_many_changes(haproxy_binary: Path, world: World) -> None:
    hosts = {f"h{number}.test": world.host(f"h{number}.test", f"id{number}") for number in range(200)}
    settings: Settings = world.settings
    async with proxy(haproxy_binary, settings, world.core.port) as running:
        await world.core.applied()
        for host in ("h0.test", "h199.test"):
            await world.shows(host, hosts[host])
        await until(lambda: len(world.files("tls/certificates")) == 200)
        worker = running.worker
        async with crowd(world.visitor, list(hosts)[:20]) as clients:
            changed = world.host("h100.test", "new")
            await world.core.applied()
            await world.shows("h100.test", changed)
            del world.core.tls_hosts["h101.test"]
            await world.core.applied()
            await world.shows("h101.test", "")
            await until(lambda: clients.number > 40)
        assert clients.failed == []
        assert (running.worker, running.sidecar.reloads, running.sidecar.drift) == (worker, 0, 0)
        assert not [each for each in world.core.problems if each.label.startswith(PREFIX)]


async def test_a_reload_in_the_middle_of_a_change_starts_from_the_newest(
    haproxy_binary: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before 3.4: the revision that brings a certificate brings more services than there are spare backends."""
    loaded: list[bytes] = []
    check = Process.check

    async def checked(process: Process) -> None:
        loaded.append(certificate_file(world, "a.test"))
        await check(process)

    async with proxy(haproxy_binary, world.settings, world.core.port) as running:
        first, second = world.host("a.test", "a1"), world.host("b.test", "a2", "a.test")
        world.host("b.test", "b1", "a.test")
        await world.core.applied()
        await world.shows("a.test", first)
        world.core.tls("b.test", "a2")
        await world.core.applied()
        await until(lambda: "a2" in world.files("secrets"))
        monkeypatch.setattr(Process, "check", checked)
        world.core.tls("a.test", "a2")
        for number in range(12):
            world.core.service(f"more{number}", world.app)
        await world.core.applied()
        await world.shows("a.test", second)
        assert running.sidecar.reloads == (0 if running.sidecar.capabilities.dynamic_backends else len(loaded))
        assert all(pem.startswith(world.secrets.contents["a2"][:100]) for pem in loaded)
        lines = await running.command(f"show ssl crt-list {world.settings.file('tls/certificates.list')}")
        assert [line.split()[-1] for line in lines.splitlines() if line.startswith("/")] == ["a.test"]
