"""A list of everything, read by what is known from the one before, says what a reader who knows nothing finds."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from l7.model import Service, ServiceSpec, Task, TaskState
from l7.swarm import from_json, from_proto
from l7.swarm import swarmkit_pb2 as pb
from l7.swarm.cache import Cache, Listing
from l7.swarm.known import Known
from tests.fakes import swarm_wire as wire

CREATED = 1_000_000_007
services = st.builds(
    Service, st.sampled_from(["s1", "s2"]), st.just(0), st.sampled_from(["web", "api"]), st.just(CREATED),
    st.builds(ServiceSpec, st.just(()), st.just(("net1",)), st.integers(0, 3)),
)  # fmt: skip
tasks = st.builds(
    Task, st.sampled_from(["t1", "t2", "t3", "t4"]), st.just(0), st.sampled_from(["s1", "s2"]), st.just("n1"),
    st.integers(1, 3), st.sampled_from(TaskState), st.sampled_from(TaskState), st.just(CREATED),
    st.sampled_from([(), (("net1", "10.0.0.2"),), (("net1", "10.0.0.3"), ("net2", "10.1.0.3"))]),
)  # fmt: skip
writes = st.lists(st.tuples(st.one_of(services, tasks), st.booleans()), max_size=6)
Held = dict[str, Service | Task]


class Swarmkit:
    """Reads SwarmKit's lists; `read`: how many objects it read in whole."""

    def __init__(self) -> None:
        self.read = 0
        self.services = Known(from_proto.head, self._service)
        self.tasks = Known(from_proto.head, self._task)

    def listing(self, held: Held) -> Listing:
        services = wire.listed(map(wire.service_message, services_of(held)))
        tasks = wire.listed(wire.task_message(each, unread=200) for each in tasks_of(held))
        return Listing(
            services=self.services.read(pb.ListServicesResponse.FromString(services).services),
            tasks=self.tasks.read(pb.ListTasksResponse.FromString(tasks).tasks),
        )

    def _service(self, raw: pb.Service) -> Service:
        self.read += 1
        return from_proto.parse_service(raw)

    def _task(self, raw: pb.Task) -> Task:
        self.read += 1
        return from_proto.parse_task(raw)


class Docker:
    """The same of Docker's."""

    def __init__(self) -> None:
        self.read = 0
        self.services = Known(from_json.head, lambda raw: from_json.parse_service(self._load(raw)))
        self.tasks = Known(from_json.head, lambda raw: from_json.parse_task(self._load(raw)))

    def listing(self, held: Held) -> Listing:
        return Listing(
            services=self.services.read(from_json.split(wire.services_json(services_of(held)))),
            tasks=self.tasks.read(from_json.split(wire.tasks_json(tasks_of(held)))),
        )

    def _load(self, raw: object) -> from_json.Json:
        self.read += 1
        return from_json.load(raw)


def services_of(held: Held) -> list[Service]:
    return [each for each in held.values() if isinstance(each, Service)]


def tasks_of(held: Held) -> list[Task]:
    return [each for each in held.values() if isinstance(each, Task)]


class Swarm:
    """What a manager holds: each write has a version."""

    def __init__(self) -> None:
        self.version = 0
        self.held: Held = {}

    def write(self, changes: list[tuple[Service | Task, bool]]) -> None:
        for object_, gone in changes:
            self.version += 1
            if gone:
                self.held.pop(object_.id, None)
            else:
                self.held[object_.id] = replace(object_, version=self.version)


def content(cache: Cache) -> Held:
    return {**cache.services, **cache.tasks}


@given(st.sampled_from(["swarmkit", "docker"]), st.lists(writes, max_size=6))
def test_a_list_is_what_is_there_and_only_what_has_changed_is_read(
    source: str, rounds: list[list[tuple[Service | Task, bool]]]
) -> None:
    swarm, reader, cache = Swarm(), SOURCES[source](), Cache()
    for changes in rounds:
        before = dict(swarm.held)
        swarm.write(changes)
        reader.read = 0
        listing = reader.listing(swarm.held)
        assert reader.read == sum(before.get(id_) != each for id_, each in swarm.held.items())
        assert listing == SOURCES[source]().listing(swarm.held)
        touched, anew, other = cache.replace(listing), Cache(), Cache()
        anew.replace(listing)
        assert content(cache) == content(anew) == swarm.held
        other.replace(SOURCES[source]().listing(before))
        assert touched == other.replace(SOURCES[source]().listing(swarm.held)), "known or not, it touches the same"
        assert not cache.replace(reader.listing(swarm.held))


@given(st.sampled_from(["swarmkit", "docker"]), writes, writes, writes)
def test_a_swarm_that_was_restored_is_read_anew_as_soon_as_it_shows(
    source: str,
    backup: list[tuple[Service | Task, bool]],
    lost: list[tuple[Service | Task, bool]],
    since: list[tuple[Service | Task, bool]],
) -> None:
    """It gives the versions out again that were lost. A lower version than before of any task says so of all."""
    old, new, reader = Swarm(), Swarm(), SOURCES[source]()
    for swarm, later in ((old, lost), (new, since)):
        swarm.write(backup)
        swarm.write(later)
    reader.listing(old.held)
    found = reader.listing(new.held)
    tasks = {each.id: each.version for each in tasks_of(old.held)}
    if any(each.version < tasks.get(each.id, 0) for each in tasks_of(new.held)):
        assert found.tasks == tuple(tasks_of(new.held))


SOURCES: dict[str, type[Swarmkit] | type[Docker]] = {"swarmkit": Swarmkit, "docker": Docker}
