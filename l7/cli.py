"""The `l7` command. Every option is also an environment variable, which its help names.

Extension packages add their commands through the entry point group `l7.extensions`. What only one command needs is
imported by that command: `l7 status` does not wait for core's parts, nor a sidecar for the Docker SDK.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import orjson
from rich.console import Console

from l7 import __version__
from l7.config import ACME_ACCOUNT, WATCH_SOURCES, Settings, parse_duration, parse_settings
from l7.docker_cli import DOCKER, docker_options
from l7.kit import logs, tasks, tls
from l7.kit.errors import ConfigError, L7Error, ProtocolError, Unavailable
from l7.report import report

if TYPE_CHECKING:
    from l7.daemon import Options
    from l7.swarm.engine import Address

F = TypeVar("F", bound=Callable[..., Any])
EXTENSIONS = "l7.extensions"
SOCKET = "/run/l7/admin.sock"
COMMANDS = {
    entry.name: entry
    for entry in (
        EntryPoint("config", "l7.config_cli:config", EXTENSIONS),
        EntryPoint("diff", "l7.history_cli:diff", EXTENSIONS),
        EntryPoint("history", "l7.history_cli:history", EXTENSIONS),
        EntryPoint("install", "l7.install_cli:install_command", EXTENSIONS),
        EntryPoint("migrate", "l7.migrate_cli:migrate", EXTENSIONS),
        EntryPoint("pin", "l7.history_cli:pin", EXTENSIONS),
        EntryPoint("pki", "l7.pki_cli:pki", EXTENSIONS),
        EntryPoint("unpin", "l7.history_cli:unpin", EXTENSIONS),
        EntryPoint("uninstall", "l7.install_cli:uninstall_command", EXTENSIONS),
        EntryPoint("upgrade", "l7.install_cli:upgrade", EXTENSIONS),
    )
}
"""Of core's own, those that are loaded when they are named."""
ALIASES = {"run": "core"}
"""Interlock's own command line, `-D run -c /config.toml`, is understood."""


def option(flag: str, help: str, **more: Any) -> Callable[[F], F]:
    """An option that can also be given as the environment variable L7_<FLAG>."""
    variable = f"L7_{flag.partition('/')[0].removeprefix('--').upper().replace('-', '_')}"
    return click.option(flag, envvar=variable, show_envvar=True, help=help, **more)


class Root(click.Group):
    """The commands of core, and those that are loaded when they are named: the operator's, and extensions'."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *COMMANDS, *entry_points(group=EXTENSIONS).names})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, ALIASES.get(cmd_name, cmd_name))
        if own is not None:
            return own
        if cmd_name in COMMANDS:
            return _load(COMMANDS[cmd_name])
        found = entry_points(group=EXTENSIONS, name=cmd_name)
        return _load(next(iter(found))) if found else None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except L7Error as error:
            raise click.ClickException(str(error)) from error


def _load(entry: EntryPoint) -> click.Command:
    """The extension's command; one that says why, when the extension cannot be loaded."""
    try:
        command = entry.load()
    except (ImportError, AttributeError) as error:
        return _broken(entry, f"{type(error).__name__}: {error}")
    if not isinstance(command, click.Command):
        return _broken(entry, f"{entry.value} is no command")
    return command


def _broken(entry: EntryPoint, reason: str) -> click.Command:
    message = f"extension {entry.name!r} ({entry.value}) cannot be loaded: {reason}"

    @click.command(
        entry.name,
        short_help=f"cannot be loaded: {reason}",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        add_help_option=False,
    )
    def broken() -> None:
        raise click.ClickException(message)

    return broken


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("-D", "--debug", is_flag=True, help="Let core log everything.")
def main(debug: bool) -> None:
    """The layer-7 front door of a Docker Swarm: labels on services in, HAProxy driven live, no reload.

    \b
    A first installation, on a manager:
      l7 install --dry-run                           what it would make
      l7 install                                     core, an extension service, two proxies
      docker service create --name web --network l7 \\
        --label com.docker.lb.hosts=web.example.org \\
        --label com.docker.lb.port=8000 your/image   a service that is served at once
      l7 status                                      what is routed, what is not, and why
    """
    del debug  # core asks for it


