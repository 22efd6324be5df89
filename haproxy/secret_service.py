"""The extension service of a service cluster: gives the contents of secrets to the cluster's proxies, by id.

It has no Docker API: core attaches secrets to its service, and Swarm mounts them as files, named by id. A rotation
waits for the start of this process, hence `python3 -m haproxy.secret_service`, which imports no more than it needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from haproxy.identity import Identity
from haproxy.vault import valid
from l7.kit import logs, tasks, tls
from l7.kit.channel import SERVER_OPTIONS
from l7.kit.errors import ConfigError, L7Error, ProtocolError, Unavailable
from l7.v1 import secrets_pb2 as pb
from l7.v1 import secrets_pb2_grpc as rpc

log = logs.get("secrets")

SERVICE = "l7.v1.SecretService"
MOST = 10_000
"""Ids of one request."""
STOP_GRACE = 3.0
"""Seconds that answers under way may take after SIGTERM."""


@dataclass(frozen=True, slots=True)
class Options:
    """`listen`: "host:port" or "unix:path"; `tls` None: plain, on loopback or a unix socket only. `run_dir`: on
    tmpfs, for renewed identities; `core`: where these come from, "" for nowhere."""

    listen: str
    directory: str = "/run/secrets/l7"
    cluster: str = ""
    tls: tls.TlsFiles | None = None
    core: str = ""
    run_dir: str = "/run/l7"


class SecretApi(rpc.SecretServiceServicer):
    """Files of `directory`, named by id, read when they are asked for, to the proxies of one cluster."""

    def __init__(self, directory: str, cluster: str) -> None:
        self._directory = Path(directory)
        self._cluster = cluster

    async def Fetch(self, request: pb.FetchRequest, context: Any) -> AsyncIterator[pb.FetchResponse]:
        """The contents that are there, in the order asked for."""
        if not self._allowed(context):
            log.warning("fetch forbidden", identity=tls.peer_uri(context.auth_context()), peer=context.peer())
            reason = f"only the proxies of service cluster {self._cluster or tls.DEFAULT_CLUSTER!r} are served"
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, reason)
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

    def _allowed(self, context: Any) -> bool:
        auth = context.auth_context()
        return tls.is_plain(auth) or tls.peer_uri(auth) == tls.proxy_uri(self._cluster)

    def _read(self, id: str) -> bytes | None:
        try:
            return (self._directory / id).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.error("secret unreadable", id=id, error=error.strerror)
            return None


class SecretService:
    """The server. `port` is the one that was bound, after `start`."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.port = 0
        self.identity: Identity | None = None
        if options.tls is not None:
            self.identity = Identity(options.tls, Path(options.run_dir, "identity"), options.core)
        self._server = grpc.aio.server(options=SERVER_OPTIONS)
        self._health = health.aio.HealthServicer()
        api = SecretApi(options.directory, options.cluster)
        rpc.add_SecretServiceServicer_to_server(api, self._server)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    async def run(self, stop: asyncio.Event) -> None:
        """Serves until `stop`. Raises ConfigError for TLS files, Unavailable when the port cannot be bound."""
        await self.start()
        if self.identity is not None and self.options.core:
            await self.identity.run(stop)
        await stop.wait()
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

    def _bind(self, address: str) -> int:
        try:
            if self.identity is not None:
                return int(self._server.add_secure_port(address, tls.server_credentials(self.identity.files)))
            tls.require_private(address)
            return int(self._server.add_insecure_port(address))
        except RuntimeError as error:
            raise Unavailable(f"gRPC cannot listen on {address}: {error}") from error


Decorator = Callable[[Callable[..., None]], Callable[..., None]]


def _option(flag: str, help: str, default: str, **more: Any) -> Decorator:
    variable = f"L7_HAPROXY_{flag.removeprefix('--').upper().replace('-', '_')}"
    return click.option(
        flag, envvar=variable, show_envvar=True, help=help, default=default, show_default=bool(default), **more
    )


@click.command()
@_option("--listen", "Where proxies connect: host:port or unix:path.", ":8081")
@_option("--secrets", "Directory of the secrets, files named by id.", "/run/secrets/l7")
@_option("--cluster", 'Service cluster, "" is the default one.', "")
@_option("--core", "Address of core's gRPC API, which renews the certificate.", "core:8080")
@_option("--tls-ca", "CA certificate, PEM.", "")
@_option("--tls-identity", "Certificate and key of this cluster's extension service, PEM.", "")
@_option("--run-dir", "Directory for renewed certificates; tmpfs is best.", "/run/l7")
@_option("--log-level", "Least severe level that is logged.", "info", type=click.Choice(logs.LEVELS))
def secrets(**given: str) -> None:
    """The extension service: give secrets to the proxies of one service cluster, until SIGTERM.

    Core attaches them to this service; see deploy/stack.yml. `python3 -m haproxy.secret_service` is the same, and
    starts faster.
    """
    logs.configure(given["log_level"])
    try:
        asyncio.run(_serve(options_from(given)))
    except L7Error as error:
        raise click.ClickException(str(error)) from error


def options_from(given: dict[str, str]) -> Options:
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
    )


async def _serve(options: Options) -> None:
    stop = asyncio.Event()
    async with tasks.signals(stop):
        await SecretService(options).run(stop)


if __name__ == "__main__":
    secrets()
