"""Where the proxies of a cluster fetch secrets: at the running tasks of its extension service. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from l7.labels.table import EXTENSION_TYPE, PROXY_CLUSTER
from l7.model import Network, Service, Task, TaskState
from l7.reach import Reach

PORT = "com.docker.l7.port"
"""Label of an extension service: where its tasks listen, if not at the usual port."""
USUAL_PORT = 8081
_PORT = re.compile(r"[1-9][0-9]{0,4}")


@dataclass(frozen=True, slots=True)
class Extension:
    """An extension service: its `cluster`, and its running `tasks`."""

    cluster: str
    port: int
    tasks: tuple[Task, ...] = ()


def extension_of(service: Service | None, tasks: Mapping[str, Task]) -> Extension | None:
    """None for a service that is none."""
    if service is None or EXTENSION_TYPE not in service.spec.labels:
        return None
    labels = dict(service.spec.labels)
    text = labels.get(PORT, "")
    port = int(text) if _PORT.fullmatch(text) and int(text) <= 65535 else USUAL_PORT
    running = (each for each in tasks.values() if each.state == each.desired == TaskState.RUNNING)
    return Extension(labels.get(PROXY_CLUSTER, ""), port, tuple(sorted(running, key=lambda each: each.id)))


class Sources:
    """The extension services, kept up to date one by one."""

    def __init__(self) -> None:
        self._extensions: dict[str, Extension] = {}

    @property
    def services(self) -> AbstractSet[str]:
        """Their ids."""
        return self._extensions.keys()

    def note(self, service_id: str, new: Extension | None) -> set[str]:
        """What this service is now; the clusters that it concerns."""
        old = self._extensions.get(service_id)
        if old == new:
            return set()
        if new is not None:
            self._extensions[service_id] = new
        else:
            del self._extensions[service_id]
        return {each.cluster for each in (old, new) if each is not None}

    def addresses(self, cluster: str, reach: Reach, networks: Mapping[str, Network]) -> tuple[str, ...]:
        """`address:port` of every task of the cluster's that the proxies can reach, the newest first."""
        found = [
            (-task.created, task.id, f"[{address}]:{each.port}" if ":" in address else f"{address}:{each.port}")
            for each in self._extensions.values()
            if each.cluster == cluster
            for task in each.tasks
            if (address := _address(task, reach, networks))
        ]
        return tuple(address for _, _, address in sorted(found))


def _address(task: Task, reach: Reach, networks: Mapping[str, Network]) -> str:
    """On the first by name of the networks that it shares with all proxies, "" when there is none."""
    held = dict(task.addresses)
    known = (networks[each] for each in held if held[each] and each in networks)
    shared = sorted((each for each in known if reach.covers(each)), key=lambda each: (each.name, each.id))
    return held[shared[0].id] if shared else ""
