"""Which of the ports that proxies shall publish can be had, beside those of all other services. Pure.

As SwarmKit sees it (manager/controlapi, checkPortConflicts there): a port in ingress mode is taken in the whole
Swarm, also from those who want it in host mode; ports in host mode are a matter of nodes. Who has a port keeps it;
of two clusters that want the same new one, the first by name gets it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Protocol

from l7.config import Cluster
from l7.labels.grammar import printable
from l7.model import Problem, PublishedPort, Service, Task, TaskState

KEYS = ("PublishedPort", "PublishedSSLPort")
"""The keys of the TOML that say the two ports of the proxies, in this order."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a cluster's proxies want. `ports`: for HTTP and for TLS; `nodes`: ids of those that may have a proxy;
    `services`: ids of the cluster's own proxy services as they are."""

    cluster: Cluster
    ports: tuple[PublishedPort, PublishedPort]
    nodes: frozenset[str]
    services: frozenset[str] = frozenset()


def wish_of(cluster: Cluster, nodes: Iterable[str], services: Iterable[str] = ()) -> Wish:
    """What the settings of a cluster say."""
    options = cluster.proxy_options
    http, tls = (
        PublishedPort(port.target, port.published, "tcp", options.publish_mode)
        for port in (options.http, options.tls)
    )
    return Wish(cluster, (http, tls), frozenset(nodes), frozenset(services))


@dataclass(frozen=True, slots=True)
class Grant:
    """Whether the proxies may have the ports that they want: else they keep those that they have, or, where there
    are no proxies yet, are not made. `taken`: ids of nodes on which someone else has a port that they then have."""

    granted: bool = True
    taken: frozenset[str] = frozenset()
    problems: tuple[Problem, ...] = ()


class CacheView(Protocol):
    """What is read of the cache of Swarm's state."""

    @property
    def services(self) -> Mapping[str, Service]: ...
    def tasks_of(self, service: str, /) -> Mapping[str, Task]: ...


