"""`l7 config check`: what a file of settings means, and what is doubtful in it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol

import click
from rich.console import Console
from rich.table import Table

from l7.config import Cluster, Settings, examine
from l7.config.core_options import ACME, CORE
from l7.config.extension_options import CLUSTER, EXTENSION
from l7.config.kinds import TABLE, TABLES
from l7.config.option import Option
from l7.config.proxy_options import PROXY
from l7.config.reading import Reading
from l7.fleet import EXTENSION as USUAL_EXTENSION
from l7.fleet import PROXY as USUAL_PROXY
from l7.fleet import service_name
from l7.kit.errors import ConfigError
from l7.terminal import console

CHECKS = "l7.config_checks"
"""Entry points by which extensions say what their tables `Config` mean: (JSON, HAProxy binaries) -> Checked."""

_LINE = re.compile(r":(\d+)")


class Complaint(Protocol):
    """What an extension says of a key of its table."""

    @property
    def key(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def remedy(self) -> str: ...


class Checked(Protocol):
    """What an extension says of its table: key, value and whether the table says it; what is doubtful in it; and
    what cannot be used at all."""

    @property
    def settings(self) -> Sequence[tuple[str, str, bool]]: ...
    @property
    def complaints(self) -> Sequence[Complaint]: ...
    @property
    def refusals(self) -> Sequence[Complaint]: ...


Check = Callable[[bytes, Sequence[str]], Checked]


@click.command(short_help="Show what a file of settings means.")
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--strict", is_flag=True, help="A warning is an error.")
@click.option(
    "--haproxy",
    "binaries",
    multiple=True,
    metavar="PATH",
    help="Let this HAProxy check GlobalOptions and DefaultOptions; may be repeated.",
)
@click.option("--quiet", is_flag=True, help="Say what is doubtful, and nothing else.")
def check(file: str, strict: bool, binaries: tuple[str, ...], quiet: bool) -> None:
    """Show what a file of settings means, and all that is doubtful in it, with line and key.

    The status is 1 for errors, with which core does not take the file, and 0 for warnings.

    \b
      l7 config check config.toml
      l7 config check --strict --quiet config.toml                       in CI
      l7 config check --haproxy /usr/sbin/haproxy config.toml            lines for HAProxy, too
    """
    text = _read(file)
    settings, errors = examine(text, file)
    found = [str(error) for error in errors]
    warnings = list(settings.warnings) if settings else []
    tables = []
    for cluster in settings.clusters.values() if settings else ():
        for checked in (each(cluster.config, binaries) for each in _checks()):
            place = _placing(file, text, cluster)
            found += map(place, checked.refusals)
            warnings += map(place, checked.complaints)
            tables.append((cluster, checked))
    out = console()
    if settings and not quiet:
        _show(out, settings, tables)
    _tell(out, sorted(found, key=_line_of), sorted(warnings, key=_line_of), _notes(text, settings))
    sys.exit(1 if found or (strict and warnings) else 0)


def _read(file: str) -> str:
    try:
        return Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(file, f"cannot be read: {error}") from error


def _checks() -> Iterator[Check]:
    for entry in sorted(entry_points(group=CHECKS), key=lambda entry: entry.name):
        yield entry.load()


def _placing(file: str, text: str, cluster: Cluster) -> Callable[[Complaint], str]:
    """A complaint with the line of its key; of several keys, that of the first one."""
    reading, where = Reading(file, text), ("Extensions", cluster.extension, "Config")

    def place(complaint: Complaint) -> str:
        first = complaint.key.partition(",")[0]
        named = reading.place(where, first).removesuffix(first) + complaint.key
        return f"{named}: {complaint.message}: {complaint.remedy}"

    return place


def _line_of(message: str) -> int:
    match = _LINE.search(message)
    return int(match[1]) if match else 0


def _notes(text: str, settings: Settings | None) -> Iterator[str]:
    """Where an absent key means another thing than it did in Interlock."""
    if settings is None or not any(each.hitless for each in settings.clusters.values()):
        return
    if not re.search(r"^\s*[\"']?HitlessServiceUpdate", text, re.IGNORECASE | re.MULTILINE):
        yield (
            "HitlessServiceUpdate is not given: true, where Interlock had false. Changes are made in running "
            "proxies, without a restart"
        )


# ---------------------------------------------------------------- what it means


def _show(out: Console, settings: Settings, tables: Iterable[tuple[Cluster, Checked]]) -> None:
    out.print(_table("Core", _rows(CORE, settings)))
    if settings.acme is not None:
        out.print(_table("ACME", _rows(ACME, settings.acme)))
    for policy in settings.host_policies:
        out.print(_table("HostPolicy", [(key, str(value), True) for key, value in _policy(policy)]))
    for cluster in settings.clusters.values():
        title = f"Service cluster {cluster.name}" if cluster.name else "The default service cluster"
        out.print(_table(title, _cluster_rows(cluster)))
        for of, checked in tables:
            if of is cluster:
                out.print(_table("Its Config", checked.settings))


def _policy(policy: Any) -> Iterator[tuple[str, str]]:
    for name in ("hosts", "stacks", "services", "networks"):
        if values := getattr(policy, name):
            yield name.capitalize(), ", ".join(values)


def _cluster_rows(cluster: Cluster) -> Iterator[tuple[str, str, bool]]:
    usual = {
        "ServiceName": service_name(cluster.extension_options, USUAL_EXTENSION, cluster.name),
        "ProxyServiceName": service_name(cluster.proxy_options, USUAL_PROXY, cluster.name),
    }
    yield from _rows(CLUSTER, cluster)
    yield from _rows(EXTENSION, cluster.extension_options, usual)
    yield from _rows(PROXY, cluster.proxy_options, usual)


def _rows(
    rows: Iterable[Option], value: object, usual: Mapping[str, str] | None = None
) -> Iterator[tuple[str, str, bool]]:
    """Key, value, and whether it is another one than without the key."""
    for row in rows:
        if not row.field or row.kind in (TABLE, TABLES):
            continue
        found = attrgetter(row.field)(value)
        given = found not in (row.read(row.default), None)
        usually = (usual or {}).get(row.key) or row.otherwise
        yield row.key, row.kind.show(found) if given or not usually else usually.replace("`", ""), given


def _table(title: str, rows: Iterable[tuple[str, str, bool]]) -> Table:
    table = Table("key", "value", "", title=title, title_justify="left")
    table.columns[1].overflow = "fold"
    for key, value, given in rows:
        table.add_row(key, value, "" if given else "default")
    return table


# ---------------------------------------------------------------- what is doubtful


def _tell(out: Console, errors: Sequence[str], warnings: Sequence[str], notes: Iterable[str]) -> None:
    for kind, style, lines in (
        ("note", "", notes),
        ("warning", "yellow", warnings),
        ("error", "red", errors),
    ):
        for line in lines:
            out.print(f"{kind}: {line}", style=style or None, soft_wrap=True)
    count = (f"{len(lines)} {word}{'s' if len(lines) > 1 else ''}" for lines, word in _counted(errors, warnings))
    out.print(", ".join(count) or "nothing is doubtful")


def _counted(errors: Sequence[str], warnings: Sequence[str]) -> Iterator[tuple[Sequence[str], str]]:
    yield from ((lines, word) for lines, word in ((errors, "error"), (warnings, "warning")) if lines)
