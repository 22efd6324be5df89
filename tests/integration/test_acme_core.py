"""Core's own state and a real ACME server: from a label to a Docker secret, with proxies that acknowledge late."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from l7.acme.client import Client
from l7.acme.desk import Desk
from l7.acme.issue import Pace
from l7.acme.keeper import Keeper
from l7.build import Build
from l7.config import AcmeSettings, Cluster, Settings
from l7.issued import Issued, issued
from l7.model import Network, Node, NodeState, Service, ServiceSpec, Task, TaskState
from l7.status import Extension, Extensions
from l7.store import Store
from l7.swarm.cache import Cache, Kind, Remove, Touched, Upsert
from testbed.pebble import Pebble
from tests.fakes.acme import Secrets
from tests.integration.live_pebble import Answers, account_key, answering, pebble

LIFE = 6
"""Seconds: so that renewals come within the test."""


@pytest.fixture(scope="module")
def answers() -> Iterator[Answers]:
    with answering() as answers:
        yield answers


@pytest.fixture(scope="module")
def server(answers: Answers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with pebble(tmp_path_factory.mktemp("pebble"), answers.port, LIFE) as server:
        yield server


class Rig:
    """Core without Swarm and without streams: two proxies that acknowledge when the test wants them to."""

    def __init__(self, server: Pebble, answers: Answers, key: str) -> None:
        settings = AcmeSettings(server.url, "ops@example.org", str(server.ca_file))
        self.answers = answers
        self.build = Build(Settings(clusters={"": Cluster("", networks=("front",))}, acme=settings))
        self.store = Store(self.build.snapshot)
        self.extensions = Extensions()
        self.secrets = Secrets()
        self.cache = Cache()
        desk = Desk(self.build, self.store, self.extensions, lambda: None)
        self.keeper = Keeper(desk, Client(settings, key), Pace(settle=0.0))
        self.extensions.on_change = self.keeper.heard
        self.free = asyncio.Event()
        self.free.set()

    def take(self, *objects: Network | Node | Service | Task) -> None:
        touched = Touched()
        for each in objects:
            touched |= self.cache.apply(Upsert(each))
        self.update(touched)

    def update(self, touched: Touched) -> None:
        for cluster, delta in self.build.update(self.cache, touched, 1).items():
            self.store.put(cluster, delta)
        self.keeper.look()

    def label(self, host: str, version: int, **labels: str) -> None:
        given = {"hosts": host, "port": "8000", **labels}
        pairs = tuple(sorted((f"com.docker.lb.{key}", value) for key, value in given.items()))
        self.take(Service("s1", version, "web", 1, ServiceSpec(labels=pairs, networks=("n1",))))

    async def proxy(self, late: bool = False) -> None:
        """A proxy that applies each state as it comes, and answers by it; a late one once `free` is set."""
        with self.store.reader("") as wake, self.extensions.connected(Extension("", "p", "l7", "")) as number:
            while True:
                await wake.wait()
                wake.clear()
                if late:
                    await self.free.wait()
                snapshot = self.build.snapshot("")
                if late:
                    self.answers.known = dict(snapshot.challenges)
                self.extensions.update(number, applied=snapshot.revision)

    def certificates(self) -> list[Issued]:
        found = (issued(each) for each in self.secrets.stored.values())
        return [each for each in found if each is not None]


@pytest.fixture
async def rig(server: Pebble, answers: Answers, tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(server, answers, account_key(tmp_path / "account.pem"))
    rig.take(
        Network("n1", 1, "front"),
        Node("node", 1, "h", NodeState.READY),
        Task("t1", 1, "s1", "node", 1, TaskState.RUNNING, TaskState.RUNNING, 1, (("n1", "10.0.0.9"),)),
    )
    rig.store.put("")
    stop = asyncio.Event()
    proxies = [asyncio.create_task(rig.proxy(late)) for late in (False, True)]
    keeper = asyncio.create_task(rig.keeper.run(rig.secrets, stop))
    yield rig
    stop.set()
    for each in proxies:
        each.cancel()
    await asyncio.gather(*proxies, return_exceptions=True)
    await keeper


async def until(what: object, timeout: float = 30) -> None:
    assert callable(what)
    async with asyncio.timeout(timeout):
        while True:
            if what():
                return
            await asyncio.sleep(0.01)


async def test_from_a_label_to_a_secret_that_is_renewed(rig: Rig) -> None:
    rig.label("a.test", 1, acme="true")
    await until(rig.certificates)
    (first,) = rig.certificates()
    assert first.host == "a.test"
    assert first.not_after > time.time()
    assert rig.secrets.data[first.name].count(b"PRIVATE KEY") == 2
    await until(lambda: first not in rig.certificates() and rig.certificates())
    assert rig.certificates()[0].not_after > first.not_after
    assert rig.build.snapshot("").challenges == {}
    assert not [each for each in rig.keeper.problems() if each.service == "web"]


async def test_the_server_looks_only_when_the_last_proxy_has_the_challenge(rig: Rig) -> None:
    asked = len(rig.answers.asked)
    rig.free.clear()
    rig.label("late.test", 1, acme="true")
    await until(lambda: rig.build.snapshot("").challenges)
    await asyncio.sleep(0.3)
    assert len(rig.answers.asked) == asked
    rig.free.set()
    await until(rig.certificates)
    assert rig.answers.asked[-1][0] == "late.test"


async def test_a_change_of_state_meanwhile_changes_nothing_about_who_has_the_challenge(rig: Rig) -> None:
    rig.free.clear()
    rig.label("busy.test", 1, acme="true")
    await until(lambda: rig.build.snapshot("").challenges)
    for version in range(2, 6):
        rig.label("busy.test", version, acme="true", weight=str(version))
    rig.free.set()
    await until(rig.certificates)


async def test_a_name_that_leads_nowhere_is_told_with_the_servers_words(rig: Rig) -> None:
    rig.label("nowhere.invalid", 1, acme="true")
    await until(rig.keeper.problems)
    (problem,) = rig.keeper.problems()
    assert (problem.service, problem.value, problem.fatal) == ("web", "nowhere.invalid", False)
    assert "could not resolve" in problem.message
    assert rig.build.snapshot("").challenges == {}
    rig.label("nowhere.invalid", 2)
    await until(lambda: not rig.keeper.problems())


async def test_a_service_that_goes_leaves_nothing_to_get(rig: Rig) -> None:
    rig.free.clear()
    rig.label("gone.test", 1, acme="true")
    await until(lambda: rig.build.snapshot("").challenges)
    rig.update(rig.cache.apply(Remove(Kind.SERVICE, "s1")))
    rig.free.set()
    await until(lambda: not rig.build.snapshot("").challenges)
    assert rig.build.acme_services("") == {}
