"""`l7 pki …`: the installation's own certificates."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click
import docker
import orjson
from rich.console import Console
from rich.table import Table

from l7.deploy import init as pki_init
from l7.deploy import references, secrets
from l7.deploy.rotate import Rotation, is_rotating
from l7.deploy.secrets import Swarm
from l7.deploy.stored import Stored
from l7.docker_cli import docker_options
from l7.kit.tls import DEFAULT_CLUSTER
from l7.swarm.engine import Address


@click.group()
def pki() -> None:
    """The installation's own certificates: who may speak to core, and for which service cluster."""


@pki.command("init")
@click.option("--cluster", "clusters", multiple=True, metavar="NAME", help="Also for this service cluster; repeat.")
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="DNS",
    help="Also a name of core, beside core, l7_core, tasks.core, tasks.l7_core and localhost; repeat.",
)
@click.option("--directory", type=click.Path(file_okay=False), help="Write files here instead of Docker secrets.")
@docker_options()
def init(clusters: tuple[str, ...], names: tuple[str, ...], directory: str | None, manager: Address) -> None:
    """Make the CA and the identities that are missing; what is there stays as it is.

    \b
    Docker secrets made:
      l7-ca                   certificate of the CA, for everybody
      l7-ca-key               its key, for core alone
      l7-core                 certificate and key of core
      l7-proxy                certificate and key of the default service cluster's proxies
      l7-extension            the same of its extension service
      l7-proxy-<cluster>      and of another service cluster
      l7-extension-<cluster>
      l7-acme-account         core's key at an ACME server, whether or not there is one
    \b
      l7 pki init
      l7 pki init --cluster blue            later, on the node where core runs
      l7 pki init --directory pki           files pki/<name>.pem, for use without Swarm
    """
    place = secrets.Directory(Path(directory)) if directory else secrets.Swarm(secrets.connect(manager))
    made = pki_init.init(place, clusters, names)
    for name in made:
        click.echo(f"made {name}")
    if not made:
        click.echo("nothing to do: everything is there")


@pki.command("rotate")
@click.option("--finish", is_flag=True, help="Drop the old CA, when nothing uses it any more.")
@click.option("--proxies", is_flag=True, help="Give the proxies the new secrets now, by replacing their tasks.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@docker_options()
def rotate(finish: bool, proxies: bool, dry_run: bool, manager: Address) -> None:
    """Replace the CA and all first identities, while everything goes on. Run it on the node where core runs.

    Makes a new generation of the secrets, with the new CA and the old one, and gives it to core and the extension
    services. Proxies trust both from then on, and get the new secrets when their tasks are replaced for another
    reason. It may be broken off anywhere and run again.

    \b
      l7 pki rotate
      l7 pki rotate --proxies                                    now; else with the next update of the proxies
      l7 pki rotate --finish                                     the old CA is not trusted any more
    """
    rotation = Rotation(secrets.Swarm(secrets.connect(manager)), dry_run)
    if finish:
        rotation.finish()
    elif proxies:
        rotation.move_proxies()
    else:
        rotation.rotate()
    for line in rotation.said:
        click.echo(f"would {line}" if dry_run else line)
    if not rotation.said:
        click.echo("nothing to do")
    for line in rotation.left:
        click.echo(f"left: {line}")
    if finish and rotation.left and not rotation.said:
        sys.exit(1)


@pki.command("status")
@docker_options()
def status(manager: Address) -> None:
    """Show which CA and identity each part uses, and until when.

    Secrets are only first identities; what a proxy connected with last is known on the node where core runs. `l7
    status` says when renewal does not work.
    """
    client = secrets.connect(manager)
    swarm = secrets.Swarm(client)
    stored = swarm.stored()
    console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 160)
    console.print(_secrets_table(stored))
    console.print(_parts_table(swarm, stored))
    console.print(_connected_table(client))
    if is_rotating(stored):
        console.print("A rotation is under way: `l7 pki rotate --finish` ends it, --dry-run says what is left.")


def _secrets_table(stored: tuple[Stored, ...]) -> Table:
    table = Table("secret", "generation", "until", "CA, newest first", title="Secrets", title_justify="left")
    for each in sorted(stored, key=lambda each: (each.generation, each.name)):
        until = f"{datetime.fromtimestamp(each.not_after, UTC):%Y-%m-%d}" if each.not_after else ""
        table.add_row(each.name, str(each.generation), until, ", ".join(each.authorities))
    return table


def _parts_table(swarm: Swarm, stored: tuple[Stored, ...]) -> Table:
    table = Table("service", "is", "secrets of generation", "tasks", title="Services", title_justify="left")
    for part in references.parts(swarm.services(), swarm.tasks(), stored):
        tasks = ", ".join(f"generation {each}: {part.tasks.count(each)}" for each in sorted(set(part.tasks)))
        role = part.role.removeprefix("l7-")
        table.add_row(part.name, role, ", ".join(map(str, sorted(set(part.generations)))), tasks)
    return table


def _connected_table(client: docker.DockerClient) -> Table:
    """What proxies and extension services connected with; nothing where core does not run, or does not answer."""
    table = Table("part", "cluster", "CA", "until", title="Connected to core", title_justify="left")
    container = secrets.core_container(client)
    if container is None:
        return table
    code, answer = secrets.run_in(container, ["l7", "status", "--output", "json", "--docker-url", ""])
    if code == 0:
        document = orjson.loads(answer)
        for each in (*document["extensions"], *document["extension_services"]):
            until = each["identity_until"].partition("T")[0]
            table.add_row(each["instance"], each["cluster"] or DEFAULT_CLUSTER, each["ca"], until)
    return table
