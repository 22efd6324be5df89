"""What is published of the configuration: how much, how often, and how large."""

from __future__ import annotations

import secrets
import time
from typing import Any

import pytest

from l7.deploy.published import KEPT, newest
from testbed import processes
from tests.e2e.installation import Installation, nothing_failed
from tests.e2e.published import Published

pytestmark = pytest.mark.swarm
CHANGES = 200
SECONDS = 10.0


def relabel(client: Any, service: str, labels: dict[str, str]) -> None:
    """One `docker service update --label-add`, without what the command line takes."""
    raw = client.inspect_service(service)
    spec = raw["Spec"] | {"Labels": raw["Spec"]["Labels"] | labels}
    url = f"{client.base_url}/v{client.api_version}/services/{raw['ID']}/update"
    client.post(url, params={"version": raw["Version"]["Index"]}, json=spec).raise_for_status()


@pytest.mark.acceptance(95)
def test_200_changes_in_10_s_make_few_objects(l7: Installation) -> None:
    published, client = Published(l7), l7.swarm.docker(l7.manager)
    names = [f"many{number}" for number in range(5)]
    for name in names:
        l7.create(name, f"{name}.test")
    for name in names:
        l7.published(name, f"{name}.test")
    l7.until("the hosts to be published", lambda: {f"{name}.test" for name in names} <= published.routes())
    memory, before, began = processes.usage([l7.core_process()]).memory, published.stored(), time.monotonic()
    with l7.load("many0.test", rate=20.0) as reports:
        for number in range(CHANGES):
            hosts = f"{names[number % 5]}.test n{number}.test"
            relabel(client, names[number % 5], {"com.docker.lb.hosts": hosts})
            time.sleep(max(0.0, began + (number + 1) * SECONDS / CHANGES - time.monotonic()))
        last = {f"n{number}.test" for number in range(CHANGES - 5, CHANGES)}
        l7.until("the last change to be published", lambda: last <= published.routes())
        seconds = time.monotonic() - began
    nothing_failed(reports)
    assert published.stored() - before <= seconds, "at most one new object a second"
    assert len(published.versions()) <= KEPT
    assert processes.usage([l7.core_process()]).memory - memory < 20.0
    quiet = published.stored()
    time.sleep(3)
    assert published.stored() == quiet, "no change in, no object out"
    l7.remove(*names)
    l7.until("the hosts to be gone", lambda: not last & published.routes())


def odd_host() -> str:
    """Long, and nothing in it that could be compressed. A label of 650 such is as long as an argument may be."""
    return ".".join(secrets.token_hex(30) for _ in range(3)) + ".test"


@pytest.mark.acceptance(96)
def test_routes_until_the_file_passes_1_MB(l7: Installation) -> None:
    """So many, and with names so odd, that the archive takes more than one object."""
    published = Published(l7)
    names = [f"big{number}" for number in range(10)]
    hosts = {name: [odd_host() for _ in range(650)] for name in names}
    for name in names:
        l7.create(name, "x.test", 1, labels={"hosts": " ".join(hosts[name])})
    for name in names:
        l7.running(name, 1)
        l7.answered(hosts[name][-1], timeout=60)
    every = {host for name in names for host in hosts[name]}
    l7.until("all hosts to be published", lambda: every <= published.routes())
    assert len(published.bundle().files["routes.map"]) > 1_000_000
    found = newest(published.versions())
    assert found is not None
    assert len(found.parts) > 1
    l7.remove(*names)
    l7.until("the hosts to be gone", lambda: published.routes().isdisjoint(hosts["big0"]))
