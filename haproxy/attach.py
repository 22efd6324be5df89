"""Attached mode: an HAProxy that someone else runs must have the static part that l7 drives."""

from __future__ import annotations

from haproxy.policy import HTTP, spare_names
from haproxy.runtime.client import Runtime
from haproxy.settings import MAPS, Settings
from l7.kit.errors import Rejected


def require_static(runtime: Runtime, settings: Settings) -> list[str]:
    """What is missing in the running HAProxy, for the operator; empty when it can be driven."""
    maps = [name for name in MAPS if not _has(runtime, settings, name)]
    missing = [f"the map {settings.file(name)}" for name in maps]
    if not runtime.capabilities().dynamic_backends:
        first_spare = next(spare_names(settings), "")
        if first_spare not in runtime.backends():
            missing.append(f"spare backends such as {first_spare} (policy {HTTP})")
    if missing:
        missing.append("include the output of `l7 haproxy render --static` in its configuration")
    return missing


def _has(runtime: Runtime, settings: Settings, name: str) -> bool:
    try:
        runtime.get_map_row(settings.file(name), "-")
    except Rejected:
        return False
    return True
