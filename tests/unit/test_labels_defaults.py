"""What the operator's IPHash does to services, and to which it does not."""

from __future__ import annotations

import pytest

from l7.config import Cluster, Settings
from l7.labels.defaults import by_address
from l7.labels.parse import parse_labels
from l7.model import Balance, HashKey, HashSource
from tests.fakes.swarm_state import World, labels

ADDRESS = HashKey(HashSource.ADDRESS)


@pytest.mark.parametrize(
    ("more", "balance", "key"),
    [
        ({}, Balance.HASH, ADDRESS),
        ({"balance": "roundrobin"}, Balance.ROUND_ROBIN, None),
        ({"balance": "uri"}, Balance.HASH, HashKey(HashSource.URI)),
        ({"ip_hash": "false"}, Balance.ROUND_ROBIN, None),
        ({"backend_mode": "vip"}, Balance.ROUND_ROBIN, None),
        ({"sticky_session_cookie": "sid"}, Balance.HASH, HashKey(HashSource.COOKIE, "sid")),
    ],
)
def test_labels_count_before_the_operators_choice(
    more: dict[str, str], balance: Balance, key: HashKey | None
) -> None:
    spec = parse_labels(labels(hosts="a.example", port="80", **more)).spec
    assert spec is not None
    changed = by_address(spec)
    assert (changed.balance, changed.rules.hash_key) == (balance, key)


def test_raw_tcp_has_a_hash_without_a_key() -> None:
    spec = parse_labels(labels(tcp_port="5432", port="5432")).spec
    assert spec is not None
    changed = by_address(spec)
    assert (changed.balance, changed.rules.hash_key) == (Balance.HASH, None)


def test_a_cluster_with_ip_hash() -> None:
    for ip_hash, balance in ((True, Balance.HASH), (False, Balance.ROUND_ROBIN)):
        world = World(Settings(clusters={"": Cluster(ip_hash=ip_hash)}))
        world.serve("web", hosts="a.example")
        assert world.backend("web").settings.balance is balance
