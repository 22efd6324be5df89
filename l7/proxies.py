"""Where the proxies of each service cluster are, as Swarm or the settings tell. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import reduce
from operator import and_

from l7.config import Cluster
from l7.labels.table import PROXY_CLUSTER, PROXY_TYPE
from l7.model import ServerState, TaskState
from l7.reach import Reach
from l7.upstreams import server_state
from l7.views import CacheView


@dataclass(frozen=True, slots=True)
class ProxyService:
    """A proxy service, and the networks that all of it is on."""

    cluster: str
    reach: Reach


def proxy_service(cache: CacheView, service_id: str) -> ProxyService | None:
    """None for any other service.

    A network counts once every proxy task that serves is on it. While a proxy service is rolled to one more
    network, its old tasks could not connect there.
    """
    service = cache.services.get(service_id)
    if service is None or PROXY_TYPE not in service.spec.labels:
        return None
    ids = frozenset(service.spec.networks)
    tasks = cache.tasks_of(service_id).values()
    for task in tasks:
        if server_state(task, cache.nodes.get(task.node)) in (ServerState.READY, ServerState.LEAVING):
            ids &= {network for network, _ in task.addresses}
    known = (cache.networks[each] for each in ids if each in cache.networks)
    names = frozenset(network.name for network in known if not network.ingress)
    cluster = dict(service.spec.labels).get(PROXY_CLUSTER, "")
    places = {task.node for task in tasks if task.node and task.state <= TaskState.RUNNING}
    count = len(places) if service.spec.replicas is None else service.spec.replicas
    return ProxyService(cluster, Reach(True, names, ids, service.spec.networks, size=addresses_of(count)))


def addresses_of(proxies: int) -> int:
    """How many addresses of a network so many proxies may take: a virtual one, one each, with one more while they
    are rolled, and as many of the nodes."""
    return 2 * proxies + 2


class Proxies:
    """The proxy services, kept up to date one by one. `shared`: by cluster, the network that its proxies are always
    on, where they join those of applications."""

    def __init__(self, clusters: Mapping[str, Cluster], shared: Mapping[str, str]) -> None:
        self._clusters = clusters
        self._shared = shared
        self._found: dict[str, ProxyService] = {}

    @property
    def services(self) -> AbstractSet[str]:
        """Their ids."""
        return self._found.keys()

    def clusters_of(self, service_id: str) -> frozenset[str]:
        """The cluster whose proxies a service is; none for any other."""
        return frozenset({self._found[service_id].cluster} if service_id in self._found else ())

    def note(self, service_id: str, new: ProxyService | None) -> set[str]:
        """What this service is now; the clusters that it concerns."""
        old = self._found.pop(service_id, None)
        if new is not None:
            self._found[service_id] = new
        return set() if old == new else {each.cluster for each in (old, new) if each is not None}

    def reach(self, cluster: str) -> Reach:
        """The networks of a cluster of the settings."""
        settings = self._clusters[cluster]
        key = f"Extensions.{settings.extension}.Networks"
        found = self.actual(cluster)
        if settings.networks is not None:
            return Reach(True, frozenset(settings.networks), None, found.order if found else (), key, fixed=True)
        unmade = Reach(size=addresses_of(settings.proxy_options.replicas))
        return replace(found or unmade, key=key, shared=self._shared.get(cluster, ""))

    def actual(self, cluster: str) -> Reach | None:
        """The networks that a cluster's proxies are on, whatever the settings say; None without proxies."""
        reaches = [each.reach for _, each in sorted(self._found.items()) if each.cluster == cluster]
        # What only some of a cluster's proxy services are on would fail on the others.
        return reduce(and_, reaches) if reaches else None
