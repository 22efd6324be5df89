"""The extension service of a service cluster: gives secrets and the newest state to its proxies, publishes that.

It has no Docker API: core attaches secrets to its service, and Swarm mounts them as files, named by id. A rotation
waits for the start of this process, hence `python3 -m haproxy.service`, which imports no more than secrets need;
what follows core (`haproxy.follow`) is loaded while they are served.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from haproxy.vault import valid
from l7 import __version__, fastpath
from l7.kit import logs, tasks, tls
from l7.kit.channel import SERVER_OPTIONS
from l7.kit.errors import ConfigError, L7Error, ProtocolError, Unavailable
from l7.kit.identity import Identity
from l7.v1 import secrets_pb2 as pb
from l7.v1 import secrets_pb2_grpc as rpc
from l7.v1 import state_pb2, state_pb2_grpc, views_pb2, views_pb2_grpc

if TYPE_CHECKING:
    from haproxy.follow import Follower
    from haproxy.roll import Roller

log = logs.get("secrets")

SERVICE = "l7.v1.SecretService"
MOST = 10_000
"""Ids of one request."""
STOP_GRACE = 3.0
"""Seconds that answers under way may take after the stop signal."""
PUBLISHED = "/run/l7-published"
"""Where Swarm mounts the published configuration."""


@dataclass(frozen=True, slots=True)
class Options:
    """`listen`: "host:port" or "unix:path"; `tls` None: plain, on loopback or a unix socket only. `run_dir`: on
    tmpfs, for renewed identities; `core`: where these and the state come from, "" for nowhere. `published`: the
    directory with the state that is there without core. `admin`: "host:port" of metrics and status, "" for none.
    `file_mode`: proxies are stock HAProxies, run from files, the configuration at `config_path`, "" for where stock
    images have it; `http_port`, `tls_port` are theirs."""

    listen: str
    directory: str = "/run/secrets/l7"
    cluster: str = ""
    tls: tls.TlsFiles | None = None
    core: str = ""
    run_dir: str = "/run/l7"
    published: str = PUBLISHED
    admin: str = ""
    file_mode: bool = False
    config_path: str = ""
    http_port: int = 80
    tls_port: int = 443


async def refuse_others(cluster: str, context: Any) -> None:
    """Aborts a call that is none of the cluster's proxies'. A plain connection is of this host."""
    auth = context.auth_context()
    if not tls.is_plain(auth) and tls.peer_uri(auth) != tls.proxy_uri(cluster):
        log.warning("fetch forbidden", identity=tls.peer_uri(auth), peer=context.peer())
        reason = f"only the proxies of service cluster {cluster or tls.DEFAULT_CLUSTER!r} are served"
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, reason)


class SecretApi(rpc.SecretServiceServicer):
    """Files of `directory`, named by id, read when they are asked for, to the proxies of one cluster."""

    def __init__(self, directory: str, cluster: str) -> None:
        self._directory = Path(directory)
        self._cluster = cluster

    async def Fetch(self, request: pb.FetchRequest, context: Any) -> AsyncIterator[pb.FetchResponse]:
        """The contents that are there, in the order asked for."""
        await refuse_others(self._cluster, context)
        try:
            ids = [valid(id) for id in request.ids[:MOST]]
        except ProtocolError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        sent = 0
        for id in ids:
            if (data := self._read(id)) is not None:
                yield pb.FetchResponse(id=id, data=data)
                sent += 1
        log.info("secrets sent", asked=len(ids), sent=sent, peer=context.peer())

    def _read(self, id: str) -> bytes | None:
        try:
            return (self._directory / id).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.error("secret unreadable", id=id, error=error.strerror)
            return None


class Following:
    """The follower, once it is loaded."""

    def __init__(self) -> None:
        self._loaded = asyncio.Event()
        self._follower: Follower | None = None

    def begin(self, follower: Follower) -> None:
        """From now on, and for those who wait already."""
        self._follower = follower
        self._loaded.set()

    async def follower(self) -> Follower:
        """As soon as it is there."""
        await self._loaded.wait()
        assert self._follower is not None
        return self._follower


class StateApi(state_pb2_grpc.StateServiceServicer):
    """The newest state that the follower has, to the proxies of one cluster."""

    def __init__(self, cluster: str, following: Following) -> None:
        self._cluster = cluster
        self._following = following

    async def FetchState(
        self, request: state_pb2.FetchStateRequest, context: Any
    ) -> AsyncIterator[state_pb2.FetchStateResponse]:
        """All chunks of one COMPLETE."""
        await refuse_others(self._cluster, context)
        if request.cluster != self._cluster:
            reason = f"this is the extension service of cluster {self._cluster or tls.DEFAULT_CLUSTER!r}"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, reason)
        chunks = (await self._following.follower()).chunks()
        if not chunks:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no state as yet")
        for chunk in chunks:
            yield state_pb2.FetchStateResponse(update=chunk)
        log.info("state sent", revision=chunks[0].results_in, chunks=len(chunks), peer=context.peer())


class ViewApi(views_pb2_grpc.ViewServiceServicer):
    """Looks at the proxies of one cluster, on the streams that these open."""

    def __init__(self, cluster: str, following: Following) -> None:
        self._cluster = cluster
        self._following = following

    async def Show(self, request_iterator: AsyncIterator[views_pb2.ShowRequest], context: Any) -> None:
        """One proxy, for as long as it is there."""
        await refuse_others(self._cluster, context)
        follower = await self._following.follower()
        await follower.looks.serve(request_iterator, context)


class ExtensionService:
    """The server. `port` is the one that was bound, after `start`; `follower` is there a moment later."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.port = 0
        self.identity: Identity | None = None
        self.follower: Follower | None = None
        if options.tls is not None:
            self.identity = Identity(options.tls, Path(options.run_dir, "identity"), options.core)
        self._server = grpc.aio.server(options=SERVER_OPTIONS)
        self._health = health.aio.HealthServicer()
        self._following = Following()
        api = SecretApi(options.directory, options.cluster)
        state, views = StateApi(options.cluster, self._following), ViewApi(options.cluster, self._following)
        rpc.add_SecretServiceServicer_to_server(api, self._server)  # type: ignore[no-untyped-call]
        state_pb2_grpc.add_StateServiceServicer_to_server(state, self._server)  # type: ignore[no-untyped-call]
        views_pb2_grpc.add_ViewServiceServicer_to_server(views, self._server)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    async def run(self, stop: asyncio.Event) -> None:
        """Serves until `stop`. Raises ConfigError for TLS files, Unavailable when the port cannot be bound."""
        await self.start()
        await tasks.race(stop.wait(), self._renew(stop), self._follow(stop))
        await self.stop()

    async def start(self) -> None:
        if self.identity is not None:
            self.identity.load()
        self.port = self._bind(self.options.listen)
        await self._server.start()
        for service in ("", SERVICE):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        log.info("secrets served", address=self.options.listen, tls=self.identity is not None)

    async def stop(self) -> None:
        """Ends when the answers under way are sent."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(STOP_GRACE)

    async def _renew(self, stop: asyncio.Event) -> None:
        if self.identity is not None and self.options.core:
            await self.identity.run(stop)
        await stop.wait()

    async def _follow(self, stop: asyncio.Event) -> None:
        """Imported in a thread: loading takes longer than the whole start before it."""
        await asyncio.to_thread(importlib.import_module, "haproxy.follow")
        from haproxy.follow import Follower

        options, identity = self.options, self.identity
        instance = os.environ.get("L7_TASK_ID", "") or socket.gethostname()
        files = identity.files if identity is not None else None
        self.follower = Follower(options.core, files, options.cluster, instance, __version__, _roller(options))
        await asyncio.to_thread(self.follower.load, options.published)
        self._following.begin(self.follower)
        parts = [self.follower.look(stop), self._administer(self.follower, stop)]
        if options.core and (identity is not None or tls.is_private(options.core)):
            trusts = identity.core_trusts if identity is not None else lambda digest: None
            parts.append(self.follower.run(stop, trusts))
        await tasks.race(*parts)

    async def _administer(self, follower: Follower, stop: asyncio.Event) -> None:
        """Metrics and status. That they can't be served keeps nobody from the secrets."""
        if self.options.admin:
            http = await asyncio.to_thread(importlib.import_module, "l7.kit.http")
            admin = http.Admin(follower.metrics, lambda: "", follower.status)
            try:
                await http.serve(admin, self.options.admin, "", stop)
            except L7Error as error:
                log.error("metrics not served", address=self.options.admin, error=str(error))
        await stop.wait()

    def _bind(self, address: str) -> int:
        try:
            if self.identity is not None:
                return int(self._server.add_secure_port(address, tls.server_credentials(self.identity.files)))
            tls.require_private(address)
            return int(self._server.add_insecure_port(address))
        except RuntimeError as error:
            raise Unavailable(f"gRPC cannot listen on {address}: {error}") from error


