"""Core as a process: builds every part, runs them in one group, stops them in order.

    watch ──▶ build ──▶ store ──▶ gRPC streams        admin: health, metrics, status
                ├─────▶ attach ──▶ secrets of extension services
                └─────▶ fleet  ──▶ extension services, proxies, networks

Watch tells what changed, build compiles it, the store wakes the streams. All of it happens in one event loop
and without a queue in between, so that a change is with the streams before the next one is looked at.

Without Swarm (no leader, no daemon) nothing changes: the cache stays as it was, and so does what is served.
Before the first complete look at Swarm nothing is served at all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from l7 import __version__, status
from l7.acme.client import Client
from l7.acme.desk import Desk
from l7.acme.keeper import Keeper
from l7.build import Build
from l7.config import ACME_ACCOUNT, Settings
from l7.deploy import expiry
from l7.deploy.attach import Attacher
from l7.deploy.config_store import ConfigStore
from l7.deploy.file_mode import files_of
from l7.deploy.fleet import Fleet
from l7.deploy.fleet import Options as FleetOptions
from l7.deploy.issuer import Issuer
from l7.deploy.mounted import references
from l7.deploy.names import shared_network
from l7.deploy.pins import Pins
from l7.deploy.publish import Publisher
from l7.ignored import Ignored
from l7.inputs import to_json
from l7.kit import collector, http, logs, tasks
from l7.kit.bundle import INPUTS
from l7.kit.errors import ConfigError
from l7.kit.metrics import Metrics
from l7.kit.tls import TlsFiles, authorities_digest, read
from l7.model import Changes, Delta, Problem, Secret
from l7.pinning import Pin
from l7.publication import Publication
from l7.serve.grpc_api import NANOSECONDS, Endpoint, Server, SyncApi
from l7.serve.pki_api import PkiApi
from l7.store import Store
from l7.swarm.cache import Cache, Touched
from l7.swarm.engine import PATIENT, Address, Engine
from l7.swarm.watch import Change, Watch, WatchSource
from l7.swarm.watch import Settings as WatchSettings

_log = logs.get("daemon")

PROBLEM_PAUSE = 1.0
"""Seconds between looks at the problems, to log what is new: they are for people, and a look costs a walk."""

PROBLEM_LIMIT = 3600.0
"""The same at the most: certificates end, too, where nothing else happens."""


class Watching(Protocol):
    """What core needs of `l7.swarm.watch.Watch`, entered already."""

    @property
    def cache(self) -> Cache: ...
    @property
    def status(self) -> Any: ...
    def changes(self) -> AsyncIterator[Change]: ...


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line adds to the settings. `listen` is where extensions connect, see `Endpoint`.

    `tls_ca_key`: path of the CA's key, to renew the certificates of others with; "" for none.
    `service`: name of core's own, "" to find out; `fleet`: core keeps the services of the clusters;
    `audit`: seconds between looks at all of these and of Swarm.
    `acme_account`: path of the key of the account at the ACME server.
    `admin` is "host:port" and `admin_socket` a path; "" leaves one out.
    """

    settings: Settings = field(default_factory=Settings)
    listen: str = "127.0.0.1:8080"
    tls: TlsFiles | None = None
    tls_ca_key: str = ""
    acme_account: str = ACME_ACCOUNT
    admin: str = ""
    admin_socket: str = "/run/l7/admin.sock"
    control_socket: str = "/var/run/docker/swarm"
    service: str = ""
    fleet: bool = False
    audit: float = 60.0


