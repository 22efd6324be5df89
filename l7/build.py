"""Swarm's state → desired state per service cluster, changes and problems. Pure; cost follows change.

Each touched service is compiled on its own: labels, networks and tasks become a `Fragment`, or problems. What
came out differently goes to the `Pool` of its cluster, which works out routes, backends and the `Delta`.

Same state, same outcome: nothing depends on the order in which the state came to be known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

from l7 import host_policy, upstreams
from l7.addresses import Addresses, starved, warning
from l7.approach import Surroundings, approach, room_need
from l7.compiled import NOTHING, Compiled, Plan
from l7.config import CERTIFICATE_KEYS, Settings
from l7.fragment import Claim, Fragment, claim_of
from l7.host_policy import Claimant
from l7.inputs import Inputs
from l7.joined import Joined
from l7.labels.defaults import by_address
from l7.labels.grammar import printable
from l7.labels.parse import Parsed, parse_labels
from l7.labels.spec import RouteSpec
from l7.labels.table import PREFIX
from l7.model import (
    Delta,
    KeyPair,
    Network,
    Problem,
    PublishedPort,
    Secret,
    Service,
    ServiceSpec,
    Snapshot,
    TlsHost,
)
from l7.naming import IssuedCertificates, Lookup, Resolved, host_need, resolve
from l7.pinning import Pin, Pinning
from l7.pool import ANY_HOST, Pool
from l7.proxies import Proxies, proxy_service
from l7.sources import Sources, extension_of
from l7.telling import complete, meanwhile, told
from l7.upstreams import Place
from l7.views import CacheView, TouchedView

_SERVICE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")


Labels = tuple[tuple[str, str], ...]
_Reading = dict[tuple[str, Labels, Labels, tuple[PublishedPort, ...]], Parsed]


class Build:
    """Compiles Swarm's state, service by service.

    Create it with the settings, `update` it with what changed (all, the first time), and read `snapshot` and
    `problems`. No IO; not for use from several threads.

    `shared`: where core keeps the proxies, by cluster the name of the network that they are always on; they join
    the networks of applications then (`networks_wanted`), unless the settings fix them.
    """

    def __init__(self, settings: Settings, shared: Mapping[str, str] | None = None) -> None:
        self._pinning = Pinning(settings)
        clusters = settings.clusters
        self._pools = {name: Pool(name, clusters[name].config) for name in sorted(clusters)}
        self._compiled: dict[str, Compiled] = {}
        self._read: dict[str, _Reading] = {}
        self._proxies = Proxies(clusters, shared or {})
        self._joined = Joined(clusters)
        self._addresses = Addresses()
        self._networks: Mapping[str, Network] = {}
        self._dependents: dict[str, set[str]] = {name: set() for name in clusters}
        self._needing: dict[str, set[str]] = {}
        self._certificates = IssuedCertificates()
        self._sources = Sources()
        self._operators: dict[str, tuple[Problem, ...]] = {}
        self._reach = {name: self._proxies.reach(name) for name in clusters}

    @property
    def _settings(self) -> Settings:
        """Those in force."""
        return self._pinning.settings

    @property
    def clusters(self) -> tuple[str, ...]:
        """Names of the service clusters, sorted."""
        return tuple(self._pools)

    def update(self, cache: CacheView, touched: TouchedView, observed: int = 0) -> dict[str, Delta]:
        """Compile what is touched; the clusters that it changed, each with its delta.

        `observed`: when the change became known, nanoseconds of Unix time.
        """
        affected = self._affected(cache, touched)
        if touched.all or touched.secrets or not self._operators:
            self._set_defaults(cache)
        for service_id in sorted(affected):
            service = cache.services.get(service_id)
            if service is not None:
                service = self._pinning.service(service, self._cluster_of)
            new = self._compile(cache, service) if service else NOTHING
            self._pinning.note(service_id, service, self._named_by(service, new))
            self._replace(service_id, new)
            if service is None:
                self._read.pop(service_id, None)
        return self._settle(self._pools.values(), observed)

    def _settle(self, pools: Iterable[Pool], observed: int) -> dict[str, Delta]:
        """What has changed, by cluster."""
        deltas = {pool.cluster: pool.settle(observed) for pool in pools}
        self._pinning.settle((name, self._pools[name].revision) for name in deltas)
        return {name: delta for name, delta in deltas.items() if delta is not None}

    def pin(self, pins: Mapping[str, Pin]) -> None:
        """From now on these clusters, and no others, are compiled from what their pins say; all services have to be
        updated after it."""
        self._pinning.pin(pins)
        self._read.clear()
        for name, pool in self._pools.items():
            pool.set_config(self._settings.clusters[name].config)

    def inputs(self, cluster: str, revision: str) -> Inputs | None:
        """What a state of a cluster was compiled from; None when that is not known any more."""
        return self._pinning.inputs(cluster, revision)

    def snapshot(self, cluster: str) -> Snapshot:
        """The complete desired state of a cluster of the settings; KeyError for another."""
        return self._pools[cluster].snapshot()

    def required(self, cluster: str) -> AbstractSet[Secret]:
        """All secrets and configs that the state of a cluster names; the same object until they change."""
        return self._pools[cluster].secrets

    def networks_wanted(self, cluster: str) -> frozenset[str]:
        """Ids of the applications' networks that a cluster's proxies are to be on, besides the one that they are
        always on; the same object until they change."""
        return self._joined.networks(cluster)

    def acme_services(self, cluster: str) -> Mapping[str, str]:
        """Hosts of a cluster that are to have a certificate from an ACME server, each with the name of the service
        that wants it; the same object until they change."""
        return self._pools[cluster].ordered

    def set_challenges(self, cluster: str, challenges: Mapping[str, str]) -> Delta | None:
        """All answers to the ACME server that the cluster's proxies are to give (token -> key authorization); what
        that changes."""
        pool = self._pools[cluster]
        pool.set_challenges(challenges)
        return self._settle([pool], 0).get(cluster)

    def compiled(self, service_id: str) -> Compiled:
        """What became of a service."""
        return self._compiled.get(service_id, NOTHING)

    def problems(self) -> tuple[Problem, ...]:
        """All that is wrong with what users wrote, sorted."""
        found = [problem for compiled in self._compiled.values() for problem in compiled.problems]
        for cluster, pool in self._pools.items():
            found.extend((*pool.problems(), *self._operators.get(cluster, ())))
            found.extend(self._nearly_full(cluster))
        return tuple(sorted((*found, *self._starved(), *self._pinning.problems())))

    def _nearly_full(self, cluster: str) -> Iterator[Problem]:
        """The networks of a cluster's proxies that are."""
        reach = self._reach[cluster]
        for network in (self._networks[each] for each in reach.order if each in self._networks):
            if self._addresses.scarce(network):
                yield replace(warning(network, self._addresses), label=reach.key, cluster=cluster)

    def _starved(self) -> Iterator[Problem]:
        """The services whose tasks wait for an address, proxies among them."""
        for service_id, waiting in self._addresses.waiting.items():
            clusters = self._compiled.get(service_id, NOTHING).clusters | self._proxies.clusters_of(service_id)
            for network in (self._networks[each] for each in waiting.networks if each in self._networks):
                if clusters and self._addresses.full(network):
                    problem = starved(waiting, network, self._addresses)
                    yield replace(problem, cluster=min(clusters), service_id=service_id)

    # ------------------------------------------------------------ what to compile

    def _affected(self, cache: CacheView, touched: TouchedView) -> set[str]:
        """The touched services, and those that depend on the networks of a touched proxy service or on a touched
        secret."""
        affected = set(touched.services)
        if touched.all:
            affected.update(cache.services, self._compiled, self._proxies.services, self._sources.services)
            # Those of removed services, too: they hold addresses until they have ended.
            affected.update(task.service for task in cache.tasks.values())
        for need in (*self._needs_touched(cache, touched), *self._rooms_touched(cache, affected)):
            affected |= self._needing.get(need, set())
        moved = set[str]()
        rolled = (self._proxies.note(service_id, proxy_service(cache, service_id)) for service_id in affected)
        for cluster in set().union(*rolled) & self._pools.keys():
            moved.add(cluster)
            reach = self._proxies.reach(cluster)
            if reach != self._reach[cluster]:
                self._reach[cluster] = reach
                affected |= self._dependents[cluster]
        for service_id in affected:
            extension = extension_of(cache.services.get(service_id), cache.tasks_of(service_id))
            moved |= self._sources.note(service_id, extension)
        for cluster in moved & self._pools.keys():
            # Also over the networks that they share with core alone, whatever the settings say of applications.
            reach = self._proxies.actual(cluster) or self._reach[cluster]
            found = self._sources.addresses(cluster, reach, cache.networks)
            self._pools[cluster].set_sources(found)
        return affected

    def _needs_touched(self, cache: CacheView, touched: TouchedView) -> set[str]:
        """Names of secrets and configs, and hosts whose certificate from an ACME server is another one."""
        names = touched.secrets if not touched.all else self._certificates.names | cache.secrets.keys()
        hosts = (host for name in names for host in self._certificates.update(cache.secrets, name))
        return {*names, *map(host_need, hosts)}

    def _rooms_touched(self, cache: CacheView, affected: Iterable[str]) -> set[str]:
        """Networks on which there is more or less room than before."""
        self._networks = cache.networks
        found: set[str] = set()
        for service_id in affected:
            tasks = cache.tasks_of(service_id).values()
            found |= self._addresses.note(service_id, cache.services.get(service_id), tasks)
        return set(map(room_need, found))

    def _set_defaults(self, cache: CacheView) -> None:
        """Look anew for the certificates that the settings name."""
        for name, pool in self._pools.items():
            cluster = self._settings.clusters[name]
            self._operators[name] = ()
            if not cluster.default_certificate:
                continue
            keys = tuple(f"Extensions.{cluster.extension}.Config.{key}" for key in CERTIFICATE_KEYS)
            lookup = Lookup(cache.secrets, cache.configs, self._certificates)
            found = lookup.pair((keys[0], keys[1]), (cluster.default_certificate, cluster.default_key))
            pair = found if isinstance(found, KeyPair) else None
            pool.set_default(TlsHost(ANY_HOST, "", pair) if pair else None)
            problems = [] if isinstance(found, KeyPair) else found
            self._operators[name] = tuple(replace(each, cluster=name) for each in problems)

    def _replace(self, service_id: str, new: Compiled) -> None:
        old = self._compiled.get(service_id, NOTHING)
        if old == new:
            return
        if new == NOTHING:
            del self._compiled[service_id]
        else:
            self._compiled[service_id] = new
        for cluster in old.clusters - new.clusters:
            self._dependents[cluster].discard(service_id)
        for cluster in new.clusters - old.clusters:
            self._dependents[cluster].add(service_id)
        for need in old.needs - new.needs:
            self._needing[need].discard(service_id)
            if not self._needing[need]:
                del self._needing[need]
        for need in new.needs - old.needs:
            self._needing.setdefault(need, set()).add(service_id)
        self._joined.change(old.joins, new.joins)
        if old.fragment != new.fragment:
            self._change(old.fragment, new.fragment)

    def _change(self, old: Fragment | None, new: Fragment | None) -> None:
        """Tell the pools. A service that changes clusters leaves one and comes to the other."""
        if old and new and old.claim.cluster == new.claim.cluster:
            self._pools[new.claim.cluster].change(old, new)
            return
        if old:
            self._pools[old.claim.cluster].change(old, None)
        if new:
            self._pools[new.claim.cluster].change(None, new)

    # ------------------------------------------------------------ one service

    def _compile(self, cache: CacheView, service: Service) -> Compiled:
        read: _Reading = {}
        # Only the labels of before: replicas, networks and ports are what Swarm acts on now.
        before = service.previous and replace(
            service.spec, labels=service.previous.labels, container_labels=service.previous.container_labels
        )
        current = self._plan(cache, service, (service.spec, before), read)
        plan, problems = current, current.problems
        plans = [current]
        if current.fatal and before is not None:
            plans.append(previous := self._plan(cache, service, (before, None), read))
            if previous.claim is not None:
                plan, problems = previous, tuple(meanwhile(problem) for problem in problems)
        self._read[service.id] = read
        clusters = frozenset(each.cluster for each in plans if each.cluster is not None) & self._pools.keys()
        fragment, more = self._fragment(cache, service, plan)
        needs = frozenset[str]().union(*(each.needs for each in plans))
        joins = {
            cluster: frozenset[str]().union(*(each.joins for each in (current, plan) if each.cluster == cluster))
            for cluster in clusters
        }
        return Compiled(fragment, tuple(sorted((*problems, *more))), clusters, needs, joins)

    def _plan(
        self, cache: CacheView, service: Service, specs: tuple[ServiceSpec, ServiceSpec | None], read: _Reading
    ) -> Plan:
        """`specs`: the one to follow, and the one of before."""
        spec = specs[0]
        parsed = self._parse(service, spec, read)
        if parsed.spec is None:
            return Plan(problems=parsed.problems)
        cluster = parsed.spec.cluster
        misplaced = self._misplaced(service, parsed.spec)
        if misplaced is not None:
            return Plan(problems=complete(parsed, (misplaced,), service), cluster=cluster)
        place = Place(cache.nodes, cache.networks, self._reach[cluster])
        tasks = cache.tasks_of(service.id).values()
        found = approach(parsed.spec, service, spec, tasks, Surroundings(place, self._addresses))
        if found.way is None and not found.network:
            return Plan(problems=complete(parsed, found.problems, service), cluster=cluster)
        claimant = Claimant(service.name, parsed.spec.stack, found.network)
        allowed, refusals = host_policy.permitted(self._settings.host_policies, parsed.spec, claimant)
        if allowed is None:
            return Plan(None, found.way, complete(parsed, refusals, service), cluster)
        if found.way is None:
            problems = complete(parsed, (*found.problems, *refusals), service)
            return Plan(None, None, problems, cluster, found.needs, found.joins)
        lookup = Lookup(cache.secrets, cache.configs, self._certificates, allowed.stack)
        before = self._parse(service, specs[1], read).spec if specs[1] else None
        resolved = resolve(allowed, lookup, before, acme=self._settings.acme is not None)
        problems = complete(parsed, (*found.problems, *refusals, *resolved.problems), service)
        needs = frozenset(lookup.needs) | found.needs
        return Plan(_claim(resolved, service), found.way, problems, cluster, needs, found.joins)

    def _parse(self, service: Service, spec: ServiceSpec, read: _Reading) -> Parsed:
        """Its labels, read once: they are the same with each event of a task."""
        legacy = self._settings.legacy_labels
        containers = spec.container_labels if legacy else ()
        inputs = (service.name, spec.labels, containers, spec.ports)
        parsed = self._read.get(service.id, {}).get(inputs)
        if parsed is None:
            labels = dict(containers) | dict(spec.labels)
            parsed = self._defaults(parse_labels(labels, spec.ports, service.name, service.id, legacy=legacy))
        return read.setdefault(inputs, parsed)

    def _cluster_of(self, service: Service, spec: ServiceSpec) -> str:
        return self._parse(service, spec, {}).cluster

    def _named_by(self, service: Service | None, compiled: Compiled) -> frozenset[str]:
        """The clusters that were compiled from its labels, be there something wrong with them or not."""
        if service is None:
            return frozenset()
        return compiled.clusters | {self._cluster_of(service, service.spec)}

    def _defaults(self, parsed: Parsed) -> Parsed:
        cluster = self._settings.clusters.get(parsed.cluster)
        if parsed.spec is None or cluster is None or not cluster.ip_hash:
            return parsed
        return replace(parsed, spec=by_address(parsed.spec))

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

    def _fragment(
        self, cache: CacheView, service: Service, plan: Plan
    ) -> tuple[Fragment | None, tuple[Problem, ...]]:
        """What it contributes, and what is wrong with where its tasks are."""
        claim, way = plan.claim, plan.way
        if claim is None or way is None:
            return None, ()
        wanted, port = service.spec.replicas != 0, claim.spec.port
        if way.vip:
            return Fragment(claim, wanted, upstreams.virtual(service, way.vip, port, wanted)), ()
        tasks = cache.tasks_of(service.id).values()
        place = Place(cache.nodes, cache.networks, self._reach[claim.cluster])
        problems = [told(each, service, claim.cluster) for each in upstreams.homeless(tasks, way, cache.nodes)]
        return Fragment(claim, wanted, upstreams.candidates(tasks, way, port, place)), tuple(problems)


def _claim(found: Resolved, service: Service) -> Claim | None:
    if any(problem.fatal for problem in found.problems):
        return None
    return claim_of(found.spec, service.name, service.id, service.created, found.tls)
