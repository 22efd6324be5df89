"""Where a cluster's services go: constraints as Swarm takes them, defaults, and how many proxies fit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from l7.config import Cluster
from l7.deploy.placement import (
    LINUX,
    ON_MANAGERS,
    ON_WORKERS,
    Constraint,
    default_constraints,
    eligible,
    meets,
    parse_constraint,
    place_extension,
    place_proxies,
)
from l7.fleet import Port, ProxyOptions
from l7.labels.grammar import Bad
from l7.model import Node, NodeState

MANAGER = Node("m1", 1, "alpha", NodeState.READY, "10.0.0.1", True, os="linux", arch="x86_64")
WORKER = replace(
    MANAGER, id="w1", hostname="beta", manager=False, address="10.0.1.7",
    labels=(("Zone", "East"), ("empty", "")), engine_labels=(("disk", "ssd"),),
)  # fmt: skip
HOST = ProxyOptions(publish_mode="host")


def nodes(*numbers: int, **fields: object) -> list[Node]:
    """Workers of these numbers."""
    return [replace(WORKER, id=f"w{each}", hostname=f"worker{each}", **fields) for each in numbers]  # type: ignore[arg-type]


def cluster(options: ProxyOptions) -> Cluster:
    return Cluster("east", "e", proxy_options=options)


# ---------------------------------------------------------------- constraints


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("node.role==worker", True),
        ("node.role == WORKER", True),
        ("NODE.Role!=manager", True),
        ("node.role==manager", False),
        ("node.role==work", False),
        ("node.id==w1", True),
        ("node.id!=w1", False),
        ("node.hostname==BETA", True),
        ("node.platform.os==linux", True),
        ("node.platform.arch==amd64", False),
        ("node.labels.Zone==east", True),
        ("Node.Labels.Zone==east", True),
        ("node.labels.zone==east", False),
        ("node.labels.zone!=east", True),
        ("node.labels.other!=east", True),
        ("node.labels.Zone!=east", False),
        ("engine.labels.disk==SSD", True),
        ("engine.labels.Zone==east", False),
        ("node.ip==10.0.1.7", True),
        ("node.ip==10.0.1.0/24", True),
        ("node.ip!=10.0.1.0/24", False),
        ("node.ip!=10.0.2.0/24", True),
        ("node.ip==somewhere", False),
        ("node.ip!=somewhere", False),
        ("node.colour==red", False),
        ("node.colour!=red", False),
        ("node.labels.!=red", False),
        ("colour!=red", False),
    ],
)
def test_a_constraint_and_a_node(text: str, met: bool) -> None:
    parsed = parse_constraint(text)
    assert isinstance(parsed, Constraint)
    assert meets(WORKER, parsed) is met


@pytest.mark.parametrize(
    "text",
    ["", "node.role", "node.role=x", "==x", "node.role==", "a b==c", "node.labels.x==a,b", "a!=b==c", "ä==b"],
)
def test_what_swarm_would_refuse(text: str) -> None:
    assert isinstance(parse_constraint(text), Bad)
    assert eligible([WORKER], [text]) == ()


def test_all_must_be_met_and_a_node_that_is_down_may_come_back() -> None:
    down, drained, paused = (
        replace(WORKER, id="w2", hostname="a", state=NodeState.DOWN),
        replace(WORKER, id="w3", availability="drain"),
        replace(WORKER, id="w4", availability="pause"),
    )
    assert eligible([MANAGER, WORKER, down, drained, paused], ON_WORKERS) == (down, WORKER, paused)
    assert eligible([MANAGER, WORKER], [*ON_WORKERS, "node.labels.Zone!=east"]) == ()
    assert eligible([MANAGER, WORKER], []) == (MANAGER, WORKER)


# ---------------------------------------------------------------- defaults


def test_workers_where_there_is_one_else_managers() -> None:
    assert default_constraints([]) == ON_MANAGERS
    assert default_constraints([MANAGER]) == ON_MANAGERS
    assert default_constraints([MANAGER, WORKER]) == ON_WORKERS
    assert default_constraints([MANAGER, replace(WORKER, state=NodeState.UNKNOWN)]) == ON_WORKERS
    assert default_constraints([MANAGER, replace(WORKER, os="windows")]) == ON_MANAGERS


@pytest.mark.parametrize("fields", [{"state": NodeState.DOWN}, {"availability": "pause"}])
def test_a_worker_that_is_down_or_paused_draws_no_proxies_and_drives_none_away(fields: dict[str, object]) -> None:
    away = replace(WORKER, **fields)  # type: ignore[arg-type]
    assert default_constraints([MANAGER, away]) == ON_MANAGERS
    assert default_constraints([MANAGER, away], ON_MANAGERS) == ON_MANAGERS
    assert default_constraints([MANAGER, away], ON_WORKERS) == ON_WORKERS


def test_the_last_worker_is_drained_or_leaves() -> None:
    assert default_constraints([MANAGER, replace(WORKER, availability="drain")], ON_WORKERS) == ON_MANAGERS
    assert default_constraints([MANAGER], ON_WORKERS) == ON_MANAGERS


def test_the_extension_service_goes_to_any_linux_node() -> None:
    windows = replace(WORKER, os="windows")
    placement = place_extension(Cluster(), [MANAGER, WORKER, windows])
    assert (placement.constraints, placement.nodes, placement.problems) == ((LINUX,), (MANAGER, WORKER), ())
    (problem,) = place_extension(Cluster(), [windows]).problems
    assert (problem.label, problem.value) == ("Extensions.default.Constraints", LINUX)


# ---------------------------------------------------------------- how many fit


@pytest.mark.parametrize(
    ("options", "taken", "replicas"),
    [
        (ProxyOptions(replicas=5), (), 5),
        (replace(HOST, replicas=2), (), 2),
        (replace(HOST, replicas=3), (), 2),
        (replace(HOST, replicas=2), ("w1", "elsewhere"), 1),
        (replace(HOST, replicas=2), ("w1", "w2"), 1),
        (replace(HOST, replicas=9, http=Port(0, 80), tls=Port(0, 443)), (), 9),
        (replace(HOST, replicas=9, http=Port(0, 80)), (), 2),
        (replace(HOST, everywhere=True), ("w1",), None),
    ],
)
def test_in_host_mode_there_is_one_on_a_node(
    options: ProxyOptions, taken: tuple[str, ...], replicas: int | None
) -> None:
    """One on a node that is drained does not run, one on a node that is down may again."""
    found = [MANAGER, *nodes(1), *nodes(2, state=NodeState.DOWN), *nodes(3, availability="drain")]
    placement = place_proxies(cluster(options), found, ON_WORKERS, taken)
    assert placement.replicas == replicas
    assert [node.id for node in placement.nodes] == ["w1", "w2"]
    assert bool(placement.problems) is (replicas is not None and replicas < options.replicas)


def test_too_few_nodes_say_what_helps() -> None:
    (problem,) = place_proxies(cluster(replace(HOST, replicas=3)), nodes(1, 2), taken=["w2"]).problems
    assert problem.message == (
        "only 2 nodes may have proxies, each one of them, as they publish ports of their nodes; "
        "on 1 another service has the ports"
    )
    assert problem.remedy == (
        "ask for 1, allow more nodes by ProxyConstraints, publish them Swarm-wide by "
        'PublishMode = "ingress", or let Swarm choose the ports'
    )
    assert (problem.label, problem.value, problem.cluster) == ("Extensions.e.ProxyReplicas", "3", "east")


def test_constraints_that_no_node_meets() -> None:
    """There are as many as wanted, for the moment when there is a node."""
    placement = place_proxies(cluster(replace(HOST, constraints=("node.labels.lb==yes", LINUX))), nodes(1))
    assert (placement.nodes, placement.replicas) == ((), 2)
    (problem,) = placement.problems
    assert (problem.label, problem.value) == ("Extensions.e.ProxyConstraints", f"node.labels.lb==yes, {LINUX}")
    assert problem.message.startswith("no node may have the proxies")
    (problem,) = place_proxies(cluster(replace(HOST, constraints=(LINUX, "node.role=worker"))), nodes(1)).problems
    assert (problem.value, problem.message) == ("node.role=worker", "has neither == nor !=")
