"""`make soak`: 5,000 polls of Swarm in which nothing happens: nothing is done, and nothing grows."""

from __future__ import annotations

import pytest

from benchmarks.scenario import quiet
from benchmarks.scenario.result import Case, Outcome

pytestmark = [pytest.mark.swarm, pytest.mark.soak, pytest.mark.timeout(1800)]


@pytest.mark.acceptance(15)
def test_nothing_happens_and_nothing_is_done(haproxy_series: str) -> None:
    outcome = Outcome()
    quiet.run(Case(haproxy_series), outcome)
    assert [check for check in outcome.checks if not check.met] == [], outcome.figures
    assert outcome.met
