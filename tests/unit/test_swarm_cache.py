"""The cache, case by case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from l7.model import Network, Node, NodeState, Service, ServiceSpec, StoredSecret, Task, TaskState
from l7.swarm.cache import Cache, Kind, Listing, Remove, Touched, Upsert

NODE = Node("n1", 1, "host", NodeState.READY, "10.0.0.1")
SERVICE = Service("s1", 2, "web", 1, ServiceSpec(networks=("net1",)))
TASK = Task("t1", 3, "s1", "n1", 1, TaskState.RUNNING, TaskState.RUNNING, 1, (("net1", "10.1.0.2"),))
TOUCHED = Touched(frozenset({"s1"}))


@pytest.fixture
def cache() -> Cache:
    cache = Cache()
    cache.replace(Listing((NODE,), (Network("net1", 1, "front"),), (SERVICE,), (TASK,)))
    return cache


@pytest.mark.parametrize(
    "step",
    [
        {"version": 9},
        {"state": TaskState.RUNNING, "version": 9},
    ],
)
def test_a_task_that_says_nothing_new_touches_nothing(cache: Cache, step: dict[str, object]) -> None:
    assert not cache.apply(Upsert(replace(TASK, **step)))  # type: ignore[arg-type]
    assert cache.tasks["t1"].version == 9


@pytest.mark.parametrize(
    "step",
    [
        {"desired": TaskState.SHUTDOWN},
        {"state": TaskState.FAILED},
        {"addresses": (("net1", "10.1.0.3"),)},
        {"node": "n2"},
    ],
)
def test_a_task_that_changes_for_routing_touches_its_service(cache: Cache, step: dict[str, object]) -> None:
    assert cache.apply(Upsert(replace(TASK, version=9, **step))) == TOUCHED  # type: ignore[arg-type]


def test_the_history_of_dead_tasks_touches_nothing(cache: Cache) -> None:
    dead = replace(TASK, id="t2", state=TaskState.FAILED, desired=TaskState.SHUTDOWN)
    assert not cache.apply(Upsert(dead))
    assert "t2" in cache.tasks_of("s1")
    assert not cache.apply(Remove(Kind.TASK, "t2"))
    assert "t2" not in cache.tasks_of("s1")


@pytest.mark.parametrize(
    ("state", "touched"),
    [
        (NodeState.UNKNOWN, Touched()),
        (NodeState.DISCONNECTED, Touched(nodes=True)),
        (NodeState.DOWN, replace(TOUCHED, nodes=True)),
    ],
)
def test_a_node_touches_the_services_on_it_when_it_goes_down_only(
    cache: Cache, state: NodeState, touched: Touched
) -> None:
    assert cache.apply(Upsert(replace(NODE, version=9, state=state))) == touched


def test_what_makes_a_node_another_place_for_tasks_touches_no_service(cache: Cache) -> None:
    changes = ({"labels": (("zone", "east"),)}, {"availability": "drain"}, {"manager": True})
    for number, change in enumerate(changes):
        changed = replace(cache.nodes["n1"], version=number + 9, **change)  # type: ignore[arg-type]
        assert cache.apply(Upsert(changed)) == Touched(nodes=True)
    assert not cache.apply(Upsert(replace(cache.nodes["n1"], version=99)))
    assert cache.apply(Remove(Kind.NODE, "n1")).nodes


def test_a_network_touches_the_services_that_refer_to_it(cache: Cache) -> None:
    assert cache.apply(Remove(Kind.NETWORK, "net1")) == replace(TOUCHED, networks=True)
    assert cache.apply(Upsert(Network("net1", 9, "front"))) == replace(TOUCHED, networks=True)
    assert cache.apply(Upsert(Network("net2", 9, "back"))) == Touched(networks=True)


def test_a_removal_counts_whatever_its_version_and_once_only(cache: Cache) -> None:
    assert cache.apply(Remove(Kind.SERVICE, "s1")) == TOUCHED
    assert not cache.apply(Remove(Kind.SERVICE, "s1"))
    assert "s1" not in cache.services


def test_attachments_of_plain_containers_are_not_tasks(cache: Cache) -> None:
    attachment = replace(TASK, id="t9", service="")
    assert not cache.apply(Upsert(attachment))
    cache.replace(Listing(tasks=(TASK, attachment)))
    assert set(cache.tasks) == {"t1"}


def test_the_resume_point_is_the_highest_version_seen(cache: Cache) -> None:
    assert cache.version == 3
    cache.apply(Upsert(replace(NODE, version=17)))
    cache.apply(Remove(Kind.NODE, "n1"))
    assert cache.version == 17


def test_touched_joins() -> None:
    assert Touched(frozenset({"a"})) | Touched(frozenset({"b"}), all=True) == Touched(frozenset({"a", "b"}), True)
    assert not Touched()
    assert Touched(all=True)
    assert Touched(nodes=True) | Touched() == Touched() | Touched(nodes=True) == Touched(nodes=True)


def test_a_secret_touches_its_name_when_it_comes_changes_and_goes(cache: Cache) -> None:
    secret, named = StoredSecret("x1", 50, "cert"), Touched(secrets=frozenset({"cert"}))
    assert cache.apply(Upsert(secret)) == named
    assert cache.secrets == {"cert": secret}
    assert not cache.configs
    assert not cache.apply(Upsert(replace(secret, version=51)))
    assert cache.apply(Upsert(replace(secret, version=52, labels=(("a", "1"),)))) == named
    assert cache.apply(Remove(Kind.SECRET, "x1")) == named
    assert not cache.secrets


def test_a_secret_and_a_config_of_one_name_are_two(cache: Cache) -> None:
    secret, config = StoredSecret("x1", 50, "ca"), StoredSecret("x2", 51, "ca", config=True)
    cache.replace(Listing(secrets=(secret,), configs=(config,)))
    assert (cache.secrets, cache.configs) == ({"ca": secret}, {"ca": config})
    assert cache.replace(Listing(secrets=())) == Touched(secrets=frozenset({"ca"}))
    assert (cache.secrets, cache.configs) == ({}, {"ca": config})


def test_a_secret_made_anew_under_its_name_may_be_seen_before_the_old_one_goes(cache: Cache) -> None:
    old, new = StoredSecret("x1", 50, "cert"), StoredSecret("x2", 52, "cert")
    cache.apply(Upsert(old))
    cache.apply(Upsert(new))
    assert cache.secrets == {"cert": new}
    assert cache.apply(Remove(Kind.SECRET, "x1"))
    assert cache.secrets == {"cert": new}


def test_secrets_do_not_move_the_resume_point(cache: Cache) -> None:
    cache.apply(Upsert(StoredSecret("x1", 50, "cert")))
    assert cache.version == 3


def test_an_extension_service_is_touched_by_any_change(cache: Cache) -> None:
    spec = ServiceSpec(labels=(("type", "com.docker.interlock.core.extension"),))
    extension = Service("s9", 20, "secrets", 1, spec)
    cache.apply(Upsert(extension))
    assert not cache.apply(Upsert(extension))
    assert cache.apply(Upsert(replace(extension, version=21))) == Touched(frozenset({"s9"}))
    assert not cache.apply(Upsert(replace(SERVICE, version=22)))


def test_touched_joins_secrets() -> None:
    assert Touched(frozenset({"a"})) | Touched(secrets=frozenset({"c"})) == Touched(
        frozenset({"a"}), secrets=frozenset({"c"})
    )
    assert Touched(secrets=frozenset({"c"}))
