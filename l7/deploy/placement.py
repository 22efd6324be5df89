"""On which nodes Swarm may place a cluster's services, and how many proxies fit there. Pure.

Constraints mean what they mean to SwarmKit (manager/constraint there): values are compared whole, case does not
count; the name of a label is taken as it is; a node without the label has it empty; a key that does not exist is
met by no node.

A node that is down may come back: it counts. One that is drained does not; one that is paused keeps what it has.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from l7.config import Cluster
from l7.fleet import ProxyOptions
from l7.labels.grammar import Bad
from l7.model import Node, NodeState, Problem

LINUX = "node.platform.os==linux"
ON_WORKERS = ("node.role==worker", LINUX)
ON_MANAGERS = ("node.role==manager", LINUX)

_KEY = re.compile(r"[a-z_][a-z0-9_.-]+", re.IGNORECASE | re.ASCII)
_VALUE = re.compile(r"[a-z0-9:_\s.*()?+\[\]\\^$|/-]+", re.IGNORECASE | re.ASCII)
_NODE_LABEL, _ENGINE_LABEL = "node.labels.", "engine.labels."


# ---------------------------------------------------------------- constraints


@dataclass(frozen=True, slots=True)
class Constraint:
    """`key` == `value`, or != when not `equal`."""

    key: str
    equal: bool
    value: str


def parse_constraint(text: str) -> Constraint | Bad:
    """A constraint, such as "node.labels.zone!=east"; what Swarm would refuse is `Bad`."""
    remedy = 'write <key>==<value> or <key>!=<value>, such as "node.labels.zone==east"'
    operator = next((each for each in ("==", "!=") if each in text), None)
    if operator is None:
        return Bad("has neither == nor !=", remedy)
    key, _, value = text.partition(operator)
    if not _KEY.fullmatch(key.strip()):
        return Bad(f"has no valid key before {operator}", remedy)
    if not _VALUE.fullmatch(value.strip()):
        return Bad(f"has no valid value after {operator}", remedy)
    return Constraint(key.strip(), operator == "==", value.strip())


def meets(node: Node, constraint: Constraint) -> bool:
    """Whether a node meets a constraint."""
    key, value = constraint.key.lower(), constraint.value.lower()
    if key == "node.ip":
        return _at_address(node, constraint)
    found = _attribute(node, key, constraint.key)
    return found is not None and (found.lower() == value) == constraint.equal


def _attribute(node: Node, key: str, spelt: str) -> str | None:
    """What a node has under a key (in lower case, and as it is `spelt`); None when there is no such key."""
    for prefix, labels in ((_NODE_LABEL, node.labels), (_ENGINE_LABEL, node.engine_labels)):
        if key.startswith(prefix) and key != prefix:
            return dict(labels).get(spelt[len(prefix) :], "")
    return {
        "node.id": node.id,
        "node.hostname": node.hostname,
        "node.role": "manager" if node.manager else "worker",
        "node.platform.os": node.os,
        "node.platform.arch": node.arch,
    }.get(key)


def _at_address(node: Node, constraint: Constraint) -> bool:
    """node.ip names an address or a network; one that is none is met by no node."""
    try:
        network = ip_network(constraint.value, strict=False)
    except ValueError:
        return False
    try:
        within = ip_address(node.address) in network
    except ValueError:
        within = False
    return within == constraint.equal


def eligible(nodes: Iterable[Node], constraints: Iterable[str]) -> tuple[Node, ...]:
    """The nodes that may have a task with these constraints, by name; none, if Swarm would refuse one of them."""
    parsed = [parse_constraint(each) for each in constraints]
    found = (
        node
        for node in nodes
        if node.availability != "drain"
        and all(isinstance(each, Constraint) and meets(node, each) for each in parsed)
    )
    return tuple(sorted(found, key=lambda node: (node.hostname, node.id)))


# ---------------------------------------------------------------- decisions


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a service goes. `nodes`: those that may have a task of it; `replicas`: how many there shall be, None
    for one on each node."""

    constraints: tuple[str, ...]
    nodes: tuple[Node, ...]
    replicas: int | None = 1
    problems: tuple[Problem, ...] = ()


