"""`l7 haproxy …`: the commands of the extension. Every option is also an environment variable, L7_HAPROXY_…"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from haproxy.capabilities import Capabilities, capabilities
from haproxy.config_values import ports, prefixes
from haproxy.process import fitting_connections, version_of
from haproxy.render import render_static, static_files
from haproxy.scrape import PAGE, Scrape
from haproxy.service import PUBLISHED, service
from haproxy.settings import LUA, Settings
from haproxy.sidecar import Options, Sidecar
from haproxy.supervise import Supervisor
from haproxy.values import Bad
from l7 import __version__, fastpath
from l7.kit import http, logs, tasks
from l7.kit.errors import ConfigError, L7Error
from l7.kit.metrics import Metrics
from l7.kit.tls import TlsFiles

F = TypeVar("F", bound=Callable[..., Any])
PREFIX = "L7_HAPROXY"
log = logs.get("haproxy")

SETTINGS_HELP = {
    "run_dir": "Directory for HAProxy's configuration, maps and sockets; tmpfs is best.",
    "max_connections": "Connections of clients that HAProxy takes at once: over HTTP, and as many over raw TCP.",
    "threads": "Threads of HAProxy; 0: one per core.",
    "spare_backends": "Before HAProxy 3.4: backends kept in reserve; a new service takes one, live.",
    "spare_backends_other": "The same for each other kind of backend (by balance, check, retry_on and protocol).",
    "connect_timeout": "Milliseconds to connect to a task; also the pace at which a held request tries again.",
    "client_timeout": "Milliseconds of silence of a client.",
    "server_timeout": "Milliseconds that a task may take to answer.",
    "tunnel_timeout": "Milliseconds of silence on a WebSocket.",
    "keep_alive_timeout": "Milliseconds that an idle client connection is kept.",
    "hold_timeout": "Milliseconds that a request may wait for a task to come.",
    "hold_deadline": "Milliseconds without any task after which requests are refused at once.",
    "held_requests": "Requests per backend that may wait; more are refused at once.",
    "check_interval": "Milliseconds between HAProxy's checks of a task.",
    "check_fall": "Failed checks that take a task out.",
    "drain_timeout": "Milliseconds that connections of a task that left may last.",
}

MAY_BE_ZERO = {"threads", "spare_backends", "spare_backends_other", "hold_deadline", "held_requests"}
"""Where 0 has a meaning. For HAProxy a timeout of 0 is none at all."""


def option(flag: str, help: str, **more: Any) -> Callable[[F], F]:
    """A click option whose environment variable follows from its name."""
    variable = f"{PREFIX}_{flag.removeprefix('--').upper().replace('-', '_')}"
    more.setdefault("show_default", True)
    return click.option(flag, envvar=variable, show_envvar=True, help=help, **more)


def settings_options(command: F) -> F:
    """One option per number in Settings, with its default."""
    defaults = Settings()
    for field in reversed(fields(Settings)):
        name, default = field.name, getattr(defaults, field.name)
        if name not in SETTINGS_HELP:
            continue
        flag = "--" + name.replace("_", "-")
        command = click.option(
            flag, name, type=_type(name, default), default=default, show_default=True, show_envvar=True,
            help=SETTINGS_HELP[name], envvar=f"{PREFIX}_{name.upper()}",
        )(command)  # fmt: skip
    for decorator in reversed(_OTHERS):
        command = decorator(command)
    return command


def _type(name: str, default: object) -> click.IntRange | click.types.StringParamType:
    return click.IntRange(min=0 if name in MAY_BE_ZERO else 1) if isinstance(default, int) else click.STRING


def _read(parse: Callable[[object], object]) -> Callable[[click.Context, click.Parameter, str], object]:
    """A callback that reads words between commas as the TOML's `Config` has them (`haproxy.config`)."""

    def read(context: click.Context, parameter: click.Parameter, text: str) -> object:
        value = parse(text.split(",") if text else [])
        if isinstance(value, Bad):
            raise click.BadParameter(f"{value.message}: {value.remedy}", context, parameter)
        return value

    return read


_OTHERS = (
    option("--bind", "Address of the HTTP listener; may be repeated.", multiple=True, default=(":80",)),
    option("--tls-bind", 'Address of the TLS listener; may be repeated; "" for none.', multiple=True,
           default=(":443",)),
    option("--hide-info-headers", "Do not tell clients which proxy and task answered.", is_flag=True,
           show_default=False),
    option("--trusted-proxies", "Prefixes of proxies in front, between commas: their word on clients counts.",
           default="", show_default=False, callback=_read(prefixes)),
    option("--proxy-protocol", "Trusted proxies speak the PROXY protocol.", is_flag=True, show_default=False),
    option("--tcp-ports", "Ports for raw TCP, as 20000-20019,5432: a service takes one live.", default="",
           show_default=False, callback=_read(ports)),
)  # fmt: skip


def sidecar_options(command: F) -> F:
    """Everything that `sidecar` and `run` are told."""
    for decorator in reversed(
        (
            option("--core", "Address of core's gRPC API.", default="core:8080"),
            option("--cluster", 'Service cluster, "" is the default one.', default=""),
            option("--instance", "Name of this proxy.", default="", show_default="the host name"),
            option("--binary", "HAProxy, 2.6 or newer.", default="haproxy"),
            option("--attach", "URL of the Runtime API of an HAProxy that someone else runs, such as "
                   "haproxy+unix://%2Frun%2Fhaproxy.sock/.", default="", show_default=False),
            option("--tls-ca", "CA certificate, PEM.", default="", show_default=False),
            option("--tls-identity", "Certificate and key of this cluster's proxies, PEM.", default="",
                   show_default=False),
            option("--extension", "The extension service, such as tasks.l7-extension:8081: state and secrets "
                   "while core is away.", default="", show_default=False),
            option("--published", "Directory of the published configuration: the state without either.",
                   default=PUBLISHED),
            option("--stop-grace", "Seconds that connections have to finish after a stop signal.", default=30.0),
            option("--admin", "Address of /healthz, /readyz, /metrics and /metrics/haproxy.",
                   default="127.0.0.1:9101"),
            option("--log-level", "Least severe level that is logged.", default="info",
                   type=click.Choice(logs.LEVELS)),
            click.option("-D", "--debug", envvar=f"{PREFIX}_DEBUG", show_envvar=True, is_flag=True,
                         help="Log everything."),
        )
    ):  # fmt: skip
        command = decorator(command)
    return settings_options(command)


