"""Core is away, and the proxies' tasks are replaced: new ones serve what there was, whatever else is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from l7.deploy import mounted
from testbed import processes
from testbed.swarm import Swarm
from testbed.system import CORE, EXTENSION, PROXY
from tests.conftest import HAPROXY_SERIES
from tests.e2e.installation import Installation
from tests.e2e.published import Published
from tests.e2e.test_acceptance_published import relabel

pytestmark = pytest.mark.swarm


@pytest.fixture
def system() -> Iterator[Installation]:
    """One of its own: its proxy is killed."""
    with Swarm.up() as swarm:
        yield Installation.started(swarm, HAPROXY_SERIES[-1:])


def killed(system: Installation, name: str) -> None:
    """All of its tasks end at once; waits for those that take their place."""
    before = system.task_ids(name)
    for pid in system._pids(name):
        os.kill(pid, signal.SIGKILL)
    system.until(f"{name} to be replaced", lambda: not system.task_ids(name) & before)
    system.running(name, 1)


def references(system: Installation, name: str) -> set[str]:
    client: Any = system.swarm.docker(system.manager)
    return set(mounted.referred(client.inspect_service(name)["Spec"]))


def known_by_extension(system: Installation) -> str:
    """The revision that the extension service's only task has, "" while it does not answer."""
    (pid,) = system._pids(EXTENSION)
    return str(orjson.loads(processes.get_tcp(pid, 9102, "/status"))["revision"])


def newest(published: Published) -> set[str]:
    return {part.id for part in published.versions()[0].parts}


def test_a_proxy_that_starts_without_core_serves_all_routes(system: Installation) -> None:
    published = Published(system)
    for name in ("one", "two"):
        system.create(name, f"{name}.test")
        system.published(name, f"{name}.test")
    system.until("the routes to be published", lambda: {"one.test", "two.test"} <= published.routes())
    # The extension service gets its reference a minute later; a secret is what replaces its task before.
    client: Any = system.swarm.docker(system.manager)
    client.create_secret("users", b"a:b")
    relabel(client, "two", {"com.docker.lb.basic_auth": "users"})
    system.answered("two.test", status=401)
    system.until("the extension service to refer to it", lambda: references(system, EXTENSION))
    system.until("its new task alone to run", lambda: len(system.task_ids(EXTENSION)) == 1)
    system.until("it to know what core knows", lambda: known_by_extension(system) == system.cluster()["revision"])

    system.scale(CORE, 0)
    system.until("core to be gone", lambda: not system.tasks(CORE))
    killed(system, PROXY)
    system.answered("one.test", timeout=60)
    system.answered("two.test", status=401, timeout=30)  # with the password, which the extension service has
    headers = {"authorization": "Basic YTpi"}
    assert {each.status for each in system.ask("two.test", headers=headers)} == {200}

    # And when the extension service, too, has only what was mounted in its task.
    killed(system, EXTENSION)
    killed(system, PROXY)
    system.answered("one.test", timeout=60)
    assert processes.get_tcp(system.proxy_pid(0), 9101, "/readyz")

    system.scale(CORE, 1)
    system.running(CORE, 1)
    system.converged(timeout=90)
    system.create("three", "three.test")
    system.published("three", "three.test")
    assert len(system.answered("one.test")) == 1
