"""Watch over sources that fail, lie and come and go on demand."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest

from l7.kit.errors import ConfigError, Rejected, Unavailable
from l7.model import StoredSecret, TaskState
from l7.swarm.cache import Listing
from l7.swarm.source import Update
from l7.swarm.swarmkit import SwarmkitSource
from l7.swarm.watch import Watch
from tests.contract.watch_labs import SETTINGS, agrees, observed
from tests.fakes.swarm import FakeSource, FakeSwarm


@pytest.fixture
def swarm() -> FakeSwarm:
    return FakeSwarm(nodes=2)


async def test_a_cut_stream_resumes_without_a_listing(swarm: FakeSwarm) -> None:
    source = swarm.source()
    service = swarm.create_service("web").id
    async with observed(source) as seen:
        version = swarm.version
        source.cut()
        swarm.scale(service, 2)
        await seen.until(lambda: len(seen.cache.tasks_of(service)) == 2)
        assert source.resumed == [0, version]
        assert (seen.watch.status.connects, seen.watch.status.relists) == (2, 1)


async def test_a_compacted_log_leads_to_a_listing(swarm: FakeSwarm) -> None:
    source = swarm.source()
    service = swarm.create_service("web").id
    async with observed(source) as seen:
        source.stop()
        await seen.until(lambda: not seen.watch.status.connected)
        swarm.remove_service(service)
        other = swarm.create_service("other").id
        swarm.compact()
        source.up = True
        await seen.until(lambda: other in seen.cache.services)
        assert service not in seen.cache.services
        assert seen.watch.status.relists == 2
        assert seen.changes[-1].touched.services == {service, other}


async def test_an_audit_heals_what_the_stream_lost_and_counts_it(swarm: FakeSwarm) -> None:
    source = swarm.source()
    service = swarm.create_service("web", replicas=2).id
    async with observed(source, settings=replace(SETTINGS, audit_interval=0.02, grace=0.01)) as seen:
        lost = next(iter(swarm.tasks.values()))
        swarm.put(replace(lost, state=TaskState.FAILED), lost=True)
        await seen.until(lambda: seen.watch.status.healed)
        assert seen.cache.tasks[lost.id].state is TaskState.FAILED
        assert seen.watch.status.healed == 1
        await seen.until(lambda: service in seen.touched())


async def test_a_failed_audit_changes_nothing(swarm: FakeSwarm, monkeypatch: pytest.MonkeyPatch) -> None:
    source = swarm.source()
    swarm.create_service("web")

    async def fail() -> Listing:
        raise Unavailable("no leader")

    monkeypatch.setattr(source, "list", fail)
    async with observed(source, settings=replace(SETTINGS, audit_interval=0.01)) as seen:
        await seen.until(lambda: "no leader" in seen.watch.status.last_error)
        assert len(seen.cache.services) == 1
        assert seen.watch.status.connected


async def test_auto_prefers_the_first_source_and_changes_over_both_ways(swarm: FakeSwarm) -> None:
    swarmkit, docker = swarm.source("swarmkit"), swarm.source("docker")
    swarmkit.present = False
    async with observed(swarmkit, docker) as seen:
        assert seen.watch.status.source == "docker"
        swarmkit.present = True
        await seen.until(lambda: seen.watch.status.source == "swarmkit")
        swarmkit.present = False
        swarmkit.stop()
        service = swarm.create_service("meanwhile").id
        await seen.until(lambda: seen.watch.status.source == "docker")
        assert service in seen.cache.services
        assert docker.resumed == [0, 0]
        assert sum(change.touched.all for change in seen.changes) == 1


async def test_a_preferred_source_that_is_there_but_fails_leaves_the_other_at_work(swarm: FakeSwarm) -> None:
    swarmkit, docker = swarm.source("swarmkit"), swarm.source("docker")
    swarmkit.up = False
    async with observed(swarmkit, docker) as seen:
        assert seen.watch.status.source == "docker"
        assert "swarmkit" in seen.watch.status.last_error
        swarmkit.up = True
        await seen.until(lambda: seen.watch.status.source == "swarmkit")


async def test_what_follows_the_first_change_closely_is_told_together(swarm: FakeSwarm) -> None:
    source = swarm.source()
    async with Watch(replace(SETTINGS, coalesce=0.2), [source]) as watch:
        changes = watch.changes()
        assert (await anext(changes)).touched.all
        waiting = asyncio.ensure_future(anext(changes))
        ids = {swarm.create_service(f"s{number}").id for number in range(20)}
        assert (await waiting).touched.services == ids
        await changes.aclose()


async def test_a_bug_in_a_source_ends_the_changes_with_its_error(swarm: FakeSwarm) -> None:
    class Buggy(FakeSource):
        def available(self) -> bool:
            raise ZeroDivisionError

    async with Watch(SETTINGS, [Buggy(swarm), swarm.source("docker")]) as watch:
        with pytest.raises(ZeroDivisionError):
            await anext(watch.changes())


async def test_polls_are_counted_and_nothing_else_is(swarm: FakeSwarm) -> None:
    class Polling(FakeSource):
        async def updates(self, resume: int) -> AsyncGenerator[Update, None]:
            nonlocal polls
            async for update in super().updates(resume):
                yield update
                polls += 1
                yield Listing(nodes=tuple(swarm.nodes.values()))
                yield Listing(tasks=tuple(swarm.tasks.values()))

    polls = 0
    async with observed(Polling(swarm)) as seen:
        service = swarm.create_service("web").id
        await seen.until(lambda: service in seen.cache.services and seen.watch.status.polls == polls > 1)
        assert seen.watch.status.relists == 1


class Misconfigured(FakeSource):
    """While it is not `up`, it is the settings' fault."""

    def _check(self) -> None:
        if not self.up:
            raise ConfigError("TLSCACert", "is not there")


