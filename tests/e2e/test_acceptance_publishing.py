"""Publishing: acceptance items 17 to 24, on a real Swarm, on each HAProxy series side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import WITNESS, Create
from tests.e2e.installation import Installation

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]


@pytest.mark.acceptance(17)
def test_a_labelled_service_is_served(l7: Installation, create: Create) -> None:
    create("demo", "demo.local")
    (task,) = l7.published("demo", "demo.local")
    answers = l7.ask("demo.local")
    assert [(each.series, each.status, each.instance) for each in answers] == [(s, 200, task) for s in l7.series]


@pytest.mark.acceptance(17)
@pytest.mark.specification
def test_a_proxy_may_be_published_by_the_routing_mesh(l7: Installation, create: Create) -> None:
    """Without IP_VS in the kernel the mesh listens nowhere: what remains is what Swarm was asked for."""
    create("meshed", "meshed.local")
    l7.published("meshed", "meshed.local")
    name = l7.add_proxy(l7.series[0], 8090, mode="ingress")
    try:
        client: Any = l7.swarm.docker()
        wanted = {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8090, "PublishMode": "ingress"}
        tls = wanted | {"TargetPort": 443, "PublishedPort": l7.tls_ports[-1]}
        ports = client.inspect_service(name)["Endpoint"]["Ports"]
        assert sorted(ports, key=lambda port: port["TargetPort"]) == [wanted, tls]
        (task,) = l7.tasks(name)
        networks = {each["Network"]["Spec"]["Name"] for each in task["NetworksAttachments"]}
        assert networks >= {"ingress", "l7"}
        assert "meshed.local/" in l7.haproxy("show map /run/l7/routes.map", len(l7.services) - 1)
        if Path("/proc/net/ip_vs").exists():
            l7.answered("meshed.local")
    finally:
        l7.remove_proxy(name)


@pytest.mark.acceptance(18)
def test_several_hosts(l7: Installation, create: Create) -> None:
    create("twocommas", "one18.local,two18.local")
    create("twospaces", "three18.local four18.local")
    for name, hosts in (("twocommas", ("one18", "two18")), ("twospaces", ("three18", "four18"))):
        l7.running(name, 1)
        for host in hosts:
            answers = l7.answered(f"{host}.local")
            assert {each.instance for each in answers} == l7.task_ids(name)


@pytest.mark.acceptance(19)
def test_an_unknown_host_is_told_from_an_applications_own_503(l7: Installation) -> None:
    for unknown in l7.ask("nobody.local"):
        assert (unknown.status, unknown.error, unknown.instance) == (503, "unknown-host", "")
    for own in l7.ask(WITNESS, "/status/503"):
        assert (own.status, own.error) == (503, "")
        assert own.instance


@pytest.mark.acceptance(20)
@pytest.mark.parametrize("host", ["CASE.local:1234", "case.LOCAL", "case.local.", "Case.Local.:80"])
def test_case_port_and_trailing_dot_of_the_host_do_not_matter(l7: Installation, create: Create, host: str) -> None:
    create("case", "case.local")
    task = l7.published("case", "case.local")
    assert [(each.status, {each.instance}) for each in l7.ask(host)] == [(200, task)] * len(l7.series)


@pytest.mark.acceptance(21)
def test_scaling_up_and_down_fails_no_request(l7: Installation, create: Create) -> None:
    create("scaled", "scaled.local")
    l7.published("scaled", "scaled.local")
    with l7.load("scaled.local") as reports:
        l7.scale("scaled", 4)
        l7.running("scaled", 4)
        four = l7.task_ids("scaled")
        assert len(four) == 4
        l7.settled_on("scaled.local", four)
        l7.scale("scaled", 1)
        l7.running("scaled", 1)
        one = l7.task_ids("scaled")
        assert len(one) == 1
        l7.settled_on("scaled.local", one)
        l7.ended("scaled", four - one)
    assert l7.unharmed(reports)


@pytest.mark.acceptance(22)
def test_scaled_to_zero_and_back(l7: Installation, create: Create) -> None:
    create("zero", "zero.local")
    l7.published("zero", "zero.local")
    with l7.load(WITNESS) as reports:
        l7.scale("zero", 0)
        l7.refused("zero.local", "no-server")
        l7.running("zero", 0)
        l7.refused("zero.local", "no-server")
        l7.scale("zero", 2)
        l7.running("zero", 2)
        two = l7.task_ids("zero")
        assert len(two) == 2
        l7.answered("zero.local")
        l7.settled_on("zero.local", two)
    assert l7.unharmed(reports)


@pytest.mark.acceptance(23)
def test_labels_come_and_go_on_a_running_service(l7: Installation, create: Create) -> None:
    create("late", "", 2)
    l7.running("late", 2)
    tasks = l7.task_ids("late")
    l7.refused("late.local")
    label = "--label-add=com.docker.lb."
    l7.update("late", f"{label}hosts=late.local", f"{label}port=8080")
    l7.answered("late.local")
    l7.reach("late.local", tasks)
    l7.update("late", "--label-rm=com.docker.lb.hosts", "--label-rm=com.docker.lb.port")
    l7.refused("late.local")
    states = {task["ID"]: task["Status"]["State"] for task in l7.tasks("late", running=False)}
    assert states == dict.fromkeys(tasks, "running"), "tasks were started anew"


@pytest.mark.acceptance(24)
def test_a_removed_service_leaves_nothing(l7: Installation, create: Create) -> None:
    l7.cli("network", "create", "--driver=overlay", "own24")
    create("gone", "gone.local", 1, "--network=own24")
    l7.published("gone", "gone.local")
    l7.remove("gone")
    l7.refused("gone.local")
    assert "gone.local" not in l7.hosts()
    l7.until("the network to be removed", lambda: l7.cli("network", "rm", "own24"), timeout=10)
