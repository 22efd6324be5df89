"""The gRPC server of core: SyncService, the standard health service, and reflection.

Over TLS the caller's certificate says which service clusters it may sync; over a plain connection, which
only exists on loopback and unix sockets, the host's own users are trusted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Protocol

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from l7.kit import logs, tasks, tls
from l7.kit.channel import PROXY, SERVER_OPTIONS
from l7.kit.errors import ProtocolError, Rejected, Unavailable
from l7.kit.metrics import Metrics
from l7.model import Delta, Secret, Snapshot
from l7.publication import Publication, foreign
from l7.serve import session as sessions
from l7.serve import wire
from l7.serve.collect import collect
from l7.serve.pki_api import SERVICE as PKI_SERVICE
from l7.serve.pki_api import PkiApi
from l7.serve.session import Ack, Health, Hello, Nack, Report, Session
from l7.status import Extension, Extensions, oldest_proxy
from l7.store import Store
from l7.v1 import pki_pb2_grpc as pki_rpc
from l7.v1 import sync_pb2 as pb
from l7.v1 import sync_pb2_grpc as rpc

_log = logs.get("serve.grpc")

SERVICE = "l7.v1.SyncService"
HELLO_TIMEOUT = 10.0
"""Seconds that a new stream has to say who it is."""

NANOSECONDS = 1e9


class Publisher(Protocol):
    """Who stores published configurations, see `l7.deploy.publish`."""

    async def publish(self, publication: Publication) -> tuple[str, ...]:
        """Names of its objects. Raises Rejected for what can't be stored."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to listen: "host:port" or "unix:path". Plain (`files` None) only on loopback and unix sockets."""

    address: str
    files: tls.TlsFiles | None = None


class SyncApi(rpc.SyncServiceServicer):
    """Serves the store's state to extensions and keeps book of what they answer.

    `extensions` are the proxies, `services` the extension services, which follow the state, too. `publisher` stores
    what these publish; None: nobody does.

    `clusters` are the service clusters there are; a Hello for another one is answered with NOT_FOUND.
    `on_problems` is called when what extensions report has changed; `authorities` gives the digest of the CAs to be
    trusted (`l7.kit.tls.authorities_digest`), which each stream begins with, "" for none; `named` the secrets
    that a cluster's state names.
    """

    def __init__(
        self,
        store: Store,
        clusters: Collection[str],
        extensions: Extensions,
        metrics: Metrics,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.store = store
        self.clusters = frozenset(clusters)
        self.extensions = extensions
        self.services = Extensions()
        self.publisher: Publisher | None = None
        self.metrics = metrics
        self.clock = clock
        self.on_problems: Callable[[], None] = lambda: None
        self.stopping = asyncio.Event()
        self.authorities: Callable[[], str] = lambda: ""
        self.named: Callable[[str], Collection[Secret]] = lambda cluster: ()
        self._whole: dict[str, tuple[str, list[pb.SyncResponse]]] = {}

    async def Sync(self, request_iterator: AsyncIterator[pb.SyncRequest], context: Any) -> None:
        """One stream, until the extension or core ends it."""
        try:
            hello = await _first_hello(request_iterator)
            await self._admit(hello.cluster, hello.serves, context)
            if metadata := self._metadata(hello):
                await context.send_initial_metadata(metadata)
            with logs.bound(cluster=hello.cluster, instance=hello.instance):
                await self._stream(hello, request_iterator, context)
        except ProtocolError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except _Forbidden as error:
            _log.warning("stream forbidden", reason=str(error), peer=context.peer())
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))

    async def PublishConfig(
        self, request_iterator: AsyncIterator[pb.PublishConfigRequest], context: Any
    ) -> pb.PublishConfigResponse:
        """Stores what the extension service of a cluster has rendered; answers when it is there."""
        try:
            first = await _first(request_iterator)
            await self._admit(first.cluster, False, context)
            publication = await collect(request_iterator, first)
            objects = await self._publish(publication, context)
        except ProtocolError as error:
            await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except _Forbidden as error:
            _log.warning("publication forbidden", reason=str(error), peer=context.peer())
            await _abort(context, grpc.StatusCode.PERMISSION_DENIED, str(error))
        except Rejected as error:
            await _abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        return pb.PublishConfigResponse(objects=objects, proxy=oldest_proxy(self.extensions, first.cluster))

    async def _publish(self, publication: Publication, context: Any) -> tuple[str, ...]:
        if self.publisher is None:
            await _abort(context, grpc.StatusCode.UNIMPLEMENTED, "this core stores no published configurations")
        if publication.deployment and (others := foreign(publication.deployment, self.named(publication.cluster))):
            raise _Forbidden(f"no service of the cluster names {', '.join(others[:5])}")
        return await self.publisher.publish(publication)

    async def _admit(self, cluster: str, serves: bool, context: Any) -> None:
        """Raises _Forbidden, or aborts for a cluster that is not there."""
        _authorise(cluster, serves, context)
        if cluster not in self.clusters:
            await _abort(context, grpc.StatusCode.NOT_FOUND, f"no service cluster {cluster!r}")

    async def _stream(self, hello: Hello, requests: AsyncIterator[pb.SyncRequest], context: Any) -> None:
        ca, until = tls.peer_certificate(context.auth_context())
        extension = Extension(
            hello.cluster, hello.instance, hello.software, hello.proxy, ca=ca, identity_until=until
        )
        _log.info("stream opened", revision=hello.revision, proxy=hello.proxy, peer=context.peer())
        book = self.extensions if hello.serves else self.services
        try:
            with self.store.reader(hello.cluster) as wake, book.connected(extension) as number:
                self._count(hello.cluster)
                stream = _Stream(self, sessions.opened(hello), _Entry(book, number), wake)
                await tasks.race(stream.read(requests), stream.write(context), self.stopping.wait())
        finally:
            self._count(hello.cluster)
            self.on_problems()
            _log.info("stream closed")

    def _metadata(self, hello: Hello) -> tuple[tuple[str, str], ...]:
        """What a stream begins with."""
        proxy = "" if hello.serves else oldest_proxy(self.extensions, hello.cluster)
        pairs = ((tls.AUTHORITIES, self.authorities()), (PROXY, proxy))
        return tuple((key, value) for key, value in pairs if value)

    def messages(self, update: Snapshot | Delta) -> list[pb.SyncResponse]:
        """The update's messages; those of a whole state are kept, since all its proxies want the same."""
        if isinstance(update, Delta):
            return wire.messages(update)
        revision, chunks = self._whole.get(update.cluster, ("", []))
        if revision != update.revision:
            chunks = wire.messages(update)
            self._whole[update.cluster] = (update.revision, chunks)
        return chunks

    def _count(self, cluster: str) -> None:
        self.metrics.streams.labels(cluster).set(self.extensions.count(cluster))


