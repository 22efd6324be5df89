"""`l7 migrate`: labels and settings of Interlock and of UCP's routing mesh, written as today's."""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from l7.config import parse_settings
from l7.deploy import interlock1
from l7.deploy.migration import Migration, migrations
from l7.deploy.swarm_api import Json, SwarmApi
from l7.docker_cli import docker_options
from l7.kit.errors import ConfigError
from l7.model import Problem
from l7.swarm.engine import Address, Outdated
from l7.swarm.from_json import parse_service
from l7.terminal import console

_UCP_CONFIG = re.compile(r"com\.docker\.ucp\.interlock\.(?:conf-(\d+)|service-clusters\.conf)")
_TRIES = 5
_TASK = "com.docker.swarm.task.id"


@click.command(short_help="Write old labels and settings as today's.")
@click.option("--service", "names", multiple=True, metavar="NAME", help="Only this service; repeat.")
@click.option("--apply", is_flag=True, help="Do it, instead of only showing it.")
@click.option("--remove-old", is_flag=True, help="Also remove the old labels of the services.")
@click.option("--config", type=click.Path(dir_okay=False), help="Instead: print Interlock 1's TOML as today's.")
@click.option("--from-ucp", is_flag=True, help="Instead: print the TOML of the Interlock in this UCP or MKE.")
@docker_options()
def migrate(
    names: tuple[str, ...], apply: bool, remove_old: bool, config: str | None, from_ucp: bool, manager: Address
) -> None:
    """Write old labels as today's: those of Interlock 1 (interlock.*) and of UCP 2's HTTP routing mesh
    (com.docker.ucp.mesh.http*).

    Without --apply it only shows what would be done. Services get the labels com.docker.lb.* beside those that
    they have: that starts no task anew, and whoever reads the old labels goes on as before. Those of Interlock 2
    and 3 are today's, and need no migration.

    \b
      l7 migrate                                 what would be done, and what needs a decision
      l7 migrate --service shop --apply          one service
      l7 migrate --apply                         all of them
      l7 migrate --apply --remove-old            when nothing reads the old labels any more
    \b
    Settings (what is in doubt goes to the error output):
      l7 migrate --config interlock1.toml >l7.toml
      l7 migrate --from-ucp >l7.toml             Interlock 2 and 3: its file, unchanged
      l7 install --config l7.toml
    """
    if config is not None:
        _config(config)
    elif from_ucp:
        click.echo(_ucp_settings(SwarmApi.at(manager)), nl=False)
    else:
        _labels(SwarmApi.at(manager), names, apply, remove_old)


# ---------------------------------------------------------------- labels


def _labels(api: SwarmApi, names: Sequence[str], apply: bool, remove_old: bool) -> None:
    found = _found(api, names)
    out = console()
    for each in found:
        _print(out, each)
    _print_containers(out, api)
    if not found:
        click.echo("nothing to do: no service has labels of Interlock 1 or of the routing mesh")
        return
    todo = [each for each in found if each.wants(remove_old)]
    if apply:
        for each in todo:
            _apply(api, each, remove_old)
            click.echo(f"updated {each.service}")
    elif todo:
        out.print("To do it, `l7 migrate --apply`, or:\n", style="bold")
        for each in todo:
            click.echo(each.command(remove_old))
    _print_rest(found, todo, remove_old)


def _found(api: SwarmApi, names: Sequence[str]) -> list[Migration]:
    secrets = {str(each["Spec"]["Name"]) for each in api.secrets()}
    services = [parse_service(each) for each in api.services()]
    if unknown := sorted(set(names) - {each.name for each in services}):
        raise ConfigError("--service", f"there is no service {', '.join(unknown)}")
    return [each for each in migrations(services, secrets) if not names or each.service in names]