def place_extension(cluster: Cluster, nodes: Iterable[Node]) -> Placement:
    """Where the extension service of a cluster goes: to any Linux node, unless told otherwise."""
    constraints = cluster.extension_options.constraints or (LINUX,)
    found = eligible(nodes, constraints)
    problems = () if found else (_nowhere(cluster, "Constraints", constraints),)
    return Placement(constraints, found, 1, problems)


def place_proxies(
    cluster: Cluster, nodes: Iterable[Node], now: Sequence[str] = (), taken: Collection[str] = ()
) -> Placement:
    """Where the proxies of a cluster go, and how many fit. `now`: the constraints of the service as it is, if it
    is there; `taken`: ids of nodes on which someone else has their ports (`l7.deploy.ports`)."""
    nodes, options = tuple(nodes), cluster.proxy_options
    constraints = options.constraints or default_constraints(nodes, now)
    found = eligible(nodes, constraints)
    if not found:
        problem = _nowhere(cluster, "ProxyConstraints", constraints)
        return Placement(constraints, found, None if options.everywhere else options.replicas, (problem,))
    if options.everywhere:
        return Placement(constraints, found, None)
    free = sum(node.id not in taken for node in found)
    if not one_per_node(options) or options.replicas <= free:
        return Placement(constraints, found, options.replicas)
    # One that waits for a node would keep every later update of the service waiting.
    return Placement(constraints, found, max(free, 1), (_too_few(cluster, free, len(found)),))


def default_constraints(nodes: Iterable[Node], now: Sequence[str] = ()) -> tuple[str, ...]:
    """Workers where there is one, else managers.

    What is on workers stays there as long as one is not drained; it goes there as soon as one is ready. So neither
    a restart nor a pause of the only worker moves the proxies.
    """
    workers = eligible(nodes, ON_WORKERS)
    stay = tuple(now) == ON_WORKERS and bool(workers)
    return ON_WORKERS if stay or any(map(_ready, workers)) else ON_MANAGERS


def one_per_node(options: ProxyOptions) -> bool:
    """Whether two proxies on one node would want the same port of it."""
    return options.publish_mode == "host" and bool(options.http.published or options.tls.published)


def _ready(node: Node) -> bool:
    # UNKNOWN is what every node passes through after a change of leader.
    return node.availability == "active" and node.state in (NodeState.READY, NodeState.UNKNOWN)


# ---------------------------------------------------------------- problems


def _nowhere(cluster: Cluster, key: str, constraints: Iterable[str]) -> Problem:
    for text in constraints:
        parsed = parse_constraint(text)
        if isinstance(parsed, Bad):
            return _problem(cluster, key, text, parsed.message, parsed.remedy)
    what = "proxies" if key.startswith("Proxy") else "extension service"
    message = f"no node may have the {what}: none that is not drained meets all of these"
    remedy = f"docker node update --availability active, or label nodes as {key} asks for"
    return _problem(cluster, key, ", ".join(constraints), message, remedy)


def _too_few(cluster: Cluster, free: int, nodes: int) -> Problem:
    message = f"only {_nodes(nodes)} may have proxies, each one of them, as they publish ports of their nodes"
    if free < nodes:
        message = f"{message}; on {nodes - free} another service has the ports"
    remedy = f"ask for {max(free, 1)}, allow more nodes by ProxyConstraints"
    remedy += ', publish them Swarm-wide by PublishMode = "ingress", or let Swarm choose the ports'
    value = str(cluster.proxy_options.replicas)
    return _problem(cluster, "ProxyReplicas", value, message, remedy)


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


def _problem(cluster: Cluster, key: str, value: str, message: str, remedy: str) -> Problem:
    label = f"Extensions.{cluster.extension}.{key}"
    return Problem("", label, value, message, remedy, cluster.name, fatal=False)
