"""The settings of the running HAProxy, kept beside its files: a restarted sidecar has to know them."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from haproxy import state
from haproxy.settings import Settings
from l7.kit import logs

log = logs.get("settings")

NAME = "settings.json"


def save(settings: Settings) -> None:
    text = json.dumps(asdict(settings), sort_keys=True)
    state.write(Path(settings.file(NAME)), text.encode())


def load(base: Settings) -> Settings:
    """What was saved in the `run_dir` of `base`; `base` itself when there is nothing that can be read."""
    path = Path(base.file(NAME))
    try:
        found = json.loads(path.read_bytes())
        known = {field.name for field in fields(Settings)}
        return Settings(**{name: _frozen(value) for name, value in found.items() if name in known})
    except FileNotFoundError:
        return base
    except (ValueError, AttributeError) as error:
        log.warning("kept settings unreadable", path=str(path), error=str(error))
        return base


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
