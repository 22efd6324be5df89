"""What `l7 config check` is told about an extension's table `Config` (entry point `l7.config_checks`)."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from haproxy import state
from haproxy.capabilities import capabilities, dotted
from haproxy.config import Complaint, configured
from haproxy.model import Desired
from haproxy.nginx_options import NGINX
from haproxy.option import Option
from haproxy.options import OPTIONS
from haproxy.process import CONFIG, alerts, version_of
from haproxy.render import render_files
from haproxy.settings import Settings
from haproxy.verdicts import lines_of

TIMEOUT = 60.0
"""Seconds for HAProxy to check a configuration."""

_OWN = {row.field for row in OPTIONS}
SHOWN = tuple(row for row in (*OPTIONS, *(each for each in NGINX if each.field not in _OWN)) if row.field)
"""One row for each setting."""

LINES = "GlobalOptions, DefaultOptions"
_BINDS = ("unix@{}/http.sock", "unix@{}/tls.sock")


@dataclass(frozen=True, slots=True)
class Checked:
    """`settings`: key, value as it would be written, and whether the table says it. `refusals`: what an HAProxy
    does not take."""

    settings: tuple[tuple[str, str, bool], ...]
    complaints: tuple[Complaint, ...]
    refusals: tuple[Complaint, ...]


def check(config: bytes, binaries: Sequence[str]) -> Checked:
    """`config` is JSON. Raises ConfigError for a binary that is no HAProxy, Incompatible for an old one."""
    settings, complaints = configured(Settings(), config)
    shown = tuple(_shown(row, settings) for row in SHOWN)
    refusals = tuple(found for binary in binaries if (found := _refusal(settings, binary)) is not None)
    return Checked(shown, complaints, refusals)


def _shown(row: Option, settings: Settings) -> tuple[str, str, bool]:
    value = getattr(settings, row.field)
    if value == getattr(Settings(), row.field):
        return row.name, row.default.replace("`", ""), False
    return row.name, row.show(value), True


def _refusal(settings: Settings, binary: str) -> Complaint | None:
    """What this HAProxy says of the configuration that proxies would start with."""
    with tempfile.TemporaryDirectory(prefix="l7-check-") as directory:
        words = _words(settings, binary, Path(directory))
    if not words:
        return None
    version = dotted(version_of(binary))
    key = LINES if any(lines_of(settings)) else "Config"
    return Complaint(key, f"is refused by HAProxy {version}: {words}", "change it: proxies keep what they have")


def _words(settings: Settings, binary: str, directory: Path) -> str:
    able = capabilities(version_of(binary))
    http, tls = (each.format(directory) for each in _BINDS)
    placed = replace(settings, run_dir=str(directory), bind=(http,), tls_bind=(tls,), tcp_ports=())
    for name, content in render_files(placed, able, Desired(), {}, ()).items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        state.write(path, content)
    command: list[Any] = [binary, "-c", "-f", directory / CONFIG]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False)
    return alerts(done.stdout + done.stderr) if done.returncode else ""
