"""The part of the extension service that follows core: keeps the newest state of its cluster, and publishes it.

Loaded after the secrets are served: nobody who waits for a certificate waits for this. Without core it has the
state that is mounted in its task (`l7.kit.bundle`), until core comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from haproxy.chunks import complete
from haproxy.mirror import Mirror
from haproxy.publication import RENDERED_FOR
from haproxy.publish import Publisher
from haproxy.state import load_published
from haproxy.stream import Stream
from l7.kit import logs, tasks
from l7.kit.tls import NewestFiles
from l7.v1 import sync_pb2 as pb

log = logs.get("follow")


class Follower:
    """`instance`, `software`: who we are to core; `trusts` is told which CAs it trusts. For one event loop."""

    def __init__(self, core: str, tls: NewestFiles | None, cluster: str, instance: str, software: str) -> None:
        self.mirror = Mirror()
        self.publisher = Publisher(core, tls, cluster, self.mirror)
        self.stream = Stream(core, tls, self._hello, self._update)
        self.stream.on_proxy = self.publisher.render_for
        self._configuration = True
        self._greeting = pb.Hello(cluster=cluster, instance=instance, software=software, role=pb.ROLE_EXTENSION)

    def load(self, directory: Path | str) -> None:
        """Begin with what is mounted there, if it is of our cluster, and whole."""
        found = load_published(Path(directory), self._greeting.cluster)
        if found is not None:
            self.mirror.load(found.update.results_in, found.update.changes)
            self.publisher.render_for(found.files.get(RENDERED_FOR, b"").decode(errors="replace").strip())
            log.info("published state found", revision=self.mirror.revision)

    async def run(self, stop: asyncio.Event, trusts: Callable[[str], None]) -> None:
        """Until `stop`."""
        self.stream.on_authorities = trusts
        await tasks.race(self.stream.run(stop), self.publisher.run(), stop.wait())

    def chunks(self) -> list[pb.SyncResponse]:
        """The newest state as one COMPLETE; empty when there is none."""
        return complete(self.mirror.desired) if self.mirror.revision else []

    # ------------------------------------------------------------ the stream

    def _hello(self) -> pb.Hello:
        """Core may be another one: it is asked whether it has our configuration, at the first update."""
        self.publisher.opened()
        self._configuration = True
        hello = pb.Hello(revision=self.mirror.revision)
        hello.MergeFrom(self._greeting)
        return hello

    def _update(self, response: pb.SyncResponse, data: bytes) -> None:
        self._configuration |= response.kind == pb.UPDATE_KIND_COMPLETE or _is_configured(response.changes)
        touched = self.mirror.apply(response, data)
        if touched is None:
            return
        if self._configuration or touched.backends:
            self.publisher.changed(self._configuration)
        self._configuration = False
        self.stream.send(pb.SyncRequest(ack=pb.Ack(revision=self.mirror.revision)))


def _is_configured(changes: pb.Changes) -> bool:
    """Whether anything is changed that an operator or a user decides."""
    return (
        changes.HasField("config")
        or any(len(getattr(changes, field)) for field in _DECIDED)
        or any(backend.HasField("settings") for backend in changes.backends)
    )


_DECIDED = (
    "removed_backends", "routes", "removed_routes", "rules", "removed_rules", "tls_hosts", "removed_tls_hosts",
)  # fmt: skip
