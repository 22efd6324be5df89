"""What fails around the sidecar and HAProxy costs no more than it must, on a real HAProxy."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from haproxy import sidecar as sidecar_module
from haproxy.model import Desired
from haproxy.render import CONFIG, render_files, render_static
from haproxy.runtime.client import unix_url
from haproxy.settings import Settings
from l7 import healthcheck
from l7.kit.errors import Incompatible
from l7.v1 import sync_pb2 as pb
from tests.integration import knocking
from tests.integration.live_haproxy import await_listening, capabilities_of, free_port, write_files
from tests.integration.live_sidecar import (
    App,
    Core,
    Proxy,
    Visitor,
    apps,
    command,
    core_up,
    end,
    eventually,
    proxy,
    proxy_settings,
    until,
)

pytestmark = pytest.mark.haproxy


@pytest.fixture
async def core() -> AsyncIterator[Core]:
    async with core_up() as core:
        yield core


@pytest.fixture
async def app() -> AsyncIterator[App]:
    async with apps("one") as (one,):
        yield one


@pytest.fixture
async def running(haproxy_binary: Path, tmp_path: Path, core: Core) -> AsyncIterator[Proxy]:
    async with proxy(haproxy_binary, proxy_settings(tmp_path), core.port) as running:
        yield running


@pytest.fixture
def quick_audits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sidecar_module, "SERVERS_INTERVAL", 0.05)
    monkeypatch.setattr(sidecar_module, "WHOLE_INTERVAL", 0.0)
    monkeypatch.setattr(sidecar_module, "AUDIT_SHARE", 0)


async def serve(core: Core, running: Proxy, name: str, *applications: App) -> None:
    core.service(name, *applications)
    await core.applied()
    await eventually(lambda: running.servers(name), {app.name: True for app in applications})


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def answer(running: Visitor, host: str) -> tuple[int, str]:
    """As `get`; nothing when nobody listens."""
    try:
        return await running.get(host)
    except ConnectionError:
        return 0, ""


@pytest.mark.parametrize("victim", ["worker", "master"])
async def test_haproxy_comes_back_with_everything(core: Core, running: Proxy, app: App, victim: str) -> None:
    core.service("first", app)
    await core.applied()
    await serve(core, running, "a", app)  # after the start: in no file yet
    worker = running.worker
    assert worker
    os.kill(worker if victim == "worker" else running.sidecar.process.master, signal.SIGKILL)
    await until(lambda: running.worker not in (None, worker))
    await eventually(lambda: answer(running, "a.test"), (200, "one"))
    assert await answer(running, "first.test") == (200, "one")
    assert not alive(worker)
    await serve(core, running, "b", app)


async def test_core_goes_and_comes_back(core: Core, running: Proxy, app: App) -> None:
    await serve(core, running, "a", app)
    await core.down()
    await until(lambda: not running.sidecar.stream.connected)
    assert await running.get("a.test") == (200, "one")
    await core.up()
    await until(lambda: running.sidecar.stream.connected)
    hello = [request.hello for request in core.said if request.HasField("hello")][-1]
    assert hello.revision == core.revision
    await serve(core, running, "b", app)
    assert await running.get("b.test") == (200, "one")


async def test_streams_that_end_leave_nothing_running(core: Core, running: Proxy, app: App) -> None:
    await serve(core, running, "a", app)
    before = len(asyncio.all_tasks())
    for _ in range(4):
        await core.down()
        await until(lambda: not running.sidecar.stream.connected)
        await core.up()
        await until(lambda: running.sidecar.stream.connected)
    await until(lambda: len(asyncio.all_tasks()) <= before + 2, "tasks end with their stream")


async def test_starts_from_the_kept_state_without_core(haproxy_binary: Path, tmp_path: Path, app: App) -> None:
    settings = proxy_settings(tmp_path)
    async with core_up() as core, proxy(haproxy_binary, settings, core.port) as running:
        await serve(core, running, "a", app)
        await until((tmp_path / "desired.pb").exists)
    async with proxy(haproxy_binary, settings, free_port()) as running:
        await until(lambda: not running.sidecar.not_ready())
        await eventually(lambda: answer(running, "a.test"), (200, "one"))


async def test_without_any_state_nothing_is_taken_from_a_running_haproxy(
    haproxy_binary: Path, tmp_path: Path, core: Core, running: Proxy, app: App
) -> None:
    await serve(core, running, "a", app)
    (tmp_path / "desired.pb").unlink(missing_ok=True)
    core.number = 0  # a core that has nothing to say yet
    async with proxy(haproxy_binary, running.settings, core.port) as second:
        await until(lambda: sum(request.HasField("hello") for request in core.said) == 2)
        assert await running.get("a.test") == (200, "one")
        second.task.cancel()  # and not `stop`, which would end HAProxy
        await asyncio.wait((second.task,))
        assert await running.get("a.test") == (200, "one")


@pytest.mark.usefixtures("quick_audits")
async def test_drift_is_repaired_and_counted(core: Core, running: Proxy, app: App) -> None:
    await serve(core, running, "a", app)
    placement = await running.map("backends.map")
    routes = await running.map("routes.map")
    physical = placement["a"]
    (server,) = [
        line.split()[3] for line in (await running.command(f"show servers state {physical}")).splitlines()[2:]
        if " one." in line
    ]  # fmt: skip
    damage = (
        f"set server {physical}/{server} state maint",
        f"set server {physical}/{server} weight 1",
        f"set server {physical}/hold state maint",
        f"del map {running.settings.file('routes.map')} a.test/",
        f"del map {running.settings.file('backends.map')} a",
        f"add map {running.settings.file('routes.map')} evil.test/ a|",
        f"set map {running.settings.file('backends.map')} a l7.nowhere",
    )
    for number, line in enumerate(damage, 1):
        for _ in range(2):  # audits: what was done before is read back, and what is read then is no drift
            seen = running.sidecar.reconciler.seen
            await until(lambda: running.sidecar.reconciler.seen is not seen)  # noqa: B023 - awaited at once
        assert (await running.command(line)).strip() == ""
        await until(lambda: running.sidecar.drift >= number, line)  # noqa: B023 - awaited at once
        await eventually(lambda: running.map("backends.map"), placement)
        await eventually(lambda: running.map("routes.map"), routes)
        await eventually(lambda: running.servers("a"), {"one": True})
        await eventually(lambda: answer(running, "a.test"), (200, "one"))
    assert running.sidecar.metrics.registry.get_sample_value("l7_audits_total", {"of": "whole"})
    assert running.sidecar.reloads == 0


@pytest.mark.usefixtures("quick_audits")
async def test_somebody_elses_reload_is_noticed_and_everything_put_back(
    core: Core, running: Proxy, app: App
) -> None:
    core.push()  # HAProxy starts with nothing
    await serve(core, running, "a", app)
    worker = running.worker
    await command(running.settings.master_socket, "reload")
    await until(lambda: running.worker not in (None, worker))
    await eventually(lambda: answer(running, "a.test"), (200, "one"))
    core.service("b", app)
    await core.applied()
    await eventually(lambda: answer(running, "b.test"), (200, "one"))


async def test_requests_under_way_finish_after_the_stop(core: Core, running: Proxy, app: App) -> None:
    await serve(core, running, "a", app)
    client = await running.client()
    await client.send("a.test", "/slow", "connection: close")
    await until(lambda: app.requests)
    running.stop.set()
    app.let_go.set()
    assert await client.answer() == (200, "one")
    await asyncio.wait_for(running.task, 10)


async def test_an_idle_proxy_ends_at_once(haproxy_binary: Path, tmp_path: Path, core: Core, app: App) -> None:
    async with proxy(haproxy_binary, proxy_settings(tmp_path), core.port, stop_grace=300.0) as running:
        await serve(core, running, "a", app)
        running.stop.set()
        await asyncio.wait_for(running.task, 10)
        assert not running.sidecar.process.alive()


async def test_idle_connections_are_not_waited_for(
    haproxy_binary: Path, tmp_path: Path, core: Core, app: App
) -> None:
    async with proxy(haproxy_binary, proxy_settings(tmp_path), core.port, stop_grace=300.0) as running:
        await serve(core, running, "a", app)
        idle, busy = await running.client(), await running.client()
        assert await idle.ask("a.test") == (200, "one")
        await busy.send("a.test", "/slow")
        await until(lambda: app.requests == 2)
        running.stop.set()
        app.let_go.set()
        assert await busy.answer() == (200, "one")
        await asyncio.wait_for(running.task, 10)
        assert not running.sidecar.process.alive()


async def test_a_proxy_that_leaves_loses_no_connection(
    haproxy_binary: Path, tmp_path: Path, core: Core, app: App
) -> None:
    async with proxy(haproxy_binary, proxy_settings(tmp_path), core.port, stop_grace=30.0) as running:
        await serve(core, running, "a", app)
        kept = await running.client()
        assert await kept.ask("a.test") == (200, "one")
        clients = await asyncio.create_subprocess_exec(
            sys.executable, "-m", knocking.__name__, str(running.port), stdout=subprocess.PIPE
        )
        assert clients.stdout is not None
        assert await clients.stdout.readline() == b"ready\n"
        await asyncio.sleep(0.5)  # so that many are under way
        running.stop.set()
        outcome = json.loads(await asyncio.wait_for(clients.stdout.read(), 20))
        await clients.wait()
        assert outcome["lost"] == []
        assert outcome["answered"] > knocking.CLIENTS
        assert await kept.ask("a.test") == (200, "one"), "who is connected is told with an answer"
        await eventually(lambda: kept.ask("a.test"), (0, ""))
        await asyncio.wait_for(running.task, 10)


# ---------------------------------------------------------------- the supervisor


async def test_the_supervisor_brings_a_killed_sidecar_back_and_haproxy_never_notices(
    haproxy_binary: Path, tmp_path: Path, core: Core, app: App
) -> None:
    settings = proxy_settings(tmp_path)
    with supervised(haproxy_binary, settings, core.port) as supervisor:
        core.service("a", app)
        await core.applied()
        watched = Visitor(settings)
        await eventually(lambda: answer(watched, "a.test"), (200, "one"))
        master = int((tmp_path / "haproxy.pid").read_text())
        info = await command(settings.socket, "show info")
        (child,) = [pid for pid in children(supervisor.pid) if pid != master]

        assert healthy(settings)
        os.kill(child, signal.SIGKILL)
        assert await watched.get("a.test") == (200, "one")
        assert healthy(settings)
        core.service("b", app)
        await core.applied()
        await eventually(lambda: answer(watched, "b.test"), (200, "one"))
        assert int((tmp_path / "haproxy.pid").read_text()) == master
        assert pid_of(await command(settings.socket, "show info")) == pid_of(info)
        assert master in children(supervisor.pid)

        (child,) = [pid for pid in children(supervisor.pid) if pid != master]
        os.kill(child, signal.SIGKILL)  # the sidecar is away when the proxy is told to stop
        supervisor.send_signal(signal.SIGQUIT)
        await until(lambda: supervisor.poll() is not None)
        assert supervisor.returncode == 0
        assert not alive(master)
        assert not healthy(settings)


async def test_the_plain_fast_path_drives_a_proxy_and_says_that_it_does(
    haproxy_binary: Path, tmp_path: Path, core: Core, app: App, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = proxy_settings(tmp_path)
    with supervised(haproxy_binary, settings, core.port, L7_FASTPATH="pure"):
        said = ""
        async with asyncio.timeout(STARTS):
            while '"event":"starting"' not in said:
                await asyncio.sleep(0.05)
                said += capfd.readouterr().err
        assert '"fastpath":"pure"' in said
        core.service("a", app)
        await core.applied()
        watched = Visitor(settings)
        await eventually(lambda: answer(watched, "a.test"), (200, "one"))
        await until(lambda: ("a", "one", pb.HEALTH_STATUS_UP) in verdicts(core))
        app.stop_listening()
        await until(lambda: ("a", "one", pb.HEALTH_STATUS_DOWN) in verdicts(core))
        core.remove("a")
        await core.applied()
        assert (await watched.get("a.test"))[0] == 503


STARTS = 60.0
"""Seconds until a program has imported what it needs, on a machine that does other things."""


def verdicts(core: Core) -> list[tuple[str, str, int]]:
    reports = [request.health for request in core.said if request.HasField("health")]
    return [(each.backend, each.task, each.status) for report in reports for each in report.servers]


def healthy(settings: Settings) -> bool:
    """What Docker is told."""
    command = ["/usr/bin/python3", "-IS", healthcheck.__file__, "proxy"]
    environment = os.environ | {"L7_HAPROXY_RUN_DIR": settings.run_dir}
    return subprocess.run(command, env=environment, check=False, timeout=20).returncode == 0


def pid_of(info: str) -> str:
    return next(line for line in info.splitlines() if line.startswith("Pid:"))


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def supervised(
    binary: Path, settings: Settings, core: int, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    program = Path(sys.executable).with_name("l7")
    process = subprocess.Popen([
        program, "haproxy", "run", "--core", f"127.0.0.1:{core}", "--binary", binary, "--instance", "proxy",
        "--run-dir", settings.run_dir, "--bind", settings.bind[0], "--max-connections", "200",
        "--spare-backends", "4", "--connect-timeout", "100", "--stop-grace", "1",
        "--admin", f"127.0.0.1:{free_port()}",
    ], env=os.environ | environment)  # fmt: skip
    try:
        yield process
    finally:
        pid_file = Path(settings.file("haproxy.pid"))
        left = [*children(process.pid)] if process.poll() is None else []
        process.kill()
        process.wait()
        for pid in {*left, *([int(pid_file.read_text())] if pid_file.exists() else [])}:
            end(pid)


# ---------------------------------------------------------------- attached


@contextmanager
def foreign(binary: Path, directory: Path, settings: Settings, static: bool, more: str = "") -> Iterator[None]:
    """An HAProxy that someone else runs, with our static part or without."""
    able = capabilities_of(binary)
    files = render_files(settings, able, Desired(), {}, ())
    write_files(directory, {name: content for name, content in files.items() if name != CONFIG})
    plain = f"global\n  stats socket {settings.socket} level admin\n"
    (directory / "l7.cfg").write_text(render_static(settings, able) if static else plain)
    port = free_port()
    own = f"defaults theirs\n  mode http\n  timeout client 5s\n  timeout server 5s\n  timeout connect 1s\n{more}"
    (directory / "own.cfg").write_text(own + f"frontend own from theirs\n  bind 127.0.0.1:{port}\n")
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [binary, "-db", "-f", directory / "l7.cfg", "-f", directory / "own.cfg"], stdout=log, stderr=log
        )
    try:
        await_listening(("127.0.0.1", port), settings.socket, process, directory / "log")
        yield
    finally:
        process.terminate()
        process.wait()


async def test_attached_to_an_haproxy_that_someone_else_runs(
    haproxy_binary: Path, tmp_path: Path, core: Core, app: App
) -> None:
    settings = proxy_settings(tmp_path)
    theirs = f"backend web from theirs\n  server mine 127.0.0.1:{app.port}\nbackend bare from theirs\n"
    with foreign(haproxy_binary, tmp_path, settings, True, theirs):
        attach = unix_url(settings.socket)
        async with proxy(haproxy_binary, settings, core.port, attach=attach) as running:
            await serve(core, running, "a", app)
            assert await running.get("a.test") == (200, "one")
            core.remove("a")
            await core.applied()
            assert " mine " in await running.command("show servers state web")
            if running.sidecar.capabilities.dynamic_backends:
                await assert_names_taken_are_refused(core, running, app)
            assert {"web", "bare"} <= set((await running.command("show backend")).split())
        assert "web" in await command(settings.socket, "show backend")


async def assert_names_taken_are_refused(core: Core, running: Proxy, app: App) -> None:
    core.service("web", app)
    core.service("bare", app)
    core.service("b", app)
    revision = core.push()
    await until(lambda: core.nacks)
    assert "web: " in core.nacks[revision]
    assert "bare: " in core.nacks[revision]
    await eventually(lambda: answer(running, "b.test"), (200, "one"))
    assert " hold " not in await running.command("show servers state web")
    assert (await running.get("web.test"))[0] == 503
    assert not running.sidecar.not_ready()


async def test_attached_haproxy_restarts(haproxy_binary: Path, tmp_path: Path, core: Core, app: App) -> None:
    settings = proxy_settings(tmp_path)
    attach = unix_url(settings.socket)
    with foreign(haproxy_binary, tmp_path, settings, True):
        async with proxy(haproxy_binary, settings, core.port, attach=attach) as running:
            await serve(core, running, "a", app)
    with foreign(haproxy_binary, tmp_path, settings, True):
        async with proxy(haproxy_binary, settings, core.port, attach=attach) as running:
            await eventually(lambda: answer(running, "a.test"), (200, "one"))


@pytest.mark.usefixtures("quick_audits")
async def test_an_attached_sidecar_outlives_its_haproxy(
    haproxy_binary: Path, tmp_path: Path, core: Core, app: App
) -> None:
    settings = proxy_settings(tmp_path)
    with foreign(haproxy_binary, tmp_path, settings, True):
        running = proxy(haproxy_binary, settings, core.port, attach=unix_url(settings.socket))
        attached = await running.__aenter__()
        await serve(core, attached, "a", app)
    try:
        with foreign(haproxy_binary, tmp_path, settings, True):
            await eventually(lambda: answer(attached, "a.test"), (200, "one"))
    finally:
        await running.__aexit__(None, None, None)


async def test_what_an_attached_haproxy_lacks_is_said(haproxy_binary: Path, tmp_path: Path, core: Core) -> None:
    settings = proxy_settings(tmp_path)
    core.push()
    with foreign(haproxy_binary, tmp_path, settings, False):
        async with proxy(haproxy_binary, settings, core.port, attach=unix_url(settings.socket)) as running:
            with pytest.raises(Incompatible, match=r"lacks.*routes\.map.*l7 haproxy render"):
                await asyncio.wait_for(asyncio.shield(running.task), 10)
