"""The same on both sources of Swarm's state, the change from one to the other while running, and the loss of both:
acceptance item 36."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from testbed.system import CORE
from tests.e2e.conftest import WITNESS, Create
from tests.e2e.installation import Installation, nothing_failed
from tests.e2e.relays import Loop, behind_relay, relay_at
from tests.fakes.relay import Relay

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]


def follows(l7: Installation, source: str) -> None:
    """Waits until core follows Swarm by this source, and all proxies have what it knows."""

    def does() -> bool:
        found = l7.status()["source"]
        return (found["source"], found["connected"]) == (source, True)

    l7.until(f"core to follow {source}", does)
    l7.converged()


def live_through(l7: Installation, create: Create, name: str) -> None:
    """A service that is published, scaled, given bad labels and unpublished, under load while it is there."""
    host, other = f"{name}.local", f"other.{name}.local"
    create(name)
    l7.running(name, 1)
    first = l7.task_ids(name)
    l7.refused(host)
    l7.update(name, f"--label-add=com.docker.lb.hosts={host}", "--label-add=com.docker.lb.port=8080")
    l7.answered(host)
    with l7.load(host) as reports:
        l7.scale(name, 4)
        l7.running(name, 4)
        four = l7.task_ids(name)
        l7.reach(host, four)
        l7.update(name, f"--label-add=com.docker.lb.hosts={host},{other}")
        l7.answered(other)
        l7.scale(name, 1)
        l7.running(name, 1)
        one = l7.task_ids(name)
        l7.reach(host, one)
        l7.ended(name, four - one)
        l7.update(name, "--label-add=com.docker.lb.port=none")
        l7.problem(name, "port")
        l7.converged()
    assert nothing_failed(reports)
    assert first | one <= four, "tasks were started anew"
    l7.update(name, "--label-rm=com.docker.lb.hosts", "--label-rm=com.docker.lb.port")
    l7.refused(host)
    l7.refused(other)
    l7.solved(name)
    assert l7.task_ids(name) == one


@pytest.fixture
def told_docker(l7: Installation) -> Iterator[None]:
    """Core with WatchSource=docker."""
    l7.restart_core("--env-add=L7_WATCH_SOURCE=docker")
    yield
    l7.restart_core("--env-add=L7_WATCH_SOURCE=auto")


def test_swarmkits_watch_is_chosen_by_itself(l7: Installation, create: Create) -> None:
    follows(l7, "swarmkit")
    live_through(l7, create, "watched")


@pytest.mark.acceptance(21)
@pytest.mark.acceptance(23)
@pytest.mark.usefixtures("told_docker")
def test_polling_docker_does_the_same(l7: Installation, create: Create) -> None:
    follows(l7, "docker")
    live_through(l7, create, "polled")


def test_the_source_changes_over_while_running(l7: Installation, create: Create) -> None:
    with l7.load(WITNESS) as reports:
        with Loop() as loop, behind_relay(loop, l7.swarm.node(0).control_socket) as relay:
            l7.restart_core()
            core = l7.task_ids(CORE)
            follows(l7, "swarmkit")
            loop.run(relay.down())
            follows(l7, "docker")
            create("change1", "change1.local")
            l7.published("change1", "change1.local")
            loop.run(relay.up())
            follows(l7, "swarmkit")
            create("change2", "change2.local")
            l7.published("change2", "change2.local")
        follows(l7, "swarmkit")
        assert l7.task_ids(CORE) == core, "the core that there was"
    assert nothing_failed(reports)


@contextmanager
def behind_relays(l7: Installation) -> Iterator[tuple[Loop, list[Relay]]]:
    """Core reaches Swarm and Docker only by these."""
    node = l7.swarm.node(0)
    path = node.directory / "relayed.sock"
    target = "target=/var/run/docker.sock"
    with Loop() as loop, relay_at(loop, path, node.socket) as docker:
        with behind_relay(loop, node.control_socket) as swarmkit:
            l7.restart_core(f"--mount-add=type=bind,source={path},{target}")
            try:
                yield loop, [docker, swarmkit]
            finally:
                l7.restart_core(f"--mount-add=type=bind,source=/var/run/docker.sock,{target}")


@pytest.mark.acceptance(36)
@pytest.mark.parametrize("seconds", [15, pytest.param(60, marks=pytest.mark.soak)])
def test_what_happened_while_nothing_was_heard_of_swarm(l7: Installation, create: Create, seconds: int) -> None:
    """Services come, scale and go while core is connected and hears nothing, for longer than it waits for any
    answer: then all is caught up with, by the core that there was. What was routed is served throughout."""
    names = ("stays36", "goes36")
    for name in names:
        create(name, f"{name}.local")
    with behind_relays(l7) as (loop, relays), l7.load("stays36.local") as reports:
        for name in names:
            l7.published(name, f"{name}.local")
        core, revision = l7.task_ids(CORE), l7.core_revision()
        began = time.monotonic()
        for relay in relays:
            loop.run(relay.block())
        create("comes36", "comes36.local", 2)
        l7.scale("stays36", 3)
        l7.remove("goes36")
        for name, replicas in (("comes36", 2), ("stays36", 3)):
            l7.running(name, replicas)
        l7.until("the outage to last", lambda: time.monotonic() - began > seconds, timeout=2 * seconds)
        assert l7.core_revision() == revision, "nothing was heard"
        l7.refused("comes36.local")
        for relay in relays:
            loop.run(relay.unblock())
        for name in ("comes36", "stays36"):
            l7.reach(f"{name}.local", l7.task_ids(name), timeout=60)
        l7.refused("goes36.local", timeout=60)
        assert l7.task_ids(CORE) == core, "core was started again"
    assert nothing_failed(reports)
