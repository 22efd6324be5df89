"""Health, of Docker's kind, and updates: acceptance items 28 to 30, on a real Swarm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import orjson
import pytest

from testbed import app, processes
from testbed.system import LABEL
from tests.e2e.conftest import Create
from tests.e2e.installation import Installation

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]


@pytest.fixture
def docker_checked(l7: Installation) -> Iterator[str]:
    with checked_by_docker(l7) as name:
        yield name


@contextmanager
def checked_by_docker(l7: Installation) -> Iterator[str]:
    """A service whose container Docker checks; it starts sick. `docker service create` knows only checks that
    need a shell, which the image has not."""
    seconds = {"interval": "500ms", "timeout": "1s", "start_period": "60s"}
    labels = {**l7.labels, "hosts": "docker28.local", "port": str(app.PORT)}
    web = {
        "image": app.TAG,
        "networks": ["shared"],
        "environment": {"INSTANCE": "{{.Task.ID}}", "SICK": "1"},
        "healthcheck": {"test": ["CMD", "/app", "check"], "retries": 2, **seconds},
        "deploy": {
            "labels": {f"{LABEL}{key}": value for key, value in labels.items()},
            "restart_policy": {"delay": "0s"},
        },
    }
    networks = {"shared": {"external": True, "name": l7.network}}
    file = l7.swarm.directory / "checked.json"
    file.write_bytes(orjson.dumps({"version": "3.8", "services": {"web": web}, "networks": networks}))
    l7.cli("stack", "deploy", "--resolve-image=never", "-c", str(file), "checked")
    try:
        yield "checked_web"
    finally:
        l7.cli("stack", "rm", "checked")


def tell_all(l7: Installation, name: str, page: str) -> int:
    """Asks all containers of a service, also of tasks that do not run yet; how many."""
    containers = l7.containers(name)
    for pid in containers:
        processes.get_tcp(pid, app.PORT, page)
    return len(containers)


@pytest.mark.acceptance(28)
def test_a_task_that_docker_finds_sick_is_not_asked(l7: Installation, docker_checked: str) -> None:
    """Sick from its start: Swarm calls it running once it is healthy; requests wait for that. Sick again: Swarm
    replaces it by another, which is sick from its start. While a task is sick, it fails those to /healthz."""
    host = "docker28.local"
    l7.until("the container to listen", lambda: tell_all(l7, docker_checked, "/log"))
    (task,) = l7.tasks(docker_checked)
    assert task["Status"]["State"] == "starting"
    with l7.load(host, rate=10, path="/healthz") as reports:
        l7.held()
        tell_all(l7, docker_checked, "/well")
        assert {each.instance for each in l7.answered(host)} == {task["ID"]}
    assert l7.unharmed(reports)
    with l7.load(host, rate=10) as reports:
        tell_all(l7, docker_checked, "/sick")
        l7.until("another task", lambda: task["ID"] not in l7.task_ids(docker_checked))
        l7.ended(docker_checked, {task["ID"]})
        l7.until("the other container to listen", lambda: tell_all(l7, docker_checked, "/well"))
        assert {each.instance for each in l7.answered(host)} == l7.task_ids(docker_checked)
    assert l7.unharmed(reports)


@pytest.mark.acceptance(29)
@pytest.mark.acceptance(30)
def test_updates_fail_no_request(l7: Installation, create: Create) -> None:
    """Four replicas, two at a time, each stopped before its successor starts; and one with its successor first."""
    create("rolling29", "rolling29.local", 4, "--update-parallelism=2", "--update-order=stop-first")
    create("single30", "single30.local", 1, "--update-order=start-first")
    hosts = ("rolling29.local", "single30.local")
    for name, host, replicas in (("rolling29", hosts[0], 4), ("single30", hosts[1], 1)):
        l7.published(name, host, replicas)
    with l7.load(*hosts) as reports:
        for name in ("rolling29", "single30"):
            l7.update(name, "--env-add=VERSION=2")
        for name, host in zip(("rolling29", "single30"), hosts, strict=True):
            l7.updated(name, "2")
            l7.settled_on(host, l7.task_ids(name))
    assert l7.unharmed(reports)
