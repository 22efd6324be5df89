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
    messages; or by name alone, from the settings. `known` False: neither says anything."""

    known: bool = False
    names: frozenset[str] = frozenset()
    ids: frozenset[str] | None = frozenset()

    def covers(self, network: Network) -> bool:
        if network.ingress:
            return False
        return network.name in self.names if self.ids is None else network.id in self.ids

    def __and__(self, other: Reach) -> Reach:
        return Reach(True, self.names & other.names, (self.ids or frozenset()) & (other.ids or frozenset()))


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
    network = choose_network(spec, given.networks, networks, reach)
    if isinstance(network, Problem) and not (spec.network is None and has_host_port(spec, given)):
        return network
    way = Way(None if isinstance(network, Problem) else network)
    return _virtual(way, service, given, networks, reach) if spec.vip else way


def has_host_port(spec: RouteSpec, given: ServiceSpec) -> bool:
    """Whether the service publishes its port on the nodes of its tasks."""
    return any(
        port.mode == "host" and port.protocol == "tcp" and port.target == spec.port for port in given.ports
    )


def _virtual(
    way: Way, service: Service, given: ServiceSpec, networks: Mapping[str, Network], reach: Reach
) -> Way | Problem:
    if given.endpoint_mode == "dnsrr":
        remedy = "create the service with --endpoint-mode vip, or use backend_mode task"
        return Problem("", MODE, "vip", "the service's endpoint mode is dnsrr: it has no virtual IP", remedy)
    if way.network is None:
        remedy = "attach the service to a network that the proxies are on, or use backend_mode task"
        message = "the service shares no network with the proxies, and ports on nodes have no virtual IP"
        return Problem("", MODE, "vip", message, remedy)
    vips = {network: address for network, address in service.vips if address}
    # While a service changes networks, Swarm has not given it a virtual IP on the new one yet.
    known = sorted((networks[each] for each in vips if each in networks), key=lambda each: (each.name, each.id))
    for network in (way.network, *filter(reach.covers, known)):
        if network.id in vips:
            return Way(network, vips[network.id])
    message = f"the service has no virtual IP on network {way.network.name}"
    return Problem("", MODE, "vip", message, "attach it to the network anew, or use backend_mode task")


def choose_network(
    spec: RouteSpec, attached: tuple[str, ...], networks: Mapping[str, Network], reach: Reach
) -> Network | Problem:
    """The network over which the proxies reach a service that is `attached` to these (ids)."""
    known = (networks[each] for each in attached if each in networks)
    own = sorted((network for network in known if not network.ingress), key=lambda each: (each.name, each.id))
    shared = [network for network in own if reach.covers(network)]
    if spec.network is None:
        return shared[0] if shared else _no_network(own, reach)
    wanted = (spec.network, f"{spec.stack}_{spec.network}") if spec.stack else (spec.network,)
    named = next((network for name in wanted for network in own if network.name == name), None)
    if named is None:
        message = f"is none of the service's networks ({_names(own)})"
        return _problem(spec.network, message, f"name one of: {_names(shared or own)}")
    if named not in shared:
        message = f"is {named.name}, which the proxies are not on ({_listed(reach.names)})"
        remedy = f"name one of: {_names(shared)}" if shared else f"attach the proxies to {named.name}"
        return _problem(spec.network, message, remedy)
    return named


def _no_network(own: list[Network], reach: Reach) -> Problem:
    if not reach.known:
        kind = "=".join(PROXY_TYPE)
        remedy = f"deploy the proxy service with the labels {kind} and {PROXY_CLUSTER}, or set Networks"
        return _problem("", "there is no proxy service, and no Networks in the settings", remedy)
    if not reach.names:
        remedy = "attach all of them to one network; when changing it, add the new one before the old one goes"
        return _problem("", "there is no network that all proxies of the service cluster are on", remedy)
    message = f"service ({_names(own)}) and proxies ({_listed(reach.names)}) share no network"
    remedy = "attach the service to a network that the proxies are on, or publish its port in mode=host"
    return _problem("", message, remedy)


def _names(networks: Iterable[Network]) -> str:
    return _listed(network.name for network in networks)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _problem(value: str, message: str, remedy: str) -> Problem:
    return Problem("", NETWORK, value, message, remedy)
