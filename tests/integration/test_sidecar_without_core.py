"""A proxy that starts while core is away, on a real HAProxy: from its extension service, or what is mounted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from haproxy import pace, seek
from l7.kit.bundle import STATE, Bundle, pack
from l7.v1 import sync_pb2 as pb
from tests.integration.live_haproxy import free_port
from tests.integration.live_sidecar import (
    App,
    Core,
    Proxy,
    apps,
    core_up,
    eventually,
    proxy,
    proxy_settings,
    until,
)
from tests.integration.test_service_state import service

pytestmark = pytest.mark.haproxy


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "SETTLE", 0.05)


@pytest.fixture
async def core() -> AsyncIterator[Core]:
    async with core_up() as core:
        yield core


@pytest.fixture
async def app() -> AsyncIterator[App]:
    async with apps("one") as (one,):
        yield one


def start(binary: Path, directory: Path, core: int, **options: Any) -> Any:
    """A proxy task that has nothing of its own."""
    run = directory / "proxy"
    run.mkdir()
    options = {"published": str(directory / "mnt"), **options}
    return proxy(binary, proxy_settings(run), core, **options)


def mount(directory: Path, core: Core, cluster: str = "") -> bytes:
    """What core has, as a published configuration."""
    state = core.complete()
    state.ClearField("observed_unix_nano")
    state.results_in = "ab" * 16
    archive = pack(Bundle(cluster, "ab" * 16, "r1", {STATE: state.SerializeToString()}))
    (directory / "mnt").mkdir()
    (directory / "mnt" / "1").write_bytes(archive)
    return archive


async def get(running: Proxy, host: str) -> tuple[int, str]:
    try:
        return await running.get(host)
    except ConnectionError:  # HAProxy is just starting
        return 0, ""


async def test_it_takes_the_newest_state_of_the_extension_service(
    haproxy_binary: Path, tmp_path: Path, core: Core, app: App
) -> None:
    core.service("web", app)
    core.push()
    async with service(tmp_path, f"127.0.0.1:{core.port}") as extension:
        await until(lambda: extension.follower and extension.follower.mirror.revision == core.revision)
        await core.down()
        address = f"127.0.0.1:{extension.port}"
        async with start(haproxy_binary, tmp_path, core.port, extension=address) as running:
            await eventually(lambda: get(running, "web.test"), (200, "one"))
            assert running.sidecar.not_ready() == ""
            await core_returns(core, running, app)


async def core_returns(core: Core, running: Proxy, app: App) -> None:
    """With one more route; it is asked for the whole state, and then counts alone."""
    worker = running.worker
    core.said.clear()
    core.route("more.test", "web")
    core.number += 1
    await core.up()
    await eventually(lambda: get(running, "more.test"), (200, "one"))
    hellos = [request.hello for request in core.said if request.HasField("hello")]
    assert not any(hello.revision == core.revision for hello in hellos)
    assert (await get(running, "web.test"), running.worker) == ((200, "one"), worker)


async def test_without_the_extension_service_it_takes_what_is_mounted(
    haproxy_binary: Path, tmp_path: Path, core: Core, app: App
) -> None:
    core.service("web", app)
    mount(tmp_path, core)
    await core.down()
    nobody = f"127.0.0.1:{free_port()}"
    async with start(haproxy_binary, tmp_path, core.port, extension=nobody) as running:
        await eventually(lambda: get(running, "web.test"), (200, "one"))
        await core_returns(core, running, app)


async def test_what_is_mounted_serves_until_the_extension_service_answers(
    haproxy_binary: Path, tmp_path: Path, core: Core, app: App
) -> None:
    core.service("old", app)
    mount(tmp_path, core)
    core.remove("old")
    core.service("web", app)
    core.push()
    other = tmp_path / "other"
    other.mkdir()
    async with service(other, f"127.0.0.1:{core.port}") as extension:
        await until(lambda: extension.follower and extension.follower.mirror.revision == core.revision)
        await core.down()
        port = extension.port
        chunks = extension.follower.chunks() if extension.follower else []
        extension.follower.chunks = list  # type: ignore[union-attr,method-assign]  # nothing as yet
        async with start(haproxy_binary, tmp_path, core.port, extension=f"127.0.0.1:{port}") as running:
            await eventually(lambda: get(running, "old.test"), (200, "one"))
            extension.follower.chunks = lambda: chunks  # type: ignore[union-attr,method-assign]
            await eventually(lambda: get(running, "web.test"), (200, "one"))
            assert (await get(running, "old.test"))[0] == 503


@pytest.mark.parametrize("fault", ["of another cluster", "cut"])
async def test_what_is_not_whole_and_ours_is_not_served(
    haproxy_binary: Path, tmp_path: Path, core: Core, app: App, fault: str
) -> None:
    core.service("web", app)
    archive = mount(tmp_path, core, "east" if fault == "of another cluster" else "")
    if fault == "cut":
        (tmp_path / "mnt/1").write_bytes(archive[:-5])
    await core.down()
    with capture_logs() as lines:
        async with start(haproxy_binary, tmp_path, core.port) as running:
            await until(lambda: any(line["event"] == "published state unusable" for line in lines))
            assert not running.sidecar.mirror.routes
            await core.up()
            core.push()
            await eventually(lambda: get(running, "web.test"), (200, "one"))


async def test_a_core_that_answers_is_all_that_counts(
    haproxy_binary: Path, tmp_path: Path, core: Core, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    core.service("old", app)
    mount(tmp_path, core)
    core.remove("old")
    core.service("web", app)
    core.push()
    with capture_logs() as lines:
        async with start(haproxy_binary, tmp_path, core.port, extension=f"127.0.0.1:{free_port()}") as running:
            await eventually(lambda: get(running, "web.test"), (200, "one"))
            await asyncio.sleep(seek.BACKOFF.first)
            assert (await get(running, "old.test"))[0] == 503
    assert not [line for line in lines if "state" in str(line["event"]) and line.get("part") == "seek"]


async def test_chunks_that_are_not_one_complete_state_are_refused() -> None:
    whole = pb.SyncResponse(kind=pb.UPDATE_KIND_COMPLETE, results_in="r1", last=True)
    part = pb.SyncResponse(kind=pb.UPDATE_KIND_COMPLETE, results_in="r1")
    other = pb.SyncResponse(kind=pb.UPDATE_KIND_COMPLETE, results_in="r2", last=True)
    change = pb.SyncResponse(kind=pb.UPDATE_KIND_INCREMENTAL, results_in="r1", last=True)
    assert seek.joined([part, whole]).results_in == "r1~"
    for chunks in ([], [part], [whole, whole], [part, other], [change]):
        with pytest.raises(seek.ProtocolError):
            seek.joined(chunks)