@main.command()
@click.option(
    "--config",
    "-c",
    envvar="L7_CONFIG",
    show_envvar=True,
    help="Settings in a TOML file, taken up anew when it changes; options given here win over it.",
    type=click.Path(dir_okay=False),
)
@option("--listen", "Where extensions connect: host:port or unix:path.  [default: ListenAddr, :8080]")
@option("--tls-ca", "CA certificate, PEM: only extensions with a certificate of it are served.")
@option("--tls-identity", "Core's certificate and key, PEM.")
@option("--tls-ca-key", "The CA's key, PEM: to renew the certificates of proxies and extension services.")
@option(
    "--acme-account",
    "Private key of the account at the ACME server, PEM.",
    default=ACME_ACCOUNT,
    show_default=True,
)
@option("--docker-url", f"The Engine API of this manager.  [default: DockerURL, {DOCKER}]")
@option(
    "--watch-source",
    "How to follow Swarm; auto: SwarmKit's Watch where its socket is there, else the Engine API.",
    type=click.Choice(WATCH_SOURCES),
)
@option("--poll-interval", "Between polls of the Engine API, such as 3s or 500ms.  [default: PollInterval, 3s]")
@option(
    "--audit-interval",
    "Between looks at all of Swarm and of the clusters' services, for what no event told of.",
    default="60s",
    show_default=True,
)
@option(
    "--control-socket",
    "SwarmKit's control socket, or the directory that holds it.",
    default="/var/run/docker/swarm",
    show_default=True,
)
@option(
    "--admin",
    'Also serve /healthz, /readyz, /metrics and /status on this host:port, such as "127.0.0.1:9100".',
    default="",
)
@option("--admin-socket", "The same on a unix socket.", default=SOCKET, show_default=True)
@option("--service", "Name of core's own Swarm service.  [default: found by its container]", default="")
@option(
    "--fleet/--no-fleet",
    "Keep the extension service and the proxies of each cluster; without, they are deployed by hand.",
    default=True,
    show_default=True,
)
@option(
    "--log-level", "Least severe level to log.", type=click.Choice(logs.LEVELS), default="info", show_default=True
)
@option(
    "--log-format", "json, or text for people.", type=click.Choice(logs.FORMATS), default="json", show_default=True
)
def core(**given: Any) -> None:
    """Run core: follow Swarm, compile labels into routes, serve them to the proxies.

    Runs on a manager, one at a time; Swarm starts it elsewhere when its node is lost. It keeps nothing on
    disk. Without TLS files it only listens on loopback or a unix socket.

    \b
    In a stack:   see deploy/stack.yml
    By hand:      l7 pki init --directory pki
                  l7 core --listen :8080 --tls-ca pki/l7-ca.pem --tls-identity pki/l7-core.pem \\
                    --tls-ca-key pki/l7-ca-key.pem
    To try out:   l7 core --listen 127.0.0.1:8080 --log-format text
    """
    debug = click.get_current_context().find_root().params.get("debug")
    logs.configure("debug" if debug else given["log_level"], given["log_format"])
    asyncio.run(_run_core(given))


async def _run_core(given: Mapping[str, Any]) -> None:
    from l7 import fastpath, renewal

    logs.get("cli").info("starting", fastpath=fastpath.MODE)
    stop = asyncio.Event()
    file = renewal.SettingsFile(given["config"] or "", lambda: core_options(given))
    async with tasks.signals(stop):
        await renewal.run(file, stop)


