"""The private HTTP face of a daemon: is it alive, is it ready, its metrics, its status.

    GET /healthz   200 while the process answers at all
    GET /readyz    200 when ready, 503 with the reason before (not before the first full synchronisation)
    GET /metrics   Prometheus exposition
    GET /status    JSON

and what pages a daemon has of its own.

It listens on a unix socket and, if told to, on a TCP address: loopback unless the operator says otherwise,
because nothing here asks who the caller is.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from l7.kit import logs
from l7.kit.errors import ConfigError, Unavailable
from l7.kit.metrics import CONTENT_TYPE, Metrics

_log = logs.get("kit.http")


Page = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Admin:
    """What the server shows. `ready` gives "" when ready, else the reason why not; `status` a JSON value; `pages`
    by their path."""

    metrics: Metrics
    ready: Callable[[], str]
    status: Callable[[], Mapping[str, Any]]
    pages: Mapping[str, Page] = field(default_factory=dict)


async def serve(admin: Admin, address: str, socket: str, stop: asyncio.Event) -> None:
    """Serves until `stop`; arguments and errors as of `listening`."""
    async with listening(admin, address, socket):
        await stop.wait()


@asynccontextmanager
async def listening(admin: Admin, address: str, socket: str) -> AsyncIterator[None]:
    """Serves within the block. `address` is "host:port", `socket` a path; "" leaves one out.

    Raises ConfigError for an address that cannot be read, Unavailable when one cannot be bound.
    """
    runner = web.AppRunner(application(admin), access_log=None, handle_signals=False)
    await runner.setup()
    try:
        if socket:
            await _listen_unix(runner, socket)
        if address:
            await _start(web.TCPSite(runner, *parse_address(address)))
        yield
    finally:
        await runner.cleanup()


def application(admin: Admin) -> web.Application:
    """The routes of the server."""

    async def healthz(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_request: web.Request) -> web.Response:
        reason = admin.ready()
        return web.Response(text=f"{reason or 'ready'}\n", status=503 if reason else 200)

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=admin.metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})

    async def status(_request: web.Request) -> web.Response:
        options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS | orjson.OPT_INDENT_2
        body = orjson.dumps(admin.status(), option=options)
        return web.Response(body=body + b"\n", content_type="application/json")

    app = web.Application()
    own = {"/healthz": healthz, "/readyz": readyz, "/metrics": metrics, "/status": status}
    for path, page in {**own, **admin.pages}.items():
        app.router.add_get(path, page)
    return app


def parse_address(address: str) -> tuple[str, int]:
    """Reads "host:port" or "[v6]:port" as (host, port); an empty host means loopback. Raises ConfigError."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise ConfigError("admin address", f"{address!r} is not host:port")
    return host.strip("[]") or "127.0.0.1", int(port)


async def _listen_unix(runner: web.AppRunner, path: str) -> None:
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    except OSError as error:
        raise Unavailable(f"admin server cannot listen on {path}: {error}") from error
    await _start(web.UnixSite(runner, path))
    # Who may read the status of the whole installation is the file's owner alone.
    os.chmod(path, 0o600)


async def _start(site: web.BaseSite) -> None:
    try:
        await site.start()
    except OSError as error:
        raise Unavailable(f"admin server cannot listen on {site.name}: {error}") from error
    _log.info("admin listening", address=site.name)
