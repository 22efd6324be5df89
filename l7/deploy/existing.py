"""What of l7's own is in a Swarm, as values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from l7.deploy.applied import applied
from l7.labels.table import PROXY_CLUSTER, PROXY_TYPE

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Existing:
    """A service of ours. `update`: state of its update, "" when there never was one, with Swarm's `message`.
    `running`: tasks that serve; `trouble`: why others don't, as far as Swarm says, "" where all do. `previous`: the
    specification that Swarm would go back to, None: there is none."""

    id: str
    version: int
    spec: Json
    update: str = ""
    message: str = ""
    running: int = 0
    trouble: str = ""
    previous: Json | None = None

    @property
    def replicas(self) -> int | None:
        """How many tasks there are to be; None: one on each node."""
        replicated = (self.spec.get("Mode") or {}).get("Replicated")
        return None if replicated is None else int(replicated.get("Replicas") or 0)

    @property
    def lacking(self) -> bool:
        """Whether not all of its tasks run; of those on each node, whether none does."""
        return self.running < (1 if self.replicas is None else self.replicas)

    @property
    def name(self) -> str:
        return str(self.spec.get("Name", ""))

    @property
    def labels(self) -> Mapping[str, str]:
        return self.spec.get("Labels") or {}

    @property
    def cluster(self) -> str:
        return str(self.labels.get(PROXY_CLUSTER, ""))

    @property
    def is_proxy(self) -> bool:
        return self.labels.get(PROXY_TYPE[0]) == PROXY_TYPE[1]

    @property
    def applied(self) -> Json:
        """What l7 wanted when it wrote this last; nothing where that can't be read."""
        return applied(self.labels)

    @property
    def in_flight(self) -> bool:
        return self.update in ("updating", "rollback_started")

    @property
    def rolled_back(self) -> bool:
        return self.update.startswith("rollback")

    @property
    def configs(self) -> frozenset[str]:
        """Ids of those that its tasks are started with, or those that Swarm would go back to."""
        templates = (spec.get("TaskTemplate") or {} for spec in (self.spec, self.previous or {}))
        lists = ((template.get("ContainerSpec") or {}).get("Configs") or () for template in templates)
        return frozenset(str(each["ConfigID"]) for configs in lists for each in configs)

    @property
    def networks(self) -> frozenset[str]:
        """Ids of those that it is on."""
        return frozenset(str(each.get("Target", "")) for each in self.spec["TaskTemplate"].get("Networks") or ())

    @property
    def ports(self) -> frozenset[int]:
        """Those that it publishes, in whatever mode."""
        found = (self.spec.get("EndpointSpec") or {}).get("Ports") or ()
        return frozenset(int(each.get("PublishedPort") or 0) for each in found)


@dataclass(frozen=True, slots=True)
class ManagedNetwork:
    """A network of ours."""

    id: str
    name: str
    cluster: str
