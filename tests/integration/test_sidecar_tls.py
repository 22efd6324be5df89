"""The sidecar takes TLS live, on a real HAProxy, with real handshakes: nothing here reloads unless it says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from haproxy.settings import Settings
from testbed.certificates import TestAuthority
from tests.integration.live_haproxy import free_port
from tests.integration.live_sidecar import (
    App,
    Core,
    Proxy,
    Secrets,
    apps,
    core_up,
    eventually,
    proxy,
    proxy_settings,
    secrets_up,
    until,
)
from tests.integration.tls_visitor import TlsVisitor, crowd, fingerprint

pytestmark = [pytest.mark.haproxy, pytest.mark.timeout(120)]


@dataclass
class World:
    """Core, the extension service, a CA and an application, and a proxy's settings."""

    core: Core
    secrets: Secrets
    app: App
    settings: Settings
    authority: TestAuthority = field(default_factory=TestAuthority)

    @property
    def visitor(self) -> TlsVisitor:
        return TlsVisitor(int(self.settings.tls_bind[0].rpartition(":")[2]))

    def host(self, host: str, id: str, *names: str, **dates: float) -> str:
        """The host has a new certificate, by a secret with this id; its fingerprint."""
        issued = self.authority.issue(*(names or (host,)), **dates)
        self.secrets.contents[id] = issued.combined
        self.core.tls(host, id)
        return issued.fingerprint

    async def shows(self, host: str, wanted: str) -> None:
        await eventually(lambda: self.visitor.shown(host), wanted)

    def problems(self, host: str = "") -> list[str]:
        """Messages of the last report, about the host's service."""
        service = host.partition(".")[0]
        return [each.message for each in self.core.problems if not host or each.service == service]

    async def complains(self, host: str, words: str) -> None:
        await until(lambda: any(words in message for message in self.problems(host)), words)

    def files(self, directory: str) -> set[str]:
        return {path.name for path in Path(self.settings.file(directory)).iterdir()}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with core_up() as core, secrets_up() as secrets, apps("web") as (app,):
        core.sources = (secrets.address,)
        settings = proxy_settings(tmp_path / "run", tls_bind=(f"127.0.0.1:{free_port()}",))
        for name in ("a", "b"):
            core.service(name, app)
        yield World(core, secrets, app, settings)


@pytest.fixture
async def running(haproxy_binary: Path, world: World) -> AsyncIterator[Proxy]:
    async with proxy(haproxy_binary, world.settings, world.core.port) as running:
        yield running
        assert (running.sidecar.reloads, running.sidecar.drift) == (0, 0)


async def test_a_host_gets_a_certificate_another_one_and_none(world: World, running: Proxy) -> None:
    other = world.host("b.test", "b1")
    await world.core.applied()
    await world.shows("b.test", other)
    worker = running.worker
    async with crowd(world.visitor, ["b.test"]) as others:
        first = world.host("a.test", "a1")
        await world.core.applied()
        await world.shows("a.test", first)
        assert await world.visitor.get("a.test") == (200, "web")
        old = await world.visitor.client("a.test")
        assert fingerprint(old) == first

        second = world.host("a.test", "a2")
        await world.core.applied()
        await world.shows("a.test", second)
        assert await old.ask("a.test") == (200, "web")
        old.close()
        await until(lambda: world.files("secrets") == {"a2", "b1"})
        await until(lambda: world.secrets.contents["a2"] in certificate_file(world, "a.test"))

        del world.core.tls_hosts["a.test"]
        await world.core.applied()
        await world.shows("a.test", "")
        await until(lambda: world.files("tls/certificates") == {"b.test.pem"})
        assert world.files("secrets") == {"b1"}
        await until(lambda: others.number > 20)
    assert others.failed == []
    assert running.worker == worker


def certificate_file(world: World, host: str) -> bytes:
    path = Path(world.settings.file(f"tls/certificates/{host}.pem"))
    return path.read_bytes() if path.exists() else b""
