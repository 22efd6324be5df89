"""Where a cluster's services go, how many, on which ports: decided before they are planned."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from l7.config import Cluster
from l7.deploy.decisions import Decision, Present, decide
from l7.deploy.placement import LINUX, ON_MANAGERS, ON_WORKERS
from l7.deploy.ports import Publishers
from l7.fleet import ProxyOptions, ServiceOptions
from l7.model import Node, NodeState
from l7.swarm.cache import Cache, Touched, Upsert
from tests.fakes.swarm_state import service, spec, task
from tests.unit.test_deploy_ports import publisher

MANAGER = Node("n1", 1, "n1", NodeState.READY, manager=True, os="linux")
WORKER = replace(MANAGER, id="n2", hostname="n2", manager=False)
HOST = ProxyOptions(publish_mode="host")


def decided(
    cluster: Cluster, *nodes: Node, present: Present | None = None, publishers: Publishers | None = None
) -> Decision:
    there = {"l7-proxy": present} if present is not None else {}
    return decide([cluster], nodes, publishers or Publishers(), there, {"": frozenset({"net"})})[""]


def proxies(*constraints: str, ports: tuple[dict[str, Any], ...] = ()) -> Present:
    template = {"Placement": {"Constraints": list(constraints)}}
    return Present("id-proxy", {"TaskTemplate": template, "EndpointSpec": {"Ports": list(ports)}})


def test_workers_where_there_are_any_else_managers() -> None:
    assert decided(Cluster(), MANAGER).proxies == ON_MANAGERS
    found = decided(Cluster(), MANAGER, WORKER)
    assert (found.proxies, found.extension, found.replicas, found.joined) == (ON_WORKERS, (LINUX,), 2, {"net"})


def test_one_proxy_per_node_where_they_publish_its_ports() -> None:
    found = decided(Cluster(proxy_options=HOST), MANAGER, WORKER)
    assert found.replicas == 1
    assert "ProxyReplicas" in found.problems[0].label
    assert decided(Cluster(proxy_options=replace(HOST, everywhere=True)), MANAGER, WORKER).replicas is None


def test_constraints_that_no_node_meets_move_nobody() -> None:
    cluster = Cluster(proxy_options=ProxyOptions(constraints=("node.labels.no==such",)))
    found = decided(cluster, MANAGER, present=proxies("node.role==manager"))
    assert found.proxies == ("node.role==manager",)
    assert "no node may have the proxies" in found.problems[0].message
    assert decided(cluster, MANAGER).proxies == ("node.labels.no==such",)


def test_constraints_that_no_node_meets_move_no_extension_service_either() -> None:
    cluster = Cluster(extension_options=ServiceOptions(constraints=("node.labels.no==such",)))
    there = {"l7-extension": Present("id", {"TaskTemplate": {"Placement": {"Constraints": [LINUX]}}})}
    found = decide([cluster], [MANAGER], Publishers(), there, {})[""]
    assert found.extension == (LINUX,)
    assert "no node may have the extension service" in found.problems[0].message
    assert decided(cluster, MANAGER).extension == ("node.labels.no==such",)


def test_ports_that_cannot_be_had_leave_ports_and_place_as_they_are() -> None:
    cache, publishers = Cache(), Publishers()
    for each in (publisher("web", 80), service("l7-proxy", spec({}, ()))):
        cache.apply(Upsert(each))
    cache.apply(Upsert(task("t", "web", node="n1")))
    publishers.take(cache, Touched(all=True))
    assert decided(Cluster(), MANAGER, publishers=publishers).withheld
    port = {"PublishedPort": 8080, "TargetPort": 80}
    present = proxies("node.role==manager", ports=(port,))
    found = decided(Cluster(), MANAGER, WORKER, present=present, publishers=publishers)
    assert (found.withheld, found.ports, found.proxies) == (False, (port,), ("node.role==manager",))
    assert "service web" in found.problems[0].message


def test_proxies_that_nobody_wants_any_more_keep_no_port() -> None:
    cache, publishers = Cache(), Publishers()
    cache.apply(Upsert(publisher("old-proxy", 80, 443)))
    publishers.take(cache, Touched(all=True))
    there = {"old-proxy": Present("id-old-proxy", {})}
    assert not decide([Cluster()], [MANAGER], publishers, there, {})[""].withheld
    assert decide([Cluster()], [MANAGER], publishers, {}, {})[""].withheld
