"""Swarm's state → desired state per service cluster, changes and problems. Pure; cost follows change.

Each touched service is compiled on its own: labels, networks and tasks become a `Fragment`, or problems. What
came out differently goes to the `Pool` of its cluster, which works out routes, backends and the `Delta`.

Same state, same outcome: nothing depends on the order in which the state came to be known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import reduce
from operator import and_
from typing import Protocol

from l7.config import Settings
from l7.labels.grammar import printable
from l7.labels.parse import Parsed, RouteSpec, parse_labels
from l7.labels.table import PREFIX, PROXY_CLUSTER, PROXY_TYPE
from l7.model import (
    Delta,
    Network,
    Node,
    NodeState,
    Problem,
    Server,
    ServerState,
    Service,
    ServiceSpec,
    Snapshot,
    Task,
    TaskState,
)
from l7.pool import Candidate, Fragment, Pool, wanted_id

STOP_IN = 3000
STOP_IN_WITHOUT_NETWORK = 1000
"""Milliseconds from Swarm's decision to SIGTERM, at the least. Swarm waits 2 s more, for its gossip, when the
task has any network other than the default bridge."""

_SERVICE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")
NETWORK = PREFIX + "network"


class CacheView(Protocol):
    """What build reads of the cache of Swarm's state. `tasks_of`: by id, those of one service."""

    @property
    def services(self) -> Mapping[str, Service]: ...
    @property
    def nodes(self) -> Mapping[str, Node]: ...
    @property
    def networks(self) -> Mapping[str, Network]: ...
    def tasks_of(self, service: str, /) -> Mapping[str, Task]: ...


class TouchedView(Protocol):
    """What may have changed: these services (by id), or all."""

    @property
    def services(self) -> AbstractSet[str]: ...
    @property
    def all(self) -> bool: ...


# ---------------------------------------------------------------- tasks


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


def _address(task: Task, networks: Iterable[str]) -> str | None:
    held = dict(task.addresses)
    return next((held[network] for network in networks if held.get(network)), None)


# ---------------------------------------------------------------- networks


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
        return _network_problem(spec.network, message, f"name one of: {_names(shared or own)}")
    if named not in shared:
        message = f"is {named.name}, which the proxies are not on ({_listed(reach.names)})"
        remedy = f"name one of: {_names(shared)}" if shared else f"attach the proxies to {named.name}"
        return _network_problem(spec.network, message, remedy)
    return named


def _no_network(own: list[Network], reach: Reach) -> Problem:
    if not reach.known:
        kind = "=".join(PROXY_TYPE)
        remedy = f"deploy the proxy service with the labels {kind} and {PROXY_CLUSTER}, or set Networks"
        return _network_problem("", "there is no proxy service, and no Networks in the settings", remedy)
    if not reach.names:
        remedy = "attach all of them to one network; when changing it, add the new one before the old one goes"
        return _network_problem("", "there is no network that all proxies of the service cluster are on", remedy)
    message = f"service ({_names(own)}) and proxies ({_listed(reach.names)}) share no network"
    return _network_problem("", message, "attach the service to a network that the proxies are on")


def _names(networks: Iterable[Network]) -> str:
    return _listed(network.name for network in networks)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _network_problem(value: str, message: str, remedy: str) -> Problem:
    return Problem("", NETWORK, value, message, remedy)


