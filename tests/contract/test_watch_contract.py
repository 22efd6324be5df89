"""What every source of `Watch` owes: one suite for SwarmKit, Docker and the fakes that stand in for them."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from l7.model import TaskState
from l7.swarm.watch import Watch
from testbed.swarm import Swarm
from tests.contract.watch_labs import (
    CONTENT,
    SETTINGS,
    FakeLab,
    Lab,
    Observer,
    agrees,
    held_by,
    observed,
    real_lab,
    wire_lab,
)

# The SDK does not close a unix socket that it could not connect (docker.transport.unixconn).
pytestmark = pytest.mark.filterwarnings(
    r"ignore:Exception ignored in. <socket\.socket fd=\d+, family=1:pytest.PytestUnraisableExceptionWarning"
)
REAL = [pytest.param(name, marks=pytest.mark.swarm) for name in ("swarmkit", "docker")]


@pytest.fixture(params=["fake", "fake swarmkit", *REAL])
async def lab(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Lab]:
    if request.param == "fake":
        yield FakeLab()
        return
    if request.param == "fake swarmkit":
        async with wire_lab(tmp_path) as wired:
            yield wired
        return
    swarm: Swarm = request.getfixturevalue("swarm1")
    image: str = request.getfixturevalue("app_image")
    async with real_lab(swarm, image, request.param, tmp_path) as real:
        yield real
    gc.collect()  # what the mark above forgives must not come up in another module


def running(observer: Observer, service: str) -> int:
    tasks = observer.cache.tasks_of(service).values()
    return sum(task.state is TaskState.RUNNING and task.desired is TaskState.RUNNING for task in tasks)


def alive(observer: Observer, service: str) -> int:
    return sum(task.state <= TaskState.RUNNING for task in observer.cache.tasks_of(service).values())


async def test_the_first_change_is_the_complete_state(lab: Lab) -> None:
    service = await lab.create_service("web", {"a": "b"})
    async with Watch(SETTINGS, [lab.source], lab.stored) as watch:
        async for change in watch.changes():
            assert change.touched.all
            assert change.observed > 0
            assert service in watch.cache.services
            assert len(watch.cache.nodes) == 1
            break


async def test_a_service_from_creation_to_removal(lab: Lab) -> None:
    async with observed(lab.source, stored=lab.stored) as seen:
        network = await lab.create_network("front")
        service = await lab.create_service("web", {"b": "2", "a": "1"}, network, replicas=2)
        await seen.until(lambda: running(seen, service) == 2)
        held = seen.cache.services[service]
        assert held.name == "web"
        assert held.spec.labels == (("a", "1"), ("b", "2"))
        assert held.spec.container_labels == (("interlock.port", "8080"),)
        assert held.spec.networks == (network,)
        assert held.spec.replicas == 2
        assert held.previous is None
        assert service in seen.touched()
        for task in seen.cache.tasks_of(service).values():
            ((where, address),) = task.addresses
            assert where == network
            assert "/" not in address
            assert task.node in seen.cache.nodes
        await agrees(seen, lab.listing)
        await lab.remove_service(service)
        await seen.until(lambda: service not in seen.cache.services and not alive(seen, service))
        await agrees(seen, lab.listing)


async def test_scaling_up_and_down(lab: Lab) -> None:
    async with observed(lab.source, stored=lab.stored) as seen:
        service = await lab.create_service("web", {})
        await seen.until(lambda: running(seen, service) == 1)
        await lab.scale(service, 3)
        await seen.until(lambda: running(seen, service) == 3)
        assert seen.cache.services[service].spec.replicas == 3
        await lab.scale(service, 0)
        await seen.until(lambda: running(seen, service) == 0)
        assert seen.cache.services[service].spec.replicas == 0
        await seen.until(lambda: not alive(seen, service))
        await agrees(seen, lab.listing)


async def test_labels_change_without_a_task_and_the_specification_before_is_kept(lab: Lab) -> None:
    async with observed(lab.source, stored=lab.stored) as seen:
        service = await lab.create_service("web", {"a": "old"})
        await seen.until(lambda: running(seen, service) == 1)
        tasks = set(seen.cache.tasks_of(service))
        await lab.label(service, {"a": "new"})
        await seen.until(lambda: seen.cache.services[service].spec.labels == (("a", "new"),))
        previous = seen.cache.services[service].previous
        assert previous is not None
        assert previous.labels == (("a", "old"),)
        assert set(seen.cache.tasks_of(service)) == tasks
        await agrees(seen, lab.listing)


async def test_a_network_from_creation_to_removal(lab: Lab) -> None:
    async with observed(lab.source, stored=lab.stored) as seen:
        network = await lab.create_network("back")
        await seen.until(lambda: network in seen.cache.networks)
        assert seen.cache.networks[network].name == "back"
        await lab.remove_network("back")
        await seen.until(lambda: network not in seen.cache.networks)
        await agrees(seen, lab.listing)


@pytest.mark.parametrize("config", [False, True])
async def test_a_secret_and_a_config_from_creation_to_removal(lab: Lab, config: bool) -> None:
    async with observed(lab.source, stored=lab.stored) as seen:
        held = seen.cache.configs if config else seen.cache.secrets
        stored = await lab.create_secret("cert", config)
        await seen.until(lambda: "cert" in held)
        assert (held["cert"].id, held["cert"].config, held["cert"].labels) == (stored, config, ())
        await seen.until(lambda: any("cert" in change.touched.secrets for change in seen.changes))
        await lab.label_secret(stored, config, "a", "1")
        await seen.until(lambda: held["cert"].labels == (("a", "1"),))
        await agrees(seen, lab.listing)
        await lab.remove_secret(stored, config)
        await seen.until(lambda: "cert" not in held)
        await agrees(seen, lab.listing)
        assert CONTENT.decode() not in repr([held_by(seen.cache), seen.changes, seen.watch.status])


async def test_the_first_change_knows_secrets(lab: Lab) -> None:
    await lab.create_secret("cert")
    async with Watch(SETTINGS, [lab.source], lab.stored) as watch:
        async for change in watch.changes():
            assert change.touched.all
            assert "cert" in watch.cache.secrets
            assert watch.status.secrets_listed
            break


async def test_draining_a_node_moves_its_tasks(lab: Lab) -> None:
    async with observed(lab.source, stored=lab.stored) as seen:
        service = await lab.create_service("web", {}, replicas=2)
        await seen.until(lambda: running(seen, service) == 2)
        before = set(seen.cache.tasks_of(service))
        try:
            await lab.drain()
            await seen.until(lambda: running(seen, service) == 0)
        finally:
            await lab.activate()
        await seen.until(lambda: running(seen, service) == 2)
        assert not before & {
            task.id for task in seen.cache.tasks_of(service).values() if task.desired is TaskState.RUNNING
        }
        await agrees(seen, lab.listing)


async def test_a_host_mode_port_is_known_once(lab: Lab) -> None:
    async with observed(lab.source, stored=lab.stored) as seen:
        service = await lab.create_service("web", {}, host_port=18431)
        await seen.until(lambda: running(seen, service) == 1)
        (task,) = seen.cache.tasks_of(service).values()
        (port,) = task.ports
        assert (port.target, port.published, port.protocol, port.mode) == (8080, 18431, "tcp", "host")


async def test_a_cut_stream_is_taken_up_again_and_nothing_is_missed(lab: Lab) -> None:
    async with observed(lab.source, stored=lab.stored) as seen:
        service = await lab.create_service("web", {"a": "1"})
        old = await lab.create_secret("cert")
        await seen.until(lambda: running(seen, service) == 1 and "cert" in seen.cache.secrets)
        await lab.stop()
        await seen.until(lambda: not seen.watch.status.connected)
        await lab.remove_secret(old)
        new = await lab.create_secret("cert")
        gone = await lab.create_service("gone", {})
        await lab.label(service, {"a": "2"})
        await lab.remove_service(gone)
        await lab.start()
        await seen.until(lambda: seen.cache.services[service].spec.labels == (("a", "2"),))
        await seen.until(lambda: seen.cache.secrets["cert"].id == new)
        assert seen.watch.status.connects == 2
        await agrees(seen, lab.listing)
        await lab.cut()
        await lab.scale(service, 2)
        await seen.until(lambda: running(seen, service) == 2)
        await agrees(seen, lab.listing)


async def test_without_an_answer_the_last_good_state_stays(lab: Lab) -> None:
    async with observed(lab.source, stored=lab.stored) as seen:
        service = await lab.create_service("web", {})
        await seen.until(lambda: running(seen, service) == 1)
        await agrees(seen, lab.listing)
        held = held_by(seen.cache)
        changes = len(seen.changes)
        await lab.stop()
        await seen.until(lambda: not seen.watch.status.connected and seen.watch.status.last_error)
        assert held_by(seen.cache) == held
        assert not [change for change in seen.changes[changes:] if change.touched.all]  # late news may still come
        await lab.start()
        await seen.until(lambda: seen.watch.status.connected)


async def test_nothing_is_told_before_the_first_answer(lab: Lab) -> None:
    await lab.stop()
    async with observed(lab.source, stored=lab.stored, synced=False) as seen:
        await seen.until(lambda: seen.watch.status.last_error)
        assert not seen.changes
        await lab.start()
        await seen.until(lambda: seen.changes)
        assert seen.changes[0].touched.all


async def test_an_audit_of_a_true_cache_heals_nothing(lab: Lab) -> None:
    settings = replace(SETTINGS, audit_interval=0.05, grace=0.05)
    async with observed(lab.source, stored=lab.stored, settings=settings) as seen:
        service = await lab.create_service("web", {}, replicas=2)
        await seen.until(lambda: running(seen, service) == 2)
        await lab.scale(service, 0)
        await seen.until(lambda: not alive(seen, service))
        audits = seen.watch.status.audits
        await seen.until(lambda: seen.watch.status.audits > audits + 1)
        assert held_by(seen.cache)[service].spec.replicas == 0


@pytest.mark.swarm
async def test_both_sources_say_the_same(swarm1: Swarm, app_image: str, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    async with (
        real_lab(swarm1, app_image, "swarmkit", tmp_path) as swarmkit,
        real_lab(swarm1, app_image, "docker", tmp_path / "other") as docker,
    ):
        async with (
            observed(swarmkit.source, stored=swarmkit.stored) as pushed,
            observed(docker.source, stored=docker.stored) as polled,
        ):
            node = next(iter(pushed.cache.nodes))
            await asyncio.to_thread(swarm1.cli, 0, "node", "update", "--label-add=zone=east", node)
            network = await swarmkit.create_network("front")
            service = await swarmkit.create_service("web", {"a": "1"}, network, replicas=2, host_port=0)
            ported = await swarmkit.create_service("ported", {}, network, host_port=18432)
            await swarmkit.label(service, {"a": "2", "b": ""})
            await swarmkit.create_secret("cert")
            await swarmkit.create_secret("ca", config=True)
            await pushed.until(lambda: running(pushed, service) == 2 and running(pushed, ported) == 1)
            await agrees(pushed, swarmkit.listing)
            await agrees(polled, docker.listing)
            assert _comparable(pushed) == _comparable(polled)
            assert pushed.cache.services[service].vips
            held = pushed.cache.nodes[node]
            assert (held.manager, held.availability, held.labels) == (True, "active", (("zone", "east"),))
            assert (held.os, held.arch) == ("linux", os.uname().machine)
            assert any(change.touched.nodes for change in pushed.changes)
            assert pushed.cache.networks[network].subnets
            assert (pushed.cache.networks[network].driver, pushed.cache.networks[network].attachable) == (
                "overlay",
                True,
            )


def _comparable(seen: Observer) -> dict[str, object]:
    """Docker's list of networks has no versions."""
    networks = {id_: replace(network, version=0) for id_, network in seen.cache.networks.items()}
    return {**held_by(seen.cache), **networks}


