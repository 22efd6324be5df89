"""Published configurations of a real Swarm, as the tests look at them."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from l7.deploy.published import NAME, Version, newest, versions
from l7.kit.bundle import Bundle, unpack
from l7.swarm import from_json
from testbed import processes
from testbed.system import CORE_ADMIN_SOCKET, System


@dataclass(frozen=True)
class Published:
    """What is stored of one service cluster."""

    system: System
    cluster: str = ""

    def versions(self) -> tuple[Version, ...]:
        """The newest first."""
        return versions(map(from_json.parse_config, self._configs()), self.cluster)

    def bundle(self) -> Bundle:
        """The newest one's content."""
        found = newest(self.versions())
        assert found is not None, "nothing is published"
        data = {each["ID"]: base64.b64decode(each["Spec"]["Data"]) for each in self._configs()}
        return unpack(b"".join(data[part.id] for part in found.parts))

    def routes(self) -> set[str]:
        """Hosts in the newest one, none while nothing is published."""
        if newest(self.versions()) is None:
            return set()
        lines = self.bundle().files["routes.map"].decode().splitlines()
        return {line.partition("/")[0] for line in lines}

    def stored(self) -> float:
        """Objects that this core has made so far."""
        text = processes.get_unix(self.system.core_pid(), CORE_ADMIN_SOCKET, "/metrics").decode()
        name = f'l7_published_configs_total{{action="stored",cluster="{self.cluster}"}}'
        found = [line for line in text.splitlines() if line.startswith(name)]
        return float(found[0].rpartition(" ")[2]) if found else 0.0

    def _configs(self) -> list[dict[str, Any]]:
        client: Any = self.system.swarm.docker(self.system.manager)
        found: list[dict[str, Any]] = client.configs(filters={"name": NAME})
        return found
