"""The fleet's loop against a Docker that refuses, rolls back, and is changed by others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from l7.config import Cluster, Settings
from l7.deploy import fleet as fleet_module
from l7.deploy import rollbacks
from l7.deploy.file_mode import Files
from l7.deploy.fleet import Fleet, Options
from l7.deploy.stored import BASE, KIND
from l7.fleet import ProxyOptions
from l7.kit.backoff import Backoff
from l7.kit.errors import Rejected, Unavailable
from l7.kit.metrics import Metrics
from l7.model import Node, NodeState, StoredSecret
from l7.swarm.cache import Cache, Kind, Remove, Touched, Upsert
from l7.swarm.engine import Outdated
from tests.fakes.docker import FakeDocker

CORE = {
    "Name": "l7-core",
    "TaskTemplate": {"ContainerSpec": {"Image": "l7:1@sha256:abc"}, "Networks": [{"Target": "ctl"}]},
}
NODE = Node("n1", 1, "node1", NodeState.READY, "10.0.0.1", manager=True, os="linux")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "BATCH", 0.0)
    monkeypatch.setattr(fleet_module, "WAIT", 0.01)
    monkeypatch.setattr(fleet_module, "RETRY", Backoff(first=0.01, limit=0.02))


class Scene:
    """A fleet, its cache and a Docker with core in it."""

    def __init__(self, settings: Settings, docker: FakeDocker | None = None, **options: Any) -> None:
        self.docker = docker or FakeDocker(container_labels={"com.docker.swarm.service.name": "l7-core"})
        self.docker.services["core"] = {"ID": "core", "Version": {"Index": 1}, "Spec": dict(CORE)}
        self.cache = Cache()
        self.cache.apply(Upsert(NODE))
        for base in ("l7-ca", "l7-proxy", "l7-extension"):
            labels = tuple(sorted({KIND[0]: KIND[1], BASE: base}.items()))
            self.cache.apply(Upsert(StoredSecret(f"id-{base}", 1, base, labels=labels)))
        self.joined: frozenset[str] = frozenset()
        self.metrics = Metrics("core", "0")
        self.fleet = Fleet(settings, Options(**options), self.metrics, lambda cluster: self.joined)

    def changed(self) -> None:
        self.fleet.take(self.cache, Touched(all=True))

    def spec(self, name: str) -> dict[str, Any]:
        return next(each["Spec"] for each in self.docker.services.values() if each["Spec"]["Name"] == name)

    def looks(self) -> float:
        return self.metrics.registry.get_sample_value("l7_audits_total", {"of": "services"}) or 0.0

    def names(self) -> set[str]:
        return {each["Spec"]["Name"] for each in self.docker.services.values()}


@asynccontextmanager
async def running(
    settings: Settings | None = None, docker: FakeDocker | None = None, **options: Any
) -> AsyncIterator[Scene]:
    scene, stop = Scene(settings or Settings(), docker, **options), asyncio.Event()
    task = asyncio.create_task(scene.fleet.run(scene.docker, stop))
    try:
        yield scene
    finally:
        stop.set()
        await task


async def until(probe: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not probe():  # noqa: ASYNC110 - of another task
            await asyncio.sleep(0.005)


async def settled(scene: Scene) -> None:
    """Several rounds in which nothing was changed."""
    for _ in range(3):
        before = len(scene.docker.calls)
        scene.changed()
        await asyncio.sleep(0.05)
        if len(scene.docker.calls) == before:
            return
    raise AssertionError(scene.docker.calls)


async def test_network_then_extension_service_then_proxies_and_then_silence() -> None:
    async with running() as scene:
        assert not scene.docker.calls  # nothing is known of Swarm yet
        scene.changed()
        await until(lambda: scene.names() == {"l7-core", "l7-extension", "l7-proxy"})
        await settled(scene)
        assert scene.docker.calls == ["POST /networks/create", "POST /services/create", "POST /services/create"]
        container = scene.spec("l7-proxy")["TaskTemplate"]["ContainerSpec"]
        assert container["Image"] == "l7:1"
        assert "L7_HAPROXY_CORE=tasks.l7-core:8080" in container["Env"]
        assert scene.fleet.problems() == ()
        assert [each["name"] for each in scene.fleet.document()] == ["l7-extension", "l7-proxy"]


async def test_it_looks_where_nothing_seems_to_have_changed_and_counts_that() -> None:
    async with running(audit=0.01) as scene:
        scene.changed()
        await until(lambda: "l7-proxy" in scene.names())
        await settled(scene)
        calls, looks = list(scene.docker.calls), scene.looks()
        await until(lambda: scene.looks() > looks + 1)
        assert scene.docker.calls == calls


@pytest.mark.acceptance(15)
async def test_a_thousand_looks_change_nothing() -> None:
    async with running() as scene:
        scene.changed()
        await until(lambda: "l7-proxy" in scene.names())
        await settled(scene)
        calls = list(scene.docker.calls)
        looks = []
        ask = scene.docker.ask

        async def counting(method: str, path: str, *more: Any, **named: Any) -> Any:
            looks.append(path)
            return await ask(method, path, *more, **named)

        scene.docker.ask = counting  # type: ignore[method-assign]
        while looks.count("/swarm") < 1000:
            scene.changed()
            await asyncio.sleep(0)
        assert scene.docker.calls == calls


async def test_what_is_refused_is_a_problem_and_tried_again() -> None:
    async with running() as scene:
        refusal = Rejected("POST /services/create", "port '80' is already in use by service 'web'")
        scene.docker.faults["POST /services/create"] = [refusal, refusal]
        scene.changed()
        await until(scene.fleet.problems)
        (first, *_) = scene.fleet.problems()
        assert "port '80' is already in use" in first.message
        await until(lambda: scene.names() == {"l7-core", "l7-extension", "l7-proxy"} and not scene.fleet.problems())


async def test_a_docker_that_is_away_costs_nothing_but_time() -> None:
    async with running() as scene:
        scene.docker.faults["GET /swarm"] = [Unavailable("Docker: no leader")] * 3
        scene.changed()
        await until(lambda: "l7-proxy" in scene.names())


async def test_an_update_that_swarm_rolls_back_is_told_and_not_repeated() -> None:
    bad = Cluster(proxy_options=ProxyOptions(args=("--bad",)))
    async with running() as good:
        good.changed()
        await until(lambda: "l7-proxy" in good.names())
        await settled(good)
    async with running(Settings(clusters={"": bad}), good.docker) as scene:

        def roll_back(raw: dict[str, Any]) -> None:
            if raw["Spec"]["Name"] == "l7-proxy":
                raw["Spec"] = raw["PreviousSpec"]
                raw["UpdateStatus"] = {"State": "rollback_completed", "Message": "update rolled back"}

        scene.docker.on_update = roll_back
        scene.docker.calls.clear()
        scene.changed()
        await until(scene.fleet.problems)
        await settled(scene)
        assert "Swarm took an update back: update rolled back" in scene.fleet.problems()[0].message
        assert len(scene.docker.calls) == 1


async def run_from_files(scene: Scene) -> list[Files]:
    """Proxies are, of which the last one in the list is published."""
    files = [Files((_file("old"),))]
    scene.fleet.files = lambda cluster: files[-1]
    scene.changed()
    await until(lambda: "l7-proxy" in scene.names())
    await settled(scene)
    return files


async def test_what_proxies_run_from_and_would_go_back_to_is_held() -> None:
    async with running(Settings(clusters={"": Cluster(hitless=False)})) as scene:
        files = await run_from_files(scene)
        files.append(Files((_file("new"),)))
        scene.fleet.look()
        await until(lambda: scene.fleet.held("") == {"old", "new"})
        assert scene.fleet.held("other") == frozenset()


async def test_a_roll_of_files_that_swarm_took_back_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollbacks, "AGAIN", Backoff(first=0.05, limit=0.05))
    async with running(Settings(clusters={"": Cluster(hitless=False)})) as scene:
        files = await run_from_files(scene)
        failures = [{"State": "rollback_completed", "Message": "no suitable node"}] * 2

        def roll_back(raw: dict[str, Any]) -> None:
            if failures and raw["Spec"]["Name"] == "l7-proxy":
                raw["Spec"], raw["UpdateStatus"] = raw["PreviousSpec"], failures.pop()

        scene.docker.on_update = roll_back
        files.append(Files((_file("new"),)))
        scene.changed()
        await until(scene.fleet.problems)
        assert "no suitable node" in scene.fleet.problems()[0].message
        assert "tried again" in scene.fleet.problems()[0].remedy
        await until(lambda: scene.spec("l7-proxy")["TaskTemplate"]["ContainerSpec"]["Configs"] == [_file("new")])
        await until(lambda: not scene.fleet.problems())
        assert not failures


def _file(config: str) -> dict[str, Any]:
    return {"File": {"Name": "/etc/proxy.conf"}, "ConfigID": config, "ConfigName": config}


async def test_somebody_who_was_faster_is_no_problem() -> None:
    async with running() as scene:
        scene.changed()
        await until(lambda: "l7-proxy" in scene.names())
        await settled(scene)
        told: list[int] = []
        scene.fleet.on_problems = lambda: told.append(1)
        raw = next(each for each in scene.docker.services.values() if each["Spec"]["Name"] == "l7-proxy")
        ask, raced = scene.docker.ask, []

        async def racing(method: str, path: str, *more: Any, **named: Any) -> Any:
            if path.endswith("/update") and not raced:
                raced.append(path)
                raw["Version"]["Index"] += 1
            return await ask(method, path, *more, **named)

        scene.docker.ask = racing  # type: ignore[method-assign]
        scene.joined = frozenset({"app-net"})
        scene.changed()
        await until(lambda: {"Target": "app-net"} in scene.spec("l7-proxy")["TaskTemplate"]["Networks"])
        assert raced
        assert not told


async def test_what_swarm_never_took_was_not_rolled_back() -> None:
    async with running() as scene:
        scene.changed()
        await until(lambda: "l7-proxy" in scene.names())
        await settled(scene)
        raw = next(each for each in scene.docker.services.values() if each["Spec"]["Name"] == "l7-proxy")
        raw["UpdateStatus"] = {"State": "rollback_completed", "Message": "update rolled back"}  # somebody else's
        scene.docker.on_update = lambda raw: raw.pop("UpdateStatus", None)
        scene.docker.faults[f"POST /services/{raw['ID']}/update"] = [
            Outdated("out of sequence"),
            Unavailable("away"),
        ]
        scene.joined = frozenset({"app-net"})
        scene.changed()
        await until(lambda: {"Target": "app-net"} in scene.spec("l7-proxy")["TaskTemplate"]["Networks"])


async def test_configs_that_come_and_go_are_no_news() -> None:
    async with running() as scene:
        scene.changed()
        await until(lambda: "l7-proxy" in scene.names())
        await settled(scene)
        looks: list[str] = []
        ask = scene.docker.ask

        async def counting(method: str, path: str, *more: Any, **named: Any) -> Any:
            looks.append(path)
            return await ask(method, path, *more, **named)

        scene.docker.ask = counting  # type: ignore[method-assign]
        config = StoredSecret("c1", 1, "com.docker.interlock.proxy.abc", config=True)
        scene.fleet.take(scene.cache, scene.cache.apply(Upsert(config)))
        await asyncio.sleep(0.05)
        assert not looks
        scene.fleet.take(scene.cache, scene.cache.apply(Remove(Kind.SECRET, "id-l7-proxy")))
        await until(lambda: looks)


async def test_networks_that_come_while_proxies_are_rolled_wait_for_the_next_roll() -> None:
    async with running() as scene:
        scene.changed()
        await until(lambda: "l7-proxy" in scene.names())
        raw = next(each for each in scene.docker.services.values() if each["Spec"]["Name"] == "l7-proxy")
        raw["UpdateStatus"] = {"State": "updating"}
        scene.joined = frozenset({"one", "two"})
        scene.changed()
        await settled(scene)
        before = scene.docker.calls.count(f"POST /services/{raw['ID']}/update")
        assert before == 0
        raw["UpdateStatus"] = {"State": "completed"}
        await until(lambda: {"Target": "two"} in scene.spec("l7-proxy")["TaskTemplate"]["Networks"])
        assert scene.docker.calls.count(f"POST /services/{raw['ID']}/update") == 1


async def test_a_core_whose_successor_starts_changes_nothing_any_more() -> None:
    async with running() as scene:
        scene.changed()
        await until(lambda: "l7-proxy" in scene.names())
        await settled(scene)
        newer = {**CORE["TaskTemplate"], "ContainerSpec": {"Image": "l7:2"}}  # type: ignore[dict-item]
        placed = {**CORE["TaskTemplate"], "Placement": {"Constraints": ["node.labels.x==y"]}}  # type: ignore[dict-item]
        scene.docker.services["core"]["Spec"] = {**CORE, "TaskTemplate": placed}  # its task stays where it is
        scene.joined = frozenset({"first-net"})
        scene.changed()
        await until(lambda: {"Target": "first-net"} in scene.spec("l7-proxy")["TaskTemplate"]["Networks"])
        scene.docker.services["core"]["Spec"] = {**CORE, "TaskTemplate": newer}
        calls = len(scene.docker.calls)
        scene.joined = frozenset({"app-net"})
        await settled(scene)
        assert len(scene.docker.calls) == calls
        scene.docker.services["core"]["Spec"] = dict(CORE)  # and is taken back
        await until(lambda: {"Target": "app-net"} in scene.spec("l7-proxy")["TaskTemplate"]["Networks"])


async def test_a_core_outside_of_swarm_keeps_nothing() -> None:
    async with running() as scene:
        scene.docker.container_labels = {}
        await settled(scene)
        assert scene.names() == {"l7-core"}
        assert scene.fleet.problems() == ()


async def test_a_fleet_that_is_switched_off_does_nothing() -> None:
    async with running(enabled=False) as scene:
        await settled(scene)
        assert scene.names() == {"l7-core"}


async def test_one_cluster_that_cannot_be_made_holds_up_no_other() -> None:
    clusters = {"": Cluster(), "east": Cluster("east", "east", networks=("nowhere",))}
    async with running(Settings(clusters=clusters)) as scene:
        scene.changed()
        await until(lambda: "l7-proxy" in scene.names())
        assert {each.cluster for each in scene.fleet.problems()} == {"east"}


async def test_identities_need_the_key_of_the_ca() -> None:
    async with running(Settings(clusters={"east": Cluster("east", "east")})) as scene:
        scene.changed()
        await until(scene.fleet.problems)
        assert "l7 pki init --cluster east" in scene.fleet.problems()[0].message


async def test_proxies_move_to_the_first_worker() -> None:
    async with running() as scene:
        scene.changed()
        await until(lambda: "l7-proxy" in scene.names())
        placement = scene.spec("l7-proxy")["TaskTemplate"]["Placement"]
        assert "node.role==manager" in placement["Constraints"]
        worker = replace(NODE, id="n2", hostname="node2", manager=False)
        scene.fleet.take(scene.cache, scene.cache.apply(Upsert(worker)))
        await until(
            lambda: "node.role==worker" in scene.spec("l7-proxy")["TaskTemplate"]["Placement"]["Constraints"]
        )


async def test_a_clusters_network_is_beside_the_addresses_of_nodes() -> None:
    node = {"ID": "n1", "Spec": {"Role": "manager"}, "Status": {"Addr": "10.77.3.4"}}
    async with running(docker=FakeDocker({}, nodes=[node], subnet_size=24)) as scene:
        scene.docker.container_labels = {"com.docker.swarm.service.name": "l7-core"}
        scene.changed()
        await until(lambda: scene.docker.networks)
        (network,) = scene.docker.networks.values()
        assert network["IPAM"] == {"Config": [{"Subnet": "10.78.0.0/16"}]}


async def test_why_tasks_do_not_run_is_told() -> None:
    async with running() as scene:
        scene.docker.tasks = [
            {"CreatedAt": "2026-01-02", "Status": {"State": "pending", "Err": "no suitable node"}},
            {"CreatedAt": "2026-01-01", "Status": {"State": "failed", "Err": "starting container failed"}},
        ]
        scene.changed()
        await until(lambda: len(scene.fleet.problems()) == 2)
        proxies = scene.fleet.problems()[1]
        assert proxies.message == "0 of 2 tasks run; Swarm says: no suitable node"
        assert proxies.remedy == "docker service ps --no-trunc l7-proxy"
