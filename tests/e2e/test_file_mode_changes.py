"""Changes of services behind NGINX in file mode, under load: acceptance items 21, 22, 28 to 30, 69 to 71 and 83, on
a real Swarm. The tests of HAProxy in live mode run here, on NGINX, all at once; no request fails."""

from __future__ import annotations

import pytest

from tests.e2e import test_acceptance_default as default
from tests.e2e import test_acceptance_health as health
from tests.e2e import test_acceptance_publishing as publishing
from tests.e2e import test_acceptance_stickiness as stickiness
from tests.e2e.file_mode import Edge
from tests.e2e.file_mode_tests import Batch
from tests.e2e.fleet import FleetSystem
from tests.e2e.together import Case, chosen, parameters

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(400)]


@pytest.mark.acceptance(28)
def a_task_that_docker_finds_sick_is_not_asked(edge: Edge, docker_checked: str) -> None:
    """NGINX asks no task by itself: Docker's checks count. A task that gets sick is replaced, and its successor,
    sick from its start, is not asked before it is well. No request waits for that."""
    host = "docker28.local"
    edge.until("the container to listen", lambda: health.tell_all(edge, docker_checked, "/log"))
    edge.refused(host, "no-server")
    health.tell_all(edge, docker_checked, "/well")
    (first,) = {each.instance for each in edge.answered(host)}
    health.tell_all(edge, docker_checked, "/sick")
    edge.until("another task", lambda: first not in edge.task_ids(docker_checked))
    edge.refused(host, "no-server")
    edge.until("the other container to listen", lambda: health.tell_all(edge, docker_checked, "/well"))
    assert {each.instance for each in edge.answered(host)} == edge.task_ids(docker_checked)


CASES = (
    Case(publishing.test_scaling_up_and_down_fails_no_request),
    Case(publishing.test_scaled_to_zero_and_back),
    Case(a_task_that_docker_finds_sick_is_not_asked),
    Case(health.test_updates_fail_no_request),
    Case(stickiness.test_the_applications_cookie_decides),
    Case(default.test_unknown_hosts_have_a_service),
)


@pytest.fixture(scope="module")
def batch(
    request: pytest.FixtureRequest, file_mode_fleet: FleetSystem, tmp_path_factory: pytest.TempPathFactory
) -> Batch:
    return Batch(file_mode_fleet, tmp_path_factory.mktemp("batch"), chosen(request))


@pytest.mark.parametrize("case", parameters(CASES))
def test_a_change(batch: Batch, case: Case) -> None:
    batch.told(case)


def test_rolls_cost_others_nothing(batch: Batch, edge: Edge) -> None:
    assert edge.unharmed(batch.bystanders)
