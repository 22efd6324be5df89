"""The process of the NGINX extension service: `python3 -m nginx.service`, configured by what core tells it."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import click

from l7 import __version__
from l7.kit import logs, tasks, tls
from l7.kit.errors import ConfigError, L7Error
from l7.kit.identity import Identity
from nginx.follow import Follower
from nginx.hosts import Places
from nginx.roll import CONFIG_PATH, Roller


@click.command()
@click.option("--core", envvar="L7_CORE", show_envvar=True, default="core:8080", help="Address of core's gRPC API.")
@click.option("--cluster", envvar="L7_CLUSTER", show_envvar=True, default="", help='Service cluster, "": default.')
@click.option("--tls-ca", envvar="L7_TLS_CA", show_envvar=True, default="", help="CA certificate, PEM.")
@click.option("--tls-identity", envvar="L7_TLS_IDENTITY", show_envvar=True, default="", help="Ours, with key, PEM.")
@click.option("--config-path", envvar="L7_CONFIG_PATH", show_envvar=True, default="", help="File in the proxies.")
@click.option(
    "--http-port", envvar="L7_HTTP_PORT", show_envvar=True, default=80, help="The proxies' port for HTTP."
)
@click.option("--tls-port", envvar="L7_TLS_PORT", show_envvar=True, default=443, help="Their port for TLS.")
@click.option("--file-mode", envvar="L7_FILE_MODE", show_envvar=True, is_flag=True, help="There is no other mode.")
@click.option("--secrets", envvar="L7_SECRETS", show_envvar=True, default="/run/secrets/l7", help="Named by id.")
@click.option("--run-dir", envvar="L7_RUN_DIR", show_envvar=True, default="/run/l7", help="Where we may write.")
@click.option(
    "--log-level", envvar="L7_LOG_LEVEL", show_envvar=True, default="info", type=click.Choice(logs.LEVELS)
)
@click.option("-D", "--debug", is_flag=True, help="Log everything.")
def service(debug: bool, file_mode: bool, **given: Any) -> None:
    """The extension service of one service cluster of NGINX proxies, until a stop signal.

    Follows core, renders the configuration, has NGINX check it, and publishes it; Swarm rolls the proxies. Core
    makes this service where `Image` of the cluster names an image with it.
    """
    logs.configure("debug" if debug else given["log_level"])
    try:
        if not file_mode:
            raise ConfigError("HitlessServiceUpdate", "NGINX is run from files: leave it out, or set it to false")
        asyncio.run(_serve(given))
    except L7Error as error:
        raise click.ClickException(str(error)) from error


async def _serve(given: dict[str, Any]) -> None:
    stop = asyncio.Event()
    identity = _identity(given)
    if identity is not None:
        identity.load()
    follower = _follower(given, identity)
    async with tasks.signals(stop):
        parts = [follower.run(stop)]
        if identity is not None:
            follower.stream.on_authorities = identity.core_trusts
            parts.append(identity.run(stop))
        await tasks.race(*parts, stop.wait())


def _identity(given: dict[str, Any]) -> Identity | None:
    ca, identity = given["tls_ca"], given["tls_identity"]
    if bool(ca) != bool(identity):
        raise ConfigError("--tls-ca, --tls-identity", "give both or none")
    if not ca:
        tls.require_private(given["core"])
        return None
    return Identity(tls.TlsFiles(ca, identity), Path(given["run_dir"], "identity"), given["core"])


def _follower(given: dict[str, Any], identity: Identity | None) -> Follower:
    path = given["config_path"] or CONFIG_PATH
    http, secure = given["http_port"], given["tls_port"]
    places = Places(str(http), str(secure), path.rpartition("/")[0], http_port=http, tls_port=secure)
    roller = Roller(places, path, Path(given["secrets"]), Path(given["run_dir"]))
    instance = os.environ.get("L7_TASK_ID", "") or socket.gethostname()
    files = identity.files if identity is not None else None
    return Follower(given["core"], files, given["cluster"], instance, __version__, roller)


if __name__ == "__main__":
    service()
