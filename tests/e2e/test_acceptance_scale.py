"""Many hosts: acceptance item 35, on a real Swarm."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Create
from tests.e2e.installation import Installation

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]


@pytest.mark.acceptance(35)
def test_many_hosts_and_long_ones(l7: Installation, create: Create) -> None:
    hosts = {name: [f"{host}.{name}.local" for host in ("first", "second")] for name in ("two35", "pair35")}
    long = "x" * 63
    longest = f"{long}.{long}.{long}.{'y' * 55}.local"
    assert len(longest) == 253
    hosts["many35"] = [longest, f"{long}.many35.local", *(f"host{n}.many35.local" for n in range(498))]
    for name, names in hosts.items():
        create(name, ",".join(names))
    for name, names in hosts.items():
        l7.running(name, 1)
        l7.answered(names[-1])
    for name, names in hosts.items():
        found = {each.instance for host in names for each in l7.ask(host)}
        assert found == l7.task_ids(name)
    assert {each.status for each in l7.ask(f"{'x' * 64}.many35.local")} == {503}
