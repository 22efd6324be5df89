"""What is decided about each cluster's services before they are planned: where, how many, on which ports. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from l7.config import Cluster
from l7.deploy import names
from l7.deploy.placement import LINUX, Placement, place_extension, place_proxies
from l7.deploy.ports import Grant, Publishers, grant_ports, wish_of
from l7.model import Node, Problem

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Decision:
    """About one cluster. `extension`, `proxies`: constraints; `replicas`: None for one on each node; `joined`: ids
    of applications' networks that the proxies are on; `ports`: those that they keep, as the API has them, instead
    of those in the settings; `withheld`: there are no proxies for now."""

    extension: tuple[str, ...] = (LINUX,)
    proxies: tuple[str, ...] = ()
    replicas: int | None = 2
    joined: frozenset[str] = frozenset()
    ports: tuple[Json, ...] | None = None
    withheld: bool = False
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Present:
    """A service as it is: its id, and what l7 wanted of it when it last wrote it."""

    id: str
    applied: Json

    @property
    def constraints(self) -> tuple[str, ...]:
        placement = (self.applied.get("TaskTemplate") or {}).get("Placement") or {}
        return tuple(placement.get("Constraints") or ())

    @property
    def ports(self) -> tuple[Json, ...]:
        return tuple((self.applied.get("EndpointSpec") or {}).get("Ports") or ())


def decide(
    clusters: Iterable[Cluster],
    nodes: Iterable[Node],
    publishers: Publishers,
    present: Mapping[str, Present],
    joined: Mapping[str, frozenset[str]],
) -> dict[str, Decision]:
    """By name of the cluster. `present`: l7's own services by name; `joined`: by cluster."""
    clusters, nodes = tuple(clusters), tuple(nodes)
    there = {each.name: present.get(names.proxy_service(each)) for each in clusters}
    wishes = []
    for each in clusters:
        place = place_proxies(each, nodes, _constraints(there[each.name]))
        now = there[each.name]
        wishes.append(wish_of(each, (node.id for node in place.nodes), () if now is None else (now.id,)))
    grants = grant_ports(wishes, _staying(publishers, clusters, present))
    return {
        each.name: _decision(each, nodes, grants[each.name], present, joined.get(each.name, frozenset()))
        for each in clusters
    }


def _staying(publishers: Publishers, clusters: Iterable[Cluster], present: Mapping[str, Present]) -> Publishers:
    """Without services of l7's own that nobody wants any more: they are removed, and keep no port from anybody."""
    wished = names.services(clusters)
    leaving = {each.id for name, each in present.items() if name not in wished}
    return Publishers({id_: each for id_, each in publishers.found.items() if id_ not in leaving})


def _decision(
    cluster: Cluster, nodes: tuple[Node, ...], grant: Grant, there: Mapping[str, Present], joined: frozenset[str]
) -> Decision:
    present = there.get(names.proxy_service(cluster))
    extension = place_extension(cluster, nodes)
    proxies = place_proxies(cluster, nodes, _constraints(present), grant.taken)
    refused = present is not None and not grant.granted
    return Decision(
        _possible(extension, there.get(names.extension_service(cluster))),
        # Ports that can't be had on these nodes: neither is changed, as one without the other would not do.
        present.constraints if present is not None and refused else _possible(proxies, present),
        proxies.replicas,
        joined,
        present.ports if present is not None and refused else None,
        present is None and not grant.granted,
        tuple(sorted((*extension.problems, *proxies.problems, *grant.problems))),
    )


def _possible(place: Placement, present: Present | None) -> tuple[str, ...]:
    """Constraints that no node meets would start none: those that there are stay then. An update that never ends
    would hold up those that come after it, too."""
    return place.constraints if place.nodes or present is None else present.constraints


def _constraints(present: Present | None) -> tuple[str, ...]:
    return () if present is None else present.constraints
