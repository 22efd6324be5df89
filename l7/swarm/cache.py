"""The typed cache of what Swarm says, and which services a change of it touches.

Two ways in. `apply` takes one event; an upsert that is older than what is held is stale and ignored, while a
removal always counts: it carries the object's last version, not a newer one, and ids are never used again.
`replace` takes a listing, which is true as it stands. Both are idempotent and say which services must be
compiled again, and which secrets and configs are not what they were: nothing, where nothing that routing depends
on has changed.

Pure: no IO, no clock. One owner, no locks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias, TypeVar

from l7.labels.table import EXTENSION_TYPE, PROXY_TYPE
from l7.model import Network, Node, NodeState, Service, StoredSecret, Task, TaskState

Object: TypeAlias = Service | Task | Node | Network | StoredSecret


class Kind(StrEnum):
    """The kinds of object, by SwarmKit's names."""

    NODE = "node"
    NETWORK = "network"
    SERVICE = "service"
    TASK = "task"
    SECRET = "secret"
    CONFIG = "config"


@dataclass(frozen=True, slots=True)
class Upsert:
    """An object is new or changed."""

    object: Object


@dataclass(frozen=True, slots=True)
class Remove:
    """An object is gone."""

    kind: Kind
    id: str


Event: TypeAlias = Upsert | Remove


@dataclass(frozen=True, slots=True)
class Listing:
    """What there is, by kind; None says nothing about a kind.

    `tasks_of` limits what `tasks` speaks for to the tasks of these services.
    """

    nodes: tuple[Node, ...] | None = None
    networks: tuple[Network, ...] | None = None
    services: tuple[Service, ...] | None = None
    tasks: tuple[Task, ...] | None = None
    tasks_of: frozenset[str] | None = None
    secrets: tuple[StoredSecret, ...] | None = None
    configs: tuple[StoredSecret, ...] | None = None


@dataclass(frozen=True, slots=True)
class Touched:
    """The services, by id, to compile again; with `all`, every one. A removed service is among them.

    `secrets`: names of the secrets and configs that came, went or changed; who refers to one is build's to know.
    `nodes`: a node came or went, or something changed about it that decides what Swarm may place there; `networks`:
    a network came, went or changed.
    """

    services: frozenset[str] = frozenset()
    all: bool = False
    secrets: frozenset[str] = frozenset()
    nodes: bool = False
    networks: bool = False

    def __bool__(self) -> bool:
        return self.all or bool(self.services) or bool(self.secrets) or self.nodes or self.networks

    def __or__(self, other: Touched) -> Touched:
        return Touched(
            self.services | other.services,
            self.all or other.all,
            self.secrets | other.secrets,
            self.nodes or other.nodes,
            self.networks or other.networks,
        )


NOTHING = Touched()
_KINDS: Mapping[type[Object], Kind] = {
    Node: Kind.NODE, Network: Kind.NETWORK, Service: Kind.SERVICE, Task: Kind.TASK,
}  # fmt: skip
_STORED = frozenset({Kind.SECRET, Kind.CONFIG})
_T = TypeVar("_T")
_NO_TASKS: Mapping[str, Task] = MappingProxyType({})


def kind_of(object_: Object) -> Kind:
    """The kind of an object."""
    if isinstance(object_, StoredSecret):
        return Kind.CONFIG if object_.config else Kind.SECRET
    return _KINDS[type(object_)]


@dataclass(slots=True)
class _Marks:
    """What is touched so far: ids of services, names of secrets and configs, nodes (as places), networks."""

    services: set[str] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)
    nodes: bool = False
    networks: bool = False

    def touched(self) -> Touched:
        if not self.services and not self.secrets and not self.nodes and not self.networks:
            return NOTHING
        return Touched(
            frozenset(self.services), secrets=frozenset(self.secrets), nodes=self.nodes, networks=self.networks
        )


class _Stored:
    """Secrets, or configs, by id and by name. A name whose next bearer was seen before the last one's removal is
    the newest one's."""

    def __init__(self) -> None:
        self.by_id: dict[str, StoredSecret] = {}
        self.by_name: dict[str, StoredSecret] = {}
        self._bearers: defaultdict[str, dict[str, StoredSecret]] = defaultdict(dict)

    def put(self, id_: str, new: StoredSecret | None) -> None:
        old = self.by_id.get(id_)
        _put(self.by_id, id_, new)
        names = _names(old), _names(new)
        _index(self._bearers, *names, id_, new)
        for name in names[0] | names[1]:
            bearers = self._bearers[name].values() if name in self._bearers else ()
            _put(self.by_name, name, max(bearers, key=lambda each: (each.version, each.id), default=None))