class _Forbidden(Exception):
    """The caller's certificate does not speak for the cluster."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where a stream is in the books."""

    book: Extensions
    number: int

    @property
    def extension(self) -> Extension:
        return self.book[self.number]

    def update(self, **changes: Any) -> None:
        self.book.update(self.number, **changes)


class _Stream:
    """A stream with its session; `read` and `write` run at the same time and meet in the session."""

    def __init__(self, api: SyncApi, session: Session, entry: _Entry, wake: asyncio.Event) -> None:
        self.api = api
        self.session = session
        self.entry = entry
        self.wake = wake

    async def write(self, context: Any) -> None:
        """Sends what is current whenever it differs from what the extension has."""
        cluster = self.session.hello.cluster
        store = self.api.store
        while True:
            self.wake.clear()
            current = store.revision(cluster)
            update = sessions.next_update(self.session, current, lambda held: store.since(cluster, held))
            if update is None:
                await self.wake.wait()
            else:
                await self._send(store.whole(cluster) if update is sessions.WHOLE else update, context)

    async def _send(self, update: Snapshot | Delta, context: Any) -> None:
        """All chunks are made before the first is sent: the state moves on while a slow reader reads.

        `write` returns when the transport has room again, so that a slow reader holds up its own stream
        only, and gets everything it missed meanwhile as one update.
        """
        began = self.api.clock()
        chunks = self.api.messages(update)
        self.session = sessions.sent(self.session, update)
        for chunk in chunks:
            await context.write(chunk)
        seconds = (self.api.clock() - began) / NANOSECONDS
        self.api.metrics.convergence.labels("push").observe(seconds)
        _log.info(
            "update sent",
            revision=chunks[0].results_in,
            kind="complete" if isinstance(update, Snapshot) else "incremental",
            chunks=len(chunks),
            bytes=sum(chunk.ByteSize() for chunk in chunks),
            seconds=seconds,
        )

    async def read(self, requests: AsyncIterator[pb.SyncRequest]) -> None:
        """Takes what the extension says, until it closes its side. Raises ProtocolError."""
        async for request in requests:
            message = wire.message_from(request)
            if isinstance(message, Ack):
                self._acknowledged(message)
            elif isinstance(message, Nack):
                self._refused(message)
            elif isinstance(message, Health):
                self._health(message)
            elif isinstance(message, Report):
                self._reported(message)
            else:
                self._greeted(message)

    def _greeted(self, hello: Hello) -> None:
        if (hello.cluster, hello.serves) != (self.session.hello.cluster, self.session.hello.serves):
            raise ProtocolError("a stream stays with its cluster and role: open another one")
        _log.info("update asked for", revision=hello.revision)
        self.session = sessions.greeted_again(self.session, hello)
        self.wake.set()

    def _acknowledged(self, ack: Ack) -> None:
        if not self.session.hello.serves:  # nothing is in effect there
            self.session = sessions.acknowledged(self.session, ack)
            self.entry.update(applied=ack.revision)
            return
        metrics = self.api.metrics
        apply = ack.apply_microseconds / 1e6
        observed = sessions.observed_at(self.session, ack.revision)
        total = (self.api.clock() - observed) / NANOSECONDS if observed else None
        self.session = sessions.acknowledged(self.session, ack)
        self.entry.update(applied=ack.revision, refused="", reason="")
        metrics.convergence.labels("apply").observe(apply)
        if total is not None:
            metrics.convergence.labels("all").observe(total)
        _log.info("revision in effect", revision=ack.revision, apply_seconds=apply, total_seconds=total)

    def _refused(self, nack: Nack) -> None:
        self.session = sessions.refused(self.session, nack)
        self.entry.update(refused=nack.revision, reason=nack.reason)
        self.api.metrics.refusals.labels(self.session.hello.cluster).inc()
        _log.warning("revision refused", revision=nack.revision, reason=nack.reason)
        self.wake.set()

    def _reported(self, report: Report) -> None:
        cluster = self.session.hello.cluster
        problems = tuple(replace(problem, cluster=cluster) for problem in report.problems)
        self.entry.update(problems=problems)
        self.api.on_problems()

    def _health(self, health: Health) -> None:
        unhealthy, split = dict(self.entry.extension.unhealthy), dict(self.entry.extension.split)
        for verdict in health.verdicts:
            key = (verdict.backend, verdict.task)
            for book in (unhealthy, split):
                book.pop(key, None)
            if verdict.status == "down":
                unhealthy[key] = verdict.status
            if verdict.proxies:
                split[key] = (verdict.up, verdict.proxies)
        self.entry.update(unhealthy=unhealthy, split=split, view=health.cluster)
        if (counters := health.counters) is not None:
            self.entry.update(
                reloads=counters.reloads,
                drift=counters.drift,
                held_requests=counters.held_requests,
                worker_pid=counters.worker_pid,
            )


