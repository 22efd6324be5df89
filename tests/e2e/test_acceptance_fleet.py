"""Acceptance: core keeps the services of several clusters on a Swarm of three nodes, as its TOML says.

One Swarm for the whole file; the tests go on from each other's settings, in their order here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from testbed.load import Report
from testbed.swarm import Swarm
from testbed.system import CORE, LABEL
from tests.e2e.fleet import FleetSystem, load

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]

EAST, WEST = "east.local", "west.local"


def cluster(name: str, node: int, **more: Any) -> dict[str, Any]:
    """The table of a cluster with one proxy, on one node."""
    return {
        "ServiceName": f"{name}-extension",
        "ProxyServiceName": f"{name}-proxy",
        "ServiceCluster": name,
        "ProxyReplicas": 1,
        "ProxyConstraints": [f"node.hostname==node{node}"],
        "PublishMode": "host",
        "ProxyStopGracePeriod": "20s",
        **more,
    }


@pytest.fixture(scope="module")
def system() -> Iterator[FleetSystem]:
    with Swarm.up(nodes=3) as swarm:
        fleet = FleetSystem(swarm, {"east": cluster("east", 1), "west": cluster("west", 2)})
        fleet.prepare()
        with fleet:
            fleet.settle()
            for name, host in (("east", EAST), ("west", WEST)):
                fleet.create_on(f"l7-{name}", f"{name}-web", host, {"service_cluster": name})
            fleet.answers(1, EAST)
            fleet.answers(2, WEST)
            yield fleet


def nothing_lost(reports: list[Report]) -> None:
    for report in reports:
        assert report.sent > 100
        assert (report.failed, report.stale_keepalive) == (0, 0), (report.by_kind, report.failures)


@pytest.mark.acceptance(1, 84, 86)
def test_two_clusters_with_the_same_ports_on_nodes_of_their_own(system: FleetSystem) -> None:
    assert system.managed() == {"east-extension", "east-proxy", "west-extension", "west-proxy"}
    for node, host, other in ((1, EAST, WEST), (2, WEST, EAST)):
        assert system.get(node, host)[0] == 200
        assert system.get(node, other)[0] == 503
    assert system.status()["problems"] == []


@pytest.mark.acceptance(3, 7)
def test_no_part_but_core_holds_docker_and_proxies_are_found_by_their_label(system: FleetSystem) -> None:
    for name in system.managed():
        container = system.spec(name)["TaskTemplate"]["ContainerSpec"]
        assert [each["Target"] for each in container["Mounts"]] == ["/run/l7"]
        assert container["User"] == "1000:1000"
        assert container["ReadOnly"]
    words = ("service", "ls", "--format={{.Name}}", "--filter=label=type=com.docker.interlock.core.proxy")
    assert set(system.cli(*words).split()) == {"east-proxy", "west-proxy"}


@pytest.mark.acceptance(87)
def test_a_cluster_that_does_not_exist_is_reported(system: FleetSystem) -> None:
    system.create_on("l7-east", "north-web", "north.local", {"service_cluster": "north"})
    found = system.until("a problem of north-web", lambda: [
        each for each in system.status()["problems"] if each["service"] == "north-web"
    ])  # fmt: skip
    assert "is no service cluster" in found[0]["message"]
    system.remove("north-web")


@pytest.mark.acceptance(5, 9, 10, 85)
def test_what_the_toml_says_reaches_the_services_and_what_an_operator_did_stays(system: FleetSystem) -> None:
    system.cli("service", "update", "--detach", "--constraint-add=node.platform.os==linux", "east-proxy")
    system.cli("service", "update", "--detach", "--limit-memory=512M", "east-proxy")
    system.quiet()
    west, before = system.version("west-proxy"), system.task_ids("west-proxy")
    system.tables["east"] |= {
        "ProxyLabels": {"team": "edge"},
        "ProxyContainerLabels": {"tier": "front"},
        "ProxyPlacementPreferences": ["spread=node.labels.zone"],
        "ProxyStopSignal": "SIGTERM",
        "ProxyStopGracePeriod": "15s",
        "ProxyUpdateDelay": "1s",
        "Labels": {"team": "edge"},
        "ContainerLabels": {"tier": "side"},
        "Constraints": ["node.role==manager"],
    }
    with load(system, WEST, [2]) as reports:
        system.settle()
        system.answers(1, EAST)
    nothing_lost(reports)
    assert (system.version("west-proxy"), system.task_ids("west-proxy")) == (west, before)
    spec, extension = system.spec("east-proxy"), system.spec("east-extension")
    container, placement = spec["TaskTemplate"]["ContainerSpec"], spec["TaskTemplate"]["Placement"]
    assert (spec["Labels"]["team"], extension["Labels"]["team"]) == ("edge", "edge")
    assert container["Labels"] == {"tier": "front"}
    assert extension["TaskTemplate"]["ContainerSpec"]["Labels"] == {"tier": "side"}
    assert (container["StopSignal"], container["StopGracePeriod"]) == ("SIGTERM", 15_000_000_000)
    assert spec["UpdateConfig"]["Delay"] == 1_000_000_000
    assert placement["Preferences"] == [{"Spread": {"SpreadDescriptor": "node.labels.zone"}}]
    assert extension["TaskTemplate"]["Placement"]["Constraints"] == ["node.role==manager"]
    assert set(placement["Constraints"]) == {"node.hostname==node1", "node.platform.os==linux"}
    assert spec["TaskTemplate"]["Resources"]["Limits"]["MemoryBytes"] == 512 << 20


@pytest.mark.acceptance(13, 86)
def test_ports_that_cannot_be_had_cost_nothing_but_a_problem(system: FleetSystem) -> None:
    before = system.task_ids("east-proxy")
    system.tables["east"] |= {"ProxyConstraints": ["node.hostname==node2"]}
    system.deploy()
    found = system.until("a conflict of ports", lambda: [
        each for each in system.status()["problems"] if each["cluster"] == "east"
    ])  # fmt: skip
    assert any("published by the proxies of service cluster west" in each["message"] for each in found), found
    assert system.get(1, EAST)[0] == 200
    assert system.task_ids("east-proxy") == before
    system.tables["east"] |= {"ProxyConstraints": ["node.hostname==node1"]}
    system.settle()
    assert system.status()["problems"] == []


@pytest.mark.acceptance(11, 2)
def test_core_and_extension_service_die_and_nothing_changes(system: FleetSystem) -> None:
    before = {name: (system.version(name), system.task_ids(name)) for name in ("east-proxy", "west-proxy")}
    with load(system, EAST, [1]) as reports:
        for service in (CORE, "east-extension"):
            tasks = system.task_ids(service)
            system.kill(service)
            system.until(f"another task of {service}", lambda s=service, t=tasks: not system.task_ids(s) & t)  # type: ignore[misc]
        system.until("core to answer", lambda: system.status()["ready"])
        system.quiet()
        system.create_on("l7-east", "east-late", "late.local", {"service_cluster": "east"})
        system.answers(1, "late.local")
    nothing_lost(reports)
    after = {name: (system.version(name), system.task_ids(name)) for name in before}
    assert after == before
    assert len(system.managed()) == 4
    system.remove("east-late")


@pytest.mark.acceptance(85)
def test_a_broken_cluster_is_not_seen_in_another(system: FleetSystem) -> None:
    before = (system.version("west-proxy"), system.task_ids("west-proxy"))
    with load(system, WEST, [2]) as reports:
        system.tables["east"] |= {"ProxyArgs": ["--no-such-option"]}
        system.deploy()
        found = system.until("the update to be taken back", lambda: [
            each for each in system.status()["problems"] if "took an update back" in each["message"]
        ], 120)  # fmt: skip
        assert found[0]["cluster"] == "east"
        system.create_on("l7-west", "west-late", "late.local", {"service_cluster": "west"})
        system.answers(2, "late.local")
        del system.tables["east"]["ProxyArgs"]
        system.settle()
    nothing_lost(reports)
    assert (system.version("west-proxy"), system.task_ids("west-proxy")) == before
    system.answers(1, EAST)
    system.remove("west-late")


@pytest.mark.acceptance(88)
def test_clusters_are_replaced_by_one_and_leave_nothing(system: FleetSystem) -> None:
    system.tables = {"default": cluster("", 1, ServiceName="all-extension", ProxyServiceName="all-proxy",
                                        ProxyConstraints=[], ProxyReplicas=2)}  # fmt: skip
    system.deploy()
    words = ("network", "ls", "--format={{.Name}}")
    system.until("the network of the new cluster", lambda: "l7\n" in system.cli(*words))
    for name in ("east-web", "west-web"):
        system.update(name, f"--label-rm={LABEL}service_cluster", "--network-add=l7")
    wanted = {"all-extension", "all-proxy"}
    system.until("the clusters of before to be gone", lambda: system.managed() == wanted, 120)
    system.quiet()
    for node, host in ((1, EAST), (2, EAST), (1, WEST)):
        system.answers(node, host)
    constraints = system.spec("all-proxy")["TaskTemplate"]["Placement"]["Constraints"]
    assert constraints == ["node.role==worker", "node.platform.os==linux"]


@pytest.mark.acceptance(89)
def test_two_proxies_on_nodes_ports_see_clients_and_are_rolled_without_a_loss(system: FleetSystem) -> None:
    system.answers(2, WEST)
    assert system.client_seen(1, EAST) == "10.213.0.254"
    before = system.task_ids("all-proxy")
    with load(system, EAST, [1, 2], rate=100) as reports:
        system.tables["default"] |= {"ProxyContainerLabels": {"generation": "2"}}
        system.settle()
    nothing_lost(reports)
    assert len(system.task_ids("all-proxy")) == 2
    assert not system.task_ids("all-proxy") & before


@pytest.mark.acceptance(91)
def test_core_without_an_overlay_is_reached_at_its_node(system: FleetSystem) -> None:
    """As an operator deploys it by hand: published in host mode, on no network."""

    def publish(spec: dict[str, Any]) -> None:
        spec["TaskTemplate"]["Networks"] = []
        port = {"Protocol": "tcp", "TargetPort": 8080, "PublishedPort": 18080, "PublishMode": "host"}
        spec["EndpointSpec"] = {"Mode": "dnsrr", "Ports": [port]}
        spec["UpdateConfig"]["Order"] = "stop-first"

    system.replace_spec(CORE, publish)
    system.until("core to answer", lambda: system.status()["ready"])
    system.until("proxies with core's address", lambda: "ipv4:10.213.0.1:18080" in orjson.dumps(
        system.spec("all-proxy")).decode())  # fmt: skip
    system.quiet()
    system.create_on("l7", "late", "late.local", {})
    for node in (1, 2):
        system.answers(node, "late.local")
