"""`l7 install`, `l7 upgrade` and `l7 uninstall`: core made, replaced and taken away; core does the rest."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from l7.config import Cluster, Settings, parse_settings
from l7.deploy import core_service, install, install_plan, names, uninstall
from l7.deploy.install import Planning
from l7.deploy.install_plan import Asked, Step
from l7.deploy.swarm_api import Json, SwarmApi
from l7.deploy.waiting import Wait
from l7.docker_cli import docker_options
from l7.kit.errors import ConfigError
from l7.swarm.engine import Address
from l7.terminal import Progress

IMAGE = "l7:dev"
_TIMEOUT = 300.0
_PORT = click.IntRange(0, 65535)

dry_run = click.option("--dry-run", is_flag=True, help="Only say what would be done.")
timeout = click.option(
    "--timeout",
    metavar="SECONDS",
    help="How long to wait for each part.",
    type=float,
    default=_TIMEOUT,
    show_default=True,
)


@click.command("install", short_help="Install l7 in this Swarm, in one command.")
@click.option("--http", type=_PORT, metavar="PORT", help="For HTTP; 0: Swarm chooses one.  [default: 80]")
@click.option("--https", type=_PORT, metavar="PORT", help="For HTTPS; 0: Swarm chooses one.  [default: 443]")
@click.option(
    "--publish-mode",
    type=click.Choice(["ingress", "host"]),
    help="On every node by Swarm's routing mesh, or on the proxies' own.  [default: ingress]",
)
@click.option("--replicas", type=click.IntRange(1), metavar="N", help="How many proxies.  [default: 2]")
@click.option(
    "--mode",
    type=click.Choice(["replicated", "global"]),
    help="So many proxies as --replicas says, or one on each node.  [default: replicated]",
)
@click.option("--config", type=click.Path(dir_okay=False), help="Instead of the options above: a TOML file.")
@click.option(
    "--image", metavar="NAME", envvar="L7_IMAGE", show_envvar=True, help=f"Of all parts.  [default: {IMAGE}]"
)
@click.option("--docker-socket", metavar="PATH", help="On managers.  [default: /var/run/docker.sock]")
@click.option("--swarm-directory", metavar="PATH", help="On managers.  [default: /var/run/docker/swarm]")
@dry_run
@timeout
@docker_options()
def install_command(dry_run: bool, timeout: float, manager: Address, **given: Any) -> None:
    """Install l7 in this Swarm. Run it on a manager.

    It makes the network l7-control, the secrets l7-*, a config with the settings, and core; and core makes the
    extension service and the proxies. Run again, it does what is missing or has changed, and nothing else.

    \b
      l7 install --dry-run                       what would be made
      l7 install                                 ports 80 and 443 of every node, two proxies
      l7 install --publish-mode host --mode global
                                                 one proxy on each node; it sees clients' addresses
      l7 install --http 8080 --https 8443        other ports; the rest stays as it was
      l7 install --config l7.toml                all settings; also the file of Interlock, UCP or MKE
    """
    asked = _asked(given)
    api = SwarmApi.at(manager)
    install.check_daemon(api)
    install.check_core(api)
    existing = install.observe(api)
    if existing.core is None and not asked.image:
        asked = replace(asked, image=IMAGE)
    settings = parse_settings(*install.settings_in_force(existing, asked))
    if existing.core is None or asked != Asked():
        install.check(api, settings, asked.image, flags=asked.text is None)
    steps = install_plan.install_steps(existing, asked)
    if dry_run:
        _would(steps, settings)
        return
    with Progress() as progress:
        _warn(progress, settings)
        wait = Wait(api, progress, timeout)
        changed = install.run(api, asked, install_plan.install_steps, progress)
        _await_all(api, progress, wait)
        install.prune(api)
        progress.say("ready" if changed else "nothing to do: everything is as it is asked for", "green")
    if changed:
        click.echo(_NEXT.format(network=_network(settings)))


_NEXT = """
Every service with two labels on a network of the proxies is served now:
  docker service create --name web --network {network} \\
    --label com.docker.lb.hosts=web.example.org --label com.docker.lb.port=8000 IMAGE
