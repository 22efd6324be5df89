"""The same on both sources of Swarm's state, and the change from one to the other while running."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from testbed.system import CORE
from tests.e2e.conftest import WITNESS, Create
from tests.e2e.installation import Installation, nothing_failed
from tests.fakes.relay import Relay

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]


def follows(l7: Installation, source: str) -> None:
    """Waits until core follows Swarm by this source, and all proxies have what it knows."""

    def does() -> bool:
        found = l7.status()["source"]
        return (found["source"], found["connected"]) == (source, True)

    l7.until(f"core to follow {source}", does)
    l7.converged()


def restart_core(l7: Installation, *options: str) -> None:
    """Waits for the task that takes the place of the old one."""
    before = l7.task_ids(CORE)
    l7.update(CORE, "--force", *options)
    l7.until("another core", lambda: not l7.task_ids(CORE) & before)
    l7.running(CORE, 1)
    l7.ended(CORE, before)
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
    restart_core(l7, "--env-add=L7_WATCH_SOURCE=docker")
    yield
    restart_core(l7, "--env-add=L7_WATCH_SOURCE=auto")


def test_swarmkits_watch_is_chosen_by_itself(l7: Installation, create: Create) -> None:
    follows(l7, "swarmkit")
    live_through(l7, create, "watched")


@pytest.mark.acceptance(21)
@pytest.mark.acceptance(23)
@pytest.mark.usefixtures("told_docker")
def test_polling_docker_does_the_same(l7: Installation, create: Create) -> None:
    follows(l7, "docker")
    live_through(l7, create, "polled")


class Loop:
    """An event loop in a thread of its own, for a relay beside tests that block."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def __enter__(self) -> Loop:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@contextmanager
def relayed(l7: Installation) -> Iterator[tuple[Loop, Relay]]:
    """SwarmKit's control socket, behind a relay that can take it away from a core that is connected."""
    socket = l7.swarm.node(0).control_socket
    real = socket.with_name("real.sock")
    socket.rename(real)
    relay = Relay(socket, real)
    try:
        with Loop() as loop:
            loop.run(relay.up())
            try:
                yield loop, relay
            finally:
                loop.run(relay.down())
    finally:
        real.rename(socket)


def test_the_source_changes_over_while_running(l7: Installation, create: Create) -> None:
    with l7.load(WITNESS) as reports:
        with relayed(l7) as (loop, relay):
            restart_core(l7)
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
