"""Fetches the contents of secrets from the tasks of the extension service into the vault."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import islice
from random import Random
from typing import Any

import grpc
import grpc.aio

from haproxy.vault import Vault
from l7.kit import logs, tasks
from l7.kit.backoff import Backoff
from l7.kit.channel import open_channel
from l7.kit.errors import ConfigError, ProtocolError
from l7.kit.tls import NewestFiles, extension_name
from l7.v1 import secrets_pb2 as pb
from l7.v1 import secrets_pb2_grpc as rpc

log = logs.get("fetch")

BACKOFF = Backoff(first=0.05, limit=2.0)
BATCH = 64
"""Ids asked for at once; after each batch its ids are told, so that the first need not wait for the last."""
PATIENCE = 1.0
"""Seconds until a source must have sent the next content; a task that is gone does not say so."""


class Fetcher:
    """Gets what is wanted and not in the vault, from any source, for as long as something is missing.

    `tls` gives the files of our own identity, newest ones; None: plain, for loopback and unix sockets only.
    `arrived` is told the ids that came into the vault, in the event loop.
    """

    def __init__(
        self, vault: Vault, tls: NewestFiles | None, cluster: str, arrived: Callable[[frozenset[str]], None]
    ) -> None:
        self._vault = vault
        self._tls = tls
        self._cluster = cluster
        self._arrived = arrived
        self._wanted: frozenset[str] = frozenset()
        self._sources: tuple[str, ...] = ()
        self._changed = asyncio.Event()
        self._failed: dict[str, str] = {}

    def want(self, ids: frozenset[str], sources: tuple[str, ...]) -> None:
        """From now on these ids, and from there: "address:port", the best first. Said again, it does nothing."""
        if (ids, sources) != (self._wanted, self._sources):
            self._wanted, self._sources = ids, sources
            self._changed.set()

    @property
    def missing(self) -> frozenset[str]:
        """What is wanted and not there."""
        return self._wanted - self._vault.ids

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. No source is ever an error: the next one is asked, or the same one again."""
        await tasks.first(stop, self._run())

    async def _run(self) -> None:
        delays = BACKOFF.jittered(Random())
        while True:
            self._changed.clear()
            await self._round()
            if self._changed.is_set():  # there are other sources, or other ids
                delays = BACKOFF.jittered(Random())
                continue
            pause = next(delays) if self.missing and self._sources else None
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            except TimeoutError:
                continue
            delays = BACKOFF.jittered(Random())

    async def _round(self) -> None:
        """Each source once, until nothing is missing."""
        for source in self._sources:
            if not self.missing or self._changed.is_set():
                return
            try:
                await self._from(source)
                self._failed.pop(source, None)
            except grpc.aio.AioRpcError as error:
                self._failing(source, error.code().name, error.details() or "")
            except TimeoutError:
                self._failing(source, "TIMEOUT", f"nothing within {PATIENCE} s")
            except (ProtocolError, ConfigError) as error:
                self._failing(source, type(error).__name__, str(error))

    def _failing(self, source: str, code: str, details: str) -> None:
        """Logs a failure once, not at each try. A task that only just starts listens a moment later than Swarm says
        that it runs: that is no warning, and what stays missing is told as a problem."""
        if self._failed.get(source) != code:
            self._failed = {each: said for each, said in self._failed.items() if each in self._sources}
            self._failed[source] = code
            say = log.info if code == grpc.StatusCode.UNAVAILABLE.name else log.warning
            say("secrets not fetched", source=source, code=code, details=details, missing=len(self.missing))

    async def _from(self, source: str) -> None:
        """All that is missing and there."""
        async with self._channel(source) as channel:
            stub = rpc.SecretServiceStub(channel)  # type: ignore[no-untyped-call]
            for batch in _batches(sorted(self.missing)):
                if self._changed.is_set():
                    return
                await self._batch(stub, batch)

    def _channel(self, source: str) -> grpc.aio.Channel:
        files = None if self._tls is None else self._tls()
        return open_channel(source, files, extension_name(self._cluster), own=True)

    async def _batch(self, stub: Any, ids: list[str]) -> None:
        got: set[str] = set()
        call = stub.Fetch(pb.FetchRequest(ids=ids))
        try:
            async with asyncio.timeout(PATIENCE) as patience:
                async for response in call:
                    patience.reschedule(asyncio.get_running_loop().time() + PATIENCE)
                    if response.id not in ids:
                        raise ProtocolError(f"{response.id[:80]!r} was not asked for")
                    if response.id in self._wanted:  # by now it may be the old key, which nobody is to keep
                        self._vault.put(response.id, response.data)
                        got.add(response.id)
        finally:
            call.cancel()
            if got:
                log.info("secrets fetched", number=len(got), missing=len(self.missing))
                self._arrived(frozenset(got))


def _batches(ids: list[str]) -> Iterator[list[str]]:
    rest = iter(ids)
    while batch := list(islice(rest, BATCH)):
        yield batch