def _print(out: Console, migration: Migration) -> None:
    out.print(migration.service, style="bold")
    if migration.added:
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(overflow="fold")
        table.add_column(overflow="fold", style="dim")
        for key, value, source in migration.added:
            table.add_row(f"{key}={value}", f"from {source}")
        out.print(Padding(table, (0, 0, 0, 2)))
    elif not migration.problems:
        out.print("  has today's labels already")
    for problem in migration.problems:
        _print_problem(out, problem)
    if migration.blocked:
        out.print("  is left as it is: it would not be routed so", style="red")
    out.print()


def _print_problem(out: Console, problem: Problem) -> None:
    label = f"{problem.label}={problem.value}" if problem.value else problem.label
    text = Text.assemble((label, "red" if problem.fatal else "yellow"), f" {problem.message}", overflow="fold")
    out.print(Padding(text, (0, 0, 0, 2)))
    if problem.remedy:
        out.print(Padding(Text(f"to do: {problem.remedy}", overflow="fold"), (0, 0, 0, 4)))


def _print_containers(out: Console, api: SwarmApi) -> None:
    """Interlock 1 served plain containers, too."""
    plain = [each for each in api.containers("interlock.hostname") if _TASK not in (each.get("Labels") or {})]
    for each in plain:
        name = str((each.get("Names") or [each["Id"][:12]])[0]).lstrip("/")
        out.print(f"{name} is a container of this node and no service: l7 serves services only", style="yellow")
        out.print("    to do: docker service create, with the labels com.docker.lb.hosts and com.docker.lb.port\n")


def _apply(api: SwarmApi, migration: Migration, remove_old: bool) -> None:
    for left in reversed(range(_TRIES)):
        service = api.service(migration.id)
        try:
            api.update_service(service, migration.applied(service["Spec"], remove_old))
        except Outdated:
            if not left:
                raise
        else:
            return


def _print_rest(found: Iterable[Migration], todo: Sequence[Migration], remove_old: bool) -> None:
    for each in todo:
        if remove_old and each.old_on_containers:
            removals = " ".join(f"--container-label-rm {key}" for key in each.old_on_containers)
            click.echo(
                f"left: {each.service} has old labels on its containers; to remove them replaces its tasks:\n"
                f"  docker service update {removals} {each.service}"
            )
    if blocked := [each.service for each in found if each.blocked]:
        click.echo(f"left as they are: {', '.join(blocked)}", err=True)
        sys.exit(1)


# ---------------------------------------------------------------- settings


def _config(path: str) -> None:
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path, f"cannot be read: {error}") from error
    written, doubts = interlock1.translate(text, path)
    # What is made must be readable; what it says of single options is for the reader, too.
    settings = parse_settings(written, "today's")
    click.echo(written, nl=False)
    for doubt in (*doubts, *settings.warnings):
        click.echo(f"doubt: {doubt}", err=True)


def _ucp_settings(api: SwarmApi) -> str:
    """Of the config object that Interlock's core has, else of the newest one there is."""
    configs = {str(each["ID"]): each for each in api.configs() if _UCP_CONFIG.fullmatch(each["Spec"]["Name"])}
    used = [id_ for service in api.services() for id_ in _references(service) if id_ in configs]
    newest = sorted(configs, key=lambda id_: _number(configs[id_]))
    chosen = (used or newest)[-1:]
    if not chosen:
        raise ConfigError("--from-ucp", "there is no config com.docker.ucp.interlock.conf-<n> in this Swarm")
    text = base64.b64decode(configs[chosen[0]]["Spec"]["Data"]).decode("utf-8", "replace")
    click.echo(f"# from the config {configs[chosen[0]]['Spec']['Name']}", err=True)
    return text if text.endswith("\n") else text + "\n"


def _references(service: Json) -> list[str]:
    container: dict[str, Any] = service["Spec"]["TaskTemplate"].get("ContainerSpec") or {}
    return [str(each["ConfigID"]) for each in container.get("Configs") or ()]


def _number(config: Json) -> int:
    match = _UCP_CONFIG.fullmatch(config["Spec"]["Name"])
    return int(match[1]) if match and match[1] else 0