async def test_wrong_settings_end_the_changes_before_they_begin(swarm: FakeSwarm) -> None:
    async with Watch(SETTINGS, [Misconfigured(swarm, up=False)]) as watch:
        with pytest.raises(ConfigError):
            await anext(watch.changes())


async def test_settings_that_go_wrong_later_are_one_more_failure(swarm: FakeSwarm) -> None:
    source = Misconfigured(swarm)
    async with observed(source) as seen:
        source.stop()
        await seen.until(lambda: "TLSCACert" in seen.watch.status.last_error)
        source.up = True
        await seen.until(lambda: seen.watch.status.connected)


def test_a_control_socket_may_be_a_directory_that_comes_later(tmp_path: Path) -> None:
    async def root() -> bytes:
        return b""

    directory = tmp_path / "swarm"
    source = SwarmkitSource(directory, root)
    assert not source.available()
    directory.mkdir()
    with socket.socket(socket.AF_UNIX) as control:
        control.bind(str(directory / "control.sock"))
        assert source.available()
        assert SwarmkitSource(directory / "control.sock", root).available()


async def test_a_hundred_thousand_tasks(swarm: FakeSwarm) -> None:
    swarm.populate(services=1000, replicas=100)
    source = swarm.source()
    async with observed(source) as seen:
        assert len(seen.cache.tasks) == 100_000
        service = next(iter(swarm.services))
        swarm.scale(service, 101)
        await seen.until(lambda: len(seen.changes) > 1)
        assert seen.changes[1].touched.services == {service}
        assert len(seen.cache.tasks_of(service)) == 101


async def test_agreement_with_a_listing_is_what_the_contract_means(swarm: FakeSwarm) -> None:
    source = swarm.source()
    async with observed(source) as seen:
        swarm.create_service("web", networks=[swarm.create_network("front").id], replicas=3)
        await agrees(seen, swarm.everything)


async def test_without_secrets_the_rest_goes_on_and_they_stay_as_they_were(swarm: FakeSwarm) -> None:
    source, stored = swarm.source(), swarm.stored_source()
    swarm.create_secret("cert")
    async with observed(source, stored=stored) as seen:
        stored.stop()
        await seen.until(lambda: seen.watch.status.secrets_error)
        service = swarm.create_service("web").id
        late = swarm.create_secret("late")
        await seen.until(lambda: service in seen.cache.services)
        assert seen.watch.status.connected
        assert set(seen.cache.secrets) == {"cert"}
        stored.up = True
        await seen.until(lambda: seen.cache.secrets.get("late") == late)
        assert not seen.watch.status.secrets_error
        await seen.until(lambda: any("late" in change.touched.secrets for change in seen.changes))


async def test_the_first_change_waits_for_the_secrets(swarm: FakeSwarm) -> None:
    source, stored = swarm.source(), swarm.stored_source()
    swarm.create_secret("cert")
    stored.up = False
    async with observed(source, stored=stored, synced=False) as seen:
        await seen.until(lambda: seen.watch.status.secrets_error and source.resumed)
        assert not seen.changes
        stored.up = True
        await seen.until(lambda: seen.changes)
        assert seen.changes[0].touched.all
        assert "cert" in seen.cache.secrets


async def test_a_docker_that_will_not_tell_its_secrets_does_not_hold_up_the_rest(swarm: FakeSwarm) -> None:
    class Forbidden(FakeSource):
        def _check(self) -> None:
            raise Rejected("GET /secrets", "forbidden")

    async with observed(swarm.source(), stored=Forbidden(swarm, "secrets")) as seen:
        assert "forbidden" in seen.watch.status.secrets_error
        assert not seen.watch.status.secrets_listed


async def test_an_audit_heals_secrets_too(swarm: FakeSwarm) -> None:
    settings = replace(SETTINGS, audit_interval=0.02, grace=0.01)
    async with observed(swarm.source(), stored=swarm.stored_source(), settings=settings) as seen:
        lost = StoredSecret("x1", 0, "cert")
        swarm.put(lost, lost=True)
        await seen.until(lambda: "cert" in seen.cache.secrets)
        assert seen.watch.status.healed == 1