def core_options(given: Mapping[str, Any]) -> Options:
    """What core runs with: file, then options on top. Raises ConfigError."""
    from l7.daemon import Options

    settings = _settings(given)
    options = Options(
        settings=settings,
        listen=_listen(settings.listen_addr),
        tls=_tls_files(given["tls_ca"], given["tls_identity"]),
        tls_ca_key=given["tls_ca_key"] or "",
        acme_account=given["acme_account"],
        admin=given["admin"],
        admin_socket=given["admin_socket"],
        control_socket=given["control_socket"],
        service=given["service"],
        fleet=given["fleet"],
        audit=_duration("--audit-interval", given["audit_interval"]) / 1000,
    )
    if options.tls is None and not tls.is_private(options.listen):
        raise ConfigError(
            "--listen",
            f"{options.listen} can be reached from other hosts and needs --tls-ca and --tls-identity "
            f"(`l7 pki init` makes them); without, listen on 127.0.0.1 or unix:path",
        )
    return options


def _settings(given: Mapping[str, Any]) -> Settings:
    path = given["config"]
    settings = parse_settings(_read(path), path) if path else Settings()
    chosen = {
        "listen_addr": given["listen"],
        "docker_url": given["docker_url"],
        "watch_source": given["watch_source"],
    }
    if given["poll_interval"] is not None:
        chosen["poll_interval"] = _duration("--poll-interval", given["poll_interval"])
    return replace(settings, **{name: value for name, value in chosen.items() if value is not None})


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path, f"cannot be read: {error}") from error


def _duration(option: str, text: str) -> int:
    """In milliseconds."""
    milliseconds = parse_duration(text)
    if not milliseconds:
        raise ConfigError(option, f"{text!r} is no duration such as 500ms, 3s or 1m30s")
    return milliseconds


def _listen(address: str) -> str:
    """ ":8080" means every address, as in Interlock; gRPC takes [::] for both families."""
    return f"[::]{address}" if address.startswith(":") else address


def _tls_files(ca: str | None, identity: str | None) -> tls.TlsFiles | None:
    if bool(ca) != bool(identity):
        raise ConfigError("--tls-ca, --tls-identity", "give both or none")
    return tls.TlsFiles(ca, identity) if ca and identity else None


@main.command()
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@option("--admin-socket", "Core's admin socket.", default=SOCKET, show_default=True)
@docker_options("Where to look for core's container when the socket is not here.")
def status(output: str, admin_socket: str, manager: Address) -> None:
    """Show what is routed where, at which revision, and what is not routed, and why.

    Run it in core's container, or on the node where core runs.

    \b
      l7 status
      l7 status --output json | jq '.problems'
    """
    document = fetch_status(admin_socket, manager)
    if output == "json":
        sys.stdout.buffer.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
        return
    # A pipe has no width: wide enough that names and digests stay whole for grep.
    console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 200)
    for part in report(document):
        console.print(part)


def fetch_status(socket: str, manager: Address) -> dict[str, Any]:
    """The status document, from core's socket if it is here, else through its container.

    Raises Unavailable when core cannot be asked.
    """
    if os.path.exists(socket):
        return asyncio.run(_ask(socket))
    if not manager.url:
        raise Unavailable(f"core's admin socket {socket} is not there: it does not run here, or is just starting")
    from l7.deploy import secrets

    client = secrets.connect(manager)
    container = secrets.core_container(client)
    if container is None:
        raise Unavailable(
            "core does not run on this node: ask where `docker service ps l7-core` (in a stack: l7_core) says"
        )
    # Without a Docker URL, so that a core that is just starting does not look for itself in turn.
    code, answer = secrets.run_in(container, ["l7", "status", "--output", "json", "--docker-url", ""])
    if code != 0:
        raise Unavailable(f"core's container {container.name}: {answer.decode(errors='replace').strip()}")
    return _document(answer)


async def _ask(socket: str) -> dict[str, Any]:
    import aiohttp

    try:
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket)) as session:
            async with session.get("http://core/status", timeout=aiohttp.ClientTimeout(total=10)) as answer:
                answer.raise_for_status()
                return _document(await answer.read())
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unavailable(f"core does not answer on {socket}: {error}") from error


def _document(answer: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(answer)
    except orjson.JSONDecodeError as error:
        raise ProtocolError(f"core's status is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise ProtocolError("core's status is no JSON object")
    return document


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(f"l7 {__version__}")
