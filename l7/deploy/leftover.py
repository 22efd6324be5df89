"""What of l7's own the settings do not want any more, and when it goes. Pure.

Services go when the proxies of all clusters serve; before that, where their ports keep those that take their place
from starting. Networks go after them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from l7.config import Cluster
from l7.deploy import names, wanted
from l7.deploy.actions import Action, Plan, RemoveNetwork, RemoveService
from l7.deploy.existing import Existing, ManagedNetwork


def left_over(
    clusters: Mapping[str, Cluster], existing: Sequence[Existing], networks: Sequence[ManagedNetwork]
) -> Plan:
    """Services of clusters, and under names, that the settings do not have any more."""
    wished = names.services(clusters.values())
    extra = [each for each in existing if each.name not in wished]
    serving = {each.name for each in existing if each.running}
    awaited = [each for each in clusters.values() if names.proxy_service(each) not in serving]
    ports = {port for each in awaited for port in _ports(each)}
    going = [each for each in extra if not awaited or each.ports & ports or _gone(each, clusters)]
    actions: list[Action] = [RemoveService(each.cluster, each.name, each.id) for each in going]
    if not extra:
        unused = [each for each in networks if _is_unused(each, clusters)]
        actions += [RemoveNetwork(each.cluster, each.name, each.id) for each in unused]
    return Plan(tuple(actions), waiting=bool(extra))


def _ports(cluster: Cluster) -> set[int]:
    """Those that a cluster's proxies are to publish."""
    return {cluster.proxy_options.http.published, cluster.proxy_options.tls.published} - {0}


def _gone(existing: Existing, clusters: Mapping[str, Cluster]) -> bool:
    """An extension service whose cluster is gone: nobody asks it."""
    return not existing.is_proxy and existing.cluster not in clusters


def _is_unused(network: ManagedNetwork, clusters: Mapping[str, Cluster]) -> bool:
    cluster = clusters.get(network.cluster)
    return cluster is None or network.name not in wanted.network_names(cluster)
