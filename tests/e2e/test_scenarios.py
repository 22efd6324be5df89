"""The scenarios of ``make bench`` that clients would notice first, in a short form, on each HAProxy series.

What is counted (failed requests, reloads, other processes) is held against its limit; times are left to the
benchmark, whose machine is not busy with tests.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.scenario import rolling, scale, single
from benchmarks.scenario.result import Case, Outcome
from benchmarks.scenario.stage import stage
from testbed.system import System

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def system(haproxy_series: str) -> Iterator[System]:
    with stage(Case(haproxy_series, short=True)) as system:
        yield system


@pytest.fixture
def outcome() -> Iterator[Outcome]:
    """Filled by the test; everything counted in it must be 0."""
    outcome = Outcome()
    yield outcome
    counted = [check for check in outcome.checks if check.limit == 0]
    assert counted
    assert [check for check in counted if not check.met] == [], outcome.figures


def test_scaling_fails_no_request(system: System, outcome: Outcome) -> None:
    scale.one(system, outcome, "app", many=12, rounds=1)


def test_a_rolling_update_fails_no_request(system: System, outcome: Outcome) -> None:
    rolling.roll(system, outcome, "rolling", {}, rolling.STEPS[:2])


def test_an_update_of_the_only_replica_holds_requests(system: System, outcome: Outcome) -> None:
    single.on(system, outcome, stop_first=1)
