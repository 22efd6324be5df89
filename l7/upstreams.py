"""Tasks of a service → servers for its backends. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from l7.fragment import Candidate, wanted_id
from l7.labels.grammar import printable
from l7.labels.table import PREFIX
from l7.model import Network, Node, NodeState, Problem, Server, ServerState, Service, Task, TaskState
from l7.reach import Reach, Way

STOP_IN = 3000
STOP_IN_WITHOUT_NETWORK = 1000
"""Milliseconds from Swarm's decision to SIGTERM, at the least. Swarm waits 2 s more, for its gossip, when the
task has any network other than the default bridge."""

PORT = PREFIX + "port"
_NOWHERE = frozenset({"", "0.0.0.0", "::"})
"""What a node says that does not know its own address."""


def server_state(task: Task, node: Node | None) -> ServerState | None:
    """Where a task is as far as traffic is concerned; None: it is no server.

    UNKNOWN is not DOWN: after a change of leader every node passes through it.
    """
    if node is not None and node.state is NodeState.DOWN:
        return None
    if task.state is TaskState.RUNNING:
        if task.desired is TaskState.RUNNING:
            return ServerState.READY
        return ServerState.LEAVING if task.desired > TaskState.RUNNING else None
    wanted = task.desired <= TaskState.RUNNING
    return ServerState.PENDING if wanted and TaskState.ASSIGNED <= task.state < TaskState.RUNNING else None


def stop_in(task: Task) -> int:
    """Milliseconds from Swarm's decision that the task goes to its SIGTERM, at the least."""
    return STOP_IN if task.addresses else STOP_IN_WITHOUT_NETWORK


@dataclass(frozen=True, slots=True)
class Place:
    """What is around the tasks of a service: the nodes, the networks, and which of them the proxies are on."""

    nodes: Mapping[str, Node]
    networks: Mapping[str, Network]
    reach: Reach


def virtual(service: Service, address: str, port: int, wanted: bool) -> tuple[Candidate, ...]:
    """The one server of a service behind its virtual IP: nothing that happens to its tasks shows in it."""
    server = Server(service.id, wanted_id(service.id), address, port)
    return (Candidate(service.created, server),) if wanted else ()


def candidates(tasks: Iterable[Task], way: Way, port: int, place: Place) -> tuple[Candidate, ...]:
    """A server for each task that is one. One whose address is not known (yet) is none."""
    return tuple(_candidates(tasks, way, port, place))


def _candidates(tasks: Iterable[Task], way: Way, port: int, place: Place) -> Iterator[Candidate]:
    for task in tasks:
        state = server_state(task, place.nodes.get(task.node))
        target = None if state is None else _target(task, way, port, place)
        if state is not None and target is not None:
            left = stop_in(task) if state is ServerState.LEAVING else 0
            server = Server(task.id, wanted_id(task.id), *target, state=state, stop_in=left)
            yield Candidate(task.created, server)


def _target(task: Task, way: Way, port: int, place: Place) -> tuple[str, int] | None:
    if way.network is not None:
        address = _address(task, way.network.id, place)
        return None if address is None else (address, port)
    node, published = place.nodes.get(task.node), _published(task, port)
    if node is None or node.address in _NOWHERE or published is None:
        return None
    return node.address, published


def _address(task: Task, network: str, place: Place) -> str | None:
    """On the chosen network, else on another over which the proxies reach it."""
    held = dict(task.addresses)
    return held.get(network) or next((held[each] for each in _old_networks(task, place) if held.get(each)), None)


def _published(task: Task, port: int) -> int | None:
    """The node's port for this one of the task; known when the task runs."""
    ports = sorted(each.published for each in task.ports if each.target == port and each.protocol == "tcp")
    return next((port for port in ports if port), None)


def _old_networks(task: Task, place: Place) -> list[str]:
    """For a task that is not on the chosen network: the others over which the proxies reach it.

    A task from before its service changed networks serves on the old one until its successor is there.
    """
    known = (place.networks[network] for network, _ in task.addresses if network in place.networks)
    return [each.id for each in place.reach.sorted(known) if place.reach.covers(each)]


def homeless(tasks: Iterable[Task], way: Way, nodes: Mapping[str, Node]) -> Iterator[Problem]:
    """For a service reached by ports of its nodes: each node whose address nobody knows."""
    if way.network is not None:
        return
    at = {task.node for task in tasks if server_state(task, nodes.get(task.node)) is not None}
    for id_ in sorted(at):
        node = nodes.get(id_)
        if node is not None and node.address in _NOWHERE:
            name = printable(node.hostname or node.id)
            message = f"is published on node {name}, whose address Swarm does not know"
            remedy = "join the node anew with --advertise-addr, or attach the service to a network of the proxies"
            yield Problem("", PORT, "", message, remedy, fatal=False)