def _roller(options: Options) -> Roller | None:
    if not options.file_mode:
        return None
    from haproxy.file_mode import CONFIG_PATH, FileMode
    from haproxy.roll import Roller

    mode = FileMode(options.config_path or CONFIG_PATH, options.http_port, options.tls_port)
    return Roller(mode, Path(options.directory), Path(options.run_dir))


Decorator = Callable[[Callable[..., None]], Callable[..., None]]


def _option(flag: str, help: str, default: str, **more: Any) -> Decorator:
    variable = f"L7_HAPROXY_{flag.removeprefix('--').upper().replace('-', '_')}"
    return click.option(
        flag, envvar=variable, show_envvar=True, help=help, default=default, show_default=bool(default), **more
    )


@click.command()
@_option("--listen", "Where proxies connect: host:port or unix:path.", ":8081")
@_option("--secrets", "Directory of the secrets, files named by id.", "/run/secrets/l7")
@_option("--published", "Directory of the published configuration: the state without core.", PUBLISHED)
@_option("--cluster", 'Service cluster, "" is the default one.', "")
@_option("--core", "Address of core's gRPC API: state, and renewed certificates.", "core:8080")
@_option("--tls-ca", "CA certificate, PEM.", "")
@_option("--tls-identity", "Certificate and key of this cluster's extension service, PEM.", "")
@_option(
    "--admin",
    "Address of /healthz, /metrics and /status, which are about all proxies of the cluster.",
    "127.0.0.1:9102",
)
@_option("--run-dir", "Directory for renewed certificates; tmpfs is best.", "/run/l7")
@_option("--log-level", "Least severe level that is logged.", "info", type=click.Choice(logs.LEVELS))
@click.option("--file-mode", envvar="L7_FILE_MODE", show_envvar=True, is_flag=True, help="Proxies run from files.")
@click.option("--config-path", envvar="L7_CONFIG_PATH", show_envvar=True, default="", help="Where, in file mode.")
@click.option("--http-port", envvar="L7_HTTP_PORT", show_envvar=True, default=80, help="Their port for HTTP.")
@click.option("--tls-port", envvar="L7_TLS_PORT", show_envvar=True, default=443, help="Their port for TLS.")
@click.option("-D", "--debug", envvar="L7_HAPROXY_DEBUG", show_envvar=True, is_flag=True, help="Log everything.")
def service(debug: bool, **given: Any) -> None:
    """The extension service of one service cluster, until a stop signal.

    Gives the contents of secrets, and the newest state, to the cluster's proxies, and publishes the configuration.
    Core makes this service, and attaches secrets to it. `python3 -m haproxy.service` is the same, and
    starts faster.
    """
    logs.configure("debug" if debug else given["log_level"])
    log.info("starting", fastpath=fastpath.MODE)
    try:
        asyncio.run(_serve(options_from(given)))
    except L7Error as error:
        raise click.ClickException(str(error)) from error


def options_from(given: dict[str, Any]) -> Options:
    """What the command line says. Raises ConfigError when TLS is half given."""
    ca, identity, listen = given["tls_ca"], given["tls_identity"], given["listen"]
    if bool(ca) != bool(identity):
        raise ConfigError("--tls-ca, --tls-identity", "give both or none")
    return Options(
        listen=f"[::]{listen}" if listen.startswith(":") else listen,
        directory=given["secrets"],
        cluster=given["cluster"],
        tls=tls.TlsFiles(ca, identity) if ca else None,
        core=given["core"],
        run_dir=given["run_dir"],
        published=given["published"],
        admin=given["admin"],
        file_mode=given["file_mode"],
        config_path=given["config_path"],
        http_port=given["http_port"],
        tls_port=given["tls_port"],
    )


async def _serve(options: Options) -> None:
    stop = asyncio.Event()
    async with tasks.signals(stop):
        await ExtensionService(options).run(stop)


if __name__ == "__main__":
    service()
