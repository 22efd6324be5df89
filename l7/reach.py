"""How the proxies of a cluster reach a service: over a network that they share, or by ports of its nodes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from l7.labels.spec import RouteSpec
from l7.labels.table import PREFIX, PROXY_CLUSTER, PROXY_TYPE
from l7.model import Network, Problem, Service, ServiceSpec

NETWORK = PREFIX + "network"
MODE = PREFIX + "backend_mode"


@dataclass(frozen=True, slots=True)
class Reach:
    """The networks that a cluster's proxies are on: by id, from the proxy services, with their names for the
    messages; or by name alone, from the settings (`fixed`). `known` False: neither says anything.

    `order`: ids of those that the proxies are on or being put on, the oldest first. `key`: where the settings would
    list them. `shared`: name of the network that the proxies are always on, where they join those of applications,
    too; "" where they don't. `size`: how many addresses of a network the proxies may take.
    """

    known: bool = False
    names: frozenset[str] = frozenset()
    ids: frozenset[str] | None = frozenset()
    order: tuple[str, ...] = ()
    key: str = ""
    fixed: bool = False
    shared: str = ""
    size: int = 0

    def covers(self, network: Network) -> bool:
        if network.ingress:
            return False
        return network.name in self.names if self.ids is None else network.id in self.ids

    def sorted(self, networks: Iterable[Network]) -> list[Network]:
        """The best way first. What is in use comes before what is added: no way changes because of another's."""
        return sorted(networks, key=lambda each: (self._age(each), each.name != self.shared, each.name, each.id))

    def _age(self, network: Network) -> int:
        return self.order.index(network.id) if network.id in self.order else len(self.order)

    def __and__(self, other: Reach) -> Reach:
        ids = (self.ids or frozenset()) & (other.ids or frozenset())
        return Reach(True, self.names & other.names, ids, self.order, size=self.size + other.size)


@dataclass(frozen=True, slots=True)
class Way:
    """`network` None: by the ports that its tasks have on their nodes. `vip`: the service's virtual address, to
    which all goes; "" when each task is a server of its own."""

    network: Network | None = None
    vip: str = ""


def choose_way(
    spec: RouteSpec, service: Service, given: ServiceSpec, networks: Mapping[str, Network], reach: Reach
) -> Way | Problem:
    """The way to a service with these labels, or why there is none. `given`: its specification."""
    if spec.vip and given.endpoint_mode == "dnsrr":
        remedy = "create the service with --endpoint-mode vip, or use backend_mode task"
        return Problem("", MODE, "vip", "the service's endpoint mode is dnsrr: it has no virtual IP", remedy)
    network = choose_network(spec, given.networks, networks, reach)
    if isinstance(network, Problem) and not _by_port(spec, given, reach):
        return network
    way = Way(None if isinstance(network, Problem) else network)
    return _virtual(way, service, networks, reach) if spec.vip else way


def _by_port(spec: RouteSpec, given: ServiceSpec, reach: Reach) -> bool:
    """Whether ports of nodes will do, where it shares no network with the proxies."""
    joins = spec.vip and bool(reach.shared)
    return spec.network is None and has_host_port(spec, given) and not joins


def has_host_port(spec: RouteSpec, given: ServiceSpec) -> bool:
    """Whether the service publishes its port on the nodes of its tasks."""
    return any(
        port.mode == "host" and port.protocol == "tcp" and port.target == spec.port for port in given.ports
    )


def _virtual(way: Way, service: Service, networks: Mapping[str, Network], reach: Reach) -> Way | Problem:
    if way.network is None:
        remedy = "attach the service to a network that the proxies are on, or use backend_mode task"
        message = "the service shares no network with the proxies, and ports on nodes have no virtual IP"
        return Problem("", MODE, "vip", message, remedy)
    vips = {network: address for network, address in service.vips if address}
    # While a service changes networks, Swarm has not given it a virtual IP on the new one yet.
    known = reach.sorted(networks[each] for each in vips if each in networks)
    for network in (way.network, *filter(reach.covers, known)):
        if network.id in vips:
            return Way(network, vips[network.id])
    message = f"the service has no virtual IP on network {way.network.name}"
    return Problem("", MODE, "vip", message, "attach it to the network anew, or use backend_mode task")


