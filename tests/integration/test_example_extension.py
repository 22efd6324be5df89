"""The extension of docs/extensions.md, as it stands there: followed core, and what it published runs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from l7.model import Backend, BackendChange, BackendSettings, Changes, Delta, Route, Server, Snapshot
from l7.publication import Publication
from tests.integration.live_haproxy import PATIENCE, application, await_true, free_port, request
from tests.integration.live_nginx import BINARY, accepts
from tests.integration.test_sync_stream import Core

pytestmark = pytest.mark.nginx

EXAMPLE = "examples.extension"
ROOT = Path(__file__).parents[2]
LINES = 150
"""That it may have."""


class Kept:
    """A publisher that hands on what it is given."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[Publication] = asyncio.Queue()

    async def publish(self, publication: Publication) -> tuple[str, ...]:
        self.arrived.put_nowait(publication)
        return ("object",)

    async def next(self) -> Publication:
        async with asyncio.timeout(PATIENCE):
            return await self.arrived.get()


def state(revision: str, port: int) -> Snapshot:
    routes = [Route("a.test", "/", "web"), Route("b.test", "/below", "web")]
    web = Backend("web", BackendSettings(("web",)), {"t1": Server("t1", 1, "127.0.0.1", port)})
    return Snapshot("", revision, {"web": web}, {route.key: route for route in routes})


@contextmanager
def extension(core: Core, path: Path, port: int) -> Iterator[None]:
    told = {"L7_CORE": core.address, "L7_CONFIG_PATH": str(path), "L7_HTTP_PORT": str(port)}
    process = subprocess.Popen([sys.executable, "-m", EXAMPLE], cwd=ROOT, env=os.environ | told)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def answers(path: Path, port: int, host: str) -> tuple[int, bytes]:
    """Of an NGINX that runs with the file."""
    process = subprocess.Popen([BINARY, "-g", "daemon off; pid off; user root;", "-e", "stderr", "-c", path])
    try:
        address = ("127.0.0.1", port)
        await_true(lambda: accepts(address), "NGINX listens")
        answer = request(address, "/x", f"host: {host}")
        return answer.status, answer.body
    finally:
        process.terminate()
        process.wait()


async def test_a_third_partys_extension(tmp_path: Path) -> None:
    publisher, path, port = Kept(), tmp_path / "nginx.conf", free_port()
    with application("one") as one:
        core = Core({"": state("1", one)}, publisher=publisher)
        async with core.running(None):
            with extension(core, path, port):
                await follow(core, publisher, path, port)


async def follow(core: Core, publisher: Kept, path: Path, port: int) -> None:
    """What is published at first, and after the only task has gone."""
    first = await publisher.next()
    assert first.deployment is not None
    assert first.deployment.mounts == ((str(path), "nginx.conf"),)
    path.write_bytes(first.files["nginx.conf"])
    status, body = await asyncio.to_thread(answers, path, port, "a.test")
    assert (status, b'"one"' in body) == (200, True)
    assert (await asyncio.to_thread(answers, path, port, "b.test"))[0] == 503
    (told,) = next(iter(core.api.services)).problems
    assert "hosts only" in told.message

    change = Changes(backends=(BackendChange("web", removed_servers=("t1",)),))
    core.change(Delta("1", "2", change))
    path.write_bytes((await publisher.next()).files["nginx.conf"])
    assert (await asyncio.to_thread(answers, path, port, "a.test"))[0] == 503


def test_it_is_as_short_as_the_docs_say() -> None:
    assert len((ROOT / "examples/extension/__main__.py").read_text().splitlines()) < LINES
