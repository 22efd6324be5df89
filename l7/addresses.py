"""How many addresses of each network are in use, and which tasks wait for one. Pure.

Swarm takes addresses for the gateway, for each service's virtual IP, for each task that has not ended, and one per
node with such a task for its own load balancer. A full network shows nowhere: tasks stay in NEW, without a word.
What plain containers take on an attachable network is not known here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_network

from l7.model import Network, Problem, Service, Task, TaskState
from l7.reach import NETWORK

SCARCE = 0.9
"""Part of a network's addresses from which on it is worth a word."""
_GATEWAY = 1


@dataclass(frozen=True, slots=True)
class Waiting:
    """A service with tasks that have no address yet."""

    name: str
    networks: tuple[str, ...]
    tasks: int


@dataclass(frozen=True, slots=True)
class _Usage:
    """What one service takes: addresses by network, and where its tasks make nodes take one."""

    addresses: Mapping[str, int]
    nodes: frozenset[tuple[str, str]]


_NOTHING = _Usage({}, frozenset())


class Addresses:
    """The use of all networks, kept up to date service by service."""

    def __init__(self) -> None:
        self._usage: dict[str, _Usage] = {}
        self._addresses: Counter[str] = Counter()
        self._nodes: Counter[tuple[str, str]] = Counter()
        self.waiting: dict[str, Waiting] = {}

    def note(self, service_id: str, service: Service | None, tasks: Iterable[Task]) -> set[str]:
        """What this service has now; ids of the networks on which that makes a difference."""
        alive = [task for task in tasks if task.state <= TaskState.RUNNING]
        self._note_waiting(service_id, service, alive)
        old, new = self._usage.get(service_id, _NOTHING), _usage(service, alive)
        if old == new:
            return set()
        self._usage[service_id] = new
        if new == _NOTHING:
            del self._usage[service_id]
        return self._change(old, new)

    def used(self, network: Network) -> int:
        """Addresses of a network that are taken."""
        return self._addresses[network.id] + _GATEWAY

    def free(self, network: Network) -> int:
        """Addresses that are left; many, where it is not known how many there are."""
        return size(network) - self.used(network)

    def scarce(self, network: Network) -> bool:
        """Whether the network is nearly full."""
        return self.used(network) >= SCARCE * size(network)

    def full(self, network: Network) -> bool:
        """Whether a task that has no address may wait for one of this network. Plain containers may have the rest
        of an attachable one."""
        return self.scarce(network) if network.attachable else self.free(network) <= 0

    # ------------------------------------------------------------ inside

    def _note_waiting(self, service_id: str, service: Service | None, alive: list[Task]) -> None:
        fresh = sum(task.state is TaskState.NEW and task.desired <= TaskState.RUNNING for task in alive)
        self.waiting.pop(service_id, None)
        if service is not None and fresh:
            self.waiting[service_id] = Waiting(service.name, service.spec.networks, fresh)

    def _change(self, old: _Usage, new: _Usage) -> set[str]:
        changes = Counter(new.addresses)
        changes.subtract(old.addresses)
        for network, node in new.nodes - old.nodes:
            changes[network] += not self._nodes[network, node]
            self._nodes[network, node] += 1
        for network, node in old.nodes - new.nodes:
            self._nodes[network, node] -= 1
            changes[network] -= not self._nodes[network, node]
        self._addresses.update(changes)
        return {network for network, change in changes.items() if change}


def _usage(service: Service | None, alive: Iterable[Task]) -> _Usage:
    addresses: Counter[str] = Counter()
    nodes: set[tuple[str, str]] = set()
    if service is not None:
        addresses.update(network for network, address in service.vips if _counts(address))
    for task in alive:
        held = [network for network, address in task.addresses if _counts(address)]
        addresses.update(held)
        nodes.update((network, task.node) for network in held if task.node)
    return _Usage(addresses, frozenset(nodes))


def _counts(address: str) -> bool:
    return "." in address


def size(network: Network) -> int:
    """Addresses that a network has to give, the gateway's among them; many, where that is not known."""
    known = (net for each in network.subnets if isinstance(net := ip_network(each, strict=False), IPv4Network))
    return sum(max(net.num_addresses - 2, 1) for net in known) or _MANY


_MANY = 1 << 24


# ---------------------------------------------------------------- problems


def starved(waiting: Waiting, network: Network, addresses: Addresses) -> Problem:
    """What a service is told that gets no address. Whose and where is the caller's to add."""
    message = f"has no address left for {waiting.tasks} of its tasks: {_count(network, addresses)}"
    remedy = f"attach the service to a larger network ({_LARGER}), or remove others from this one"
    return Problem(waiting.name, NETWORK, network.name, message, remedy, fatal=False)


def warning(network: Network, addresses: Addresses) -> Problem:
    """What an operator is told of a network that is nearly full."""
    message = f"is nearly full: {_count(network, addresses)}; then no task starts on it, the proxies' neither"
    remedy = f"put new services on a larger network ({_LARGER}): a network can't grow"
    return Problem("", "", network.name, message, remedy, fatal=False)


def no_room(network: Network, addresses: Addresses, wanted: int) -> Problem:
    """What a service is told whose network the proxies would fill up, were they put on it."""
    message = f"has no room for the proxies, which may take {wanted} addresses: {_count(network, addresses)}"
    remedy = f"attach the service to a larger network ({_LARGER}), or to one that the proxies are on"
    return Problem("", NETWORK, network.name, message, remedy)


_LARGER = "a /16: docker network create --driver overlay --subnet 10.N.0.0/16"


def _count(network: Network, addresses: Addresses) -> str:
    return f"{addresses.used(network)} of the {size(network)} addresses of {', '.join(network.subnets)} are in use"
