"""Publishes the state of the extension service: renders it, and hands it to core, which stores it in Swarm."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import Random

import grpc
import grpc.aio

from haproxy import pace
from haproxy.capabilities import OLDEST, Capabilities, capabilities, parse_version
from haproxy.file_mode import STOP_SIGNAL
from haproxy.mirror import Mirror
from haproxy.model import Desired
from haproxy.pace import Pace, is_due_for_servers
from haproxy.publication import FileSet, Publication, publication
from haproxy.roll import Roller
from l7.kit import logs
from l7.kit.backoff import Backoff
from l7.kit.errors import ConfigError, Incompatible, ProtocolError
from l7.kit.publishing import FINAL, mounted, publish
from l7.kit.tls import NewestFiles
from l7.v1 import sync_pb2 as pb

log = logs.get("publish")

SECRETS = 10.0
"""Seconds that a roll waits for secrets which are not attached yet."""
BACKOFF = Backoff(first=1.0, limit=60.0)


class Publisher:
    """Tell it of changes by `changed`, and by `opened` that core may be another one; `run` does the rest."""

    def __init__(
        self, core: str, tls: NewestFiles | None, cluster: str, mirror: Mirror, roller: Roller | None = None
    ) -> None:
        """`roller`: the proxies are in file mode."""
        self._core = core
        self._tls = tls
        self._cluster = cluster
        self._mirror = mirror
        self._pace = Pace(pace.SERVERS if roller is None else pace.ROLL)
        self._roller = roller
        self._lacking_since: float | None = None
        self.on_problems: Callable[[Sequence[pb.Problem]], None] = lambda problems: None
        self._wake = asyncio.Event()
        self._last: Publication | None = None
        self._delays: Iterator[float] | None = None
        self._failed = ""
        self.able: Capabilities = capabilities(OLDEST)
        """What is rendered for: the oldest proxy that core has told of."""

    def changed(self, configuration: bool) -> None:
        """The mirror has changed; without `configuration`: only servers."""
        self._pace.changed(time.monotonic(), configuration)
        self._wake.set()

    def opened(self) -> None:
        """A new stream: what core has stored is not known any more."""
        self._last = None

    async def run(self) -> None:
        """Until cancelled. Core's absence is never an error here."""
        while True:
            self._wake.clear()
            due = self._pace.due()
            pause = None if due is None else due - time.monotonic()
            if pause is None or pause > 0:
                try:
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                continue
            await self._publish()

    # ------------------------------------------------------------ inside

    async def _publish(self) -> None:
        began = time.monotonic()
        desired, keyed = _still(self._mirror.desired), _still(self._mirror.keyed)
        self._pace.begun()
        rolled, ready = await self._roll(keyed)
        if not ready:
            return
        found = await asyncio.to_thread(publication, self._cluster, desired, keyed, self.able, rolled)
        if self._last is not None and found.content == self._last.content:
            return
        now = time.monotonic()
        same = self._last is not None and found.configuration == self._last.configuration
        if same and not is_due_for_servers(self._pace, now):
            self._pace.changed(now, False)
            return
        try:
            await self._send(found)
        except grpc.aio.AioRpcError as error:
            await self._not_published(error.code(), error.details() or "")
        except ConfigError as error:
            await self._not_published(None, str(error))
        else:
            self._last, self._delays, self._failed = found, None, ""
        self._pace.ended(time.monotonic(), time.monotonic() - began)

    async def _roll(self, keyed: Desired) -> tuple[FileSet | None, bool]:
        """File mode: what proxies are to be run from, and whether that is to be published now. Each is a roll, so
        secrets that core is about to attach are waited for; it replaces this process then."""
        if self._roller is None:
            return None, True
        outcome = await asyncio.to_thread(self._roller.render, keyed)
        self.on_problems(outcome.problems)
        now = time.monotonic()
        self._lacking_since = (self._lacking_since or now) if outcome.lacking else None
        waits = self._lacking_since is not None and now < self._lacking_since + SECRETS
        if waits:
            asyncio.get_running_loop().call_later(SECRETS, self.changed, True)
        return outcome.files, outcome.files is not None and not waits

    async def _not_published(self, code: grpc.StatusCode | None, details: str) -> None:
        name = code.name if code else "CONFIG"
        if name != self._failed:
            self._failed = name
            log.warning("configuration not published", core=self._core, code=name, details=details)
        if code in FINAL:
            return
        self._delays = self._delays or BACKOFF.jittered(Random())
        await asyncio.sleep(next(self._delays))
        self._pace.changed(time.monotonic(), True)

    async def _send(self, found: Publication) -> None:
        first = pb.PublishConfigRequest(
            cluster=self._cluster, revision=found.revision, configuration=found.configuration, counts=found.counts,
            deployment=_deployment(found, self._roller) if self._roller is not None else None,
        )  # fmt: skip
        answer = await publish(self._core, self._tls, first, found.files, found.mounts)
        log.info("configuration published", revision=found.configuration, state=found.revision,
                 objects=list(answer.objects))  # fmt: skip
        self.render_for(answer.proxy)

    def render_for(self, proxy: str) -> None:
        """From the next time on for this one, as in Hello: "haproxy/2.6.12"; "": nothing is known of another."""
        try:
            able = capabilities(parse_version(proxy)) if proxy else self.able
        except (ProtocolError, Incompatible) as error:
            log.warning("proxy's version unreadable", proxy=proxy, error=str(error))
            return
        if able != self.able:
            self.able = able
            self._pace.changed(time.monotonic(), False)


def _still(desired: Desired) -> Desired:
    """A state that stays as it is while the mirror moves on."""
    return replace(
        desired,
        backends=dict(desired.backends),
        routes=dict(desired.routes),
        rules=dict(desired.rules),
        tls_hosts=dict(desired.tls_hosts),
    )


def _deployment(found: Publication, roller: Roller) -> pb.Deployment:
    secrets = [mounted(path, each.id, each.name, each.config) for path, each in sorted(found.secrets.items())]
    return pb.Deployment(secrets=secrets, command=roller.mode.command, stop_signal=STOP_SIGNAL)