class Cache:
    """Services, tasks, nodes and networks by id, with the tasks also by service and by node; secrets and configs
    by name."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._networks: dict[str, Network] = {}
        self._services: dict[str, Service] = {}
        self._tasks: dict[str, Task] = {}
        self._by_service: defaultdict[str, dict[str, Task]] = defaultdict(dict)
        self._by_node: defaultdict[str, dict[str, Task]] = defaultdict(dict)
        self._by_network: defaultdict[str, dict[str, Service]] = defaultdict(dict)
        self._stored = {kind: _Stored() for kind in _STORED}
        self._changed: set[tuple[Kind, str]] | None = None
        self.nodes: Mapping[str, Node] = MappingProxyType(self._nodes)
        self.networks: Mapping[str, Network] = MappingProxyType(self._networks)
        self.services: Mapping[str, Service] = MappingProxyType(self._services)
        self.tasks: Mapping[str, Task] = MappingProxyType(self._tasks)
        self.secrets: Mapping[str, StoredSecret] = MappingProxyType(self._stored[Kind.SECRET].by_name)
        self.configs: Mapping[str, StoredSecret] = MappingProxyType(self._stored[Kind.CONFIG].by_name)
        self.version = 0
        """The highest object version seen, where a broken stream resumes. Those of secrets and configs don't count:
        they come by another way, which may be ahead of the stream."""

    def tasks_of(self, service: str) -> Mapping[str, Task]:
        """The tasks of a service, by id, in whatever state; empty when there are none."""
        return MappingProxyType(self._by_service[service]) if service in self._by_service else _NO_TASKS

    def tasks_on(self, node: str) -> Mapping[str, Task]:
        """The tasks on a node, by id, in whatever state; empty when there are none."""
        return MappingProxyType(self._by_node[node]) if node in self._by_node else _NO_TASKS

    def apply(self, event: Event) -> Touched:
        """Take one event; return what it touches."""
        marks = _Marks()
        if isinstance(event, Remove):
            self._set(event.kind, event.id, None, marks)
            return marks.touched()
        new = event.object
        kind = kind_of(new)
        old = self._table(kind).get(new.id)
        if _is_attachment(new) or (old is not None and new.version < old.version):
            return NOTHING
        self._set(kind, new.id, new, marks)
        return marks.touched()

    def replace(self, listing: Listing) -> Touched:
        """Make the cache equal to a listing, for the kinds that it speaks of; return what that touches."""
        marks = _Marks()
        for kind, id_, new in self._differences(listing):
            self._set(kind, id_, new, marks)
        return marks.touched()

    # ------------------------------------------------------------ audits

    def begin_audit(self) -> None:
        """Remember from here on what changes, so that a listing made meanwhile can't undo it."""
        self._changed = set()

    def differs(self, listing: Listing) -> bool:
        """Whether the listing disagrees about anything that has not changed since `begin_audit`."""
        return any((kind, id_) not in (self._changed or ()) for kind, id_, _ in self._differences(listing))

    def heal(self, listing: Listing) -> tuple[Touched, int]:
        """End an audit: take from the listing what has not changed since its begin.

        Returns what that touches, and how many objects had been missed.
        """
        changed, self._changed = self._changed or set(), None
        missed = [d for d in self._differences(listing) if (d[0], d[1]) not in changed]
        marks = _Marks()
        for kind, id_, new in missed:
            self._set(kind, id_, new, marks)
        return marks.touched(), len(missed)

    # ------------------------------------------------------------ inside

    def _table(self, kind: Kind) -> Mapping[str, Object]:
        match kind:
            case Kind.NODE:
                return self._nodes
            case Kind.NETWORK:
                return self._networks
            case Kind.SERVICE:
                return self._services
            case Kind.TASK:
                return self._tasks
            case Kind.SECRET | Kind.CONFIG:
                return self._stored[kind].by_id

    def _differences(self, listing: Listing) -> list[tuple[Kind, str, Object | None]]:
        scope = self._scope(listing.tasks_of)
        return [
            *_differences(Kind.NODE, self._nodes, listing.nodes),
            *_differences(Kind.NETWORK, self._networks, listing.networks),
            *_differences(Kind.SERVICE, self._services, listing.services),
            *_differences(Kind.TASK, scope, _routed(listing.tasks)),
            *_differences(Kind.SECRET, self._stored[Kind.SECRET].by_id, listing.secrets),
            *_differences(Kind.CONFIG, self._stored[Kind.CONFIG].by_id, listing.configs),
        ]

    def _scope(self, services: frozenset[str] | None) -> Mapping[str, Task]:
        if services is None:
            return self._tasks
        return {id_: task for service in services for id_, task in self.tasks_of(service).items()}

    def _set(self, kind: Kind, id_: str, new: Object | None, marks: _Marks) -> None:
        """Put or remove an object, and mark what this touches."""
        old = self._table(kind).get(id_)
        if new is not None and kind not in _STORED:
            self.version = max(self.version, new.version)
        if self._changed is not None:
            # Even if it is no change here: a listing made before may still hold what was removed.
            self._changed.add((kind, id_))
        if old == new:
            return
        self._write(kind, id_, old, new)
        if _view(old) != _view(new):
            marks.services |= self._affected(kind, id_, old, new)
            marks.secrets |= _names(old) | _names(new)
        marks.nodes |= _place_view(old) != _place_view(new)
        marks.networks |= kind is Kind.NETWORK

    def _write(self, kind: Kind, id_: str, old: Object | None, new: Object | None) -> None:
        match kind:
            case Kind.NODE:
                _put(self._nodes, id_, new if isinstance(new, Node) else None)
            case Kind.NETWORK:
                _put(self._networks, id_, new if isinstance(new, Network) else None)
            case Kind.SERVICE:
                service = new if isinstance(new, Service) else None
                _put(self._services, id_, service)
                _index(self._by_network, _networks(old), _networks(new), id_, service)
            case Kind.TASK:
                task = new if isinstance(new, Task) else None
                _put(self._tasks, id_, task)
                _index(self._by_service, _services(old), _services(new), id_, task)
                _index(self._by_node, _places(old), _places(new), id_, task)
            case Kind.SECRET | Kind.CONFIG:
                self._stored[kind].put(id_, new if isinstance(new, StoredSecret) else None)

    def _tasks_on_network(self, network: str) -> set[str]:
        """Services with tasks on a network that they may not be on any more. A walk, and no index: networks are
        removed now and then, and never changed."""
        return {task.service for task in self._tasks.values() if any(each == network for each, _ in task.addresses)}

    def _affected(self, kind: Kind, id_: str, old: Object | None, new: Object | None) -> set[str]:
        match kind:
            case Kind.NODE:
                return {task.service for task in self.tasks_on(id_).values()}
            case Kind.NETWORK:
                return set(self._by_network.get(id_, ())) | (self._tasks_on_network(id_) if old else set())
            case Kind.SERVICE:
                return {id_}
            case Kind.TASK:
                return _services(old) | _services(new)
            case Kind.SECRET | Kind.CONFIG:
                return set()


