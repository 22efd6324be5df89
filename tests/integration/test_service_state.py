"""The extension service as a follower of core: what it publishes, and the state that it gives to proxies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from haproxy import pace
from haproxy.mirror import Mirror
from haproxy.service import ExtensionService, Options
from haproxy.state import load_published
from l7.deploy import pki
from l7.kit.bundle import STATE, Bundle, pack
from l7.kit.channel import open_channel
from l7.kit.tls import TlsFiles, extension_name
from l7.model import Changes, Delta
from l7.publication import Publication
from l7.v1 import state_pb2, state_pb2_grpc
from l7.v1 import sync_pb2 as pb
from tests.integration.pki_parts import Pki, code_of, until
from tests.integration.test_publish_stream import Stored
from tests.integration.test_sync_stream import Client, Core, add, snapshot


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "SETTLE", 0.05)


@pytest.fixture
def installation(tmp_path: Path) -> Pki:
    return Pki(tmp_path, pki.new_authority())


@pytest.fixture
def core() -> Core:
    return Core({"": snapshot("1"), "blue": snapshot("b1", cluster="blue")}, publisher=Stored())


def published(core: Core) -> list[Publication]:
    assert isinstance(core.publisher, Stored)
    return core.publisher.publications


@asynccontextmanager
async def service(
    directory: Path, core: str, files: TlsFiles | None = None, cluster: str = ""
) -> AsyncIterator[ExtensionService]:
    """The extension service, with what is mounted in `directory`."""
    options = Options(
        "127.0.0.1:0",
        str(directory / "secrets"),
        cluster,
        files,
        core,
        str(directory / "run"),
        str(directory / "mnt"),
    )
    running, stop = ExtensionService(options), asyncio.Event()
    task = asyncio.create_task(running.run(stop))
    try:
        await until(lambda: running.follower is not None or task.done())
        yield running
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)


async def state(port: int, files: TlsFiles | None = None, cluster: str = "", name: str | None = None) -> Mirror:
    """What a proxy is given."""
    mirror = Mirror()
    async with open_channel(f"127.0.0.1:{port}", files, extension_name(cluster), own=True) as channel:
        stub = state_pb2_grpc.StateServiceStub(channel)  # type: ignore[no-untyped-call]
        request = state_pb2.FetchStateRequest(cluster=cluster if name is None else name)
        async for response in stub.FetchState(request, timeout=10):
            mirror.apply(response.update)
    return mirror


def mount(directory: Path, cluster: str, revision: str, parts: int = 1) -> None:
    """A published configuration with one route, as Swarm mounts it."""
    changes = pb.Changes(backends=[pb.Backend(name="web")], routes=[pb.Route(host="old", path="/", backend="web")])
    update = pb.SyncResponse(kind=pb.UPDATE_KIND_COMPLETE, results_in=revision, changes=changes, last=True)
    whole = pack(Bundle(cluster, revision, "1", {STATE: update.SerializeToString(), "proxy": b"haproxy/3.4.7\n"}))
    size = -(-len(whole) // parts)
    (directory / "mnt").mkdir(exist_ok=True)
    for number in range(parts):
        (directory / "mnt" / str(number + 1)).write_bytes(whole[number * size : (number + 1) * size])


def task_comes(core: Core, before: str, after: str, task: str = "t9") -> None:
    core.change(add(before, after, task))


async def test_the_configuration_is_published_and_the_state_in_it_can_be_started_from(
    core: Core, tmp_path: Path
) -> None:
    async with core.running(None), service(tmp_path, core.address):
        await until(lambda: published(core))
    (found,) = published(core)
    assert (found.cluster, found.state) == ("", "1")
    assert found.files["routes.map"] == b"a.example.org/ web|\n"
    (tmp_path / "mnt").mkdir()
    (tmp_path / "mnt/1").write_bytes(pack(Bundle("", found.revision, found.state, found.files)))
    kept = load_published(tmp_path / "mnt", "")
    assert kept is not None
    assert [route.host for route in kept.update.changes.routes] == ["a.example.org"]
    assert load_published(tmp_path / "mnt", "blue") is None, "of another cluster"


async def test_tasks_that_come_and_go_are_no_new_configuration(core: Core, tmp_path: Path) -> None:
    async with core.running(None), service(tmp_path, core.address) as running:
        await until(lambda: published(core))
        task_comes(core, "1", "2")
        assert running.follower is not None
        await until(lambda: running.follower and running.follower.mirror.revision == "2")
        await asyncio.sleep(5 * pace.SETTLE)
        assert len(published(core)) == 1
        core.change(Delta("2", "3", Changes(removed_routes=(("a.example.org", "/"),))))
        await until(lambda: len(published(core)) == 2)
    assert published(core)[1].files["routes.map"] == b""


async def test_servers_alone_are_published_in_time(
    core: Core, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "SERVERS", 0.5)
    async with core.running(None), service(tmp_path, core.address):
        await until(lambda: published(core))
        task_comes(core, "1", "2")
        await until(lambda: len(published(core)) == 2)
    first, second = published(core)
    assert first.revision == second.revision
    assert first.content != second.content


async def test_where_secrets_are_fetched_is_no_change(core: Core, tmp_path: Path) -> None:
    """Else each new task of the extension service would be a change, for which it gets a new task."""
    async with core.running(None), service(tmp_path, core.address) as running:
        await until(lambda: published(core))
        core.change(Delta("1", "2", Changes(secret_sources=("10.0.0.9:8081",))))
        await until(lambda: running.follower and running.follower.mirror.revision == "2")
        await asyncio.sleep(5 * pace.SETTLE)
    assert len(published(core)) == 1


async def test_it_renders_for_the_oldest_proxy(core: Core, tmp_path: Path) -> None:
    async with core.running(None):
        async with open_channel(core.address, None) as channel:
            client = Client(channel)
            client.proxy = "haproxy/3.4.7"
            await client.update_after_hello()
            async with service(tmp_path, core.address):
                await until(lambda: published(core))
    assert published(core)[0].files["proxy"] == b"haproxy/3.4.7\n"


async def test_another_core_is_asked_whether_it_has_it(core: Core, tmp_path: Path) -> None:
    async with core.running(None):
        address, port = core.address, core.server.ports[0]
        async with service(tmp_path, address):
            await until(lambda: published(core))
            await core.server.stop(0.1)
            other = Core(core.states, publisher=Stored())
            async with other.running(None, f"127.0.0.1:{port}"):
                await until(lambda: published(other))
    assert published(other)[0].content == published(core)[0].content


# ---------------------------------------------------------------- what proxies are given


async def test_the_proxies_of_its_cluster_get_the_newest_state_and_nobody_else(
    core: Core, installation: Pki, tmp_path: Path
) -> None:
    files = installation.extension("blue")
    async with core.running(installation.core()):
        async with service(tmp_path, core.address.replace("127.0.0.1", "localhost"), files, "blue") as running:
            await until(lambda: running.follower and running.follower.mirror.revision)
            found = await state(running.port, installation.proxy("blue"), "blue")
            assert (found.revision, list(found.routes)) == ("b1", [("a.example.org", "/")])
            refused = state(running.port, installation.proxy("east"), "blue")
            assert await code_of(refused) is grpc.StatusCode.PERMISSION_DENIED
            other = state(running.port, installation.proxy("blue"), "blue", name="east")
            assert await code_of(other) is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("parts", [1, 3])
async def test_without_core_it_has_what_is_mounted(tmp_path: Path, parts: int) -> None:
    mount(tmp_path, "", "ab" * 16, parts)
    async with service(tmp_path, "127.0.0.1:1") as running:
        found = await state(running.port)
    assert (found.revision, list(found.routes)) == ("ab" * 16, [("old", "/")])


@pytest.mark.parametrize("fault", ["of another cluster", "cut", "a part is missing", "nothing is mounted"])
async def test_what_is_not_whole_and_ours_is_not_given(tmp_path: Path, fault: str) -> None:
    mount(tmp_path, "east" if fault == "of another cluster" else "", "ab" * 16, 2)
    first, second = tmp_path / "mnt/1", tmp_path / "mnt/2"
    spoil = {
        "cut": lambda: second.write_bytes(second.read_bytes()[:-9]),
        "a part is missing": first.unlink,
        "nothing is mounted": lambda: [each.unlink() for each in (first, second)],
    }
    spoil.get(fault, lambda: None)()
    async with service(tmp_path, "127.0.0.1:1") as running:
        assert await code_of(state(running.port)) is grpc.StatusCode.NOT_FOUND


async def test_core_counts_more_than_what_is_mounted(core: Core, tmp_path: Path) -> None:
    mount(tmp_path, "", "ab" * 16)
    async with core.running(None), service(tmp_path, core.address) as running:
        await until(lambda: running.follower and running.follower.mirror.revision == "1")
        assert list((await state(running.port)).routes) == [("a.example.org", "/")]


async def test_a_large_state_comes_in_chunks(core: Core, tmp_path: Path) -> None:
    web = snapshot("1", tasks=50).backends["web"]
    many = {f"b{number}": replace(web, name=f"b{number}") for number in range(400)}
    core.states[""] = replace(core.states[""], backends=many)
    async with core.running(None), service(tmp_path, core.address) as running:
        await until(lambda: running.follower and running.follower.mirror.revision)
        assert running.follower is not None
        assert len(running.follower.chunks()) > 1
        assert (await state(running.port)).desired == running.follower.mirror.desired
