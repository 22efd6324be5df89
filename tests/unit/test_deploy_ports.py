"""Ports of the proxies that others have, or want, too."""

from __future__ import annotations

from dataclasses import replace

import pytest

from l7.config import Cluster
from l7.deploy.ports import Grant, Publishers, Wish, grant_ports, wish_of
from l7.fleet import Port, ProxyOptions
from l7.model import PublishedPort, Service, TaskState
from l7.swarm.cache import Cache, Kind, Remove, Touched, Upsert
from tests.fakes.swarm_state import service, spec, task

Nodes = tuple[str, ...]
ALL = ("n1", "n2", "n3")


def wish(
    name: str = "", http: int = 80, tls: int = 443, *, mode: str = "ingress", nodes: Nodes = ALL, of: str = ""
) -> Wish:
    """What a cluster wants; `of` is the name of its proxy service."""
    options = ProxyOptions(publish_mode=mode, http=Port(http, 8000), tls=Port(tls, 8443))
    return wish_of(Cluster(name, name or "default", proxy_options=options), nodes, [f"id-{of}"] if of else [])


def publisher(name: str, *published: int, mode: str = "ingress", protocol: str = "tcp") -> Service:
    ports = tuple(PublishedPort(80, each, protocol, mode) for each in published)
    return service(name, spec({}, (), 1, *ports))


def publishers(*services: Service, **tasks_on: tuple[str, ...]) -> Publishers:
    """Services, and on which nodes their tasks run."""
    cache = Cache()
    for each in services:
        cache.apply(Upsert(each))
        for node in tasks_on.get(each.name, ()):
            cache.apply(Upsert(task(f"t-{each.name}-{node}", each.name, node=node)))
    found = Publishers()
    found.take(cache, Touched(all=True))
    return found


def only(grants: dict[str, Grant]) -> Grant:
    (grant,) = grants.values()
    return grant


def test_ports_that_nobody_has() -> None:
    others = publishers(publisher("a", 8080), publisher("b", 80, protocol="udp"), publisher("c", 0, mode="host"))
    for mode in ("ingress", "host"):
        assert only(grant_ports([wish(mode=mode)], others)) == Grant()
    assert only(grant_ports([wish(http=0, tls=0)], publishers(publisher("a", 0)))) == Grant()


@pytest.mark.acceptance(13)
@pytest.mark.specification
def test_a_port_of_another_service_is_not_taken_and_the_old_one_stays() -> None:
    others = publishers(publisher("shop", 8080), publisher("proxy", 80, 443))
    grant = only(grant_ports([wish(http=8080, of="proxy")], others))
    assert not grant.granted
    (problem,) = grant.problems
    assert (problem.label, problem.value) == ("Extensions.default.PublishedPort", "8080")
    assert problem.message == "is published by service shop; the proxies keep the ports that they have"
    assert problem.remedy == "choose another port, or free it at service shop"
    assert only(grant_ports([wish(of="proxy")], others)) == Grant()


def test_where_there_are_no_proxies_yet_none_are_made() -> None:
    (problem,) = only(grant_ports([wish()], publishers(publisher("shop", 443)))).problems
    assert (problem.label, problem.value) == ("Extensions.default.PublishedSSLPort", "443")
    assert problem.message == "is published by service shop; there are no proxies until it is free"


@pytest.mark.parametrize(("ours", "theirs"), [("ingress", "host"), ("host", "ingress")])
def test_ingress_has_a_port_in_the_whole_swarm(ours: str, theirs: str) -> None:
    others = publishers(publisher("shop", 80, mode=theirs), shop=())
    assert not only(grant_ports([wish(mode=ours)], others)).granted


def test_host_mode_ports_are_a_matter_of_nodes() -> None:
    """Another service's tasks take the nodes that they are on; only when none is left there is a problem."""
    shop = publisher("shop", 80, mode="host")
    assert only(grant_ports([wish(mode="host")], publishers(shop, shop=("n2", "n9")))) == Grant(
        taken=frozenset({"n2"})
    )
    full = only(grant_ports([wish(mode="host")], publishers(shop, shop=ALL)))
    assert (full.granted, full.problems[0].value) == (False, "80")
    assert only(grant_ports([wish(mode="host", nodes=())], publishers(shop, shop=ALL))).granted