@pytest.mark.swarm
async def test_the_attachment_of_a_plain_container_is_no_task(
    swarm1: Swarm, app_image: str, tmp_path: Path
) -> None:
    async with (
        real_lab(swarm1, app_image, "swarmkit", tmp_path) as lab,
        observed(lab.source, stored=lab.stored) as seen,
    ):
        network = await lab.create_network("front")
        await seen.until(lambda: network in seen.cache.networks)
        before = seen.cache.version
        container = await asyncio.to_thread(
            swarm1.cli, 0, "run", "--detach", "--rm", "--network", "front", app_image
        )
        try:
            service = await lab.create_service("after", {})
            await seen.until(lambda: running(seen, service) == 1)
            assert seen.cache.version > before
            assert {task.service for task in seen.cache.tasks.values()} == {service}
        finally:
            await asyncio.to_thread(swarm1.cli, 0, "rm", "--force", container.strip())


@pytest.mark.swarm
async def test_a_resume_point_that_swarmkit_does_not_know_leads_to_a_listing(
    swarm1: Swarm, app_image: str, tmp_path: Path
) -> None:
    async with real_lab(swarm1, app_image, "swarmkit", tmp_path) as lab:
        updates = lab.source.updates(resume=1 << 40)
        first = await anext(updates)
        await updates.aclose()
        assert first == await lab.source.list()


@pytest.mark.swarm
async def test_auto_follows_the_control_socket_as_it_comes_and_goes(
    swarm1: Swarm, app_image: str, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    async with (
        real_lab(swarm1, app_image, "swarmkit", tmp_path) as swarmkit,
        real_lab(swarm1, app_image, "docker", tmp_path / "other") as docker,
    ):
        async with observed(swarmkit.source, docker.source, stored=docker.stored) as seen:
            assert seen.watch.status.source == "swarmkit"
            service = await docker.create_service("web", {"a": "1"})
            await swarmkit.stop()
            await seen.until(lambda: seen.watch.status.source == "docker")
            await docker.label(service, {"a": "2"})
            await seen.until(lambda: seen.cache.services[service].spec.labels == (("a", "2"),))
            await swarmkit.start()
            await seen.until(lambda: seen.watch.status.source == "swarmkit")
            await docker.scale(service, 2)
            await seen.until(lambda: running(seen, service) == 2)
            await agrees(seen, swarmkit.listing)
