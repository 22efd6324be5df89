"""Whatever clusters want and others have: what comes of the grants could be published side by side."""

from __future__ import annotations

from itertools import combinations

from hypothesis import assume, given
from hypothesis import strategies as st

from l7.config import Cluster
from l7.deploy.ports import Publisher, Publishers, Wish, grant_ports
from l7.model import PublishedPort

NODES = ("n1", "n2", "n3")
CLUSTERS = ("", "blue", "green")
places = st.frozensets(st.sampled_from(NODES))
modes = st.sampled_from(["ingress", "host"])
numbers = st.sampled_from([0, 80, 81, 82])

Party = tuple[str, tuple[PublishedPort, ...], frozenset[str], bool]
"""Whose, which ports, where, and whether it may come to all of these nodes."""


def ports(mode: str, *published: int) -> tuple[PublishedPort, ...]:
    return tuple(PublishedPort(1, each, "tcp", mode) for each in published)


Has = tuple[str, int, int]
Wanted = tuple[str, tuple[int, int], frozenset[str], Has | None]
"""Mode, ports and nodes of a cluster, and mode and ports that its proxies have."""

others = st.builds(lambda mode, number, nodes: Publisher("web", ports(mode, number), nodes), modes, numbers, places)
clusters = st.tuples(modes, st.tuples(numbers, numbers), places, st.none() | st.tuples(modes, numbers, numbers))


def clash(one: Party, other: Party) -> bool:
    """Swarm's own rule, and that of two proxies that may come to one node."""
    for a in one[1]:
        for b in other[1]:
            if a.published and a.published == b.published:
                if "ingress" in (a.mode, b.mode):
                    return True
                if one[3] and other[3] and one[2] & other[2]:
                    return True
    return False


def clashes(parties: list[Party]) -> set[frozenset[str]]:
    return {frozenset((a[0], b[0])) for a, b in combinations(parties, 2) if clash(a, b)}


@given(st.lists(others, max_size=3), st.dictionaries(st.sampled_from(CLUSTERS), clusters, min_size=1))
def test_no_grant_makes_a_clash_and_none_is_refused_without(
    found: list[Publisher], wanted: dict[str, Wanted]
) -> None:
    publishers = Publishers({f"o{number}": each for number, each in enumerate(found)})
    wishes, before = [], [(id_, each.ports, each.nodes, False) for id_, each in publishers.found.items()]
    for name, (mode, (http, tls), nodes, has) in wanted.items():
        wishes.append(Wish(Cluster(name), (ports(mode, http)[0], ports(mode, tls)[0]), nodes, frozenset({name})))
        if has is not None:
            publishers.found[name] = Publisher(f"p{name}", ports(*has), frozenset())
            before.append((name, ports(*has), nodes, True))
    assume(not clashes(before))
    grants = grant_ports(wishes, publishers)
    got = {name for name, grant in grants.items() if grant.granted}
    after = [each for each in before if each[0] not in got]
    after += [(name, wish.ports, wish.nodes, True) for wish in wishes if (name := wish.cluster.name) in got]
    assert not clashes(after)
    for wish in wishes:
        name = wish.cluster.name
        alone = (name, wish.ports, wish.nodes, True)
        rivals = [(f"w{each.cluster.name}", each.ports, each.nodes, True) for each in wishes if each is not wish]
        free = [each for each in before if each[0] != name] + rivals
        full = any(
            wish.nodes and wish.nodes <= frozenset().union(*(p[2] for p in free if not p[3] and shares(p, port)))
            for port in wish.ports
        )
        if not full and not any(clash(alone, each) for each in free):
            assert grants[name].granted
        assert bool(grants[name].problems) is not grants[name].granted


def shares(party: Party, port: PublishedPort) -> bool:
    return any(port.published and port.published == each.published and port.mode == "host" for each in party[1])