def _differences(
    kind: Kind, held: Mapping[str, Object], listed: Iterable[Object] | None
) -> Iterator[tuple[Kind, str, Object | None]]:
    """What must be put (object) or removed (None) to make `held` equal to `listed`."""
    if listed is None:
        return
    present = {new.id: new for new in listed}
    yield from ((kind, id_, None) for id_ in sorted(held.keys() - present.keys()))
    for id_, new in present.items():
        # Most are the very object that is held: a source reads anew only what has another version.
        if (old := held.get(id_)) is not new and old != new:
            yield kind, id_, new


def _routed(tasks: Iterable[Task] | None) -> Iterable[Task] | None:
    """Without attachments."""
    return None if tasks is None else [task for task in tasks if task.service]


def _is_attachment(object_: Object) -> bool:
    """Whether this is the attachment of a plain container to an overlay, which SwarmKit calls a task."""
    return isinstance(object_, Task) and not object_.service


def _view(object_: Object | None) -> Hashable:
    """The part of an object that routing depends on; None for one that routing need not know of."""
    match object_:
        case None:
            return None
        case Node():
            # UNKNOWN, which all nodes pass through after a change of leader, is not told apart from READY.
            return (object_.state is NodeState.DOWN, object_.address, object_.hostname)
        case Network():
            return replace(object_, version=0)
        case Service():
            # Whatever is changed in an extension service may have taken secrets away from it; in both, the fleet's
            # plan looks at all of the specification, and at the state of its update.
            is_ours = EXTENSION_TYPE in object_.spec.labels or PROXY_TYPE in object_.spec.labels
            version = object_.version if is_ours else 0
            return (object_.name, object_.created, object_.spec, object_.previous, object_.vips, version)
        case Task():
            return _task_view(object_)
        case StoredSecret():
            return (object_.name, object_.labels)


def _place_view(object_: Object | None) -> Hashable:
    """The part of a node that placement depends on (`l7.deploy.placement`); None for anything else."""
    if not isinstance(object_, Node):
        return None
    unknown = object_.state is NodeState.UNKNOWN
    return replace(object_, version=0, state=NodeState.READY if unknown else object_.state)


def _task_view(task: Task) -> Hashable:
    if task.state > TaskState.RUNNING:
        return None
    desired = (task.desired > TaskState.RUNNING) - (task.desired < TaskState.RUNNING)
    state = (task.state >= TaskState.ASSIGNED) + (task.state >= TaskState.RUNNING)
    return (task.service, task.node, task.slot, desired, state, task.addresses, task.ports, task.created)


def _services(task: Object | None) -> set[str]:
    return {task.service} if isinstance(task, Task) else set()


def _places(task: Object | None) -> set[str]:
    return {task.node} if isinstance(task, Task) and task.node else set()


def _names(stored: Object | None) -> set[str]:
    return {stored.name} if isinstance(stored, StoredSecret) else set()


def _networks(service: Object | None) -> set[str]:
    if not isinstance(service, Service):
        return set()
    return {*service.spec.networks, *(service.previous.networks if service.previous else ())}


def _put(table: dict[str, _T], id_: str, new: _T | None) -> None:
    if new is None:
        table.pop(id_, None)
    else:
        table[id_] = new


def _index(
    index: defaultdict[str, dict[str, _T]], old: set[str], new: set[str], id_: str, object_: _T | None
) -> None:
    """Move an object from its old keys to its new ones; keys without objects vanish."""
    for key in old:
        index[key].pop(id_, None)
    for key in new:
        if object_ is not None:
            index[key][id_] = object_
    for key in old - new:
        if not index[key]:
            del index[key]
