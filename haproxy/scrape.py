"""`/metrics/haproxy` of the sidecar's admin server: HAProxy's own metrics, and what its names stand for.

Nothing is kept: what HAProxy says passes through piece by piece, however many servers there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, UnixConnector, web

from haproxy.exporter import SOCKET, names, unused, without
from haproxy.reconcile import Reconciler

PAGE = "/metrics/haproxy"
SCOPE = (("scope", "backend"), ("scope", "server"))
"""What is asked for where the query names no scope."""
TIMEOUT = ClientTimeout(total=30)
PIECE = 200
"""Lines that are written at once: the event loop has other things to do."""

NO_EXPORTER = (
    "this HAProxy gives no metrics: it was built without its Prometheus exporter (PROMEX in `haproxy -vv`), or its "
    "configuration lacks the output of `l7 haproxy render --static`\n"
)


class Scrape:
    """`page` answers requests of the admin server."""

    def __init__(self, reconciler: Reconciler) -> None:
        self._reconciler = reconciler

    async def page(self, request: web.Request) -> web.StreamResponse:
        """HAProxy's answer to the request's query; 404 where it has none to give, 503 where it can't be asked."""
        settings = self._reconciler.settings
        if Path(settings.socket).exists() and not Path(settings.file(SOCKET)).exists():
            return web.Response(status=404, text=NO_EXPORTER)
        query = [*request.query.items(), *(() if "scope" in request.query else SCOPE)]
        response = web.StreamResponse()
        try:
            async with (
                ClientSession(connector=UnixConnector(settings.file(SOCKET)), timeout=TIMEOUT) as session,
                session.get("http://haproxy/metrics", params=query) as answer,
            ):
                return await self._pass_on(request, answer, response)
        except (ClientError, TimeoutError) as error:
            if response.prepared:  # cut short, so that nobody takes what there is for the whole
                raise ConnectionResetError(f"HAProxy's metrics broke off: {error}") from error
            return web.Response(status=503, text=f"HAProxy can't be asked: {error}\n")

    async def _pass_on(
        self, request: web.Request, answer: ClientResponse, response: web.StreamResponse
    ) -> web.StreamResponse:
        if answer.status != web.HTTPOk.status_code:
            return web.Response(status=answer.status, text=await answer.text())
        response.headers["Content-Type"] = answer.headers["Content-Type"]
        await response.prepare(request)
        reconciler = self._reconciler
        placement = dict(reconciler.seen.placement)
        idle = unused(reconciler.settings, reconciler.planner.capabilities, placement)
        async for lines in _whole_lines(answer.content.iter_any()):
            await response.write(without(lines, idle))
        await _write(response, names(placement, list(reconciler.mirror.routes.values())))
        await response.write_eof()
        return response


async def _whole_lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    begun = b""
    async for piece in pieces:
        lines, end, rest = piece.rpartition(b"\n")
        if end:
            yield begun + lines + end
            begun = rest
        else:
            begun += rest
    if begun:
        yield begun


async def _write(response: web.StreamResponse, lines: Iterator[str]) -> None:
    while piece := "".join(islice(lines, PIECE)):
        await response.write(piece.encode())
        await asyncio.sleep(0)  # a write that needs not wait lets nobody else go first
