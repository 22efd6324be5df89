"""A Swarm in memory: a store with versions, and sources that list and follow it as the real ones do.

    swarm = FakeSwarm()
    web = swarm.create_service("web", labels={...}, networks=[swarm.create_network("front").id], replicas=3)
    async with Watch(Settings(), sources=[swarm.source()]) as watch: ...

It is held to the real Swarm by tests/contract/test_watch_contract.py. There is no time in it: a task runs as soon
as it is made, and is gone as soon as it is not wanted, unless the test says otherwise (`put`, `auto_run`).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any

from l7.kit.errors import Unavailable
from l7.model import Network, Node, NodeState, PublishedPort, Service, ServiceSpec, StoredSecret, Task, TaskState
from l7.swarm.cache import Event, Kind, Listing, Object, Remove, Upsert, kind_of
from l7.swarm.from_json import container_labels
from l7.swarm.source import Update

STORED = frozenset({Kind.SECRET, Kind.CONFIG})
OTHERS = frozenset(Kind) - STORED
_EPOCH = 1_700_000_000_000_000_000
_ID = 25


class FakeSwarm:
    """Every write is one transaction with a version of its own, and an entry of the log that streams replay."""

    def __init__(self, *, nodes: int = 1, auto_run: bool = True, first_address: str = "10.64.0.0") -> None:
        """`first_address`: those of tasks come after it."""
        self.version = 0
        self.auto_run = auto_run
        self._first_address = int(ip_address(first_address))
        self.nodes: dict[str, Node] = {}
        self.networks: dict[str, Network] = {}
        self.services: dict[str, Service] = {}
        self.tasks: dict[str, Task] = {}
        self.secrets: dict[str, StoredSecret] = {}
        self.configs: dict[str, StoredSecret] = {}
        self.log: list[tuple[int, tuple[Event, ...]]] = []
        self.compacted = 0
        self._by_service: defaultdict[str, dict[str, Task]] = defaultdict(dict)
        self._streams: list[asyncio.Queue[tuple[Event, ...] | None]] = []
        self._serial = 0
        self._drained: set[str] = set()
        for number in range(nodes):
            self.put(Node(f"node{number}", 0, f"node{number}", NodeState.READY, f"10.213.0.{number + 1}"))

    # ------------------------------------------------------------ the store

    def put(self, *objects: Object, lost: bool = False) -> None:
        """Create or update objects in one transaction; `lost`: the streams do not get to know."""
        self.version += 1
        stored = [replace(each, version=self.version) for each in objects]
        for each in stored:
            self._table(each)[each.id] = each
            if isinstance(each, Task):
                self._by_service[each.service][each.id] = each
        self._commit(tuple(Upsert(each) for each in stored), lost)

    def remove(self, *objects: Object, lost: bool = False) -> None:
        self.version += 1
        for each in objects:
            del self._table(each)[each.id]
            if isinstance(each, Task):
                del self._by_service[each.service][each.id]
        self._commit(tuple(Remove(kind_of(each), each.id) for each in objects), lost)

    def listing(self) -> Listing:
        return Listing(
            nodes=tuple(self.nodes.values()),
            networks=tuple(self.networks.values()),
            services=tuple(self.services.values()),
            tasks=tuple(self.tasks.values()),
            secrets=tuple(self.secrets.values()),
            configs=tuple(self.configs.values()),
        )

    async def everything(self) -> Listing:
        """`listing`, to be awaited as that of a source is."""
        return self.listing()

    def compact(self) -> None:
        """Forget the log: no stream can resume from before this."""
        self.compacted = self.version
        self.log.clear()

    def _table(self, object_: Object) -> dict[str, Any]:
        tables: dict[Kind, dict[str, Any]] = {
            Kind.NODE: self.nodes,
            Kind.NETWORK: self.networks,
            Kind.SERVICE: self.services,
            Kind.TASK: self.tasks,
            Kind.SECRET: self.secrets,
            Kind.CONFIG: self.configs,
        }
        return tables[kind_of(object_)]

    def _commit(self, events: tuple[Event, ...], lost: bool) -> None:
        self.log.append((self.version, events))
        for stream in () if lost else self._streams:
            stream.put_nowait(events)

    # ------------------------------------------------------------ what users do

    def create_network(self, name: str) -> Network:
        network = Network(self._id("net"), 0, name)
        self.put(network)
        return self.networks[network.id]

    def remove_network(self, name: str) -> None:
        self.remove(next(each for each in self.networks.values() if each.name == name))

    def create_secret(
        self, name: str, config: bool = False, labels: Mapping[str, str] | None = None
    ) -> StoredSecret:
        """A secret, or a config."""
        stored = StoredSecret(self._id("stored"), 0, name, config, tuple(sorted((labels or {}).items())))
        self.put(stored)
        return (self.configs if config else self.secrets)[stored.id]

    def create_service(
        self,
        name: str,
        labels: Mapping[str, str] | None = None,
        networks: Iterable[str] = (),
        replicas: int | None = 1,
        ports: tuple[PublishedPort, ...] = (),
        on_containers: Mapping[str, str] | None = None,
    ) -> Service:
        """`networks` by id; `replicas` None for a global service; `on_containers`: labels of its containers."""
        spec = ServiceSpec(
            tuple(sorted((labels or {}).items())),
            tuple(networks),
            replicas,
            ports,
            container_labels=container_labels(on_containers or {}),
        )
        service = Service(self._id("svc"), 0, name, _EPOCH + self._serial, spec)
        self.put(service)
        self._reconcile(service.id)
        return self.services[service.id]

    def scale(self, service: str, replicas: int) -> None:
        self._update(service, replace(self.services[service].spec, replicas=replicas))

    def label(self, service: str, labels: Mapping[str, str]) -> None:
        """Replaces all labels."""
        self._update(service, replace(self.services[service].spec, labels=tuple(sorted(labels.items()))))

    def remove_service(self, service: str) -> None:
        self.remove(self.services[service])
        if leaving := self.tasks_of(service):
            self.put(*(replace(task, desired=TaskState.REMOVE) for task in leaving))
            self.remove(*self.tasks_of(service))

    def drain(self, node: str) -> None:
        """Tasks on the node are shut down; the next `activate` starts new ones."""
        self._drained.add(node)
        self.put(self.nodes[node])
        for service in list(self.services):
            self._reconcile(service)

    def activate(self, node: str) -> None:
        self._drained.discard(node)
        self.put(self.nodes[node])
        for service in list(self.services):
            self._reconcile(service)

    def populate(
        self, services: int, replicas: int, labels: Mapping[str, str] | None = None, sharing: int = 1 << 30
    ) -> None:
        """Many services at once, each with its host label, without a log: for scale. `sharing`: so many have a
        network together."""
        for number in range(services):
            if number % sharing == 0:
                network = self.create_network(f"front{number // sharing or ''}")
            given = {
                "com.docker.lb.hosts": f"s{number}.example.org",
                "com.docker.lb.port": "8080",
                **(labels or {}),
            }
            self.create_service(f"s{number}", given, [network.id], replicas)
        self.compact()

    # ------------------------------------------------------------ the orchestrator

    def _update(self, service: str, spec: ServiceSpec) -> None:
        old = self.services[service]
        self.put(replace(old, spec=spec, previous=old.spec))
        self._reconcile(service)

    def successor(self, task: Task) -> Task:
        """A task that may take the place of another one; it is not in the store yet."""
        return self._task(task.service, task.slot, task.node)

    def tasks_of(self, service: str) -> list[Task]:
        return list(self._by_service[service].values())

    def _reconcile(self, service: str) -> None:
        """Bring the tasks to what is wanted, as far as the nodes allow."""
        nodes = [node for node in self.nodes if node not in self._drained]
        alive = sorted(
            (task for task in self.tasks_of(service) if task.desired is TaskState.RUNNING), key=lambda t: t.slot
        )
        if lost := [task for task in alive if task.node in self._drained]:
            self.put(*(replace(t, desired=TaskState.SHUTDOWN, state=TaskState.SHUTDOWN) for t in lost))
        alive = [task for task in alive if task.node not in self._drained]
        replicas = self.services[service].spec.replicas
        wanted = (len(self.nodes) if replicas is None else replicas) if nodes else 0
        if surplus := alive[wanted:]:
            self.put(*(replace(task, desired=TaskState.REMOVE) for task in surplus))
            self.remove(*(self.tasks[task.id] for task in surplus))
        if missing := wanted - len(alive[:wanted]):
            taken = {task.slot for task in alive}
            slots = [slot for slot in range(1, wanted + 1) if slot not in taken][:missing]
            self.put(*(self._task(service, slot, nodes[slot % len(nodes)]) for slot in slots))

    def _task(self, service: str, slot: int, node: str) -> Task:
        id_ = self._id("task")
        spec = self.services[service].spec
        address = str(ip_address(self._first_address + self._serial))
        state = TaskState.RUNNING if self.auto_run else TaskState.ASSIGNED
        return Task(
            id_, 0, service, node, slot, state, TaskState.RUNNING, _EPOCH + self._serial,
            addresses=tuple((network, address) for network in spec.networks),
            ports=tuple(port for port in spec.ports if port.mode == "host"),
        )  # fmt: skip

    def _id(self, prefix: str) -> str:
        """As long as Swarm's own are."""
        self._serial += 1
        return f"{prefix}{self._serial:0{_ID - len(prefix)}}"

    # ------------------------------------------------------------ sources

    def source(self, name: str = "swarmkit") -> FakeSource:
        return FakeSource(self, name)

    def stored_source(self) -> FakeSource:
        """Of secrets and configs."""
        return FakeSource(self, "secrets", kinds=STORED)