@click.group()
def haproxy() -> None:
    """The HAProxy extension: the sidecar beside each proxy.

    \b
    In a proxy task:            l7 haproxy run --core tasks.l7_core:8080 --tls-ca … --tls-identity …
    Beside your own HAProxy:    l7 haproxy render --static > l7.cfg      (include it, start HAProxy)
                                l7 haproxy sidecar --attach haproxy+unix://%2Frun%2Fl7%2Fcli.sock/ …
    """


haproxy.add_command(service)


@haproxy.command()
@sidecar_options
def sidecar(**given: Any) -> None:
    """Follow core and drive HAProxy, until a stop signal.

    Starts HAProxy, or adopts the one that an earlier sidecar left running, or drives a foreign one (--attach).
    """
    logs.configure("debug" if given["debug"] else given["log_level"])
    log.info("starting", fastpath=fastpath.MODE)
    try:
        asyncio.run(serve(given))
    except L7Error as error:
        raise click.ClickException(str(error)) from error
    tasks.leave(0)


@haproxy.command()
@sidecar_options
def run(**given: Any) -> None:
    """What a proxy task runs: `l7 haproxy sidecar` with a small parent that restarts it.

    Killing the sidecar touches no traffic. Options are those of `sidecar`.
    """
    logs.configure("debug" if given["debug"] else given["log_level"])
    arguments = sys.argv[:]
    arguments[arguments.index("run", 1)] = "sidecar"
    tasks.leave(Supervisor(arguments).run())


@haproxy.command()
@click.option("--static", is_flag=True, required=True, help="The part that a foreign HAProxy must include.")
@click.option(
    "--prepare", is_flag=True, help="Write the files that it names to --run-dir, maps only where missing."
)
@click.option("--binary", default="haproxy", show_default=True, help="HAProxy whose version it is for.")
@settings_options
def render(static: bool, prepare: bool, binary: str, **given: Any) -> None:
    """Print configuration for an HAProxy that someone else runs."""
    del static
    logs.configure("warning")  # by default it would write where the configuration goes
    try:
        settings, able = settings_from(given), capabilities(version_of(binary))
    except L7Error as error:
        raise click.ClickException(str(error)) from error
    if prepare:
        _prepare(settings, able)
    click.echo(render_static(settings, able))


def _prepare(settings: Settings, able: Capabilities) -> None:
    """Maps that are there may be in use."""
    Path(settings.run_dir).mkdir(parents=True, exist_ok=True)
    for name, content in static_files(settings, able).items():
        path = Path(settings.file(name))
        if name == LUA or not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def settings_from(given: dict[str, Any]) -> Settings:
    """Settings out of the options of a command."""
    known = {field.name for field in fields(Settings)}
    settings = Settings(**{name: value for name, value in given.items() if name in known})
    settings = replace(settings, tls_bind=tuple(filter(None, settings.tls_bind)))
    _, descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
    fitting = fitting_connections(settings.max_connections, descriptors, bool(settings.tls_bind))
    if fitting < settings.max_connections:
        log.warning("fewer connections than asked for", wanted=settings.max_connections, fitting=fitting,
                    remedy="raise the limit of open files (ulimit -n)")  # fmt: skip
    return replace(settings, max_connections=fitting)


def options_from(given: dict[str, Any]) -> Options:
    """Options of the sidecar out of those of a command. Raises ConfigError when TLS is half given."""
    ca, identity = given["tls_ca"], given["tls_identity"]
    if bool(ca) != bool(identity):
        raise ConfigError("--tls-ca, --tls-identity", "give both or none")
    return Options(
        core=given["core"],
        instance=given["instance"] or os.environ.get("L7_TASK_ID", "") or socket.gethostname(),
        cluster=given["cluster"],
        binary=given["binary"],
        tls=TlsFiles(ca, identity) if ca else None,
        attach=given["attach"],
        stop_grace=given["stop_grace"],
        extension=given["extension"],
        published=given["published"],
    )


THREAD_SWITCH = 0.0005
"""Seconds. Python lets a thread wait 5 ms for another that computes; between a task that runs and its first answer
there are four such hand-overs, between the event loop and the Runtime API's thread."""


async def serve(given: dict[str, Any]) -> None:
    """The sidecar with its admin server."""
    sys.setswitchinterval(THREAD_SWITCH)
    metrics = Metrics("sidecar", __version__)
    sidecar = Sidecar(options_from(given), settings_from(given), metrics, __version__)
    stop = asyncio.Event()
    pages = {PAGE: Scrape(sidecar.reconciler).page}
    admin = http.Admin(metrics, sidecar.not_ready, sidecar.status, pages)
    async with tasks.signals(stop):
        await tasks.run(
            [
                tasks.Part("admin", lambda stop: http.serve(admin, given["admin"], "", stop)),
                tasks.Part("sidecar", sidecar.run, grace=given["stop_grace"] + 10),
            ],
            stop,
        )
