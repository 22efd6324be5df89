"""How a service is reached now, and which network its proxies are to join for that. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from l7.addresses import Addresses, no_room
from l7.labels.spec import RouteSpec
from l7.model import Network, Problem, ServerState, Service, ServiceSpec, Task
from l7.reach import Way, choose_way, joinable, network_needed
from l7.upstreams import Place, server_state


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is around a service."""

    place: Place
    addresses: Addresses


@dataclass(frozen=True, slots=True)
class Approach:
    """`way` None: there is none (yet). `problems`: why, or why it is not the one that is wanted, whose network is
    the one named `network`, "" for none. `joins`: ids of the networks that the proxies are to be on for it;
    `needs`: what else it depends on, the room on the one that they may join."""

    way: Way | None = None
    problems: tuple[Problem, ...] = ()
    network: str = ""
    joins: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()


def room_need(network: str) -> str:
    """What a service is noted for that depends on the room on a network, by id. No secret can have such a name."""
    return f"#{network}"


def approach(
    spec: RouteSpec, service: Service, given: ServiceSpec, tasks: Iterable[Task], where: Surroundings
) -> Approach:
    """The way to a service with these labels. `given`: its specification."""
    place = where.place
    way = choose_way(spec, service, given, place.networks, place.reach)
    needed = network_needed(spec, given, place.networks, place.reach)
    if needed is None:
        return Approach(None, (way,)) if isinstance(way, Problem) else Approach(way, (), _name(way))
    older = _older(tasks, needed, place)
    if isinstance(way, Way):
        return Approach(way, (), _name(way), _joins(place, needed, *older, way.network))
    cramped = _cramped(needed, where)
    problem, joins = cramped or way, _joins(place, None if cramped else needed, *older)
    needs = frozenset({room_need(needed.id)})
    if not older or spec.vip:
        return Approach(None, (problem,), needed.name, joins, needs)
    message = f"{problem.message}; meanwhile it is reached on {older[0].name}, where it was before"
    told = replace(problem, message=message, fatal=False)
    return Approach(Way(older[0]), (told,), needed.name, joins, needs)


def _cramped(needed: Network, where: Surroundings) -> Problem | None:
    """Why the proxies can't be put on a network: their tasks would wait for addresses, and all that comes later for
    them. None when they can, or have been."""
    reach = where.place.reach
    if needed.id in reach.order or needed.name == reach.shared or where.addresses.free(needed) >= reach.size:
        return None
    return no_room(needed, where.addresses, reach.size)


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
