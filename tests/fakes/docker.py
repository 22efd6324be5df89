"""The part of the Engine API that the fleet speaks, in memory: services, networks, secrets and nodes.

What is created gets an id, what is updated another version; `on_update` says what Swarm makes of an update.
tests/contract/test_fleet_contract.py holds it to the real one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from l7.kit.errors import Rejected
from l7.swarm.engine import Outdated

Json = dict[str, Any]
SERVICES, NETWORKS, SECRETS = "/services", "/networks", "/secrets"


@dataclass
class FakeDocker:
    """`faults`: raised first, by the call ("POST /services/create") that they are for. `calls`: all that changed
    something, in order."""

    services: dict[str, Json] = field(default_factory=dict)
    networks: dict[str, Json] = field(default_factory=dict)
    secrets: dict[str, Json] = field(default_factory=dict)
    nodes: list[Json] = field(default_factory=list)
    tasks: list[Json] = field(default_factory=list)
    container_labels: Json = field(default_factory=dict)
    subnet_size: int = 16
    faults: dict[str, list[Exception]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    on_update: Callable[[Json], None] = lambda raw: None
    _number: int = 0

    async def ask(
        self, method: str, path: str, params: Mapping[str, str] | None = None, body: Any = None
    ) -> Any:
        call = f"{method} {path}"
        if waiting := self.faults.get(call):
            raise waiting.pop(0)
        if method != "GET":
            self.calls.append(call)
        return copy.deepcopy(self._answer(method, path, params or {}, copy.deepcopy(body)))

    def _answer(self, method: str, path: str, params: Mapping[str, str], body: Any) -> Any:
        kind, _, rest = path.removeprefix("/").partition("/")
        if method == "GET":
            return self._get(kind, rest, params)
        table = {"services": self.services, "networks": self.networks, "secrets": self.secrets}[kind]
        if rest == "create":
            return self._create(kind, table, body)
        if method == "DELETE":
            return self._delete(call=f"{method} {path}", table=table, id=rest)
        return self._update(self.services[rest.removesuffix("/update")], params, body)

    def _get(self, kind: str, rest: str, params: Mapping[str, str]) -> Any:
        filters = orjson.loads(params.get("filters", "{}"))
        if kind == "containers":
            if not self.container_labels:
                raise Rejected("GET /containers", "no such container")
            return {"Config": {"Labels": self.container_labels}}
        if kind == "services" and rest:
            found = [each for each in self.services.values() if each["Spec"]["Name"] == rest]
            if not found:
                raise Rejected("GET /services", "service not found")
            return found[0]
        tables: Mapping[str, Any] = {
            "swarm": {"SubnetSize": self.subnet_size},
            "services": [each for each in self.services.values() if _labelled(each, filters)],
            "networks": list(self.networks.values()),
            "nodes": self.nodes,
            "tasks": self.tasks,
        }
        return tables[kind]

    def _create(self, kind: str, table: dict[str, Json], body: Json) -> Json:
        if any(_name(each) == body["Name"] for each in table.values()):
            raise Rejected(f"POST /{kind}/create", "rpc error: code = AlreadyExists: name conflicts")
        self._number += 1
        id = f"{kind}{self._number}"
        spec = body if kind != "networks" else {}
        table[id] = {"ID": id, "Id": id, "Name": body["Name"], "Version": {"Index": 1}, "Spec": spec}
        if kind == "networks":
            table[id] |= {"Labels": body.get("Labels"), "IPAM": body.get("IPAM")}
        return {"ID": id, "Id": id}

    def _update(self, raw: Json, params: Mapping[str, str], body: Json) -> None:
        if int(params["version"]) != raw["Version"]["Index"]:
            raise Outdated("Docker: update out of sequence")
        raw["PreviousSpec"], raw["Spec"] = raw["Spec"], body
        raw["Version"] = {"Index": raw["Version"]["Index"] + 1}
        self.on_update(raw)

    def _delete(self, call: str, table: dict[str, Json], id: str) -> None:
        if id not in table:
            raise Rejected(call, "not found")
        used = [_name(each) for each in self.services.values() if id in str(each["Spec"].get("TaskTemplate"))]
        if used:
            raise Rejected(call, f"is in use by service {used[0]}")
        del table[id]


def _name(raw: Json) -> str:
    return str(raw.get("Spec", {}).get("Name") or raw["Name"])


def _labelled(raw: Json, filters: Json) -> bool:
    labels = raw["Spec"].get("Labels") or {}
    wanted = (each.partition("=") for each in filters.get("label", ()))
    return all(labels.get(key) == value for key, _, value in wanted)
