"""Keywords change: each task is answered by one of its servers from the first command to the last."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haproxy.capabilities import Capabilities
from haproxy.model import Backend, Desired, Route, Server, ServerSettings
from tests.property.test_plan import FLAVOURS, Driver, Step, converge

TASKS = tuple(f"t{number}" for number in range(1, 6))
SERVERS = {task: Server(task, number, f"10.0.0.{number}", 80) for number, task in enumerate(TASKS, 1)}
ROUTES = {("x.test", "/"): Route("x.test", "/", "a")}

by_flavour = pytest.mark.parametrize("able", FLAVOURS, ids=["2.6", "3.4"])


def step(number: int, accepting: frozenset[str]) -> Step:
    """Keywords number so many are wanted, and these tasks are known to accept with them."""
    own = (ServerSettings(max_connections=number),)
    desired = Desired("r", {"a": Backend("a", ("a",), True, SERVERS, settings=own)}, ROUTES)
    return Step(desired, accepting, frozenset(), True, frozenset(), True, frozenset(), False, 0)


@by_flavour
@given(order=st.permutations(TASKS), again=st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_no_task_is_missing_while_keywords_change(able: Capabilities, order: list[str], again: int) -> None:
    driver = Driver(able)
    converge(driver, step(1, frozenset(TASKS)))
    assert driver.seen().usable_tasks("a") == set(TASKS)
    for number in range(6):
        wanted = 3 if number >= again else 2  # they may change again in the midst of it
        now = step(wanted, frozenset(order[: number + 1]))
        while plan := driver.plan(now):
            for op in plan:
                driver.apply(op)
                assert driver.seen().usable_tasks("a") == set(TASKS), op
    rows = driver.seen().of("a")
    assert {row.name for row in rows.values() if row.enabled} == {"hold", *driver.names(now.desired.backends["a"])}
    assert len(rows) == 6


@by_flavour
def test_an_earlier_generation_ends_when_its_successor_had_its_time(able: Capabilities) -> None:
    driver = Driver(able)
    converge(driver, step(1, frozenset(TASKS)))
    now = step(2, frozenset(TASKS[:2]))
    converge(driver, now)
    assert driver.seen().usable_tasks("a") == set(TASKS)
    earlier = frozenset(driver.seen().of("a")) - driver.names(now.desired.backends["a"]).keys() - {"hold"}
    converge(driver, replace(now, expired=earlier))
    assert driver.seen().usable_tasks("a") == set(TASKS[:2])
