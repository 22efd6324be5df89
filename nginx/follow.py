"""The NGINX extension service: follows core, renders, and publishes, one configuration after the other.

Each publication is a roll of the proxies. So changes are gathered, secrets that core is about to attach are waited
for, and what is as before is not published again.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterator, Sequence
from random import Random

import grpc.aio

from l7.kit import logs, tasks
from l7.kit.backoff import Backoff
from l7.kit.errors import ConfigError
from l7.kit.publishing import FINAL, mounted, publish
from l7.kit.stream import Stream
from l7.kit.tls import NewestFiles
from l7.v1 import sync_pb2 as pb
from nginx.roll import FileSet, Outcome, Roller
from nginx.state import State, is_coming

log = logs.get("follow")

SETTLE = 1.0
"""Seconds without another change, after which there is a roll."""
LONGEST = 5.0
"""Seconds that a change waits at the most while others follow."""
SECRETS = 10.0
"""Seconds that a roll waits for secrets which are not attached yet; core replaces this process to attach them."""
BACKOFF = Backoff(first=1.0, limit=60.0)


class Follower:
    """`instance`, `software`: who we are to core. For one event loop."""

    def __init__(
        self, core: str, tls: NewestFiles | None, cluster: str, instance: str, software: str, roller: Roller
    ) -> None:  # fmt: skip
        self.state = State()
        self.stream = Stream(core, tls, self._hello, self._update)
        self._core, self._tls, self._cluster = core, tls, cluster
        self._greeting = pb.Hello(
            cluster=cluster, instance=instance, software=software, role=pb.ROLE_EXTENSION, proxy="nginx"
        )
        self._roller = roller
        self._changed = asyncio.Event()
        self._first: float | None = None
        self._last = 0.0
        self._lacking_since: float | None = None
        self._published = ""
        self._problems: tuple[pb.Problem, ...] = ()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        await tasks.race(self.stream.run(stop), self._publish_all(), stop.wait())

    # ------------------------------------------------------------ the stream

    def _hello(self) -> pb.Hello:
        """Core may be another one: it is asked whether it has our configuration, and told of problems anew."""
        self._published, self._problems = "", ()
        hello = pb.Hello(revision=self.state.revision)
        hello.MergeFrom(self._greeting)
        if self.state.revision:
            self._note()
        return hello

    def _update(self, response: pb.SyncResponse, wire: bytes) -> None:
        del wire
        if self.state.apply(response):
            self._note()
            self.stream.send(pb.SyncRequest(ack=pb.Ack(revision=self.state.revision)))

    def _note(self) -> None:
        now = time.monotonic()
        self._first = now if self._first is None else self._first
        self._last = now
        self._changed.set()

    def _report(self, problems: Sequence[pb.Problem]) -> None:
        if tuple(problems) != self._problems:
            self._problems = tuple(problems)
            self.stream.send(pb.SyncRequest(report=pb.Report(problems=problems)))

    # ------------------------------------------------------------ publishing

    async def _publish_all(self) -> None:
        delays: Iterator[float] | None = None
        while True:
            await self._changed.wait()
            await self._settled()
            try:
                await self._publish()
                delays = None
            except (grpc.aio.AioRpcError, ConfigError) as error:
                final = isinstance(error, grpc.aio.AioRpcError) and error.code() in FINAL
                log.warning("configuration not published", core=self._core, error=_said(error), again=not final)
                if not final:
                    delays = delays or BACKOFF.jittered(Random())
                    await asyncio.sleep(next(delays))
                    self._note()

    async def _settled(self) -> None:
        """Until nothing has followed for a moment, or the first change has waited for long."""
        while (until := self._due()) > (now := time.monotonic()):  # noqa: ASYNC110 - it moves
            await asyncio.sleep(until - now)
        self._first = None
        self._changed.clear()

    def _due(self) -> float:
        """Tasks that are about to run are waited for: without them there would be a roll more."""
        pause = LONGEST if is_coming(self.state) else SETTLE
        return min(self._last + pause, (self._first or 0.0) + LONGEST)

    async def _publish(self) -> None:
        state = self.state.still()
        outcome = await asyncio.to_thread(self._roller.render, state)
        self._report(outcome.problems)
        if outcome.files is None or self._waits(outcome):
            return
        digest = _digest(outcome.files)
        if digest == self._published:
            return
        answer = await publish(self._core, self._tls, self._first_piece(state, outcome.files, digest),
                               outcome.files.files, outcome.files.mounts)  # fmt: skip
        self._published = digest
        log.info("configuration published", revision=digest, state=state.revision, objects=list(answer.objects))

    def _waits(self, outcome: Outcome) -> bool:
        now = time.monotonic()
        self._lacking_since = (self._lacking_since or now) if outcome.lacking else None
        waits = self._lacking_since is not None and now < self._lacking_since + SECRETS
        if waits:
            asyncio.get_running_loop().call_later(SECRETS, self._note)
        return waits

    def _first_piece(self, state: State, files: FileSet, digest: str) -> pb.PublishConfigRequest:
        secrets = [mounted(path, each.id, each.name, each.config) for path, each in sorted(files.secrets.items())]
        how = pb.Deployment(secrets=secrets, command=self._roller.command)
        return pb.PublishConfigRequest(
            cluster=self._cluster, revision=state.revision, configuration=digest, counts=_counts(state),
            deployment=how,
        )  # fmt: skip


def _said(error: Exception) -> str:
    return f"{error.code().name}: {error.details()}" if isinstance(error, grpc.aio.AioRpcError) else str(error)


def _digest(files: FileSet) -> str:
    """32 hex digits, of all that proxies are run from."""
    digest = hashlib.sha256()
    for name, content in sorted(files.files.items()):
        digest.update(f"{name}\0{files.mounts[name]}\0{len(content)}\0".encode() + content)
    for path, secret in sorted(files.secrets.items()):
        digest.update(f"{path}\0{secret.id}\0".encode())
    return digest.hexdigest()[:32]


def _counts(state: State) -> dict[str, int]:
    return {
        "routes": len(state.routes),
        "services": len({name for backend in state.backends.values() for name in backend.settings.services}),
        "servers": sum(len(backend.servers) for backend in state.backends.values()),
        "certificates": len(state.tls_hosts),
    }