@dataclass(eq=False)
class FakeSource:
    """A `Source` on a FakeSwarm. While `up` is false it answers nothing; `present`: its socket is there.
    `kinds`: what it speaks of."""

    swarm: FakeSwarm
    name: str = "swarmkit"
    up: bool = True
    present: bool = True
    kinds: frozenset[Kind] = OTHERS
    resumed: list[int] = field(default_factory=list)
    _queues: list[asyncio.Queue[tuple[Event, ...] | None]] = field(default_factory=list)

    def available(self) -> bool:
        return self.present

    async def updates(self, resume: int) -> AsyncGenerator[Update, None]:
        self._check()
        self.resumed.append(resume)
        queue: asyncio.Queue[tuple[Event, ...] | None] = asyncio.Queue()
        self.swarm._streams.append(queue)
        self._queues.append(queue)
        try:
            if resume and self.swarm.compacted <= resume <= self.swarm.version:
                yield ()
                # As SwarmKit does, from the transaction of that version on, which is thus seen twice.
                for events in [events for version, events in self.swarm.log if version >= resume]:
                    yield self._own(events)
            else:
                yield self._listing()
            while (events_or_end := await queue.get()) is not None:
                yield self._own(events_or_end)
        finally:
            self.swarm._streams.remove(queue)
            self._queues.remove(queue)
        raise Unavailable(f"{self.name}: cut")

    async def list(self) -> Listing:
        self._check()
        return self._listing()

    async def close(self) -> None:
        assert not self._queues, "closed while in use"

    def cut(self) -> None:
        """End all streams."""
        for queue in self._queues:
            queue.put_nowait(None)

    def stop(self) -> None:
        """Go away: streams end, calls fail, until `up` is set again."""
        self.up = False
        self.cut()

    def _own(self, events: tuple[Event, ...]) -> tuple[Event, ...]:
        return tuple(each for each in events if _kind_of_event(each) in self.kinds)

    def _listing(self) -> Listing:
        others = [f"{kind.value}s" for kind in Kind if kind not in self.kinds]
        return replace(self.swarm.listing(), **dict.fromkeys(others))

    def _check(self) -> None:
        if not self.up:
            raise Unavailable(f"{self.name}: not up")


def _kind_of_event(event: Event) -> Kind:
    return event.kind if isinstance(event, Remove) else kind_of(event.object)
