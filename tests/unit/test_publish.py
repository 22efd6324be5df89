"""The publisher, against a Docker that is slow, away, or full."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from l7.deploy import publish, published
from l7.deploy.publish import Publisher
from l7.kit.backoff import Backoff
from l7.kit.bundle import unpack
from l7.kit.errors import Rejected, Unavailable
from l7.kit.metrics import Metrics
from l7.model import StoredSecret
from l7.publication import Publication
from tests.unit.test_attach import until
from tests.unit.test_published import revision

PAUSE = 0.05


@dataclass
class Docker:
    """Configs by name with their content. `shown`: what a watch says; it may lag behind."""

    configs: dict[str, StoredSecret] = field(default_factory=dict)
    data: dict[str, bytes] = field(default_factory=dict)
    shown: dict[str, StoredSecret] = field(default_factory=dict)
    faults: list[Exception] = field(default_factory=list)
    in_use: set[str] = field(default_factory=set)
    made: list[float] = field(default_factory=list)
    calls: int = 0

    async def create_config(self, name: str, data: bytes, labels: Mapping[str, str]) -> StoredSecret:
        self._called()
        if name in self.configs:
            raise Rejected("POST /configs", "name conflicts")
        assert len(data) < 1_024_000
        self.made.append(asyncio.get_running_loop().time())
        self.configs[name] = StoredSecret(f"id{self.calls}", self.calls, name, True, tuple(sorted(labels.items())))
        self.data[name] = data
        return self.configs[name]

    async def label_config(self, id_: str, labels: Mapping[str, str]) -> StoredSecret:
        self._called()
        before = self._of(id_)
        after = StoredSecret(id_, self.calls, before.name, True, tuple(sorted(labels.items())))
        self.configs[before.name] = after
        return after

    async def remove_config(self, id_: str) -> None:
        self._called()
        config = self._of(id_)
        if config.name in self.in_use:
            raise Rejected("DELETE /configs", "in use")
        del self.configs[config.name]

    def _of(self, id_: str) -> StoredSecret:
        return next(each for each in self.configs.values() if each.id == id_)

    def _called(self) -> None:
        self.calls += 1
        if self.faults:
            raise self.faults.pop(0)

    def files(self, *names: str) -> dict[str, bytes]:
        return dict(unpack(b"".join(self.data[name] for name in names)).files)


class World:
    """A publisher that sees what Docker has, when it is told."""

    def __init__(self, docker: Docker | None = None) -> None:
        self.docker = docker or Docker()
        self.publisher = Publisher(["", "east"], Metrics("core", "0"), PAUSE)

    def see(self) -> None:
        self.docker.shown = dict(self.docker.configs)
        self.publisher.take(self.docker.shown)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        stop = asyncio.Event()
        task = asyncio.create_task(self.publisher.run(self.docker, stop))
        try:
            yield
        finally:
            stop.set()
            await asyncio.wait_for(task, 5)


def one(number: int = 1, tasks: str = "1", cluster: str = "", size: int = 0) -> Publication:
    return Publication(cluster, f"s{number}", revision(number), {"f": tasks.encode() + bytes(size)})


async def test_what_is_published_is_stored_and_named() -> None:
    world = World()
    world.see()
    world.publisher.more = lambda publication: {"inputs.json": publication.state.encode()}
    async with world.running():
        names = await world.publisher.publish(one())
    assert set(names) == set(world.docker.configs)
    assert world.docker.files(*names) == {"f": b"1", "inputs.json": b"s1"}
    newest = world.publisher.newest("")
    assert newest is not None
    assert newest.revision == revision(1)
    assert world.publisher.newest("east") is None


async def test_before_swarms_configs_are_known_nothing_is_stored() -> None:
    world = World()
    async with world.running():
        waiting = asyncio.create_task(world.publisher.publish(one()))
        await asyncio.sleep(PAUSE)
        assert not world.docker.calls
        world.see()
        assert await waiting
    assert len(world.docker.configs) == 1


async def test_the_same_is_not_stored_again_by_this_core_or_the_next() -> None:
    world = World()
    world.see()
    async with world.running():
        first = await world.publisher.publish(one())
        for _ in range(20):
            assert await world.publisher.publish(one()) == first
    assert world.docker.calls == 1
    other = World(world.docker)
    other.see()
    async with other.running():
        assert await other.publisher.publish(one()) == first
    assert world.docker.calls == 1


async def test_in_a_burst_the_newest_counts_and_there_is_at_most_one_in_each_pause() -> None:
    world = World()
    world.see()
    loop = asyncio.get_running_loop()
    async with world.running():
        began = loop.time()
        publications = [asyncio.create_task(world.publisher.publish(one(number))) for number in range(100)]
        last = asyncio.create_task(world.publisher.publish(one(7, "last")))
        assert await last
        spent = loop.time() - began
    assert {outcome for task in publications if (outcome := await task) == ()} == {()}
    assert len(world.docker.made) <= spent / PAUSE + 2
    newest = world.publisher.newest("")
    assert newest is not None
    assert newest.content == one(7, "last").content


async def test_what_fails_is_tried_again_and_shown_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "_RETRY", Backoff(first=0.01, limit=0.02))
    world = World()
    world.see()
    world.docker.faults = [Unavailable("Docker: no leader"), Rejected("POST /configs", "odd")]
    told: list[str] = []
    world.publisher.on_problems = lambda: told.extend(each.message for each in world.publisher.problems())
    async with world.running():
        assert await world.publisher.publish(one())
        other = await world.publisher.publish(one(cluster="east"))
    assert other
    assert any("no leader" in each for each in told)
    assert world.publisher.problems() == ()


async def test_what_is_too_large_is_refused_and_what_was_before_stays() -> None:
    world = World()
    world.see()
    import random

    noise = random.Random(1).randbytes(published.MOST_PARTS * published.LONGEST_PART)
    async with world.running():
        await world.publisher.publish(one(1))
        large = Publication("", "s2", revision(2), {"f": noise})
        with pytest.raises(Rejected, match="8,191,992"):
            await world.publisher.publish(large)
        (problem,) = world.publisher.problems()
        assert "can be stored" in problem.message
        newest = world.publisher.newest("")
        assert newest is not None
        assert newest.revision == revision(1)
        await world.publisher.publish(one(3))
    assert world.publisher.problems() == ()


async def test_large_ones_are_split_and_come_together_again() -> None:
    import random

    world = World()
    world.see()
    noise = random.Random(1).randbytes(2_500_000)
    async with world.running():
        names = await world.publisher.publish(Publication("", "s", revision(1), {"f": noise}))
    assert len(names) == 3
    assert world.docker.files(*names) == {"f": noise}


async def test_a_part_that_cannot_be_made_leaves_no_half(monkeypatch: pytest.MonkeyPatch) -> None:
    import random

    monkeypatch.setattr(publish, "_RETRY", Backoff(first=0.01, limit=0.02))
    world = World()
    world.see()
    noise = random.Random(1).randbytes(1_500_000)

    class Half(Docker):
        async def create_config(self, name: str, data: bytes, labels: Mapping[str, str]) -> StoredSecret:
            if self.calls == 1:
                self.faults = [Unavailable("Docker: away")]
            return await super().create_config(name, data, labels)

    world.docker = Half()
    async with world.running():
        names = await world.publisher.publish(Publication("", "s", revision(1), {"f": noise}))
    assert set(names) == set(world.docker.configs)
    assert world.docker.files(*names) == {"f": noise}


async def test_what_we_did_counts_before_swarm_says_it() -> None:
    world = World()
    world.see()
    async with world.running():
        await world.publisher.publish(one(1, "1"))
        await world.publisher.publish(one(1, "2"))
        world.publisher.take({})  # as it was before
        assert await world.publisher.publish(one(1, "2"))
        assert len(world.docker.made) == 2
        world.see()
        assert [each.content for each in world.publisher.versions("")] == [one(1, "2").content]


async def test_what_is_in_use_stays_and_is_no_error() -> None:
    world = World()
    world.see()
    async with world.running():
        (used,) = await world.publisher.publish(one(1, "1"))
        world.docker.in_use = {used}
        await world.publisher.publish(one(1, "2"))
        await until(lambda: world.docker.calls == 3)
        assert used in world.docker.configs
    assert world.publisher.problems() == ()


async def test_what_services_keep_of_a_version_does_not_keep_the_next_one_away() -> None:
    import random

    world = World()
    world.see()
    noise = random.Random(1).randbytes(1_500_000)
    async with world.running():
        used, other = await world.publisher.publish(Publication("", "s", revision(1), {"f": noise}))
        world.docker.in_use = {used}
        await world.publisher.publish(one(1, "2"))
        await until(lambda: other not in world.docker.configs)
        for tasks in ("3", "4"):
            assert await asyncio.wait_for(world.publisher.publish(one(1, tasks)), 5)
    assert world.publisher.problems() == ()
