"""HostPolicy: which hosts an entry names, whom it admits, and what is left of a service that claims too much."""

from __future__ import annotations

import pytest

from l7.config import Settings
from l7.host_policy import Claimant, HostPolicy, refused
from tests.fakes.swarm_state import World, labels, service, spec, task

SHOP = HostPolicy(("shop.example", "*.shop.example"), stacks=("shop", "shop-*"))


@pytest.mark.parametrize(
    ("pattern", "host", "named"),
    [
        ("a.example", "a.example", True),
        ("a.example", "b.a.example", False),
        ("*.a.example", "b.a.example", True),
        ("*.a.example", "c.b.a.example", True),
        ("*.a.example", "*.a.example", True),
        ("*.a.example", "a.example", False),
        ("*.a.example", "ba.example", False),
        ("a.example", "*.example", False),
        ("*", "anything.example", True),
        ("*", "*", True),
        ("*.example", "*", False),
    ],
)
def test_which_hosts_an_entry_names(pattern: str, host: str, named: bool) -> None:
    assert HostPolicy((pattern,), services=("x",)).names(host) is named


@pytest.mark.parametrize(
    ("policy", "claimant", "admitted"),
    [
        (HostPolicy(("*",), stacks=("shop",)), Claimant("web", "shop"), True),
        (HostPolicy(("*",), stacks=("shop",)), Claimant("web", "shops"), False),
        (HostPolicy(("*",), stacks=("shop*",)), Claimant("web", "shops"), True),
        (HostPolicy(("*",), stacks=("*",)), Claimant("web"), False),
        (HostPolicy(("*",), services=("web-?",)), Claimant("web-1"), True),
        (HostPolicy(("*",), services=("web-?",)), Claimant("WEB-1"), False),
        (HostPolicy(("*",), networks=("front",)), Claimant("web", "", "front"), True),
        (HostPolicy(("*",), networks=("front",)), Claimant("web", "", "back"), False),
        (HostPolicy(("*",), ("shop",), ("web",), ("front",)), Claimant("web", "shop", "front"), True),
        (HostPolicy(("*",), ("shop",), ("web",), ("front",)), Claimant("web", "shop", "back"), False),
        (HostPolicy(("*",), ("shop",), ("api", "web")), Claimant("web", "shop"), True),
    ],
)
def test_whom_an_entry_admits(policy: HostPolicy, claimant: Claimant, admitted: bool) -> None:
    assert policy.admits(claimant) is admitted


def test_one_of_the_entries_that_name_a_host_is_enough_and_a_host_without_entry_is_free() -> None:
    policies = (SHOP, HostPolicy(("*.example",), services=("operator",)))
    assert not refused(policies, "a.shop.example", Claimant("web", "shop"))
    assert not refused(policies, "a.shop.example", Claimant("operator"))
    assert refused(policies, "a.shop.example", Claimant("web", "blog"))
    assert refused(policies, "blog.example", Claimant("web", "shop"))
    assert not refused(policies, "example.org", Claimant("anybody"))


def claiming(**given: str) -> World:
    world = World(Settings(host_policies=(SHOP,)))
    world.put(service("thief", spec(labels(port="80", **given))), task("t1", "thief"))
    return world


def test_a_refused_host_is_told_and_the_others_are_routed() -> None:
    world = claiming(hosts="a.shop.example own.example shop.example")
    assert world.routes() == {"own.example/": "thief"}
    told = {(each.label, each.value, each.fatal) for each in world.problems("thief")}
    assert told == {
        ("com.docker.lb.hosts", "a.shop.example", False),
        ("com.docker.lb.hosts", "shop.example", False),
    }


def test_nothing_is_left() -> None:
    world = claiming(hosts="shop.example")
    assert world.routes() == {}
    [problem] = world.problems("thief")
    assert problem.fatal


def test_a_claim_beyond_the_policy_leaves_a_service_on_its_previous_hosts() -> None:
    world = claiming(hosts="own.example")
    before = spec(labels(port="80", hosts="own.example"))
    world.put(service("thief", spec(labels(port="80", hosts="shop.example")), previous=before, version=2))
    assert world.routes() == {"own.example/": "thief"}
    [problem] = world.problems("thief")
    assert "meanwhile" in problem.message


def test_sources_of_redirects_are_claims() -> None:
    world = claiming(redirects="shop.example,http://evil.example;x.example,http://y.example")
    assert set(world.snapshot().routes) == {("x.example", "/")}
    assert [(each.label, each.value) for each in world.problems("thief")] == [
        ("com.docker.lb.redirects", "shop.example")
    ]


def test_a_default_backend_is_a_claim_to_all() -> None:
    world = World(Settings(host_policies=(HostPolicy(("*",), stacks=("ops",)),)))
    bad = labels(port="80", default_backend="true")
    world.put(service("thief", spec(bad)))
    world.put(service("good", spec(bad | {"com.docker.stack.namespace": "ops"}), created=2))
    assert world.routes() == {"*/": "good"}
    assert [each.label for each in world.problems("thief")] == ["com.docker.lb.default_backend"]
    assert world.problems("good") == []


def test_the_network_is_the_one_over_which_the_service_is_reached() -> None:
    world = World(Settings(host_policies=(HostPolicy(("a.example",), networks=("front",)),)))
    world.put(service("web", spec(labels(port="80", hosts="a.example"), ("back", "front"))))
    assert world.routes() == {"a.example/": "web"}