What is routed, and what is not and why: l7 status"""


def _network(settings: Settings) -> str:
    cluster = next(iter(settings.clusters.values()))
    return (cluster.networks or (names.shared_network(cluster.name),))[0]


def _warn(progress: Progress, settings: Settings) -> None:
    for warning in settings.warnings:
        progress.say(f"note: {warning}", "yellow")


def _would(steps: Iterable[Step], settings: Settings) -> None:
    """What a dry run says."""
    steps = tuple(steps)
    for step in steps:
        click.echo(f"would {step}")
    if not steps:
        click.echo("nothing to do: everything is as it is asked for")
        return
    click.echo("and core makes what is missing of:")
    for cluster in settings.clusters.values():
        for part in _parts(cluster):
            click.echo(f"  {part}")


def _parts(cluster: Cluster) -> Iterator[str]:
    options = cluster.proxy_options
    many = "one on each node" if options.everywhere else f"{options.replicas} of them"
    http, tls = (str(port.published or "any") for port in (options.http, options.tls))
    if not cluster.networks:
        yield f"network {names.shared_network(cluster.name)}, for applications"
    yield f"service {names.extension_service(cluster)}"
    yield f"service {names.proxy_service(cluster)}: {many}, {options.publish_mode} mode, ports {http} and {tls}"


def _await_all(api: SwarmApi, progress: Progress, wait: Wait) -> None:
    """Until core is ready, and all that it makes."""
    wait.core(_core(api)["ID"])
    progress.say("core is ready")
    wait.fleet(_clusters(api))
    progress.say("extension services and proxies are ready")


def _clusters(api: SwarmApi) -> tuple[Cluster, ...]:
    """Those of the settings that core has."""
    used = install.observe(api).used
    settings = parse_settings(used.text, used.name) if used is not None else Settings()
    return tuple(settings.clusters.values())


def _asked(given: Mapping[str, Any]) -> Asked:
    """Raises ConfigError."""
    flags = {
        name: given[name]
        for name in ("http", "https", "publish_mode", "mode", "replicas")
        if given[name] is not None
    }
    if given["config"] is not None and flags:
        raise ConfigError("--config", "says all that the other options do: give one or the other")
    text = None if given["config"] is None else read_settings(given["config"])
    paths = {name: given[name] for name in ("docker_socket", "swarm_directory") if given[name]}
    return Asked(given["image"] or "", text, flags, paths)


def read_settings(path: str) -> str:
    """The text of a TOML file that core would take. Raises ConfigError with line and key."""
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path, f"cannot be read: {error}") from error
    parse_settings(text, path)
    return text


# ---------------------------------------------------------------- settings


def apply_settings(path: str, timeout: float, manager: Address, dry_run: bool = False) -> None:
    """What `l7 config apply` does. Raises L7Error; a file that core would not take costs nothing."""
    asked = Asked(text=read_settings(path))
    api = SwarmApi.at(manager)
    install.check_daemon(api)
    existing = install.observe(api)
    planning = _planning(_core(api))
    steps = planning(existing, asked)
    settings = parse_settings(*install.settings_in_force(existing, asked))
    if dry_run:
        _would(steps, settings)
        return
    with Progress() as progress:
        _warn(progress, settings)
        wait = Wait(api, progress, timeout)
        if not install.run(api, asked, planning, progress):
            progress.say("nothing to do: core has these settings", "green")
            return
        wait.core(_core(api)["ID"])
        install.prune(api)
        progress.say("core runs with these settings; what they change of its services follows: l7 status", "green")


# ---------------------------------------------------------------- upgrade


@click.command(short_help="Go to another image, or back (--rollback).")
@click.option("--image", metavar="NAME", envvar="L7_IMAGE", show_envvar=True, help="The image to go to.")
@click.option("--rollback", is_flag=True, help="Instead: back to what core was before its last update.")
@dry_run
@timeout
@docker_options()
def upgrade(image: str | None, rollback: bool, dry_run: bool, timeout: float, manager: Address) -> None:
    """Go to another image of l7, one part after the other, while everything goes on.

    Core goes first; then core rolls the extension services, and then the proxies. Where a part does not get ready
    with the new image, Swarm takes its update back. Every node needs the image (docker load), or a registry to get
    it from. Parts that the settings give an image of their own (Image, ProxyImage) keep it.

    \b
      l7 upgrade --image l7:0.2
      l7 upgrade --rollback            core as before its last update, and with it all parts
    """
    if bool(image) == rollback:
        raise click.UsageError("say where to go: --image NAME, or --rollback")
    api = SwarmApi.at(manager)
    install.check_daemon(api)
    with Progress() as progress:
        wait = Wait(api, progress, timeout)
        if rollback:
            _back(api, progress, wait, dry_run)
        else:
            _forward(api, str(image), progress, wait, dry_run)


def _forward(api: SwarmApi, image: str, progress: Progress, wait: Wait, dry_run: bool) -> None:
    if api.image(image) is None:
        raise ConfigError(
            "--image", f"{image} is not on this node: docker load it on every node, or docker pull it"
        )
    asked, existing = Asked(image=image), install.observe(api)
    core = _core(api)
    planning = _planning(core)
    if dry_run:
        _would(planning(existing, asked), Settings(clusters={each.name: each for each in _clusters(api)}))
        return
    install.run(api, asked, planning, progress)
    wait.core(core["ID"])
    progress.say(f"core runs {image}")
    _await_images(api, progress, wait, image)
    if not core_service.is_installed(core):
        progress.say(f"from now on, docker stack deploy with L7_IMAGE={image}")


def _back(api: SwarmApi, progress: Progress, wait: Wait, dry_run: bool) -> None:
    core = _core(api)
    before = core.get("PreviousSpec")
    if not before:
        raise ConfigError(
            "--rollback", "Swarm has nothing that core could go back to (only the last update counts)"
        )
    changes = ", ".join(install_plan.changes(core["Spec"], before))
    if dry_run:
        click.echo(f"would update the service {core['Spec']['Name']}: {changes}")
        return
    api.update_service(core, core["Spec"], rollback=True)
    progress.say(f"done: update the service {core['Spec']['Name']}: {changes}")
    core = wait.core(core["ID"], rolling_back=True)
    image = names.plain_image(core_service.container_of(core)["Image"])
    progress.say(f"core runs {image}")
    _await_images(api, progress, wait, image)


def _await_images(api: SwarmApi, progress: Progress, wait: Wait, image: str) -> None:
    """Until core has rolled all parts that run its own image."""
    clusters = _clusters(api)
    images = {names.extension_service(each): image for each in clusters if not each.extension_options.image}
    images |= {names.proxy_service(each): image for each in clusters if not each.proxy_options.image}
    wait.fleet(clusters, images)
    for each in clusters:
        for name in (names.extension_service(each), names.proxy_service(each)):
            progress.say(f"{name} runs {images[name]}" if name in images else f"{name} keeps its own image")
    progress.say("ready", "green")


def _planning(core: Json) -> Planning:
    """Of a core that somebody else made, nothing changes but what is asked for."""
    return install_plan.install_steps if core_service.is_installed(core) else install_plan.settings_steps


def _core(api: SwarmApi) -> Json:
    core = core_service.find_core(api.services())
    if core is None:
        raise ConfigError(core_service.SERVICE, "there is no core in this Swarm: `l7 install` makes one")
    return dict(core)


# ---------------------------------------------------------------- uninstall


@click.command("uninstall", short_help="Take away all that l7 has made.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@dry_run
@timeout
@docker_options()
def uninstall_command(yes: bool, dry_run: bool, timeout: float, manager: Address) -> None:
    """Take away all that l7 has made in this Swarm: its services, configs, secrets and networks.

    Nothing is served any more then. Services of applications stay as they are, with their labels, and so do their
    secrets; a network of l7's that they are on stays as well, and the exit code is 1. Certificates that l7 got from
    an ACME server go, too.

    \b
      l7 uninstall --dry-run
      l7 uninstall --yes
    """
    api = SwarmApi.at(manager)
    install.check_daemon(api)
    found = uninstall.plan(api)
    for each in found.all:
        if dry_run or not yes:
            click.echo(f"{'would' if dry_run else 'will'} remove {each}")
    for name, users in found.kept:
        click.echo(f"{'would' if dry_run else 'will'} keep network {name}: {', '.join(users)} on it")
    if not found.all and not found.kept:
        click.echo("nothing to do: l7 has nothing in this Swarm")
    elif not dry_run:
        if not yes:
            click.confirm("Go on?", abort=True)
        with Progress() as progress:
            left = uninstall.run(api, progress, timeout)
        for line in left:
            click.echo(f"left: {line}", err=True)
        sys.exit(1 if left else 0)
