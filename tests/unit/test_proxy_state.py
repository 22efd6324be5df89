"""States and changes of the benchmarks at scale: who is replaced by whom."""

from __future__ import annotations

import pytest

from benchmarks.scale.proxy_state import Replacing, Tasks, snapshot
from l7 import delta
from l7.model import Delta


@pytest.mark.parametrize("count", [1, 3, 7])
def test_each_replacement_takes_the_oldest_task_of_its_service(count: int) -> None:
    tasks = Tasks(80)
    state, churn = snapshot(7, 3, tasks), Replacing(7, 3, tasks)
    for number in range(30):
        before, changes = state.backends, churn.next(count)
        state = delta.apply(state, Delta(state.revision, f"r{number + 1}", changes))
        for change in changes.backends:
            assert change.removed_servers == (min(before[change.name].servers),)
            assert len(state.backends[change.name].servers) == 3
        assert len(changes.backends) == count


def test_tasks_have_addresses_and_ids_of_their_own() -> None:
    servers = Tasks(80).servers(0, 20_000)
    assert len({server.address for server in servers}) == len({server.task for server in servers}) == 20_000
    assert len({server.id for server in servers}) == 20_000
    assert all(1 <= int(part) <= 250 for server in servers[::997] for part in server.address.split(".")[1:])
