"""How a service is reached now, and which network its proxies are to join for that. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from l7.labels.spec import RouteSpec
from l7.model import Network, Problem, ServerState, Service, ServiceSpec, Task
from l7.reach import Way, choose_way, joinable, network_needed
from l7.upstreams import Place, server_state


@dataclass(frozen=True, slots=True)
class Approach:
    """`way` None: there is none (yet). `problems`: why, or why it is not the one that is wanted, whose network is
    the one named `network`, "" for none. `joins`: ids of the networks that the proxies are to be on for it."""

    way: Way | None = None
    problems: tuple[Problem, ...] = ()
    network: str = ""
    joins: frozenset[str] = frozenset()


def approach(
    spec: RouteSpec, service: Service, given: ServiceSpec, tasks: Iterable[Task], place: Place
) -> Approach:
    """The way to a service with these labels. `given`: its specification."""
    way = choose_way(spec, service, given, place.networks, place.reach)
    needed = network_needed(spec, given, place.networks, place.reach)
    if needed is None:
        return Approach(None, (way,)) if isinstance(way, Problem) else Approach(way, (), _name(way))
    older = _older(tasks, needed, place)
    if isinstance(way, Way):
        return Approach(way, (), _name(way), _joins(place, needed, *older, way.network))
    joins = _joins(place, needed, *older)
    if not older or spec.vip:
        return Approach(None, (way,), needed.name, joins)
    message = f"{way.message}; meanwhile it is reached on {older[0].name}, where it was before"
    return Approach(Way(older[0]), (replace(way, message=message, fatal=False),), needed.name, joins)


def _older(tasks: Iterable[Task], needed: Network, place: Place) -> list[Network]:
    """Where tasks are reached that are not on the network which is needed now: those from before a change of the
    service's networks serve until their successors are there."""
    found: dict[str, Network] = {}
    for task in tasks:
        held = {network for network, address in task.addresses if address}
        if needed.id not in held and server_state(task, place.nodes.get(task.node)) in _SERVING:
            known = (place.networks[each] for each in held if each in place.networks)
            covered = place.reach.sorted(each for each in known if place.reach.covers(each))
            found |= {each.id: each for each in covered[:1]}
    return place.reach.sorted(found.values())


_SERVING = (ServerState.READY, ServerState.LEAVING)


def _joins(place: Place, *networks: Network | None) -> frozenset[str]:
    """Without the one that the proxies are always on."""
    return frozenset(
        each.id for each in networks if each is not None and each.name != place.reach.shared and joinable(each)
    )


def _name(way: Way) -> str:
    return way.network.name if way.network else ""
