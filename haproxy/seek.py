"""What a new proxy starts from while core is away: the newest state of its extension service, else what is mounted.

A task without a state of its own waits a moment for core. Then it asks the extension service, which is found by
its DNS name; while that does not answer, it serves what was published and mounted in its task. As soon as core is
heard, core counts alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import grpc
import grpc.aio

from haproxy.state import load_published
from l7.kit import logs, tasks
from l7.kit.backoff import Backoff
from l7.kit.channel import open_channel
from l7.kit.errors import ConfigError, ProtocolError
from l7.kit.tls import NewestFiles, extension_name
from l7.v1 import state_pb2, state_pb2_grpc
from l7.v1 import sync_pb2 as pb

log = logs.get("seek")

CORE_PATIENCE = 3.0
"""Seconds that core may take for its first word; less when it can't be reached at all."""
PATIENCE = 5.0
"""Seconds that the extension service may take for the next chunk."""
BACKOFF = Backoff(first=0.2, limit=5.0)


@dataclass(frozen=True, slots=True)
class Places:
    """Where a state may be. `extension`: "address:port" of the extension service, "" for none; `published`: the
    directory of the published configuration, "" for none."""

    cluster: str
    extension: str = ""
    published: str = ""


class Seeker:
    """`take` is given a whole state as one COMPLETE, and may raise ProtocolError; its revision is none of core's,
    who is asked for everything when it is back. `heard` is set once core has spoken, `failed` once it did not."""

    def __init__(
        self,
        places: Places,
        tls: NewestFiles | None,
        take: Callable[[pb.SyncResponse], None],
        heard: asyncio.Event,
        failed: asyncio.Event,
    ) -> None:
        self._places = places
        self._tls = tls
        self._take = take
        self._heard = heard
        self._failed = failed
        self._said = ""

    async def run(self) -> None:
        """Returns when there is no more to be found than there is, or core has spoken."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CORE_PATIENCE):
                await tasks.race(self._heard.wait(), self._failed.wait())
        mounted, delays = False, BACKOFF.jittered(Random())
        while not self._heard.is_set():
            if self._places.extension and await self._asked():
                return
            if not mounted:
                mounted = True
                self._mounted()
            if not self._places.extension:
                return
            await tasks.race(self._heard.wait(), asyncio.sleep(next(delays)))

    # ------------------------------------------------------------ inside

    async def _asked(self) -> bool:
        """Whether the extension service has given a state, or core has spoken meanwhile."""
        try:
            update = await self._fetch()
            if not self._heard.is_set():
                self._take(update)
                log.info("state fetched", extension=self._places.extension, revision=update.results_in)
        except grpc.aio.AioRpcError as error:
            self._failing(error.code().name, error.details() or "")
        except TimeoutError:
            self._failing("TIMEOUT", f"nothing within {PATIENCE} s")
        except (ProtocolError, ConfigError) as error:
            self._failing(type(error).__name__, str(error))
        else:
            return True
        return False

    def _failing(self, code: str, details: str) -> None:
        if code != self._said:
            self._said = code
            log.warning("state not fetched", extension=self._places.extension, code=code, details=details)

    async def _fetch(self) -> pb.SyncResponse:
        """What the extension service has, in one message."""
        files = None if self._tls is None else self._tls()
        name = extension_name(self._places.cluster)
        chunks: list[pb.SyncResponse] = []
        async with open_channel(self._places.extension, files, name, own=True) as channel:
            stub = state_pb2_grpc.StateServiceStub(channel)  # type: ignore[no-untyped-call]
            call = stub.FetchState(state_pb2.FetchStateRequest(cluster=self._places.cluster))
            try:
                async with asyncio.timeout(PATIENCE) as patience:
                    async for response in call:
                        patience.reschedule(asyncio.get_running_loop().time() + PATIENCE)
                        chunks.append(response.update)
            finally:
                call.cancel()
        return joined(chunks)

    def _mounted(self) -> None:
        directory = self._places.published
        found = load_published(Path(directory), self._places.cluster) if directory else None
        if found is None:
            return
        try:
            self._take(found.update)
        except ProtocolError as error:
            log.warning("published state unusable", path=directory, error=str(error))
        else:
            log.info("published state taken", revision=found.update.results_in)


def joined(chunks: list[pb.SyncResponse]) -> pb.SyncResponse:
    """The chunks of one COMPLETE as one message. Where secrets were fetched may be a task that is gone: that is
    left out, and so the revision is none of core's any more. Raises ProtocolError unless they are all."""
    heads = {(chunk.kind, chunk.results_in) for chunk in chunks}
    whole = [chunk.last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    if len(heads) != 1 or not whole or chunks[0].kind != pb.UPDATE_KIND_COMPLETE:
        raise ProtocolError("not one complete state")
    update = pb.SyncResponse(kind=pb.UPDATE_KIND_COMPLETE, results_in=f"{chunks[0].results_in}~", last=True)
    for chunk in chunks:
        update.changes.MergeFrom(chunk.changes)
    update.changes.ClearField("secret_sources")
    return update
