"""Routes, redirects, TLS and changes of services on NGINX in file mode: acceptance items 17 to 23, 26 to 30, 47 to
57, 62 to 64, 69 to 74 and 76, on a real Swarm. The very tests of HAProxy in live mode run here, on NGINX, all at
once; no request fails under load."""

from __future__ import annotations

import pytest

from tests.e2e import test_acceptance_health as health
from tests.e2e import test_acceptance_labels as labels
from tests.e2e import test_acceptance_paths as paths
from tests.e2e import test_acceptance_publishing as publishing
from tests.e2e import test_acceptance_redirects as redirects
from tests.e2e import test_acceptance_stickiness as stickiness
from tests.e2e import test_acceptance_tls as tls
from tests.e2e import test_acceptance_tls_tasks as tls_tasks
from tests.e2e import test_acceptance_websockets as websockets
from tests.e2e.conftest import Create
from tests.e2e.file_mode import NODES, Edge
from tests.e2e.file_mode_tests import Batch
from tests.e2e.fleet import FleetSystem
from tests.e2e.together import Case, chosen, parameters

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(400)]


@pytest.mark.acceptance(20)
def case_port_and_trailing_dot_of_the_host_do_not_matter(edge: Edge) -> None:
    for host in ("WITNESS.local:1234", "witness.LOCAL", "witness.local.", "Witness.Local.:80"):
        assert {each.status for each in edge.ask(host)} == {200}, host


@pytest.mark.acceptance(26)
def bad_labels_cost_only_their_own_service(edge: Edge, create: Create) -> None:
    labels.costs_only_their_own(edge, create)
    for proxy in range(len(NODES)):
        text = edge.configuration(proxy)
        assert "beside26.local" in text
        assert labels.MARK not in text


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


NO_PORT = labels.test_without_port_and_no_single_one_published_it_is_skipped
TWO_PORTS = ("--publish=18028:8080", "--publish=18029:8081")
CASES = (
    Case(publishing.test_a_labelled_service_is_served),
    Case(publishing.test_several_hosts),
    Case(publishing.test_an_unknown_host_is_told_from_an_applications_own_503),
    Case(case_port_and_trailing_dot_of_the_host_do_not_matter),
    Case(publishing.test_scaling_up_and_down_fails_no_request),
    Case(publishing.test_scaled_to_zero_and_back),
    Case(publishing.test_labels_come_and_go_on_a_running_service),
    Case(bad_labels_cost_only_their_own_service),
    Case(labels.test_without_port_the_only_published_one_is_taken),
    Case(NO_PORT, (("ports", TWO_PORTS), ("reason", "8080, 8081"))),
    Case(a_task_that_docker_finds_sick_is_not_asked),
    Case(health.test_updates_fail_no_request),
    Case(paths.test_a_context_root),
    Case(paths.test_a_context_root_is_removed_when_asked_for),
    Case(paths.test_only_whole_segments_match),
    Case(paths.test_the_longest_prefix_wins),
    Case(redirects.test_an_old_host_leads_to_a_new_one),
    Case(redirects.test_several_pairs),
    Case(redirects.test_a_redirect_is_never_ignored),
    Case(stickiness.test_the_applications_cookie_decides),
    Case(stickiness.test_the_clients_address_decides),
    Case(stickiness.test_two_ways_to_stick_at_once),
    Case(websockets.test_websockets_on_every_path),
    Case(tls.test_a_certificate_and_its_key),
    Case(tls.test_each_host_has_its_own_and_some_share_one),
    Case(tls.test_only_tls),
    Case(tls.test_a_redirect_to_https_of_the_same_host_ends_there),
    Case(tls_tasks.test_tls_is_passed_on_as_it_is),
    Case(tls_tasks.test_redirects_of_a_passthrough_service),
)


@pytest.fixture(scope="module")
def batch(
    request: pytest.FixtureRequest, file_mode_fleet: FleetSystem, tmp_path_factory: pytest.TempPathFactory
) -> Batch:
    return Batch(file_mode_fleet, tmp_path_factory.mktemp("batch"), chosen(request))


@pytest.mark.parametrize("case", parameters(CASES))
def test_a_service(batch: Batch, case: Case) -> None:
    batch.told(case)


def test_rolls_cost_others_nothing(batch: Batch, edge: Edge) -> None:
    assert edge.unharmed(batch.bystanders)