class TouchedView(Protocol):
    """The services (by id) that changed, or all."""

    @property
    def services(self) -> AbstractSet[str]: ...
    @property
    def all(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Publisher:
    """A service that publishes ports. `nodes`: ids of those that its tasks are on."""

    name: str
    ports: tuple[PublishedPort, ...]
    nodes: frozenset[str]


@dataclass(slots=True)
class Publishers:
    """All of them by id, kept up to date one by one."""

    found: dict[str, Publisher] = field(default_factory=dict)

    def take(self, cache: CacheView, touched: TouchedView) -> bool:
        """Note what changed; whether it may change a decision about ports."""
        ids = {*cache.services, *self.found} if touched.all else touched.services
        return sum(self._note(id_, _publisher(cache, id_)) for id_ in ids) > 0

    def _note(self, id_: str, new: Publisher | None) -> bool:
        old = self.found.pop(id_, None)
        if new is not None:
            self.found[id_] = new
        return old != new


def _publisher(cache: CacheView, id_: str) -> Publisher | None:
    service = cache.services.get(id_)
    if service is None or not service.spec.ports:
        return None
    tasks = cache.tasks_of(id_).values()
    # Until a task has ended its node's ports are not free.
    nodes = frozenset(task.node for task in tasks if task.node and task.state <= TaskState.RUNNING)
    return Publisher(service.name, service.spec.ports, nodes)


# ---------------------------------------------------------------- the decision


@dataclass(frozen=True, slots=True)
class _Holder:
    """Who has ports, in words. `nodes`: where, as far as those in host mode are concerned, `there`: where now.
    `cluster`: whose proxies these are, which may come to any of the nodes; None for another service."""

    words: str
    ports: tuple[PublishedPort, ...]
    nodes: AbstractSet[str]
    cluster: str | None = None
    there: AbstractSet[str] = frozenset()


def grant_ports(wishes: Iterable[Wish], publishers: Publishers) -> dict[str, Grant]:
    """By name of the cluster, whether its proxies get their ports. `wishes`: those of all clusters."""
    ordered = sorted(wishes, key=lambda wish: wish.cluster.name)
    owners = {id_: wish for wish in ordered for id_ in wish.services}
    found = sorted(publishers.found.items(), key=lambda pair: (pair[1].name, pair[0]))
    holders = {id_: _holder(publisher, owners.get(id_)) for id_, publisher in found}
    grants: dict[str, Grant] = {}
    promised: list[_Holder] = []
    for wish in ordered:
        has = tuple(port for id_ in wish.services if id_ in holders for port in holders[id_].ports)
        others = [holder for id_, holder in holders.items() if id_ not in wish.services]
        own = frozenset[str]().union(*(holders[id_].there for id_ in wish.services if id_ in holders))
        grant = _grant(wish, has, [*others, *promised], own)
        grants[wish.cluster.name] = grant
        if grant.granted:
            name = wish.cluster.name
            promised.append(_Holder(_proxies(name), wish.ports, wish.nodes, name))
    return grants


def _holder(publisher: Publisher, owner: Wish | None) -> _Holder:
    if owner is None:
        return _Holder(f"service {printable(publisher.name)}", publisher.ports, publisher.nodes)
    name = owner.cluster.name
    return _Holder(_proxies(name), publisher.ports, owner.nodes | publisher.nodes, name, publisher.nodes)


def _proxies(cluster: str) -> str:
    return f"the proxies of service cluster {cluster}" if cluster else "the proxies of the default service cluster"


def _grant(
    wish: Wish, has: Collection[PublishedPort], holders: Collection[_Holder], own: AbstractSet[str]
) -> Grant:
    """`own`: nodes on which the cluster's proxies are now."""
    problems = []
    for key, port in zip(KEYS, wish.ports, strict=True):
        holder = _refusal(wish, port, has, holders, own)
        if holder is not None:
            problems.append(_problem(wish, key, port, holder, bool(has)))
    keeps = has if problems else wish.ports
    taken = frozenset[str]().union(*(_taken(wish, port, holders, own) for port in keeps))
    return Grant(not problems, taken, tuple(problems))


def _refusal(
    wish: Wish,
    port: PublishedPort,
    has: Collection[PublishedPort],
    holders: Collection[_Holder],
    own: AbstractSet[str],
) -> _Holder | None:
    """Who is in the way of this port; None when it can be had."""
    same = [holder for holder in holders if any(_same(port, each) for each in holder.ports)]
    if not any(_same(port, each) and port.mode == each.mode for each in has):
        for holder in same:
            if _excludes(wish, port, holder):
                return holder
    return same[0] if wish.nodes and _taken(wish, port, holders, own) == wish.nodes else None


def _excludes(wish: Wish, port: PublishedPort, holder: _Holder) -> bool:
    """Whether the two can't be published at the same time, whatever Swarm places where."""
    if port.mode == "host" and all(each.mode == "host" for each in holder.ports if _same(port, each)):
        return holder.cluster is not None and bool(holder.nodes & wish.nodes)
    return True


def _taken(
    wish: Wish, port: PublishedPort, holders: Iterable[_Holder], own: AbstractSet[str]
) -> frozenset[str]:
    """The nodes on which others have the same port."""
    if port.mode != "host":
        return frozenset()
    meet = (each for each in holders if any(_same(port, other) for other in each.ports))
    return wish.nodes & frozenset[str]().union(*(_held(each, wish.cluster.name, own) for each in meet))


def _held(holder: _Holder, name: str, own: AbstractSet[str]) -> AbstractSet[str]:
    """The nodes that are a holder's. Of two clusters, a node is the one's whose proxies are there; where both are,
    or none is, the first's by name."""
    if holder.cluster is None:
        return holder.nodes
    return holder.nodes - (own - holder.there) if holder.cluster < name else holder.there - own


def _same(port: PublishedPort, other: PublishedPort) -> bool:
    return port.published != 0 and (port.published, port.protocol) == (other.published, other.protocol)


def _problem(wish: Wish, key: str, port: PublishedPort, holder: _Holder, keeps: bool) -> Problem:
    label = f"Extensions.{wish.cluster.extension}.{key}"
    outcome = "the proxies keep the ports that they have" if keeps else "there are no proxies until it is free"
    remedy = f"choose another port, or free it at {holder.words}"
    if holder.cluster is not None and port.mode == "ingress":
        remedy += '; with PublishMode = "host" clusters on nodes of their own (ProxyConstraints) can share ports'
    elif holder.cluster is not None:
        remedy += "; or give each cluster nodes of its own by ProxyConstraints"
    message = f"is published by {holder.words}; {outcome}"
    return Problem("", label, str(port.published), message, remedy, wish.cluster.name, fatal=False)
