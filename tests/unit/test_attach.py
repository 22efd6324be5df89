"""The attacher, against services that change, vanish and refuse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from structlog.testing import capture_logs

from l7.deploy import attach, mounted
from l7.deploy.attach import Attacher, next_pause
from l7.deploy.attachment import Json, attached
from l7.deploy.published import Version
from l7.kit.backoff import Backoff
from l7.kit.errors import Rejected, Unavailable
from l7.kit.metrics import Metrics
from l7.model import Secret, Service, ServiceSpec, StoredSecret
from l7.swarm.cache import Cache, Kind, Remove, Touched, Upsert
from l7.swarm.engine import Outdated

CERT, KEY, CA = Secret("x1", "shop.cert"), Secret("x2", "shop.key"), Secret("x3", "ca", config=True)
PAUSE = 0.02


def extension(name: str = "extension", cluster: str = "", version: int = 1) -> Service:
    labels = (("com.docker.l7.cluster", cluster), ("type", "com.docker.interlock.core.extension"))
    return Service(f"id-{name}", version, name, 1, ServiceSpec(labels=labels))


@dataclass
class Docker:
    """Services by id as (version, specification). `faults` are raised first, one by one, by updates."""

    services: dict[str, tuple[int, Json]] = field(default_factory=dict)
    stored: set[str] = field(default_factory=lambda: {"x1", "x2", "x3"})
    faults: list[Exception] = field(default_factory=list)
    away: bool = False
    broken: frozenset[str] = frozenset()
    reads: int = 0
    updates: list[frozenset[Secret]] = field(default_factory=list)
    in_flight: int = 0
    before_update: Callable[[], None] = lambda: None
    after_update: Callable[[], object] = lambda: None

    async def service_spec(self, id_: str) -> tuple[int, Json]:
        self.reads += 1
        if self.away or id_ in self.broken:
            raise Unavailable("Docker: away")
        if id_ not in self.services:
            raise Rejected("GET /services", "not found")
        return self.services[id_]

    async def update_service(self, id_: str, version: int, spec: Json) -> None:
        assert not self.in_flight
        self.in_flight += 1
        await asyncio.sleep(0)
        self.in_flight -= 1
        self.before_update()
        if self.faults:
            raise self.faults.pop(0)
        if version != self.services[id_][0]:
            raise Outdated("update out of sequence")
        if any(each.id not in self.stored for each in attached(spec)):
            raise Rejected("POST /services", "secret not found")
        self.services[id_] = version + 1, spec
        self.updates.append(attached(spec))
        self.after_update()

    async def secrets(self, ids: Iterable[str] | None = None) -> tuple[StoredSecret, ...]:
        return self._found(ids, config=False)

    async def configs(self, ids: Iterable[str] | None = None) -> tuple[StoredSecret, ...]:
        return self._found(ids, config=True)

    def has(self, name: str = "extension") -> frozenset[Secret]:
        return attached(self.services[f"id-{name}"][1])

    def _found(self, ids: Iterable[str] | None, config: bool) -> tuple[StoredSecret, ...]:
        return tuple(StoredSecret(each, 1, each, config) for each in ids or () if each in self.stored)


class World:
    """A cache, what each cluster needs, and Docker."""

    def __init__(self, *clusters: str) -> None:
        self.docker = Docker()
        self.cache = Cache()
        self.required: dict[str, frozenset[Secret]] = {}
        self.metrics = Metrics("core", "0")
        self.looks = 0
        self.attacher = Attacher(clusters or ("",), self.metrics, PAUSE)
        self.attacher.on_problems = self._look

    def _look(self) -> None:
        self.looks += 1

    def put(self, service: Service) -> None:
        self.docker.services.setdefault(service.id, (1, {"Name": service.name}))
        self._tell(self.cache.apply(Upsert(service)))

    def need(self, *secrets: Secret, cluster: str = "") -> None:
        self.required[cluster] = frozenset(secrets)
        self._tell(Touched(secrets=frozenset(each.name for each in secrets)))

    def remove(self, service: Service) -> None:
        self._tell(self.cache.apply(Remove(Kind.SERVICE, service.id)))

    def _tell(self, touched: Touched) -> None:
        self.attacher.take(self.cache, touched, lambda cluster: self.required.get(cluster, frozenset()))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        stop = asyncio.Event()
        task = asyncio.create_task(self.attacher.run(self.docker, stop))
        try:
            yield
        finally:
            stop.set()
            await task


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - anything may make it true
            await asyncio.sleep(0.001)


async def quiet(world: World) -> None:
    """Long enough for whatever would still come."""
    with suppress(TimeoutError):
        async with asyncio.timeout(PAUSE * 5):
            await asyncio.Event().wait()


async def test_what_swarm_takes_back_each_time_is_given_more_and_more_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attach, "_RETRY", Backoff(first=0.01, limit=30.0, factor=1000.0))
    world = World()
    world.put(extension())
    versions = iter(range(2, 1000))

    def roll_back() -> None:
        service = extension(version=next(versions))
        world.docker.services[service.id] = service.version, {"Name": service.name}
        world.put(service)

    world.docker.after_update = lambda: asyncio.get_running_loop().call_later(PAUSE, roll_back)
    async with world.running():
        world.need(CERT)
        await until(lambda: len(world.docker.updates) == 2)  # the second one may have been an operator's
        await until(world.attacher.problems)
        assert "was taken back" in world.attacher.problems()[0].message
        roll_back()  # whatever else changes about it
        await quiet(world)
        assert len(world.docker.updates) == 2


async def test_what_is_needed_is_attached_and_what_is_not_any_more_detached() -> None:
    world = World()
    world.put(extension())
    with capture_logs() as lines:
        async with world.running():
            world.need(CERT, KEY, CA)
            await until(lambda: world.docker.has() == {CERT, KEY, CA})
            world.need(CA)
            await until(lambda: world.docker.has() == {CA})
    text = world.metrics.exposition().decode()
    assert 'l7_attachments_total{action="attached",cluster=""} 3.0' in text
    assert 'l7_attachments_total{action="detached",cluster=""} 2.0' in text
    told = [(line["attached"], line["detached"]) for line in lines if line["event"] == "extension service updated"]
    assert told == [(3, 0), (0, 2)]
    assert not world.attacher.problems()


async def test_each_cluster_has_its_own() -> None:
    world = World("", "blue")
    world.put(extension())
    world.put(extension("blue", "blue"))
    world.put(extension("stranger", "unknown"))
    async with world.running():
        world.need(CERT)
        world.need(KEY, cluster="blue")
        await until(lambda: world.docker.has() == {CERT} and world.docker.has("blue") == {KEY})
        await quiet(world)
    assert world.docker.has("stranger") == frozenset()


async def test_a_burst_is_few_updates() -> None:
    world = World()
    world.put(extension())
    async with world.running():
        await until(lambda: world.docker.reads)
        many = [Secret(f"y{number}", f"y{number}") for number in range(100)]
        world.docker.stored |= {each.id for each in many}
        world.need(many[0])
        await until(lambda: world.docker.updates)
        for number in range(1, len(many)):
            world.need(*many[: number + 1])
            await asyncio.sleep(0)
        await until(lambda: world.docker.has() == frozenset(many))
    assert 2 <= len(world.docker.updates) < 10


async def test_where_nothing_is_to_change_nothing_is_called() -> None:
    world = World()
    world.put(extension())
    async with world.running():
        world.need(CERT)
        await until(lambda: world.docker.updates)
        reads = world.docker.reads
        for _ in range(200):
            world.need(CERT)
            await asyncio.sleep(0)
        await quiet(world)
        assert world.docker.reads == reads
        for version in range(2, 50):  # as Swarm reports on the update
            world.put(extension(version=version))
            await asyncio.sleep(0.001)
        await until(lambda: world.docker.reads > reads)
        await quiet(world)
    assert len(world.docker.updates) == 1


async def test_what_somebody_took_away_is_attached_again() -> None:
    world = World()
    world.put(extension())
    async with world.running():
        world.need(CERT)
        await until(lambda: world.docker.updates)
        world.docker.services["id-extension"] = 7, {"Name": "extension"}  # as `docker stack deploy` does
        world.put(extension(version=7))
        await until(lambda: world.docker.has() == {CERT})


async def test_an_update_that_someone_else_was_faster_than_is_done_again() -> None:
    world = World()
    world.put(extension())
    others = iter([True, True, True])

    def interfere() -> None:
        if next(others, False):
            version, spec = world.docker.services["id-extension"]
            world.docker.services["id-extension"] = version + 1, {**spec, "Labels": {"edits": str(version)}}

    world.docker.before_update = interfere
    async with world.running():
        world.need(CERT)
        await until(lambda: world.docker.has() == {CERT})
    assert world.docker.services["id-extension"][1]["Labels"] == {"edits": "3"}
    assert len(world.docker.updates) == 1


async def test_without_docker_it_is_tried_until_it_is_back_and_told() -> None:
    world = World()
    world.put(extension())
    world.docker.away = True
    async with world.running():
        world.need(CERT)
        await until(world.attacher.problems)
        (problem,) = world.attacher.problems()
        assert (problem.service, problem.fatal) == ("extension", False)
        assert "away" in problem.message
        world.docker.away = False
        await until(lambda: world.docker.has() == {CERT})
        await until(lambda: not world.attacher.problems())
    assert world.looks == 2


async def test_a_secret_that_was_just_removed_does_not_keep_the_others_from_being_attached() -> None:
    world = World()
    world.put(extension())
    world.docker.stored -= {KEY.id, CA.id}
    async with world.running():
        world.need(CERT, KEY, CA)
        await until(lambda: world.docker.has() == {CERT})
        await until(lambda: len(world.attacher.problems()) == 2)
        assert [problem.value for problem in world.attacher.problems()] == ["ca", "shop.key"]
        await quiet(world)
        assert len(world.docker.updates) == 1
        world.need(CERT)
        await until(lambda: not world.attacher.problems())
    assert len(world.docker.updates) == 1


async def test_a_refusal_for_another_reason_is_a_problem_and_tried_again() -> None:
    world = World()
    world.put(extension())
    world.docker.faults = [Rejected("POST /services", "no")] * 2
    async with world.running():
        world.need(CERT)
        await until(lambda: any("no" in each.message for each in world.attacher.problems()))
        await until(lambda: world.docker.has() == {CERT})
        await until(lambda: not world.attacher.problems())


async def test_a_cluster_that_needs_secrets_without_an_extension_service_is_a_problem() -> None:
    world = World("", "blue")
    world.need(CERT, cluster="blue")
    (problem,) = world.attacher.problems()
    assert (problem.cluster, problem.fatal) == ("blue", False)
    assert "TLS needs the extension service" in problem.message
    assert "core makes it" in problem.remedy
    world.put(extension("blue", "blue"))
    assert not world.attacher.problems()
    world.remove(extension("blue", "blue"))
    assert world.attacher.problems()
    world.need(cluster="blue")
    assert not world.attacher.problems()


async def test_as_long_as_swarms_secrets_are_not_known_nothing_is_detached() -> None:
    world = World()
    world.put(extension())
    async with world.running():
        world.need(CERT)
        await until(lambda: world.docker.has() == {CERT})
        world.attacher.take(world.cache, Touched(all=True), None)
        await quiet(world)
        assert world.docker.has() == {CERT}
        world.need(KEY)
        await until(lambda: world.docker.has() == {KEY})


async def test_a_cluster_whose_service_is_refused_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attach, "_RETRY", Backoff(first=3600.0, limit=3600.0))
    world = World("", "blue")
    world.put(extension())
    world.put(extension("blue", "blue"))
    world.docker.broken = frozenset({"id-blue"})
    async with world.running():
        world.need(KEY, cluster="blue")
        await until(world.attacher.problems)
        world.need(CERT)
        await until(lambda: world.docker.has() == {CERT})
        world.need(CERT, CA)
        await until(lambda: world.docker.has() == {CERT, CA})
        await quiet(world)
        reads = world.docker.reads
        await quiet(world)
        assert world.docker.reads == reads
        world.docker.broken = frozenset()
        world.need(KEY, CERT, cluster="blue")  # what was asked for is another thing now
        await until(lambda: world.docker.has("blue") == {KEY, CERT})
        await until(lambda: not world.attacher.problems())


async def test_a_failure_is_forgotten_with_what_was_to_be_attached() -> None:
    world = World()
    world.put(extension())
    async with world.running():
        world.need(CERT)
        await until(lambda: world.docker.has() == {CERT})
        world.docker.broken = frozenset({"id-extension"})
        world.need(CERT, KEY)
        await until(world.attacher.problems)
        world.docker.broken = frozenset()
        world.need(CERT)
        await until(lambda: not world.attacher.problems())
        reads = world.docker.reads
        await quiet(world)
        assert world.docker.reads == reads
    assert world.docker.has() == {CERT}


async def test_a_service_that_goes_while_it_is_refused_leaves_no_problem() -> None:
    world = World()
    world.put(extension())
    world.docker.away = True
    async with world.running():
        world.need(CERT)
        await until(world.attacher.problems)
        world.remove(extension())
        world.need()
        await quiet(world)
    assert not world.attacher.problems()


def test_pauses_grow_while_one_change_follows_another() -> None:
    pauses = [next_pause(0.0, False, 1.0)]
    for more in (True, True, True, True, False, True):
        pauses.append(next_pause(pauses[-1], more, 1.0))
    assert pauses == [0.125, 0.25, 0.5, 1.0, 1.0, 0.125, 0.25]


# ---------------------------------------------------------------- the published configuration


def version(content: str, revision: str = "r1") -> Version:
    config = StoredSecret(f"id-{content}", 1, f"com.docker.interlock.proxy.{content}", True)
    return Version("", revision, content, "2026", (config,), 1, True)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounted, "SETTLED", 0.1)
    monkeypatch.setattr(mounted, "PAUSE", 0.5)


def referred_by(world: World) -> frozenset[str]:
    return mounted.referred(world.docker.services["id-extension"][1])


async def test_with_a_secret_the_newest_published_configuration_comes_along() -> None:
    world = World()
    world.put(extension())
    async with world.running():
        world.attacher.publish("", version("a"))
        world.need(CERT)
        await until(lambda: world.docker.has() == {CERT})
        assert referred_by(world) == {"id-a"}
        world.attacher.publish("", version("b"))
        await quiet(world)
        assert referred_by(world) == {"id-a"}, "it does not advance for its own sake"
        world.need(CERT, KEY)
        await until(lambda: world.docker.has() == {CERT, KEY})
        assert referred_by(world) == {"id-b"}
    assert len(world.docker.updates) == 2


@pytest.mark.usefixtures("quick")
async def test_what_settles_is_referred_to_in_time_and_seldom() -> None:
    world = World()
    world.put(extension())
    loop, times = asyncio.get_running_loop(), list[float]()
    world.docker.before_update = lambda: times.append(loop.time())
    async with world.running():
        world.need()
        began = loop.time()
        for content in "abc":
            world.attacher.publish("", version(content, content))
            await asyncio.sleep(0.05)
        await until(lambda: referred_by(world) == {"id-c"})
        assert times[0] - began >= 0.2, "not before the last one has settled"
        world.attacher.publish("", version("d", "d"))
        await until(lambda: referred_by(world) == {"id-d"})
        assert times[1] - times[0] >= 0.5
        await quiet(world)
    assert len(world.docker.updates) == 2


@pytest.mark.usefixtures("quick")
async def test_other_tasks_are_no_other_revision() -> None:
    """A cluster in which tasks always come and go gets a reference all the same."""
    world = World()
    world.put(extension())
    async with world.running():
        world.need()
        for number in range(10):
            world.attacher.publish("", version(f"v{number}"))
            await asyncio.sleep(0.03)
        await until(lambda: referred_by(world))
    assert len(world.docker.updates) == 1


async def test_a_service_that_refers_to_it_already_is_left_alone() -> None:
    world = World()
    service = extension()
    references = {"TaskTemplate": {"ContainerSpec": {"Configs": list(mounted.references(version("a")))}}}
    world.docker.services[service.id] = 1, references
    world.put(service)
    async with world.running():
        world.need()
        world.attacher.publish("", version("a"))
        await quiet(world)
    assert not world.docker.updates