# ---------------------------------------------------------------- services


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a set of labels asks for, checked against clusters and networks. `network` None: not routed."""

    spec: RouteSpec | None
    network: Network | None
    problems: tuple[Problem, ...]
    cluster: str

    @property
    def fatal(self) -> bool:
        return any(problem.fatal for problem in self.problems)


@dataclass(frozen=True, slots=True)
class _Compiled:
    """One service's outcome. `clusters`: those whose proxies' networks it depends on."""

    fragment: Fragment | None = None
    problems: tuple[Problem, ...] = ()
    clusters: frozenset[str] = frozenset()


_NOTHING = _Compiled()


class Build:
    """Compiles Swarm's state, service by service.

    Create it with the settings, `update` it with what changed (all, the first time), and read `snapshot` and
    `problems`. No IO; not for use from several threads.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pools = {name: Pool(name) for name in sorted(settings.clusters)}
        self._compiled: dict[str, _Compiled] = {}
        self._proxies: dict[str, tuple[str, Reach]] = {}
        self._dependents: dict[str, set[str]] = {name: set() for name in settings.clusters}
        self._reach = {name: self._cluster_reach(name) for name in settings.clusters}

    @property
    def clusters(self) -> tuple[str, ...]:
        """Names of the service clusters, sorted."""
        return tuple(self._pools)

    def update(self, cache: CacheView, touched: TouchedView, observed: int = 0) -> dict[str, Delta]:
        """Compile what is touched; the clusters that it changed, each with its delta.

        `observed`: when the change became known, nanoseconds of Unix time.
        """
        for service_id in sorted(self._affected(cache, touched)):
            service = cache.services.get(service_id)
            self._replace(service_id, self._compile(cache, service) if service else _NOTHING)
        deltas = ((name, pool.settle(observed)) for name, pool in self._pools.items())
        return {name: delta for name, delta in deltas if delta is not None}

    def snapshot(self, cluster: str) -> Snapshot:
        """The complete desired state of a cluster of the settings; KeyError for another."""
        return self._pools[cluster].snapshot()

    def problems(self) -> tuple[Problem, ...]:
        """All that is wrong with what users wrote, sorted."""
        found = [problem for compiled in self._compiled.values() for problem in compiled.problems]
        for pool in self._pools.values():
            found.extend(pool.problems())
        return tuple(sorted(found))

    # ------------------------------------------------------------ what to compile

    def _affected(self, cache: CacheView, touched: TouchedView) -> set[str]:
        """The touched services, and those that depend on the networks of a touched proxy service."""
        affected = set(touched.services)
        if touched.all:
            affected.update(cache.services, self._compiled, self._proxies)
        for cluster in self._note_proxies(cache, affected):
            reach = self._cluster_reach(cluster)
            if reach != self._reach[cluster]:
                self._reach[cluster] = reach
                affected |= self._dependents[cluster]
        return affected

    def _note_proxies(self, cache: CacheView, affected: Iterable[str]) -> set[str]:
        """Take in which of these services are proxies, and on which networks; the clusters changed."""
        changed: set[str] = set()
        for service_id in affected:
            old, new = self._proxies.get(service_id), _proxy(cache, service_id)
            if old == new:
                continue
            changed.update(proxy[0] for proxy in (old, new) if proxy)
            if new:
                self._proxies[service_id] = new
            else:
                del self._proxies[service_id]
        return changed & self._pools.keys()

    def _cluster_reach(self, cluster: str) -> Reach:
        names = self._settings.clusters[cluster].networks
        if names is not None:
            return Reach(True, frozenset(names), ids=None)
        reaches = [reach for name, reach in self._proxies.values() if name == cluster]
        # What only some of a cluster's proxy services are on would fail on the others.
        return reduce(and_, reaches) if reaches else Reach()

    def _replace(self, service_id: str, new: _Compiled) -> None:
        old = self._compiled.get(service_id, _NOTHING)
        if old == new:
            return
        if new == _NOTHING:
            del self._compiled[service_id]
        else:
            self._compiled[service_id] = new
        for cluster in old.clusters - new.clusters:
            self._dependents[cluster].discard(service_id)
        for cluster in new.clusters - old.clusters:
            self._dependents[cluster].add(service_id)
        if old.fragment == new.fragment:
            return
        if old.fragment:
            self._pools[old.fragment.cluster].drop(old.fragment)
        if new.fragment:
            self._pools[new.fragment.cluster].put(new.fragment)

    # ------------------------------------------------------------ one service

    def _compile(self, cache: CacheView, service: Service) -> _Compiled:
        current = self._plan(cache, service, service.spec)
        plan, problems = current, current.problems
        plans = [current]
        if current.fatal and service.previous is not None:
            # Only the labels of before: replicas, networks and ports are what Swarm acts on now.
            spec = replace(service.spec, labels=service.previous.labels)
            plans.append(previous := self._plan(cache, service, spec))
            if previous.network is not None:
                plan, problems = previous, tuple(_meanwhile(problem) for problem in problems)
        clusters = frozenset(each.cluster for each in plans if each.spec) & self._pools.keys()
        return _Compiled(self._fragment(cache, service, plan), problems, clusters)

    def _plan(self, cache: CacheView, service: Service, spec: ServiceSpec) -> _Plan:
        parsed = parse_labels(dict(spec.labels), spec.ports, service.name, service.id)
        if parsed.spec is None:
            return _Plan(None, None, parsed.problems, parsed.cluster)
        problem = self._misplaced(service, parsed.spec)
        network = None
        if problem is None:
            chosen = choose_network(parsed.spec, spec.networks, cache.networks, self._reach[parsed.spec.cluster])
            network, problem = (None, chosen) if isinstance(chosen, Problem) else (chosen, None)
        return _Plan(parsed.spec, network, _complete(parsed, problem, service), parsed.cluster)

    def _misplaced(self, service: Service, spec: RouteSpec) -> Problem | None:
        if spec.cluster not in self._pools:
            known = ", ".join(name or "the default one" for name in self._pools)
            label, remedy = PREFIX + "service_cluster", f"name one of: {known}"
            return Problem("", label, spec.cluster, "is no service cluster of the settings", remedy)
        if not _SERVICE_NAME.fullmatch(service.name):
            # Swarm's own rule for names; what would not keep it must not name a backend.
            name = printable(service.name)
            return Problem("", "", name, "is no name of a Swarm service", "rename the service")
        return None

    def _fragment(self, cache: CacheView, service: Service, plan: _Plan) -> Fragment | None:
        spec, network = plan.spec, plan.network
        if spec is None or network is None:
            return None
        replicas = service.spec.replicas
        return Fragment(
            cluster=spec.cluster,
            service=service.name,
            service_id=service.id,
            created=service.created,
            keys=tuple((host, spec.path) for host in spec.hosts),
            strip_path=spec.strip_path,
            expected=replicas is None or replicas > 0,
            candidates=self._candidates(cache, service, spec, network),
        )

    def _candidates(
        self, cache: CacheView, service: Service, spec: RouteSpec, network: Network
    ) -> tuple[Candidate, ...]:
        reach, networks = self._reach[spec.cluster], cache.networks
        candidates: list[Candidate] = []
        for task in cache.tasks_of(service.id).values():
            state = server_state(task, cache.nodes.get(task.node))
            if state is None:
                continue
            address = _address(task, (network.id,)) or _address(task, _old_networks(task, networks, reach))
            if address is not None:
                left = stop_in(task) if state is ServerState.LEAVING else 0
                server = Server(task.id, wanted_id(task.id), address, spec.port, state=state, stop_in=left)
                candidates.append(Candidate(task.created, server))
        return tuple(candidates)


