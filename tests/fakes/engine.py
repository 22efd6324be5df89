"""The Engine API of a manager, on a unix socket, as far as core needs it beside SwarmKit's control socket: which
Swarm it is, and that there are no secrets and no configs. What else is asked is answered with 404, and told.

    async with engine_api(directory / "docker.sock", trust_root) as docker:
        Engine(Address(docker.url))
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

VERSION = {"ApiVersion": "1.41", "MinAPIVersion": "1.12"}


@dataclass
class EngineApi:
    """`unknown`: what was asked for and is not here, each method and path once."""

    path: Path
    trust_root: bytes
    unknown: set[str] = field(default_factory=set)
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def application(self) -> web.Application:
        application = web.Application()
        prefix = "/v{version:[0-9.]+}"
        application.add_routes(
            [
                web.get("/version", lambda _: _json(VERSION)),
                web.get(f"{prefix}/swarm", lambda _: _json({"TLSInfo": {"TrustRoot": self.trust_root.decode()}})),
                web.get(f"{prefix}/secrets", lambda _: _json([])),
                web.get(f"{prefix}/configs", lambda _: _json([])),
                web.get(f"{prefix}/events", self._events),
                web.route("*", "/{rest:.*}", self._unknown),
            ]
        )
        return application

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Nothing ever happens."""
        response = web.StreamResponse()
        await response.prepare(request)
        await self.closing.wait()
        return response

    async def _unknown(self, request: web.Request) -> web.StreamResponse:
        self.unknown.add(f"{request.method} {request.path}")
        return web.json_response({"message": "page not found"}, status=404)


@asynccontextmanager
async def engine_api(path: Path, trust_root: bytes) -> AsyncIterator[EngineApi]:
    """Answers within the block."""
    api = EngineApi(path, trust_root)
    runner = web.AppRunner(api.application(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    try:
        yield api
    finally:
        api.closing.set()
        await runner.cleanup()


async def _json(value: object) -> web.Response:
    return web.json_response(value)
