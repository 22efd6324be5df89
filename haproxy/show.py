"""Shows the extension service what HAProxy says of its servers, whenever that asks (`l7.v1.ViewService`).

By a connection and a thread of its own: no change waits for it. HAProxy's answers pass through piece by piece.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

import grpc
import grpc.aio

from haproxy.aliases import differing
from haproxy.apply import RuntimeThread
from haproxy.look import SHARE
from haproxy.runtime import codec
from haproxy.runtime.client import Runtime
from haproxy.runtime.dumps import StatKind
from l7.kit import logs
from l7.kit.backoff import Backoff
from l7.kit.channel import open_channel
from l7.kit.errors import ConfigError, L7Error
from l7.kit.tls import NewestFiles, extension_name
from l7.v1 import views_pb2 as pb
from l7.v1 import views_pb2_grpc as rpc

log = logs.get("show")

BACKOFF = Backoff(first=0.5, limit=30.0)
GOOD = 30.0
"""Seconds after which a stream counts as good: its end is then retried quickly again."""
PIECE = 256 * 1024
"""Bytes that are sent at once."""
COMMANDS = (codec.show_servers_state(None), codec.show_stat(None, int(StatKind.BACKENDS)))
"""Counters of servers would cost HAProxy five times as much as all of this, and 2.6 stalls meanwhile."""


class Show:
    """`url`: of the Runtime API; `extension`: "address:port" and cluster; `tls`: files of our own identity, None:
    plain, within this host only. `placement` gives where logical backends live; `who`: we."""

    def __init__(
        self,
        url: str,
        extension: tuple[str, str],
        tls: NewestFiles | None,
        who: pb.Introduction,
        placement: Callable[[], Mapping[str, str]],
    ) -> None:
        self._extension, self._cluster = extension
        self._tls = tls
        self._who = who
        self._placement = placement
        self._thread = RuntimeThread(Runtime(url))
        self._not_before = 0.0
        self._said = ""

    async def run(self) -> None:
        """Until cancelled; that nobody is there to be shown anything is never an error."""
        delays = BACKOFF.jittered(Random())
        try:
            while True:
                since = time.monotonic()
                try:
                    await self._once()
                except grpc.aio.AioRpcError as error:
                    self._failing(error.code().name, error.details() or "")
                except ConfigError as error:
                    self._failing("ConfigError", str(error))
                if time.monotonic() - since > GOOD:
                    delays = BACKOFF.jittered(Random())
                await asyncio.sleep(next(delays))
        finally:
            self._thread.close()

    async def _once(self) -> None:
        """One stream, until its end."""
        files = None if self._tls is None else self._tls()
        async with open_channel(self._extension, files, extension_name(self._cluster), own=True) as channel:
            call = rpc.ViewServiceStub(channel).Show()  # type: ignore[no-untyped-call]
            try:
                await call.write(pb.ShowRequest(introduction=self._who))
                while (asked := await call.read()) is not grpc.aio.EOF:
                    self._said = ""
                    await self._show(call, asked.look)
            finally:
                call.cancel()

    def _failing(self, code: str, details: str) -> None:
        """Said once: an older extension service does not know this call, and never will."""
        if code != self._said:
            self._said = code
            log.info("shows nothing", extension=self._extension, code=code, details=details)

    # ------------------------------------------------------------ one look

    async def _show(self, call: Any, look: int) -> None:
        await asyncio.sleep(self._not_before - time.monotonic())
        names = pb.Names(backends=differing(self._placement()))
        await call.write(pb.ShowRequest(look=look, names=names))
        end = pb.End()
        try:
            spent = await self._pass_on(call, look)
            self._not_before = time.monotonic() + (SHARE - 1) * spent
            end.microseconds = int(spent * 1e6)
        except L7Error as error:  # no burden to whom does not answer
            end.error = str(error)
        await call.write(pb.ShowRequest(look=look, end=end))

    async def _pass_on(self, call: Any, look: int) -> float:
        """HAProxy's answers; the seconds that it took for them."""
        pieces, spent = self._pieces(), 0.0
        while True:
            since = time.monotonic()
            data = await self._thread.call(next, pieces, b"")
            spent += time.monotonic() - since
            if not data:
                return spent
            await call.write(pb.ShowRequest(look=look, piece=pb.Piece(data=data)))

    def _pieces(self) -> Iterator[bytes]:
        """In the thread. The connection is a new one each time: an old one may lead to an old worker."""
        runtime = self._thread.runtime
        runtime.reopen()
        held = bytearray()
        for command in COMMANDS:
            for data in runtime.stream(command):
                held += data
                if len(held) >= PIECE:
                    yield bytes(held)
                    held.clear()
            held += b"\n"  # one answer is the next one's neighbour
        runtime.reopen()
        if held:
            yield bytes(held)