def choose_network(
    spec: RouteSpec, attached: tuple[str, ...], networks: Mapping[str, Network], reach: Reach
) -> Network | Problem:
    """The network over which the proxies reach a service that is `attached` to these (ids)."""
    own = _own(attached, networks, reach)
    shared = [network for network in own if reach.covers(network)]
    if spec.network is None:
        return shared[0] if shared else _no_network(own, reach)
    named = _named(spec, own)
    if named is None:
        message = f"is none of the service's networks ({_names(own)})"
        return _problem(spec.network, message, f"name one of: {_names(shared or own)}")
    return named if named in shared else _not_on(spec.network, named, shared, reach)


def network_needed(
    spec: RouteSpec, given: ServiceSpec, networks: Mapping[str, Network], reach: Reach
) -> Network | None:
    """The network that the proxies are to be on for a service with these labels; None where they join none, or need
    none. Whether they are on it already makes no difference."""
    if not reach.shared or (spec.vip and given.endpoint_mode == "dnsrr"):
        return None
    own = _own(given.networks, networks, reach)
    if spec.network is None:
        reached = next(filter(reach.covers, own), None)
        if _by_port(spec, given, reach) or (reached is not None and not joinable(reached)):
            return None
        return next(filter(joinable, own), None)
    named = _named(spec, own)
    return named if named is not None and joinable(named) else None


def _own(attached: Iterable[str], networks: Mapping[str, Network], reach: Reach) -> list[Network]:
    return reach.sorted(networks[each] for each in attached if each in networks and not networks[each].ingress)


def _named(spec: RouteSpec, own: Iterable[Network]) -> Network | None:
    """The one of them that the labels name, in full or as in the service's stack."""
    wanted = (spec.network, f"{spec.stack}_{spec.network}") if spec.stack else (spec.network,)
    by_name = {network.name: network for network in reversed(list(own))}
    return next((by_name[name] for name in wanted if name in by_name), None)


def joinable(network: Network) -> bool:
    """Whether proxies can be put on it."""
    return network.driver == "overlay" and not network.ingress


# ---------------------------------------------------------------- problems


def _not_on(value: str, named: Network, shared: list[Network], reach: Reach) -> Problem:
    if reach.shared and joinable(named):
        return _waiting(value, named, reach)
    if reach.shared:
        message = f"is {named.name}, which the proxies can't join: its driver is {named.driver}"
        return _problem(value, message, f"attach the service to {reach.shared}, and name that")
    message = f"is {named.name}, which the proxies are not on ({_listed(reach.names)})"
    if shared:
        return _problem(value, message, f"name one of: {_names(shared)}")
    attach = f"add it to {reach.key}" if reach.fixed else f"attach the proxies to {named.name}"
    return _problem(value, message, attach)


def _no_network(own: list[Network], reach: Reach) -> Problem:
    first = next(filter(joinable, own), None)
    if reach.shared and first is not None:
        several = f"; the service is on {_names(own)}, and names none" if len(own) > 1 else ""
        return _waiting("", first, reach, several)
    if reach.shared:
        message = f"the service is on no network that the proxies can join ({_names(own)})"
        return _problem("", message, f"attach it to {reach.shared}, or publish its port in mode=host")
    if not reach.known:
        kind = "=".join(PROXY_TYPE)
        remedy = f"deploy the proxy service with the labels {kind} and {PROXY_CLUSTER}, or set Networks"
        return _problem("", "there is no proxy service, and no Networks in the settings", remedy)
    if not reach.names:
        remedy = "attach all of them to one network; when changing it, add the new one before the old one goes"
        return _problem("", "there is no network that all proxies of the service cluster are on", remedy)
    message = f"service ({_names(own)}) and proxies ({_listed(reach.names)}) share no network"
    remedy = "attach the service to a network that the proxies are on, or publish its port in mode=host"
    return _problem("", message, f"{remedy}; or add its network to {reach.key}" if reach.fixed else remedy)


def _waiting(value: str, network: Network, reach: Reach, several: str = "") -> Problem:
    if not reach.known:
        remedy = "it is served as soon as there are; what keeps them away is a problem of its own"
        return _problem(value or network.name, "the service cluster has no proxies yet", remedy)
    message = f"the proxies are being put on network {network.name}, one after the other: some seconds for each"
    remedy = "it is served as soon as they are on it"
    if network.name != reach.shared:
        remedy = f"{remedy}; a service on {reach.shared}, which they are always on, does not wait, "
        remedy += f"nor one on a network that {reach.key} lists"
    return _problem(value or network.name, message + several, remedy)


def _names(networks: Iterable[Network]) -> str:
    return _listed(network.name for network in networks)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _problem(value: str, message: str, remedy: str) -> Problem:
    return Problem("", NETWORK, value, message, remedy)