def _old_networks(task: Task, networks: Mapping[str, Network], reach: Reach) -> list[str]:
    """For a task that is not on the chosen network: the others over which the proxies reach it.

    A task from before its service changed networks serves on the old one until its successor is there.
    """
    known = (networks[network] for network, _ in task.addresses if network in networks)
    return [each.id for each in sorted(known, key=lambda each: (each.name, each.id)) if reach.covers(each)]


def _proxy(cache: CacheView, service_id: str) -> tuple[str, Reach] | None:
    """(cluster, networks) of a proxy service, None for any other.

    A network counts once every proxy task that serves is on it. While a proxy service is rolled to one more
    network, its old tasks could not connect there.
    """
    service = cache.services.get(service_id)
    if service is None or PROXY_TYPE not in service.spec.labels:
        return None
    ids = frozenset(service.spec.networks)
    for task in cache.tasks_of(service_id).values():
        if server_state(task, cache.nodes.get(task.node)) in (ServerState.READY, ServerState.LEAVING):
            ids &= {network for network, _ in task.addresses}
    known = (cache.networks[each] for each in ids if each in cache.networks)
    names = frozenset(network.name for network in known if not network.ingress)
    return dict(service.spec.labels).get(PROXY_CLUSTER, ""), Reach(True, names, ids)


def _complete(parsed: Parsed, problem: Problem | None, service: Service) -> tuple[Problem, ...]:
    if problem is None:
        return parsed.problems
    told = replace(problem, service=service.name, cluster=parsed.cluster, service_id=service.id)
    return tuple(sorted((*parsed.problems, told)))


def _meanwhile(problem: Problem) -> Problem:
    if not problem.fatal:
        return problem
    return replace(problem, message=f"{problem.message}; meanwhile the service's previous labels are in effect")
