"""`l7 history`, `l7 diff`, `l7 pin` and `l7 unpin`: what was published, and what a service cluster stays at."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click
import orjson
from rich.table import Table

from l7 import history as stored
from l7.deploy import mounted, pins
from l7.deploy.swarm_api import Json, SwarmApi
from l7.docker_cli import docker_options
from l7.history import Entry
from l7.kit.bundle import INPUTS
from l7.kit.errors import ConfigError, Unavailable
from l7.kit.tls import DEFAULT_CLUSTER
from l7.labels.table import EXTENSION_TYPE, PROXY_CLUSTER
from l7.swarm.engine import Address, Outdated
from l7.terminal import console

_TRIES = 5
cluster_option = click.option("--cluster", metavar="NAME", default="", help="Another than the default one.")


@click.command("history")
@cluster_option
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@docker_options()
def history(cluster: str, output: str, manager: Address) -> None:
    """Show the configurations of a service cluster that were published, the newest first.

    A revision is what operators and users decide: labels and settings. Which tasks there are is no part of it.

    \b
      l7 history
      l7 diff 3f9c02 current
    """
    api = SwarmApi.at(manager)
    rows = list(_rows(stored.entries(api.configs(), cluster), _marks(api, cluster)))
    if output == "json":
        sys.stdout.buffer.write(orjson.dumps(rows, option=orjson.OPT_INDENT_2) + b"\n")
        return
    if not rows:
        console().print("nothing is published yet: the extension service does that, a second after it knows core")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("Revision", "Published", "Size", "Routes", "Services", "Servers", "Changed", ""):
        table.add_column(column, overflow="fold")
    for row in rows:
        cells = (row[key] for key in ("revision", "published", "size", "routes", "services", "servers", "changed"))
        table.add_row(*cells, ", ".join(row["marks"]))
    console().print(table)


def _rows(found: list[Entry], marks: dict[str, list[str]]) -> Iterator[Json]:
    for number, entry in enumerate(found):
        older = found[number + 1] if number + 1 < len(found) else None
        version, counts = entry.version, entry.counts
        own = ["current"] if number == 0 else []
        yield {
            "revision": version.revision[:12],
            "published": version.published[:19].replace("T", " "),
            "size": f"{version.size:,}",
            **{kind: counts.get(kind, "") for kind in ("routes", "services", "servers")},
            "changed": stored.changes(older, entry),
            "marks": [*own, *_of(version.revision, {part.id for part in version.parts}, marks)],
        }


def _of(revision: str, parts: set[str], marks: dict[str, list[str]]) -> Iterator[str]:
    for mark, ids in marks.items():
        if mark.startswith(_PINNED):
            if revision.startswith(mark.removeprefix(_PINNED)):
                yield "pinned"
        elif parts & set(ids):
            yield f"mounted in {mark}"


_PINNED = "pinned "


def _marks(api: SwarmApi, cluster: str) -> dict[str, list[str]]:
    """Ids of what services refer to, by their names; and what is pinned."""
    marks: dict[str, list[str]] = {}
    for service in api.services():
        labels = service["Spec"].get("Labels") or {}
        if labels.get(PROXY_CLUSTER, "") != cluster:
            continue
        if _is_extension(labels) and labels.get(pins.LABEL):
            marks[f"{_PINNED}{labels[pins.LABEL]}"] = []
        if ids := mounted.referred(service["Spec"]):
            marks[str(service["Spec"]["Name"])] = sorted(ids)
    return marks


@click.command("diff")
@click.argument("one", metavar="REVISION")
@click.argument("other", metavar="REVISION")
@cluster_option
@docker_options()
def diff(one: str, other: str, cluster: str, manager: Address) -> None:
    """Show how two published configurations of a service cluster differ: labels, settings, and HAProxy's files.

    A revision may be shortened, and be that of a state as in `l7 status` and in logs; `current` is the newest.

    \b
      l7 diff 3f9c02 current
    """
    found = stored.entries(SwarmApi.at(manager).configs(), cluster)
    out = console()
    for line in stored.difference(stored.find(found, one), stored.find(found, other)):
        out.print(line, style=_STYLES.get(line[:1]) if out.is_terminal else None)


_STYLES = {"+": "green", "-": "red", "@": "cyan"}


@click.command("pin")
@click.argument("revision", metavar="REVISION")
@cluster_option
@docker_options()
def pin(revision: str, cluster: str, manager: Address) -> None:
    """Keep a service cluster at a revision: its routes and settings stay, its servers go on following Swarm.

    What services say in their labels meanwhile waits; `l7 status` names them. The pin is the label
    com.docker.l7.pin of the cluster's extension service, so a new core honours it. No task is replaced.

    \b
      l7 history
      l7 pin 3f9c02
      l7 unpin
    """
    api = SwarmApi.at(manager)
    entry = stored.find(stored.entries(api.configs(), cluster), revision)
    full = entry.version.revision
    if entry.bundle is None or INPUTS not in entry.bundle.files:
        raise ConfigError(revision, "does not say which labels it was made from: choose another one")
    _label(api, cluster, full)
    click.echo(f"service cluster {cluster or DEFAULT_CLUSTER} stays at {full[:12]}; l7 unpin ends it")


@click.command("unpin")
@cluster_option
@docker_options()
def unpin(cluster: str, manager: Address) -> None:
    """Let a service cluster follow labels and settings again, at once."""
    if _label(SwarmApi.at(manager), cluster, ""):
        click.echo(f"service cluster {cluster or DEFAULT_CLUSTER} follows labels and settings")
    else:
        click.echo("nothing to do: it is not pinned")


def _label(api: SwarmApi, cluster: str, revision: str) -> bool:
    """Gives the extension service the label, or takes it away (""); whether that was a change. Labels of a service
    replace no task."""
    for _ in range(_TRIES):
        service = _extension_service(api, cluster)
        labels = dict(service["Spec"].get("Labels") or {})
        before = labels.pop(pins.LABEL, "")
        if before == revision:
            return False
        if revision:
            labels[pins.LABEL] = revision
        try:
            api.update_service(service, {**service["Spec"], "Labels": labels})
        except Outdated:
            continue
        return True
    raise Unavailable("the extension service is being changed by somebody else: try again")


def _extension_service(api: SwarmApi, cluster: str) -> Json:
    for service in api.services():
        labels = service["Spec"].get("Labels") or {}
        if _is_extension(labels) and labels.get(PROXY_CLUSTER, "") == cluster:
            return service
    raise ConfigError("--cluster", f"{cluster or DEFAULT_CLUSTER!r} has no extension service, where pins are kept")


def _is_extension(labels: Json) -> bool:
    return bool(labels.get(EXTENSION_TYPE[0]) == EXTENSION_TYPE[1])
