"""A world for the sidecar's TLS: core, the extension service, a CA and an application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from haproxy.settings import Settings
from testbed.certificates import TestAuthority
from tests.integration.live_haproxy import free_port
from tests.integration.live_sidecar import (
    App,
    Core,
    Secrets,
    apps,
    core_up,
    eventually,
    proxy_settings,
    secrets_up,
    until,
)
from tests.integration.tls_visitor import TlsVisitor

PREFIX = "com.docker.lb."


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

    def host(self, host: str, id: str, *names: str, begin: float = -1, end: float = 90) -> str:
        """The host has a new certificate, by a secret with this id; its fingerprint."""
        issued = self.authority.issue(*(names or (host,)), begin=begin, end=end)
        self.secrets.contents[id] = issued.combined
        self.core.tls(host, id)
        return issued.fingerprint

    async def shows(self, host: str, wanted: str) -> None:
        await eventually(lambda: self.visitor.shown(host), wanted)

    async def complains(self, service: str, label: str, words: str) -> None:
        """The last report has such a problem."""

        def told() -> bool:
            found = ((each.service, each.label, each.message) for each in self.core.problems)
            return any((by, at) == (service, label) and words in message for by, at, message in found)

        await until(told, f"{words} in {self.core.problems}")

    async def content(self) -> None:
        """There is no problem."""
        await until(lambda: not self.core.problems, str(self.core.problems))

    def files(self, directory: str) -> set[str]:
        return {path.name for path in Path(self.settings.file(directory)).iterdir()}


@asynccontextmanager
async def tls_world(directory: Path) -> AsyncIterator[World]:
    """Services `a` and `b` of one application, without TLS as yet."""
    async with core_up() as core, secrets_up() as secrets, apps("web") as (app,):
        core.sources = (secrets.address,)
        settings = proxy_settings(directory / "run", tls_bind=(f"127.0.0.1:{free_port()}",))
        for name in ("a", "b"):
            core.service(name, app)
        yield World(core, secrets, app, settings)