class Core:
    """The state of a core: what was seen, what was made of it, who was told. Made within an event loop."""

    def __init__(self, options: Options, clock: Callable[[], int] = time.time_ns) -> None:
        self.options = options
        self.clock = clock
        self.metrics = Metrics("core", __version__)
        self.build = Build(options.settings, _shared(options))
        self.store = Store(self.build.snapshot)
        self.extensions = status.Extensions()
        self.api = SyncApi(self.store, self.build.clusters, self.extensions, self.metrics, clock)
        self.issuer: Issuer | None = None
        if options.tls is not None:
            self.api.authorities = partial(_authorities, options.tls)
            self.issuer = Issuer(options.tls, options.tls_ca_key) if options.tls_ca_key else None
        self.server = Server(self.api, [Endpoint(options.listen, options.tls)], PkiApi(self.issuer))
        self.attacher = Attacher(self.build.clusters, self.metrics)
        self.publisher = self.api.publisher = Publisher(self.build.clusters, self.metrics)
        self.pins = Pins(self.build.clusters, self.publisher.versions)
        self.fleet = self._fleet()
        self.acme = self._keeper()
        self.ignored = Ignored(self.build.compiled, options.settings.legacy_labels)
        self.synced = False
        self._watch: Watching | None = None
        self._look = asyncio.Event()
        self.elsewhere: Callable[[], Iterable[Problem]] = tuple
        """Problems that are no part's, but of who runs core."""
        self.metrics.before_exposition = self._count
        self.publisher.on_stored = self._published
        self.publisher.pins, self.publisher.more = self.pins.revision, self._inputs
        self.pins.on_pins = self._pin
        self.publisher.held = self.fleet.held
        self.fleet.published = lambda cluster: references(self.publisher.newest(cluster))
        self.fleet.files = lambda cluster: files_of(self.publisher.newest(cluster))
        self.api.named = self._required
        for part in (self.api, self.attacher, self.publisher, self.fleet):
            part.on_problems = self._look.set
        self.extensions.on_change = self.acme.heard

    def _keeper(self) -> Keeper:
        settings = self.options.settings.acme
        desk = Desk(self.build, self.store, self.extensions, lambda: self._look.set())
        return Keeper(desk, Client(settings, self.options.acme_account) if settings else None)

    def _fleet(self) -> Fleet:
        own = self.options
        options = FleetOptions(own.service, port_of(own.listen), own.fleet, own.audit)
        return Fleet(own.settings, options, self.metrics, self.build.networks_wanted, self.issuer)

    # ------------------------------------------------------------ parts

    async def run(self, stop: asyncio.Event) -> None:
        """Runs everything until `stop`. Raises L7Error when a part cannot go on."""
        admin = http.Admin(self.metrics, self.not_ready, self.status)
        options = self.options
        for warning in options.settings.warnings:
            _log.warning("setting ignored", setting=warning)
        parts = [
            tasks.Part("admin", lambda stop: http.serve(admin, options.admin, options.admin_socket, stop)),
            tasks.Part("problems", self._watch_problems),
            self._by_engine("acme", self.acme.run),
            tasks.Part("follow", self._follow),
            self._by_engine("attach", self.attacher.run),
            self._by_engine("publish", lambda engine, stop: self.publisher.run(ConfigStore(engine), stop)),
            self._by_engine("pins", lambda engine, stop: self.pins.run(ConfigStore(engine), stop)),
            self._by_engine("fleet", self.fleet.run),
            tasks.Part("grpc", self._serve),
        ]
        await tasks.run(parts, stop)

    async def _serve(self, stop: asyncio.Event) -> None:
        await self.server.start()
        await stop.wait()
        await self.server.stop()

    def _by_engine(self, name: str, run: Callable[[Engine, asyncio.Event], Awaitable[None]]) -> tasks.Part:
        """A part that asks Docker on its own, and waits for nobody else's answers."""

        async def part(stop: asyncio.Event) -> None:
            engine = Engine(watch_settings(self.options).docker, PATIENT)
            try:
                await run(engine, stop)
            finally:
                await engine.close()

        return tasks.Part(name, part)

    async def _follow(self, stop: asyncio.Event) -> None:
        async with Watch(watch_settings(self.options)) as watch:
            await tasks.first(stop, self.follow(watch))

    async def follow(self, watch: Watching) -> None:
        """Takes changes for as long as there are any."""
        self._watch = watch
        async for change in watch.changes():
            first = not self.synced
            self._look_at_pins(watch, change.touched)
            if first:  # nothing is served that is not pinned, to be taken back a moment later
                await self.pins.settled.wait()
            with collector.paused():
                self.take(watch.cache, change)
            if first:
                collector.exempt()
                await self.server.say_ready(True)

    # ------------------------------------------------------------ a change

    def take(self, cache: Cache, change: Change) -> None:
        """Compiles what a change touches, and hands the outcome to the streams."""
        began = self.clock()
        deltas = self.build.update(cache, change.touched, change.observed)
        built = self.clock()
        stage = self.metrics.convergence
        if change.observed:
            stage.labels("event").observe((began - change.observed) / NANOSECONDS)
        stage.labels("build").observe((built - began) / NANOSECONDS)
        if not self.synced:
            self._first(built - began)
        else:
            for cluster, delta in deltas.items():
                self.store.put(cluster, delta)
                self._log_change(cluster, delta, change.observed, built - began)
        known = self._watch is not None and self._watch.status.secrets_listed
        self.attacher.take(cache, change.touched, self._required if known else None)
        self.fleet.take(cache, change.touched)
        self.acme.look(change.touched.secrets)
        for name, reason in self.ignored.news(cache, change.touched):
            _log.debug("service ignored", service=name, reason=reason)
        self._look.set()

    def _look_at_pins(self, watch: Watching, touched: Touched) -> None:
        """What is stored, and what of it is pinned."""
        self.publisher.take(watch.cache.configs if watch.status.secrets_listed else None)
        self.pins.take(watch.cache, touched)

    def _pin(self, pins: Mapping[str, Pin]) -> None:
        """These clusters stay as they were, and no others."""
        self.build.pin(pins)
        if self.synced and self._watch is not None:
            self.take(self._watch.cache, Change(Touched(all=True), 0))

    def _inputs(self, publication: Publication) -> dict[str, bytes]:
        """What a published state was compiled from, to be stored along with it."""
        inputs = self.build.inputs(publication.cluster, publication.state)
        return {} if inputs is None else {INPUTS: to_json(inputs)}

    def _published(self) -> None:
        """What a task starts from without core may be another one now."""
        for cluster in self.build.clusters:
            self.attacher.publish(cluster, self.publisher.newest(cluster))
        if not all(each.hitless for each in self.options.settings.clusters.values()):
            self.fleet.look()

    def _required(self, cluster: str) -> frozenset[Secret]:
        return frozenset(self.build.required(cluster))

    def _first(self, nanoseconds: int) -> None:
        """The first complete look: from now on every cluster has a state, be it empty."""
        self.synced = True
        self.metrics.ready.set(1)
        for cluster in self.build.clusters:
            self.store.put(cluster)
            _log.info(
                "first state",
                cluster=cluster,
                revision=self.store.revision(cluster),
                build_seconds=nanoseconds / NANOSECONDS,
            )

    def _log_change(self, cluster: str, delta: Delta, observed: int, nanoseconds: int) -> None:
        _log.info(
            "state changed",
            cluster=cluster,
            revision=delta.results_in,
            applies_to=delta.applies_to,
            backends=_backends(delta.changes),
            routes=len(delta.changes.routes),
            removed_routes=len(delta.changes.removed_routes),
            build_seconds=nanoseconds / NANOSECONDS,
            since_event_seconds=(self.clock() - observed) / NANOSECONDS if observed else None,
        )

    # ------------------------------------------------------------ problems

    async def _watch_problems(self, stop: asyncio.Event) -> None:
        known: frozenset[Problem] = frozenset()
        while await tasks.first(stop, tasks.race(self._look.wait(), asyncio.sleep(PROBLEM_LIMIT))):
            self._look.clear()
            now = frozenset(self.problems())
            log_problems(known, now)
            known = now
            await tasks.first(stop, asyncio.sleep(PROBLEM_PAUSE))

    def look(self) -> None:
        """There may be other problems."""
        self._look.set()

    def problems(self) -> tuple[Problem, ...]:
        """All that is not as users asked: core's own, and what the proxies report; sorted, each once."""
        parts = (self.build, self.attacher, self.publisher, self.pins, self.fleet, self.acme)
        own = {problem for part in parts for problem in part.problems()}
        own.update(self._pki_problems(), self.elsewhere())
        return tuple(sorted(own.union(*self._told())))

    def _told(self) -> Iterator[Iterator[Problem]]:
        """What the proxies, and extension services, report, by service cluster."""
        clusters: dict[str, list[Problem]] = {}
        for problem in self.extensions.problems() | self.api.services.problems():
            clusters.setdefault(problem.cluster, []).append(problem)
        for name, problems in clusters.items():
            yield status.with_values(problems, self.build.snapshot(name))

    def _pki_problems(self) -> tuple[Problem, ...]:
        if self.options.tls is None:
            return ()
        secrets = self._watch.cache.secrets.values() if self._watch is not None else ()
        now = datetime.fromtimestamp(self.clock() / NANOSECONDS, UTC)
        return expiry.problems(self.options.tls, self.issuer, secrets, now)

    # ------------------------------------------------------------ seen from outside

    def not_ready(self) -> str:
        """Why core is not ready, "" when it is."""
        if self.synced:
            return ""
        reason = self._watch.status.last_error if self._watch else ""
        return f"Swarm was not seen yet{f': {reason}' if reason else ''}"

    def status(self) -> Mapping[str, Any]:
        """The document behind `l7 status`."""
        return {
            "version": __version__,
            "ready": self.synced,
            "reason": self.not_ready(),
            "source": asdict(self._watch.status) if self._watch else {},
            "clusters": [status.cluster_document(self.build.snapshot(name)) for name in self._served()],
            "services": self.fleet.document(),
            "problems": [asdict(problem) for problem in self.problems()],
            "extensions": [status.extension_document(each) for each in self.extensions],
            "extension_services": [status.service_document(each) for each in self.api.services],
        }

    def _served(self) -> tuple[str, ...]:
        return self.store.clusters()

    def _count(self) -> None:
        """What is counted only when somebody asks: it costs a walk over everything."""
        for cluster in self._served():
            snapshot = self.build.snapshot(cluster)
            self.metrics.set_revision(cluster, snapshot.revision)
            self.metrics.routes.labels(cluster).set(len(snapshot.routes))
            self.metrics.set_servers(cluster, status.servers_by_state(snapshot))
        self.metrics.set_problems(status.problems_by_label(self.problems()))


