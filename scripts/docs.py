"""Writes docs/settings.md, those tables of docs/operations.md and docs/nginx.md that follow from the code, and that
of docs/file-mode.md which follows from a kept report: ``python -m scripts.docs``.

Between ``<!-- table: name -->`` and ``<!-- end -->`` stands what `TABLES` makes; all else is written by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click

from haproxy.cli import haproxy
from l7.cli import main as l7
from l7.kit.metrics import Metrics
from nginx.options import OPTIONS as NGINX
from nginx.settings import Settings as NginxSettings
from scripts import settings_docs, soak_docs

FILE = Path(__file__).resolve().parents[1] / "docs/operations.md"
NGINX_FILE = FILE.with_name("nginx.md")
_MARKED = re.compile(r"(<!-- table: (?P<name>[a-z ]+) -->\n).*?(?=<!-- end -->)", re.DOTALL)
_DEFAULT = re.compile(r"\s*\[default: (?P<text>[^\]]+)\]")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def options(command: click.Command) -> str:
    """Every option of a command, with its environment variable, default and help."""
    rows = [_option(each) for each in command.params if isinstance(each, click.Option)]
    return table(("option", "environment", "default", "meaning"), rows)


def _option(option: click.Option) -> tuple[str, str, str, str]:
    help_, said = option.help or "", _DEFAULT.search(option.help or "")
    default = said["text"] if said else _default(option)
    variable = f"`{option.envvar}`" if option.envvar else ""
    if isinstance(option.type, click.Choice):
        help_ += f" ({', '.join(map(str, option.type.choices))})"
    return f"`{_flag(option)}`", variable, f"`{default}`" if default else "", _DEFAULT.sub("", help_)


def _flag(option: click.Option) -> str:
    return max(option.opts, key=len)


def _default(option: click.Option) -> str:
    if isinstance(option.show_default, str):
        return option.show_default
    default = option.to_info_dict()["default"]
    if option.is_flag or default is None:
        return ""
    return ", ".join(default) if isinstance(default, tuple | list) else str(default)


def metrics() -> str:
    """Every metric of core and sidecar."""
    rows = [
        (f"`{_exposed(family.name, family.type)}`", family.type, ", ".join(_labels(each)), family.documentation)
        for each in vars(Metrics("core", "0")).values()
        if hasattr(each, "describe")
        for family in each.describe()
    ]
    return table(("name", "kind", "labels", "meaning"), sorted(rows))


def _exposed(name: str, kind: str) -> str:
    return name + {"counter": "_total", "info": "_info"}.get(kind, "")


def _labels(metric: object) -> Sequence[str]:
    names: Sequence[str] = getattr(metric, "_labelnames", ())
    return [f"`{name}`" for name in names]


def nginx_keys() -> str:
    """Every key of an NGINX extension's table, with what holds without it."""
    usual = NginxSettings()
    rows = [
        (f"`{each.name}`", f"`{_shown(getattr(usual, each.field))}`" if each.field else "", each.meaning)
        for each in NGINX
    ]
    return table(("key", "default", "meaning"), rows)


def _shown(value: object) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


TABLES: Mapping[str, Callable[[], str]] = {
    "core": lambda: options(l7.commands["core"]),
    "status": lambda: options(l7.commands["status"]),
    "haproxy": lambda: options(haproxy.commands["run"]),
    "service": lambda: options(haproxy.commands["service"]),
    "metrics": metrics,
}


NGINX_TABLES: Mapping[str, Callable[[], str]] = {"nginx": nginx_keys}
"""Of docs/nginx.md."""


def hour() -> str:
    """What an hour with two clusters showed."""
    return table(("", "NGINX, file mode", "HAProxy, live"), soak_docs.rows(soak_docs.kept()))


FILE_MODE_TABLES: Mapping[str, Callable[[], str]] = {"hour": hour}
"""Of docs/file-mode.md."""


def render(text: str, tables: Mapping[str, Callable[[], str]] = TABLES) -> str:
    """`text` with its tables made anew."""
    return _MARKED.sub(lambda found: f"{found[1]}\n{tables[found['name']]()}\n", text)


if __name__ == "__main__":
    FILE.write_text(render(FILE.read_text()))
    NGINX_FILE.write_text(render(NGINX_FILE.read_text(), NGINX_TABLES))
    soak_docs.FILE.write_text(render(soak_docs.FILE.read_text(), FILE_MODE_TABLES))
    settings_docs.FILE.write_text(settings_docs.render())