@pytest.mark.acceptance(86)
@pytest.mark.specification
def test_two_clusters_share_ports_on_nodes_of_their_own_and_only_in_host_mode() -> None:
    apart = [wish("blue", mode="host", nodes=("n1",)), wish("green", mode="host", nodes=("n2", "n3"))]
    assert grant_ports(apart, Publishers()) == {"blue": Grant(), "green": Grant()}
    meeting = [apart[0], wish("green", mode="host", nodes=("n1", "n2"))]
    grants = grant_ports(meeting, Publishers())
    assert (grants["blue"], grants["green"].granted) == (Grant(), False)
    assert grants["green"].problems[0].remedy == (
        "choose another port, or free it at the proxies of service cluster blue; "
        "or give each cluster nodes of its own by ProxyConstraints"
    )
    grants = grant_ports([wish("green"), wish("blue")], Publishers())
    assert (grants["blue"], grants["green"].granted) == (Grant(), False)
    assert [each.label for each in grants["green"].problems] == [
        "Extensions.green.PublishedPort",
        "Extensions.green.PublishedSSLPort",
    ]
    assert 'with PublishMode = "host" clusters on nodes of their own' in grants["green"].problems[0].remedy


def test_who_has_a_port_keeps_it_whatever_its_name() -> None:
    held = publishers(publisher("p-green", 80, 443))
    grants = grant_ports([wish("blue"), wish("green", of="p-green")], held)
    assert (grants["blue"].granted, grants["green"]) == (False, Grant())
    # It wants others: once it has them, these are free.
    grants = grant_ports([wish("blue"), wish("green", 81, 444, of="p-green")], held)
    assert (grants["blue"].granted, grants["green"]) == (False, Grant())
    grants = grant_ports(
        [wish("blue"), wish("green", 81, 444, of="p-green")], publishers(publisher("p-green", 81, 444))
    )
    assert set(grants.values()) == {Grant()}


def test_two_clusters_whose_nodes_came_to_overlap_go_on_side_by_side() -> None:
    """The second by name leaves the nodes of the first alone, and neither loses what it has."""
    held = publishers(
        publisher("b", 80, 443, mode="host"), publisher("g", 80, 443, mode="host"), b=("n1",), g=("n3",)
    )
    wishes = [wish("blue", mode="host", nodes=("n1", "n2"), of="b"), wish("green", mode="host", nodes=ALL, of="g")]
    assert grant_ports(wishes, held) == {"blue": Grant(), "green": Grant(taken=frozenset({"n1", "n2"}))}


def test_the_cluster_s_own_old_proxies_are_not_in_its_way() -> None:
    held = publishers(publisher("old", 80, 443), publisher("new", 8080, 8443))
    own = replace(wish(), services=frozenset({"id-old", "id-new"}))
    assert only(grant_ports([own], held)) == Grant()


def test_a_refused_change_leaves_the_nodes_of_the_ports_that_stay() -> None:
    held = publishers(
        publisher("proxy", 80, mode="host"), publisher("web", 80, mode="host"), publisher("shop", 81), web=("n2",)
    )
    grant = only(grant_ports([wish(http=81, mode="host", of="proxy")], held))
    assert (grant.granted, grant.taken) == (False, frozenset({"n2"}))


def test_publishers_tell_what_may_matter() -> None:
    cache, found = Cache(), Publishers()

    def take(*events: Upsert | Remove) -> bool:
        touched = Touched()
        for event in events:
            touched |= cache.apply(event)
        return found.take(cache, touched)

    assert not take(Upsert(service("plain", spec({}))), Upsert(task("t0", "plain")))
    assert take(Upsert(publisher("web", 80, mode="host")))
    assert take(Upsert(task("t1", "web", TaskState.STARTING)))
    assert not take(Upsert(task("t1", "web", version=2)))
    assert found.found["id-web"].nodes == {"n1"}
    assert take(Upsert(task("t1", "web", TaskState.SHUTDOWN, TaskState.SHUTDOWN, version=3)))
    assert not take(Upsert(replace(publisher("web", 80, mode="host"), version=2)))
    assert take(Upsert(replace(publisher("web"), version=3)))
    assert found.found == {}
    assert not take(Remove(Kind.SERVICE, "id-web"))


def test_a_cluster_does_not_move_to_where_anothers_proxies_are() -> None:
    """Whatever their names: who is there stays."""
    there = publishers(
        publisher("pe", 80, 443, mode="host"), publisher("pw", 80, 443, mode="host"), pe=("n1",), pw=("n2",)
    )
    east = wish("east", mode="host", nodes=("n2",), of="pe")
    west = wish("west", mode="host", nodes=("n2",), of="pw")
    grants = grant_ports([east, west], there)
    assert not grants["east"].granted
    assert "west" in grants["east"].problems[0].message
    assert grants["west"] == Grant()
