"""The part of the extension service that follows core: keeps the newest state of its cluster, publishes it, and
tells core what all proxies see together.

Loaded after the secrets are served: nobody who waits for a certificate waits for this. Without core it has the
state that is mounted in its task (`l7.kit.bundle`), until core comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from haproxy import cluster as views
from haproxy import figures
from haproxy.chunks import complete
from haproxy.cluster import Cluster
from haproxy.looks import Looks
from haproxy.mirror import Mirror
from haproxy.model import ServerState
from haproxy.publication import RENDERED_FOR
from haproxy.publish import Publisher
from haproxy.roll import Roller
from haproxy.state import load_published
from l7.kit import logs, tasks
from l7.kit.metrics import Metrics
from l7.kit.stream import Stream
from l7.kit.tls import NewestFiles
from l7.v1 import sync_pb2 as pb

log = logs.get("follow")


class Follower:
    """`instance`, `software`: who we are to core; `trusts` is told which CAs it trusts. For one event loop."""

    def __init__(
        self, core: str, tls: NewestFiles | None, cluster: str, instance: str, software: str,
        roller: Roller | None = None,
    ) -> None:  # fmt: skip
        """`roller`: the proxies are in file mode."""
        self.address = core
        self.mirror = Mirror()
        self.publisher = Publisher(core, tls, cluster, self.mirror, roller)
        self.publisher.on_problems = self._report
        self._problems: tuple[pb.Problem, ...] = ()
        self.stream = Stream(core, tls, self._hello, self._update)
        self.stream.on_proxy = self.publisher.render_for
        self.looks = Looks(Cluster(self._runs), self._looked)
        self.metrics = Metrics("extension", software)
        self.metrics.before_exposition = self._count
        self._told: dict[views.Key, pb.ServerHealth] = {}
        self._told_view = pb.ClusterView()
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

    async def look(self, stop: asyncio.Event) -> None:
        """At the proxies, until `stop`; with core or without."""
        await tasks.first(stop, self.looks.run())

    def chunks(self) -> list[pb.SyncResponse]:
        """The newest state as one COMPLETE; empty when there is none."""
        return complete(self.mirror.desired) if self.mirror.revision else []

    # ------------------------------------------------------------ the stream

    def _hello(self) -> pb.Hello:
        """Core may be another one: it is asked whether it has our configuration, at the first update."""
        self.publisher.opened()
        self._configuration = True
        self._told, self._told_view = {}, pb.ClusterView()
        self._problems = ()
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

    # ------------------------------------------------------------ what the proxies see

    def _runs(self, backend: str, task: str) -> bool:
        wanted = self.mirror.named.get(backend)
        server = wanted.servers.get(task) if wanted is not None else None
        return server is not None and server.state is ServerState.READY

    def _looked(self) -> None:
        """Tell core what has changed; it knows nothing of us when the stream is a new one."""
        if not self.stream.connected:
            return
        cluster, view = self.looks.cluster, self.view()
        now = views.told(cluster)
        changed = views.news(self._told, now, cluster)
        if changed or view != self._told_view:
            for servers in views.batches(changed):
                self.stream.send(pb.SyncRequest(health=pb.Health(servers=servers, cluster=view)))
            self._told, self._told_view = now, view

    def view(self) -> pb.ClusterView:
        """Totals of the last look; `proxies` 0: there was none, or nobody answered."""
        looks, counts, load = self.looks, self.looks.cluster.counts, self.looks.cluster.load
        return pb.ClusterView(
            proxies=looks.answered, silent=looks.silent, up=counts[views.UP], down=counts[views.DOWN],
            maintenance=counts[views.MAINTENANCE], sessions=load.sessions, queued=load.queued,
        )  # fmt: skip

    def _count(self) -> None:
        """Only when somebody asks."""
        name, looks, metrics = self._greeting.cluster, self.looks, self.metrics
        metrics.cluster_proxies.labels(name, "answered").set(looks.answered)
        metrics.cluster_proxies.labels(name, "silent").set(looks.silent)
        if looks.at:
            metrics.cluster_look_at.labels(name).set(looks.at)
            figures.fill(metrics, name, looks.cluster)

    def status(self) -> dict[str, Any]:
        """For /status."""
        looks = self.looks
        return {
            "cluster": self._greeting.cluster,
            "instance": self._greeting.instance,
            "revision": self.mirror.revision,
            "core": {"address": self.address, "connected": self.stream.connected},
            "looked_at": looks.at,
            "quorum": looks.quorum,
            "proxies": looks.document(),
            **figures.document(looks.cluster),
        }


    def _report(self, problems: Sequence[pb.Problem]) -> None:
        if tuple(problems) != self._problems:
            self._problems = tuple(problems)
            self.stream.send(pb.SyncRequest(report=pb.Report(problems=problems)))


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
