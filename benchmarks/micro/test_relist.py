"""What a list of everything costs core that changed nothing, or a hundredth: 10,000 services with 100,000 tasks.

`anew`: nothing is known from a list before, as at the start. `read` runs in a thread and holds Python's lock,
`compare` runs in the event loop.

python -m pytest benchmarks/micro/test_relist.py --benchmark-group-by=func --benchmark-columns=min,median
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from l7.build import Build
from l7.config import Cluster, Settings
from l7.model import Network, Service, ServiceSpec, Task, TaskState
from l7.serve.wire import messages as wire_messages
from l7.swarm import from_json, from_proto
from l7.swarm import swarmkit_pb2 as pb
from l7.swarm.cache import Cache, Listing, Touched
from l7.swarm.known import Known
from tests.fakes import swarm_wire as wire

SERVICES, REPLICAS = 10_000, 10
CHANGED = 1_000
UNREAD = 500
"""Bytes of a task that l7 does not read: one of a plain service has 650 to 800 in all."""
Lists = tuple[bytes, bytes]


def service(number: int) -> Service:
    labels = (("com.docker.lb.hosts", f"s{number}.example.org"), ("com.docker.lb.port", "8080"))
    return Service(f"s{number:024}", number + 1, f"s{number}", 1, ServiceSpec(labels, ("net1",), REPLICAS))


def task(number: int) -> Task:
    address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    return Task(
        f"t{number:024}", 20_000 + number, f"s{number // REPLICAS:024}", f"n{number % 10:024}", number % REPLICAS,
        TaskState.RUNNING, TaskState.RUNNING, 1, (("net1", address),),
    )  # fmt: skip


def swarm() -> tuple[list[Service], list[Task]]:
    return list(map(service, range(SERVICES))), list(map(task, range(SERVICES * REPLICAS)))


def changed(tasks: list[Task]) -> list[Task]:
    """A hundredth of them fails."""
    failed = [replace(each, version=1_000_000, state=TaskState.FAILED) for each in tasks[:CHANGED]]
    return [*failed, *tasks[CHANGED:]]


def by_swarmkit(services: list[Service], tasks: list[Task]) -> Lists:
    messages = (wire.task_message(each, UNREAD) for each in tasks)
    return wire.listed(map(wire.service_message, services)), wire.listed(messages)


def by_docker(services: list[Service], tasks: list[Task]) -> Lists:
    return wire.services_json(services), wire.tasks_json(tasks)


def swarmkit_reader() -> Callable[[Lists], Listing]:
    services = Known(from_proto.head, from_proto.parse_service)
    tasks = Known(from_proto.head, from_proto.parse_task)
    return lambda lists: Listing(
        services=services.read(pb.ListServicesResponse.FromString(lists[0]).services),
        tasks=tasks.read(pb.ListTasksResponse.FromString(lists[1]).tasks),
    )


def docker_reader() -> Callable[[Lists], Listing]:
    services = Known(from_json.head, lambda raw: from_json.parse_service(from_json.load(raw)))
    tasks = Known(from_json.head, lambda raw: from_json.parse_task(from_json.load(raw)))
    return lambda lists: Listing(
        services=services.read(from_json.split(lists[0])), tasks=tasks.read(from_json.split(lists[1]))
    )


SOURCES = {"swarmkit": (by_swarmkit, swarmkit_reader), "docker": (by_docker, docker_reader)}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("what", ["nothing", "hundredth", "anew"])
@pytest.mark.parametrize("source", SOURCES)
def test_read(benchmark: BenchmarkFixture, source: str, what: str) -> None:
    encode, reader = SOURCES[source]
    services, tasks = swarm()
    first, second = encode(services, tasks), encode(services, changed(tasks) if what == "hundredth" else tasks)

    def known() -> tuple[tuple[Callable[[Lists], Listing], Lists], dict[str, object]]:
        read = reader()
        if what != "anew":
            read(first)
        return (read, second), {}

    found = benchmark.pedantic(lambda read, lists: read(lists), setup=known, rounds=5)
    assert found == reader()(second)


@pytest.mark.parametrize("what", ["rebuild", "messages"])
def test_state(benchmark: BenchmarkFixture, what: str) -> None:
    """All compiled anew where nothing has changed; and the messages of that state, which `Table` would compare."""
    cache, build = Cache(), Build(Settings(clusters={"": Cluster(networks=("front",))}))
    services, tasks = swarm()
    networks = (Network("net1", 1, "front"),)
    cache.replace(Listing(networks=networks, services=tuple(services), tasks=tuple(tasks), nodes=()))
    build.update(cache, Touched(all=True))
    snapshot = build.snapshot("")
    assert len(snapshot.backends) == SERVICES
    if what == "rebuild":
        assert benchmark.pedantic(build.update, (cache, Touched(all=True)), rounds=3) == {}
    else:
        benchmark.pedantic(wire_messages, (snapshot,), rounds=3)


@pytest.mark.parametrize("what", ["nothing", "hundredth", "anew"])
def test_compare(benchmark: BenchmarkFixture, what: str) -> None:
    services, tasks = swarm()
    first = Listing(services=tuple(services), tasks=tuple(tasks))
    second = replace(first, tasks=tuple(changed(tasks))) if what == "hundredth" else first

    def held() -> tuple[tuple[Cache], dict[str, object]]:
        cache = Cache()
        if what != "anew":
            cache.replace(first)
        return (cache,), {}

    touched = benchmark.pedantic(lambda cache: cache.replace(second), setup=held, rounds=5)
    assert len(touched.services) == {"nothing": 0, "hundredth": CHANGED // REPLICAS, "anew": SERVICES}[what]
