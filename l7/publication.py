"""What an extension service publishes: a rendered configuration of its cluster, as a value. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from l7.kit.errors import ProtocolError
from l7.model import Secret


@dataclass(frozen=True, slots=True)
class Deployment:
    """File mode: how proxies run with a publication. `mounts`: absolute path -> file of it, sorted; `secrets`: the
    same with what the files name; `command` and `stop_signal`: see l7.v1.Deployment."""

    mounts: tuple[tuple[str, str], ...]
    secrets: tuple[tuple[str, Secret], ...] = ()
    command: tuple[str, ...] = ()
    stop_signal: str = ""

    def text(self) -> str:
        """To be kept as a label."""
        secrets = [[path, each.id, each.name, each.config] for path, each in self.secrets]
        fields = {"mounts": self.mounts, "secrets": secrets, "command": self.command, "stop": self.stop_signal}
        return json.dumps(fields, separators=(",", ":"), sort_keys=True)


def deployment_of(text: str) -> Deployment:
    """The inverse of `Deployment.text`. Raises ProtocolError."""
    try:
        fields: Any = json.loads(text)
        mounts = tuple((str(path), str(file)) for path, file in fields["mounts"])
        secrets = tuple(
            (str(path), Secret(str(id_), str(name), bool(config))) for path, id_, name, config in fields["secrets"]
        )
        return Deployment(mounts, secrets, tuple(map(str, fields["command"])), str(fields["stop"]))
    except (LookupError, TypeError, ValueError) as error:
        raise ProtocolError(f"no deployment: {text[:80]!r}") from error


def foreign(deployment: Deployment, named: Collection[Secret]) -> tuple[str, ...]:
    """Names of what it asks for, and what the state of its cluster (`named`) does not name: nobody else's secrets
    are mounted."""
    return tuple(sorted({each.name or each.id for _, each in deployment.secrets if each not in named}))


@dataclass(frozen=True, slots=True)
class Publication:
    """`state`: revision of core's state that it was rendered from; `revision`: its own, a digest of what operators
    and users decide, hexadecimal: the same whatever tasks there are. `files` by path; `counts` by kind, for people;
    `software`: who rendered it; `deployment` None: proxies are not run from its files."""

    cluster: str
    state: str
    revision: str
    files: Mapping[str, bytes] = field(repr=False)
    counts: Mapping[str, int] = field(default_factory=dict)
    software: str = ""
    deployment: Deployment | None = None

    @property
    def content(self) -> str:
        """32 hex digits: digest of cluster, revision and files."""
        digest = hashlib.sha256(f"{self.cluster}\0{self.revision}\0".encode())
        for name, content in sorted(self.files.items()):
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        if self.deployment is not None:
            digest.update(self.deployment.text().encode())
        return digest.hexdigest()[:32]