class Server:
    """The gRPC server with its services. `ports` are those bound, in the endpoints' order, after `start`."""

    def __init__(self, api: SyncApi, endpoints: Sequence[Endpoint], pki: PkiApi | None = None) -> None:
        self.api = api
        self.endpoints = tuple(endpoints)
        self.ports: tuple[int, ...] = ()
        self._server = grpc.aio.server(options=SERVER_OPTIONS)
        self._health = health.aio.HealthServicer()
        rpc.add_SyncServiceServicer_to_server(api, self._server)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        pki_rpc.add_PkiServiceServicer_to_server(pki or PkiApi(None), self._server)  # type: ignore[no-untyped-call]
        names = (SERVICE, PKI_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self) -> None:
        """Binds and serves. Raises ConfigError for TLS files, Unavailable when a port cannot be bound."""
        await self.say_ready(False)
        self.ports = tuple(_bind(self._server, endpoint) for endpoint in self.endpoints)
        await self._server.start()
        for endpoint, port in zip(self.endpoints, self.ports, strict=True):
            _log.info("grpc listening", address=endpoint.address, port=port, tls=endpoint.files is not None)

    async def say_ready(self, ready: bool) -> None:
        """What the standard health service answers."""
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", SERVICE):
            await self._health.set(service, status)

    async def stop(self, grace: float = 1.0) -> None:
        """Ends all streams in order: extensions see a clean end and connect again."""
        self.api.stopping.set()
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)


def _bind(server: Any, endpoint: Endpoint) -> int:
    """The port that was bound; for a unix socket some number above 0."""
    try:
        if endpoint.files is not None:
            return int(server.add_secure_port(endpoint.address, tls.server_credentials(_always(endpoint.files))))
        tls.require_private(endpoint.address)
        return int(server.add_insecure_port(endpoint.address))
    except RuntimeError as error:
        raise Unavailable(f"gRPC cannot listen on {endpoint.address}: {error}") from error


def _always(files: tls.TlsFiles) -> tls.NewestFiles:
    return lambda: files


async def _first_hello(requests: AsyncIterator[pb.SyncRequest]) -> Hello:
    try:
        async with asyncio.timeout(HELLO_TIMEOUT):
            request = await anext(requests)
    except (StopAsyncIteration, TimeoutError) as error:
        raise ProtocolError("the first message of a stream is Hello; there was none") from error
    message = wire.message_from(request)
    if not isinstance(message, Hello):
        raise ProtocolError("the first message of a stream is Hello")
    if not message.instance:
        raise ProtocolError("a Hello needs `instance`")
    return message


def _authorise(cluster: str, serves: bool, context: Any) -> None:
    """Raises _Forbidden unless the connection is plain or the caller's certificate speaks for the cluster, as one
    of its proxies (`serves`) or as its extension service."""
    auth = context.auth_context()
    if tls.is_plain(auth):
        return
    names = tls.peer_names(auth)
    if not (cluster in tls.peer_clusters(names) if serves else tls.extension_uri(cluster) in names):
        role = "proxies" if serves else "the extension service"
        raise _Forbidden(
            f"this certificate is not for {role} of service cluster {cluster or tls.DEFAULT_CLUSTER!r}; "
            f"`l7 pki init --cluster` makes one that is"
        )


async def _first(requests: AsyncIterator[pb.PublishConfigRequest]) -> pb.PublishConfigRequest:
    try:
        return await anext(requests)
    except StopAsyncIteration as error:
        raise ProtocolError("a configuration without a piece") from error


async def _abort(context: Any, code: grpc.StatusCode, details: str) -> NoReturn:
    await context.abort(code, details)
    raise AssertionError("abort raises")
