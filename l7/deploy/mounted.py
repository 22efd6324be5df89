"""References of services to the published configuration, in their specifications, and when they advance. Pure.

A task finds its parts as files /run/l7-published/1, 2 … A reference changes the specification, so each advance of
an extension service replaces its task, and a proxy's never does by itself. Times are seconds of whatever clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from l7.deploy.published import Version

Json = Mapping[str, Any]

TARGET = "/run/l7-published/"
SETTLED = 60.0
"""Seconds without another revision, after which an extension service is given the newest one."""
PAUSE = 600.0
"""Seconds between two advances, when nothing else replaces the task."""
_OWNER = "1000"
_MODE = 0o444


def references(version: Version | None) -> tuple[Json, ...]:
    """As the Engine API writes them (ContainerSpec.Configs); none to nothing."""
    parts = version.parts if version is not None else ()
    return tuple(
        {
            "File": {"Name": f"{TARGET}{number}", "UID": _OWNER, "GID": _OWNER, "Mode": _MODE},
            "ConfigID": part.id,
            "ConfigName": part.name,
        }
        for number, part in enumerate(parts, 1)
    )


def referred(spec: Json) -> frozenset[str]:
    """Ids of what of it a service's specification refers to."""
    return frozenset(str(each.get("ConfigID", "")) for each in _configs(spec) if _is_ours(each))


def referring(spec: Json, wanted: Iterable[Json]) -> Json:
    """A specification with these references in place of the present ones; as it is when there are none."""
    wanted = list(wanted)
    if not wanted or {str(each["ConfigID"]) for each in wanted} == referred(spec):
        return spec
    template = spec.get("TaskTemplate") or {}
    container = template.get("ContainerSpec") or {}
    others = [each for each in _configs(spec) if not _is_ours(each)]
    return {**spec, "TaskTemplate": {**template, "ContainerSpec": {**container, "Configs": [*others, *wanted]}}}


def unreferring(spec: Json) -> Json:
    """A specification without such references: of proxies in file mode, which may have run live before."""
    template = spec.get("TaskTemplate") or {}
    container = template.get("ContainerSpec") or {}
    if not referred(spec):
        return spec
    others = [each for each in _configs(spec) if not _is_ours(each)]
    return {**spec, "TaskTemplate": {**template, "ContainerSpec": {**container, "Configs": others}}}


def advance_at(there: frozenset[str], newest: Version | None, since: float, last: float) -> float | None:
    """When an extension service is to be given `newest` (None: nothing is published), for its own sake; None: it is
    not. `there`: what it refers to; `since`: when its revision came; `last`: when the service advanced."""
    if newest is None or there == {part.id for part in newest.parts}:
        return None
    return max(since + SETTLED, last + PAUSE) if there else since + SETTLED


def _configs(spec: Json) -> Iterable[Json]:
    return ((spec.get("TaskTemplate") or {}).get("ContainerSpec") or {}).get("Configs") or ()


def _is_ours(reference: Json) -> bool:
    return str((reference.get("File") or {}).get("Name", "")).startswith(TARGET)