def _shared(options: Options) -> dict[str, str]:
    """By cluster, the network that core keeps its proxies on; nothing where it keeps none."""
    return {name: shared_network(name) for name in options.settings.clusters} if options.fleet else {}


def port_of(listen: str) -> int:
    """Of "host:port"; 0 for a unix socket."""
    port = listen.rpartition(":")[2]
    return int(port) if port.isdecimal() else 0


def _authorities(files: TlsFiles) -> str:
    return authorities_digest(read("ca", files.ca))


def docker_address(settings: Settings) -> Address:
    """Where core finds the Engine API."""
    files = (settings.tls_ca_cert, settings.tls_cert, settings.tls_key)
    return Address(settings.docker_url, *files, settings.allow_insecure)


_SOURCES: Mapping[str, WatchSource] = {"auto": "auto", "swarmkit": "swarmkit", "docker": "docker"}


def watch_settings(options: Options) -> WatchSettings:
    """What watch is told, from core's settings. Raises ConfigError for an unknown source."""
    settings = options.settings
    source = _SOURCES.get(settings.watch_source)
    if source is None:
        raise ConfigError("WatchSource", f"{settings.watch_source!r} is none of {', '.join(_SOURCES)}")
    return WatchSettings(
        docker=docker_address(settings),
        control_socket=Path(options.control_socket),
        source=source,
        poll_interval=settings.poll_interval / 1000,
        audit_interval=options.audit,
    )


def log_problems(known: frozenset[Problem], now: frozenset[Problem]) -> None:
    """A line for each problem that is new, and for each that was solved."""
    for problem in sorted(now - known):
        _log.warning("problem", **asdict(problem))
    for problem in sorted(known - now):
        _log.info("problem solved", service=problem.service, label=problem.label, cluster=problem.cluster)


_NAMED = 20


def _backends(changes: Changes) -> list[str]:
    """Names of the backends that changed, for the log; a big change is cut to its first ones."""
    names = [change.name for change in changes.backends] + list(changes.removed_backends)
    return names if len(names) <= _NAMED else [*names[:_NAMED], f"and {len(names) - _NAMED} more"]
