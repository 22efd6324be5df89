"""The cache, under any history of a Swarm, seen in any way that a source may show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from l7.model import Network, Node, NodeState, Service, ServiceSpec, StoredSecret, Task, TaskState
from l7.swarm.cache import Cache, Event, Kind, Listing, Object, Remove, Touched, Upsert, kind_of

SERVICES, NETWORKS, NODES = ["s1", "s2", "s3"], ["net1", "net2"], ["n1", "n2"]

nodes = st.builds(Node, st.sampled_from(NODES), st.just(0), st.just("host"), st.sampled_from(NodeState))
networks = st.builds(Network, st.sampled_from(NETWORKS), st.just(0), st.sampled_from(["front", "back"]))
specs = st.builds(ServiceSpec, st.just(()), st.lists(st.sampled_from(NETWORKS), unique=True, max_size=2).map(tuple))
services = st.builds(
    Service, st.sampled_from(SERVICES), st.just(0), st.just("web"), st.just(1), specs, st.none() | specs
)
tasks = st.builds(
    Task, st.sampled_from(["t1", "t2", "t3", "t4"]), st.just(0), st.sampled_from(SERVICES), st.sampled_from(NODES),
    st.just(1), st.sampled_from(TaskState), st.sampled_from(TaskState), st.just(1),
)  # fmt: skip
NAMES = ["cert", "key"]
labels = st.sampled_from([(), (("a", "1"),)])
secrets = st.builds(
    StoredSecret, st.sampled_from(["x1", "x2", "x3"]), st.just(0), st.sampled_from(NAMES), st.booleans(), labels
)
objects = st.one_of(nodes, networks, services, tasks, secrets)
writes = st.lists(st.tuples(objects, st.booleans()), max_size=30)


class Truth:
    """What a manager holds: each write has a version; a task keeps its service, an id is not used again."""

    def __init__(self) -> None:
        self.version = 0
        self.held: dict[tuple[Kind, str], Object] = {}
        self.services_of: dict[str, str] = {}
        self.names_of: dict[tuple[Kind, str], str] = {}
        self.gone: set[tuple[Kind, str]] = set()

    def write(self, object_: Object, remove: bool) -> Event | None:
        key = (kind_of(object_), object_.id)
        if key in self.gone or (remove and key not in self.held):
            return None
        if isinstance(object_, StoredSecret):
            # It keeps its name, which no other may have as long as it is there.
            object_ = replace(object_, name=self.names_of.setdefault(key, object_.name))
            if not remove and any(
                isinstance(each, StoredSecret) and (each.name, each.config) == (object_.name, object_.config)
                for held, each in self.held.items()
                if held != key
            ):
                return None
        self.version += 1
        if remove:
            self.gone.add(key)
            del self.held[key]
            return Remove(*key)
        if isinstance(object_, Task):
            object_ = replace(object_, service=self.services_of.setdefault(object_.id, object_.service))
        self.held[key] = replace(object_, version=self.version)
        return Upsert(self.held[key])

    def listing(self) -> Listing:
        def of(type_: type) -> tuple:  # type: ignore[type-arg]
            return tuple(each for each in self.held.values() if isinstance(each, type_))

        return Listing(
            nodes=of(Node),
            networks=of(Network),
            services=of(Service),
            tasks=of(Task),
            secrets=tuple(each for each in of(StoredSecret) if not each.config),
            configs=tuple(each for each in of(StoredSecret) if each.config),
        )

    def named(self, config: bool) -> dict[str, StoredSecret]:
        stored = (each for each in self.held.values() if isinstance(each, StoredSecret))
        return {each.name: each for each in stored if each.config == config}


def content(cache: Cache) -> dict[tuple[Kind, str], Object]:
    tables = (cache.nodes, cache.networks, cache.services, cache.tasks, cache.secrets, cache.configs)
    return {(kind_of(each), each.id): each for table in tables for each in table.values()}


def assert_indexed(cache: Cache) -> None:
    for service in SERVICES:
        assert dict(cache.tasks_of(service)) == {t.id: t for t in cache.tasks.values() if t.service == service}
    for node in NODES:
        assert dict(cache.tasks_on(node)) == {t.id: t for t in cache.tasks.values() if t.node == node}


def routing(cache: Cache, service: str) -> object:
    """All that the routing of a service depends on, straight from the definition."""
    spec = cache.services.get(service)
    alive = [t for t in cache.tasks_of(service).values() if t.state <= TaskState.RUNNING]
    known = {*spec.spec.networks, *(spec.previous.networks if spec.previous else ())} if spec else set()
    return (
        spec and (spec.name, spec.spec, spec.previous),
        {
            t.id: (
                t.node,
                t.desired == TaskState.RUNNING,
                t.desired > TaskState.RUNNING,
                t.state >= TaskState.ASSIGNED,
                t.state == TaskState.RUNNING,
                (node := cache.nodes.get(t.node)) and node.state is NodeState.DOWN,
            )
            for t in alive
        },
        {id_: cache.networks[id_].name for id_ in known if id_ in cache.networks},
    )


@given(writes, st.data())
def test_any_interleaving_of_events_and_listings_ends_equal_to_the_last_listing(
    history: list[tuple[Object, bool]], data: st.DataObject
) -> None:
    truth, cache = Truth(), Cache()
    seen: list[Event] = []
    for object_, remove in history:
        event = truth.write(object_, remove)
        if event is not None and data.draw(st.booleans(), "delivered"):
            seen.append(event)
            cache.apply(event)
        if data.draw(st.booleans(), "replayed") and seen:
            cache.apply(data.draw(st.sampled_from(seen), "which"))
        if data.draw(st.integers(0, 5), "listed") == 0:
            cache.replace(truth.listing())
    cache.replace(truth.listing())
    assert content(cache) == truth.held
    assert_indexed(cache)
    assert not cache.replace(truth.listing())


@given(writes, st.integers(0, 30))
def test_a_resumed_stream_that_repeats_its_past_ends_at_the_truth(
    history: list[tuple[Object, bool]], back: int
) -> None:
    truth, cache = Truth(), Cache()
    events = [event for object_, remove in history if (event := truth.write(object_, remove))]
    cut = max(0, len(events) - back)
    for event in (*events, *events[cut:]):
        cache.apply(event)
    assert content(cache) == truth.held
    resumable = (e.object for e in events if isinstance(e, Upsert) and not isinstance(e.object, StoredSecret))
    assert cache.version == max((each.version for each in resumable), default=0)


@given(writes)
def test_an_older_version_changes_nothing(history: list[tuple[Object, bool]]) -> None:
    truth, cache = Truth(), Cache()
    for object_, remove in history:
        before = truth.held.get((kind_of(object_), object_.id))
        if event := truth.write(object_, remove):
            cache.apply(event)
            if before is not None and isinstance(event, Upsert):
                assert not cache.apply(Upsert(before))
                assert content(cache) == truth.held


@settings(max_examples=300)
@given(writes, st.data())
def test_what_is_not_touched_routes_as_before(history: list[tuple[Object, bool]], data: st.DataObject) -> None:
    truth, cache = Truth(), Cache()
    for object_, remove in history:
        before = {service: routing(cache, service) for service in SERVICES}
        held = dict(cache.secrets), dict(cache.configs)
        event = truth.write(object_, remove)
        if data.draw(st.booleans(), "by listing"):
            touched = cache.replace(truth.listing())
        else:
            touched = cache.apply(event) if event else Touched()
        after = {service: routing(cache, service) for service in SERVICES}
        assert {service for service in SERVICES if before[service] != after[service]} <= touched.services
        assert renewed(held[0], cache.secrets) | renewed(held[1], cache.configs) <= touched.secrets


def renewed(before: Mapping[str, StoredSecret], after: Mapping[str, StoredSecret]) -> set[str]:
    """The names that stand for something else than before."""

    def content(stored: StoredSecret | None) -> object:
        return stored and (stored.id, stored.labels)

    return {name for name in NAMES if content(before.get(name)) != content(after.get(name))}


@given(writes, st.randoms())
def test_a_name_is_the_newest_ones_in_whatever_order_its_bearers_come_and_go(
    history: list[tuple[Object, bool]], random: Random
) -> None:
    truth, cache = Truth(), Cache()
    events = [event for object_, remove in history if (event := truth.write(object_, remove))]
    # Of each object the last is what an inspection finds, and inspections overtake each other.
    last = list(
        {(e.kind, e.id) if isinstance(e, Remove) else (kind_of(e.object), e.object.id): e for e in events}.values()
    )
    random.shuffle(last)
    for event in last:
        cache.apply(event)
    assert dict(cache.secrets) == truth.named(config=False)
    assert dict(cache.configs) == truth.named(config=True)


@given(writes, writes, st.data())
def test_an_audit_heals_what_was_lost_and_undoes_nothing_newer(
    before: list[tuple[Object, bool]], during: list[tuple[Object, bool]], data: st.DataObject
) -> None:
    truth, cache = Truth(), Cache()
    for object_, remove in before:
        event = truth.write(object_, remove)
        if event is not None and data.draw(st.booleans(), "delivered"):
            cache.apply(event)
    cache.begin_audit()
    lost = content(cache) != truth.held
    taken = data.draw(st.integers(0, len(during)), "listed after")
    listing = truth.listing()
    for number, (object_, remove) in enumerate(during):
        if event := truth.write(object_, remove):
            cache.apply(event)
        if number < taken:
            listing = truth.listing()
    cache.heal(listing)
    assert content(cache) == truth.held
    if not lost and not during:
        assert not cache.differs(listing)


@given(writes, st.frozensets(st.sampled_from(SERVICES)))
def test_a_listing_of_some_services_tasks_leaves_the_others(
    history: list[tuple[Object, bool]], some: frozenset[str]
) -> None:
    truth, cache = Truth(), Cache()
    for object_, remove in history:
        if event := truth.write(object_, remove):
            cache.apply(event)
    held = content(cache)
    cache.replace(Listing(tasks=(), tasks_of=some))
    left = {key: each for key, each in held.items() if not (isinstance(each, Task) and each.service in some)}
    assert content(cache) == left
    assert_indexed(cache)
