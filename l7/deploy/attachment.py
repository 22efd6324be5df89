"""What attaching secrets does to the specification of an extension service. Pure.

A specification is what GET /services/{id} says under "Spec" (Docker Engine API, definition ServiceSpec), and is
kept as it is but for the references that are ours: secrets whose target begins with `l7/`, configs whose target
begins with `/run/secrets/l7/`. Below /run/secrets/l7 a task finds each of them by its id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from l7.model import Secret

Json = Mapping[str, Any]

SECRET_TARGET = "l7/"
CONFIG_TARGET = "/run/secrets/l7/"
_OWNER = "1000"
"""As which the tasks of extension services run."""
_MODE = 0o400


@dataclass(frozen=True, slots=True)
class Attachment:
    """A specification to be, and what it attaches and detaches."""

    spec: Json
    attached: tuple[Secret, ...] = ()
    detached: tuple[Secret, ...] = ()


def attach(spec: Json, wanted: frozenset[Secret]) -> Attachment | None:
    """The specification with exactly `wanted` as ours, its update start-first; None when nothing is to change."""
    template = spec.get("TaskTemplate") or {}
    container = template.get("ContainerSpec") or {}
    references = {
        "Secrets": _changed(container.get("Secrets"), _SECRETS, wanted),
        "Configs": _changed(container.get("Configs"), _CONFIGS, wanted),
    }
    changed = {key: value for key, value in references.items() if value is not None}
    if not changed:
        return None
    before, after = attached(spec), wanted
    new = {
        **spec,
        "TaskTemplate": {**template, "ContainerSpec": {**container, **changed}},
        "UpdateConfig": {**(spec.get("UpdateConfig") or {}), "Order": "start-first"},
    }
    return Attachment(new, tuple(sorted(after - before)), tuple(sorted(before - after)))


def attached(spec: Json) -> frozenset[Secret]:
    """What of ours a specification has."""
    container = (spec.get("TaskTemplate") or {}).get("ContainerSpec") or {}
    return frozenset(
        Secret(str(raw.get(kind.id, "")), str(raw.get(kind.name, "")), kind.config)
        for kind in (_SECRETS, _CONFIGS)
        for raw in container.get(kind.key) or ()
        if _is_ours(raw, kind)
    )


@dataclass(frozen=True, slots=True)
class _Kind:
    """Docker's field names for references of a kind, and where ours begin."""

    key: str
    id: str
    name: str
    target: str
    config: bool


_SECRETS = _Kind("Secrets", "SecretID", "SecretName", SECRET_TARGET, config=False)
_CONFIGS = _Kind("Configs", "ConfigID", "ConfigName", CONFIG_TARGET, config=True)


def _changed(present: Iterable[Json] | None, kind: _Kind, wanted: frozenset[Secret]) -> list[Json] | None:
    """The references to be; None when they are so already, in whatever order."""
    present = list(present or ())
    ours = [_reference(secret, kind) for secret in sorted(wanted) if secret.config == kind.config]
    found = [raw for raw in present if _is_ours(raw, kind)]
    if sorted(found, key=lambda raw: str(raw.get(kind.id))) == ours:
        return None
    return [raw for raw in present if not _is_ours(raw, kind)] + ours


def _is_ours(raw: Json, kind: _Kind) -> bool:
    # A config may have no file: it can stand for the credentials of Windows containers ("Runtime").
    return str((raw.get("File") or {}).get("Name", "")).startswith(kind.target)


def _reference(secret: Secret, kind: _Kind) -> Json:
    """As Docker gives it back, so that the same is recognised."""
    file = {"Name": kind.target + secret.id, "UID": _OWNER, "GID": _OWNER, "Mode": _MODE}
    return {"File": file, kind.id: secret.id, kind.name: secret.name}
