"""Counted service by service, or all at once: as many addresses are in use."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from l7.addresses import Addresses
from l7.model import Network, Service, ServiceSpec, Task, TaskState

NETWORKS = ("a", "b")
pairs = st.lists(st.tuples(st.sampled_from(NETWORKS), st.sampled_from(["10.0.0.2", "fd00::2", ""])), max_size=3)
tasks = st.builds(
    lambda state, node, addresses: Task("t", 1, "s", node, 1, state, TaskState.RUNNING, 1, tuple(addresses)),
    st.sampled_from([TaskState.NEW, TaskState.STARTING, TaskState.RUNNING, TaskState.FAILED]),
    st.sampled_from(["", "n1", "n2"]),
    pairs,
)
steps = st.tuples(st.sampled_from(["s1", "s2", "s3"]), st.none() | pairs, st.lists(tasks, max_size=3))


Pairs = list[tuple[str, str]]
Held = tuple[Pairs | None, list[Task]]
"""Virtual addresses of a service, None when it is gone, and its tasks."""


def counted(held: dict[str, Held], network: str) -> int:
    """From the beginning."""
    used, nodes = 1, set()
    for vips, found in held.values():
        used += sum(each == network and "." in address for each, address in vips or [])
        for task in found:
            if task.state <= TaskState.RUNNING:
                mine = [each for each, address in task.addresses if each == network and "." in address]
                used += len(mine)
                nodes |= {task.node for _ in mine if task.node}
    return used + len(nodes)


@given(st.lists(steps, max_size=12))
def test_the_count_is_that_of_a_fresh_look(sequence: list[tuple[str, Pairs | None, list[Task]]]) -> None:
    found = Addresses()
    held: dict[str, Held] = {}
    for id_, vips, of in sequence:
        before = {each: found.used(Network(each, 1, each)) for each in NETWORKS}
        service = None if vips is None else Service(id_, 1, id_, 1, ServiceSpec(), vips=tuple(vips))
        changed = found.note(id_, service, of)
        held[id_] = (vips, of)
        after = {each: found.used(Network(each, 1, each)) for each in NETWORKS}
        assert after == {each: counted(held, each) for each in NETWORKS}
        assert changed == {each for each in NETWORKS if before[each] != after[each]}
        waiting = any(task.state is TaskState.NEW for task in of)
        assert (id_ in found.waiting) is (waiting and service is not None)
