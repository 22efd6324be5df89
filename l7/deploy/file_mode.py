"""File mode: what of a published configuration the proxies' specification refers to. Pure.

Each file is a Docker config object, mounted where the extension said, and so are secrets and configs that the files
name. They are readable to everybody in the task: whom a stock image runs as is its own affair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from l7.deploy.published import Version
from l7.model import Secret

Json = Mapping[str, Any]

_MODE = 0o444


@dataclass(frozen=True, slots=True)
class Files:
    """Of the newest configuration: references as the Engine API writes them (ContainerSpec.Configs, Secrets), and
    how proxies run (see `l7.publication.Deployment`)."""

    configs: tuple[Json, ...]
    secrets: tuple[Json, ...] = ()
    command: tuple[str, ...] = ()
    stop_signal: str = ""


def files_of(version: Version | None) -> Files | None:
    """None: there is nothing to run proxies from."""
    deployment = version.deployment if version is not None else None
    if version is None or deployment is None:
        return None
    own = tuple(_config(path, config.id, config.name) for path, config in version.files)
    named = tuple(_config(path, each.id, each.name) for path, each in deployment.secrets if each.config)
    secrets = tuple(_secret(path, each) for path, each in deployment.secrets if not each.config)
    return Files((*own, *named), secrets, deployment.command, deployment.stop_signal)


def _file(name: str) -> Json:
    return {"Name": name, "UID": "0", "GID": "0", "Mode": _MODE}


def _config(path: str, id_: str, name: str) -> Json:
    return {"File": _file(path), "ConfigID": id_, "ConfigName": name}


def _secret(path: str, secret: Secret) -> Json:
    return {"File": _file(path), "SecretID": secret.id, "SecretName": secret.name}
