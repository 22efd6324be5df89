"""Which clusters are pinned, as Swarm says it and as it is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from l7.deploy import pins
from l7.deploy.pins import Pins
from l7.deploy.published import parts_of, versions
from l7.inputs import Inputs, Written, to_json
from l7.kit.backoff import Backoff
from l7.kit.bundle import INPUTS, Bundle, pack
from l7.kit.errors import Rejected, Unavailable
from l7.model import Service, ServiceSpec, StoredSecret
from l7.pinning import Pin
from l7.publication import Publication
from l7.swarm.cache import Cache, Kind, Remove, Touched, Upsert
from tests.unit.test_attach import until
from tests.unit.test_published import revision

WEB = Inputs(services={"web": Written((("com.docker.lb.hosts", "web.test"),))})


class World:
    """Extension services with labels, what is stored, and what the pins are known to be."""

    def __init__(self) -> None:
        self.cache = Cache()
        self.configs: dict[str, StoredSecret] = {}
        self.data: dict[str, bytes] = {}
        self.faults: list[Exception] = []
        self.told: list[dict[str, Pin]] = []
        self.pins = Pins(["", "east"], lambda cluster: versions(self.configs.values(), cluster))
        self.pins.on_pins = lambda found: self.told.append(dict(found))

    async def config_data(self, id_: str) -> bytes:
        if self.faults:
            raise self.faults.pop(0)
        return self.data[id_]

    def store(self, number: int, cluster: str = "", files: Mapping[str, bytes] | None = None, of: str = "") -> None:
        files = {INPUTS: to_json(WEB)} if files is None else files
        publication = Publication(cluster, "s", revision(number), files)
        archive = pack(Bundle(of or cluster, revision(number), "s", files))
        for part in parts_of(publication, archive, "2026"):
            stored = StoredSecret(f"c{len(self.configs)}", 1, part.name, True, tuple(sorted(part.labels.items())))
            self.configs[part.name], self.data[stored.id] = stored, part.data
            self.pins.take(self.cache, Touched(secrets=frozenset({part.name})))

    def label(self, pin: str, cluster: str = "", version: int = 1) -> None:
        labels = [("com.docker.l7.cluster", cluster), ("type", "com.docker.interlock.core.extension")]
        labels += [(pins.LABEL, pin)] if pin else []
        service = Service(f"x{cluster}", version, "extension", 1, ServiceSpec(labels=tuple(sorted(labels))))
        self.pins.take(self.cache, self.cache.apply(Upsert(service)))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        stop = asyncio.Event()
        task = asyncio.create_task(self.pins.run(self, stop))
        try:
            yield
        finally:
            stop.set()
            await asyncio.wait_for(task, 5)

    async def settled(self) -> dict[str, Pin]:
        async with asyncio.timeout(5):
            await self.pins.settled.wait()
        return self.told[-1] if self.told else {}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins, "_RETRY", Backoff(first=0.01, limit=0.02))


async def test_nothing_is_pinned_and_nobody_waits() -> None:
    world = World()
    world.label("")
    async with world.running():
        assert await world.settled() == {}
    assert world.told == []


@pytest.mark.parametrize("length", [12, 32])
async def test_the_label_names_what_is_stored(length: int) -> None:
    world = World()
    world.store(7)
    world.label(revision(7)[:length] if length == 32 else revision(7))
    assert not world.pins.settled.is_set(), "until it is read nothing is served"
    async with world.running():
        assert await world.settled() == {"": Pin(revision(7), WEB)}
        assert world.pins.problems() == ()
        world.label("", version=2)
        assert await world.settled() == {}


@pytest.mark.parametrize(
    ("pin", "store", "why"),
    [
        (revision(8), {}, "no such revision"),
        ("x", {}, "no such revision"),
        (revision(7), {"files": {"f": b"1"}}, "does not say"),
        (revision(7), {"of": "west"}, "does not say"),
        (revision(7), {"files": {INPUTS: b"{}"}}, "can't be read"),
    ],
)
async def test_what_cannot_be_pinned_to_pins_nothing_and_is_told(pin: str, store: dict[str, Any], why: str) -> None:
    world = World()
    world.store(7, **store)
    world.label(pin)
    async with world.running():
        assert await world.settled() == {}
        (problem,) = world.pins.problems()
    assert why in problem.message
    assert (problem.cluster, problem.fatal) == ("", False)


async def test_what_is_stored_later_counts_then() -> None:
    world = World()
    world.label(revision(7), "east")
    async with world.running():
        assert await world.settled() == {}
        world.store(7, "east")
        await until(lambda: world.told)
        assert world.told[-1]["east"].inputs == WEB
        assert world.pins.problems() == ()


async def test_while_docker_does_not_answer_nothing_is_settled() -> None:
    world = World()
    world.store(7)
    world.faults = [Unavailable("Docker: no leader")] * 5
    world.label(revision(7))
    async with world.running():
        assert await world.settled() == {"": Pin(revision(7), WEB)}
    assert len(world.told) == 1


async def test_what_was_removed_just_now_is_told() -> None:
    world = World()
    world.store(7)
    world.faults = [Rejected("GET /configs", "not found")]
    world.label(revision(7))
    async with world.running():
        assert await world.settled() == {}
        assert "not found" in world.pins.problems()[0].message


async def test_each_cluster_has_its_own_and_goes_with_its_service() -> None:
    world = World()
    for number, cluster in ((7, ""), (8, "east")):
        world.store(number, cluster)
        world.label(revision(number), cluster)
    async with world.running():
        assert set(await world.settled()) == {"", "east"}
        assert (world.pins.revision("east"), world.pins.revision("west")) == (revision(8), "")
        world.pins.take(world.cache, world.cache.apply(Remove(Kind.SERVICE, "xeast")))
        assert set(await world.settled()) == {""}
