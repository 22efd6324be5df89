"""Services behind their virtual address: acceptance items 32 and 77 to 81, on a real Swarm.

What the proxies are configured with is Swarm's own address; where the kernel has no IP_VS, a stand-in carries the
connections from there to the tasks.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testbed import app
from tests.e2e.conftest import Create
from tests.e2e.installation import FRONT, Installation, nothing_failed
from tests.e2e.virtual import carried, virtual_address

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]

VIP = {"backend_mode": "vip"}


def configured(l7: Installation, service: str) -> list[str]:
    """What each proxy has for a service: names and addresses of its servers, and their generations."""
    found = []
    for proxy in range(len(l7.services)):
        lines = [line.split() for line in l7.haproxy("show servers state", proxy).splitlines()]
        servers = [line for line in lines if len(line) > 18 and line[3].partition(".")[0] == service]
        found.append(" ".join(f"{line[3]}@{line[4]}:{line[18]}" for line in servers))
    return found


def upstreams(l7: Installation, host: str, times: int = 1) -> set[str]:
    return {each.upstream for each in l7.ask(host, times=times)}


@pytest.fixture
def new_contents(l7: Installation) -> Iterator[list[str]]:
    """Options that give a service another image, one more config and one more secret."""
    file = l7.swarm.directory / "contents"
    file.write_text("new")
    l7.cli("tag", app.TAG, "l7-app:next")
    for kind in ("config", "secret"):
        l7.cli(kind, "create", "contents79", str(file))
    yield ["--image=l7-app:next", "--config-add=contents79", "--secret-add=contents79"]
    if "vip78" in l7.cli("service", "ls", "--format={{.Name}}").split():
        l7.remove("vip78")
    for kind in ("config", "secret"):
        l7.cli(kind, "rm", "contents79")


@pytest.mark.acceptance(77)
@pytest.mark.acceptance(78)
@pytest.mark.acceptance(79)
@pytest.mark.acceptance(80)
def test_a_virtual_address(l7: Installation, create: Create, new_contents: list[str]) -> None:
    """One server. Whatever happens to the tasks behind it, the proxies have nothing to do; WebSockets work."""
    host = "vip78.local"
    identity = create("vip78", host, 2, "--update-order=start-first", labels=VIP)
    l7.running("vip78", 2)
    address = virtual_address(l7.swarm.docker(0), "vip78")
    with carried(l7, "vip78"):
        l7.answered(host)
        assert upstreams(l7, host, 4) == {f"{address}:8080"}
        assert l7.addresses("vip78") == [address]
        l7.reach(host, l7.task_ids("vip78"))
        before, revision = configured(l7, identity), l7.core_revision()
        assert all(f"@{address}:8080" in each for each in before)
        with l7.load(host) as reports, l7.sessions(host, websockets=2) as sessions:
            l7.scale("vip78", 4)
            l7.running("vip78", 4)
            l7.reach(host, l7.task_ids("vip78"))
        assert nothing_failed(reports)
        assert {(each.opened, each.cut) for each in sessions} == {(2, 0)}
        with l7.load(host) as reports:
            l7.update("vip78", "--env-add=VERSION=2", "--update-parallelism=4", *new_contents)
            l7.updated("vip78", "2")
            l7.scale("vip78", 1)
            l7.running("vip78", 1)
            l7.reach(host, l7.task_ids("vip78"), timeout=20)
        assert nothing_failed(reports)
        l7.cli("kill", *l7.cli("ps", "--quiet", "--filter=label=com.docker.swarm.service.name=vip78").split())
        l7.until("another task", lambda: killed(l7, "vip78"))
        l7.answered(host, timeout=20)
        assert configured(l7, identity) == before
        assert l7.core_revision() == revision, "nothing to tell the proxies"
        reconfigured(l7, host)


def killed(l7: Installation, name: str) -> bool:
    """Whether another task runs in the place of one that failed."""
    failed = any(task["Status"]["State"] == "failed" for task in l7.tasks(name, running=False))
    return failed and [task["Status"]["State"] for task in l7.tasks(name)] == ["running"]


def reconfigured(l7: Installation, host: str) -> None:
    """Another network, no replicas, no service."""
    l7.update("vip78", f"--network-add={FRONT}")
    l7.label("vip78", network=FRONT)
    wanted = virtual_address(l7.swarm.docker(0), "vip78", FRONT)
    l7.until("the other network's address", lambda: l7.addresses("vip78") == [wanted])
    l7.label("vip78", network="l7")
    l7.until("the first network's address", lambda: l7.addresses("vip78") != [wanted])
    l7.running("vip78", 1)
    l7.answered(host, timeout=20)
    l7.scale("vip78", 0)
    l7.refused(host, "no-server")
    l7.scale("vip78", 1)
    l7.running("vip78", 1)
    l7.answered(host, timeout=20)
    l7.remove("vip78")
    l7.refused(host)


@pytest.mark.acceptance(81)
def test_two_virtual_addresses_share_by_service(l7: Installation, create: Create) -> None:
    host = "both81.local"
    create("vold81", host, 4, labels=VIP)
    create("vnew81", host, 1, labels=VIP)
    for name, replicas in (("vold81", 4), ("vnew81", 1)):
        l7.running(name, replicas)
    with carried(l7, "vold81", "vnew81"):
        l7.reach(host, l7.task_ids("vold81") | l7.task_ids("vnew81"), timeout=20)
        for found in l7.by_series(l7.ask(host, times=500)).values():
            new = sum(each.instance in l7.task_ids("vnew81") for each in found)
            assert 0.45 <= new / 500 <= 0.55


@pytest.mark.acceptance(32)
def test_a_service_without_a_virtual_address_has_none_to_use(l7: Installation, create: Create) -> None:
    create("novip32", "novip32.local", 1, "--endpoint-mode=dnsrr", labels=VIP)
    problem = l7.problem("novip32", "backend_mode")
    assert problem["fatal"]
    assert "dnsrr" in problem["message"]
    assert problem["remedy"]
    l7.running("novip32", 1)
    l7.refused("novip32.local")
    l7.label("novip32", backend_mode=None)
    l7.published("novip32", "novip32.local")
