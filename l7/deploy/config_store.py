"""Docker config objects, made, labelled, removed and read, by way of the engine."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Protocol

from l7.model import StoredSecret
from l7.swarm import from_json


class Asking(Protocol):
    """What is needed of `l7.swarm.engine.Engine`; raises as it does."""

    async def ask(
        self, method: str, path: str, params: Mapping[str, str] | None = None, body: object = None
    ) -> Any: ...


class ConfigStore:
    """Methods raise Unavailable (no answer, no leader) or Rejected."""

    def __init__(self, engine: Asking) -> None:
        self._engine = engine

    async def create_config(self, name: str, data: bytes, labels: Mapping[str, str]) -> StoredSecret:
        """Rejected when there is one of that name. Docker answers with the id alone: of any version."""
        spec = {"Name": name, "Labels": dict(labels), "Data": base64.b64encode(data).decode()}
        made = await self._engine.ask("POST", "/configs/create", body=spec)
        return StoredSecret(str(made["ID"]), 0, name, True, tuple(sorted(labels.items())))

    async def label_config(self, id_: str, labels: Mapping[str, str]) -> StoredSecret:
        """Gives it other labels: all else of a config is fixed. Outdated when it was changed meanwhile."""
        raw = await self._engine.ask("GET", f"/configs/{id_}")
        version, spec = int(raw["Version"]["Index"]), {**raw["Spec"], "Labels": dict(labels)}
        await self._engine.ask("POST", f"/configs/{id_}/update", {"version": str(version)}, spec)
        return from_json.parse_config({**raw, "Version": {"Index": version + 1}, "Spec": spec})

    async def remove_config(self, id_: str) -> None:
        """Rejected while a service refers to it, and when it is not there."""
        await self._engine.ask("DELETE", f"/configs/{id_}")

    async def config_data(self, id_: str) -> bytes:
        """The content; Rejected when it is not there."""
        raw = await self._engine.ask("GET", f"/configs/{id_}")
        return base64.b64decode(raw["Spec"]["Data"])
