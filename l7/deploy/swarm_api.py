"""What the operator's commands ask of a manager and tell it: the Engine API, raw specifications in and out.

Specifications go in as they are written here: the SDK's own calls know only some of their fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import docker
import docker.errors
import orjson

from l7.deploy.secrets import connect, mapped
from l7.kit.errors import Rejected, Unavailable
from l7.swarm.engine import Address, Outdated

Json = dict[str, Any]
_TIMEOUT = 15
"""Seconds: a list of configs brings the content of all."""
_WORDS = 3
"""Lines."""
_OUTDATED = "update out of sequence"


class SwarmApi:
    """The Engine API of a manager. Methods raise Unavailable (no answer, no leader, no manager) or Rejected."""

    def __init__(self, client: docker.DockerClient) -> None:
        self.client = client
        self._api: Any = client.api

    @classmethod
    def at(cls, manager: Address) -> SwarmApi:
        return cls(connect(manager))

    # ------------------------------------------------------------ asking

    def info(self) -> Json:
        """GET /info, which any daemon answers."""
        found: Json = self._get("/info")
        return found

    def api_version(self) -> str:
        return str(self._api.api_version)

    def image(self, name: str) -> Json | None:
        """The image as this node has it, None when it does not."""
        try:
            with mapped(f"inspect image {name}"):
                found: Json = self._api.inspect_image(name)
        except Rejected as error:
            if isinstance(error.__cause__, docker.errors.ImageNotFound):
                return None
            raise
        return found

    def services(self) -> list[Json]:
        return self._list("/services")

    def service(self, id_: str) -> Json:
        """Rejected when there is none of that id."""
        found: Json = self._get(f"/services/{quote(id_, safe='')}")
        return found

    def tasks(self) -> list[Json]:
        """All tasks, also those that ended."""
        return self._list("/tasks")

    def nodes(self) -> list[Json]:
        return self._list("/nodes")

    def networks(self) -> list[Json]:
        """Those of the Swarm. The Swarm has to answer before and after: without a leader Docker answers with those
        that this node happens to hold."""
        self._get("/swarm")
        found = self._list("/networks", scope=["swarm"])
        self._get("/swarm")
        return found

    def configs(self) -> list[Json]:
        return self._list("/configs")

    def secrets(self) -> list[Json]:
        return self._list("/secrets")

    def containers(self, *labels: str) -> list[Json]:
        """Running containers of this node with all of these labels."""
        return self._list("/containers/json", label=list(labels))

    def last_words(self, service: str) -> str:
        """The end of the log of the service's task that ended last on this node, "" for none."""
        with mapped(f"read the log of {service}"):
            found = self.client.containers.list(
                all=True, filters={"label": f"com.docker.swarm.service.name={service}", "status": "exited"}
            )
            return found[0].logs(tail=_WORDS).decode(errors="replace").strip() if found else ""

    # ------------------------------------------------------------ telling

    def create(self, kind: str, spec: Mapping[str, Any]) -> str:
        """The id of a new one of `kind`: service, network, config or secret."""
        made = self._post(f"/{kind}s/create", spec)
        return str(made.get("ID") or made.get("Id"))

    def remove(self, kind: str, id_: str) -> None:
        """Rejected while it is in use, and when it is not there."""
        with mapped(f"remove {kind} {id_}"):
            self._checked(self._api.delete(self._url(f"/{kind}s/{quote(id_, safe='')}"), timeout=_TIMEOUT))

    def update_service(self, service: Json, spec: Json, *, rollback: bool = False) -> None:
        """Replaces the specification of a service as it was read; Outdated when it has another version by now.
        `rollback`: by its previous one, whatever `spec` is."""
        params = {"version": str(service["Version"]["Index"])} | ({"rollback": "previous"} if rollback else {})
        self._post(f"/services/{service['ID']}/update", spec, **params)

    # ------------------------------------------------------------ inside

    def _list(self, path: str, **filters: list[str]) -> list[Json]:
        found: list[Json] = self._get(path, **({"filters": orjson.dumps(filters).decode()} if filters else {}))
        return found

    def _get(self, path: str, **params: str) -> Any:
        with mapped(f"GET {path}"):
            return self._checked(self._api.get(self._url(path), params=params, timeout=_TIMEOUT)).json()

    def _post(self, path: str, body: Mapping[str, Any], **params: str) -> Json:
        try:
            with mapped(f"POST {path}"):
                answer = self._api.post(self._url(path), json=body, params=params, timeout=_TIMEOUT)
                found: Json = self._checked(answer).json()
        except Unavailable as error:
            if _OUTDATED in str(error):
                raise Outdated(str(error)) from error
            raise
        return found

    def _url(self, path: str) -> str:
        return f"{self._api.base_url}/v{self._api.api_version}{path}"

    def _checked(self, answer: Any) -> Any:
        self._api._raise_for_status(answer)
        return answer
