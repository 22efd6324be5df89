"""Verdicts that follow change are those that a look at everything would come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from haproxy.health import Key, Verdicts, told
from haproxy.mirror import name_of
from haproxy.model import HOLD, Admin, Backend, Server, ServerRow, ServerState
from haproxy.policy import task_of
from l7.fastpath import Health
from l7.v1 import sync_pb2 as pb
from tests.fakes.haproxy import SERVERS_STATE, servers_state_row

KEYS, PHYSICAL = ("a", "a.http-leastconn", "b"), ("x", "y", "z")
STATES = st.sampled_from((ServerState.PENDING, ServerState.READY, ServerState.LEAVING))

rows = st.builds(
    ServerRow, st.sampled_from(PHYSICAL), st.sampled_from(("t1.aa", "t1.bb", "t2.aa", HOLD)), st.just(1),
    st.just("10.0.0.1"), st.just(80), st.just(64), st.sampled_from((Admin(0), Admin.FORCED_MAINT)), st.booleans(),
    st.just(True),
)  # fmt: skip
dumps = st.lists(rows, max_size=8, unique_by=lambda row: (row.backend, row.name))
placements = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(PHYSICAL))
tasks = st.dictionaries(st.sampled_from(("t1", "t2")), STATES)
wants = st.dictionaries(st.sampled_from(KEYS), tasks)
worlds = st.tuples(dumps, placements, wants)


def all_of(
    dump: list[ServerRow], placement: Mapping[str, str], wanted: Mapping[str, Backend]
) -> dict[Key, pb.HealthStatus]:
    """The better one counts (UP is the smallest)."""
    found: dict[Key, pb.HealthStatus] = {}
    for key, physical in placement.items():
        for row in dump:
            if row.backend == physical and row.name != HOLD:
                task, servers = task_of(row.name), wanted[key].servers if key in wanted else {}
                runs = task in servers and servers[task].state is ServerState.READY
                whose = (name_of(key), task)
                found[whose] = min(found.get(whose, pb.HEALTH_STATUS_GONE), verdict(row, runs))
    return found


def verdict(row: ServerRow, runs: bool) -> pb.HealthStatus:
    if not row.enabled:
        return pb.HEALTH_STATUS_DOWN if runs else pb.HEALTH_STATUS_MAINTENANCE
    return pb.HEALTH_STATUS_UP if row.up else pb.HEALTH_STATUS_DOWN


def backend(states: Mapping[str, ServerState]) -> Backend:
    return Backend("a", servers={task: Server(task, 1, "10.0.0.1", 80, state=of) for task, of in states.items()})


@given(history=st.lists(worlds, max_size=6))
@settings(deadline=None)
def test_verdicts_follow_any_history(
    history: list[tuple[list[ServerRow], dict[str, str], dict[str, dict[str, ServerState]]]],
) -> None:
    health, verdicts, core = Health(), Verdicts(), dict[Key, pb.HealthStatus]()
    wanted: dict[str, Backend] = {}
    for dump, placement, states in history:
        before, wanted = wanted, {key: backend(each) for key, each in states.items()}
        touched = {key for key in before.keys() | wanted.keys() if before.get(key) != wanted.get(key)}
        health.begin()
        health.feed(0, SERVERS_STATE + b"".join(map(servers_state_row, dump)))
        changed = verdicts.renew(verdicts.names(health.end(), placement, touched), wanted)
        for each in told(verdicts, changed):
            assert core.get((each.backend, each.task), pb.HEALTH_STATUS_GONE) != each.status
            core[each.backend, each.task] = each.status
        core = {key: status for key, status in core.items() if status != pb.HEALTH_STATUS_GONE}
        exact = all_of(dump, placement, wanted)
        assert core == exact == {key: verdicts.get(key) for key in verdicts.tasks()}
        counts = Counter(exact.values())
        assert list(verdicts.counts().values()) == [counts[status] for status in (1, 2, 3)]
