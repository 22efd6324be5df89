"""Redirects: acceptance items 51 to 54, on a real Swarm."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Create
from tests.e2e.installation import Installation

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]

ASKED = "/a%20b/c?q=1&r=%2F"


def redirected(l7: Installation, host: str, path: str = ASKED) -> set[tuple[int, str]]:
    """Status and target of what the proxies answer."""
    return {(each.status, each.headers.get("location", "")) for each in l7.ask(host, path)}


def leads(l7: Installation, host: str, location: str) -> None:
    """Waits until the proxies lead from the host to there, with path and query."""
    wanted = {(302, location + ASKED)}
    l7.until(f"redirects of {host}", lambda: redirected(l7, host) == wanted, timeout=5)


@pytest.mark.acceptance(51)
def test_an_old_host_leads_to_a_new_one(l7: Installation, create: Create) -> None:
    create("moved51", "old51.local,new51.local", labels={"redirects": "http://old51.local,http://new51.local"})
    tasks = l7.published("moved51", "new51.local")
    leads(l7, "old51.local", "http://new51.local")
    assert {each.instance for each in l7.ask("new51.local", ASKED)} == tasks
    l7.label("moved51", redirects=None)
    assert {each.instance for each in l7.answered("old51.local")} == tasks
    l7.solved("moved51")


@pytest.mark.acceptance(52)
def test_several_pairs(l7: Installation, create: Create) -> None:
    pairs = "http://one52.local,http://new52.local; two52.local,https://other52.local:8443/deep;"
    create("moved52", "new52.local,two52.local", labels={"redirects": pairs})
    l7.published("moved52", "new52.local")
    leads(l7, "one52.local", "http://new52.local")
    leads(l7, "two52.local", "https://other52.local:8443/deep")
    l7.solved("moved52")


@pytest.mark.acceptance(53)
def test_from_http_to_https_of_the_same_host_is_no_circle(l7: Installation, create: Create) -> None:
    """The half that is spoken in the clear; the other one is in test_acceptance_tls."""
    create("secure53", "secure53.local", labels={"redirects": "http://secure53.local,https://secure53.local"})
    l7.running("secure53", 1)
    leads(l7, "secure53.local", "https://secure53.local")
    l7.solved("secure53")


@pytest.mark.acceptance(54)
def test_a_redirect_is_never_ignored(l7: Installation, create: Create) -> None:
    """A source need be none of the hosts; a circle is refused, and said. (Of a passthrough service: see
    test_acceptance_tls_tasks.)"""
    create("moved54", "moved54.local", labels={"redirects": "http://old54.local,https://moved54.local"})
    l7.running("moved54", 1)
    leads(l7, "old54.local", "https://moved54.local")
    create("circle54", "circle54.local", labels={"redirects": "moved54.local,http://old54.local"})
    problem = l7.problem("circle54", "redirects")
    assert "moved54" in problem["message"]
    assert problem["remedy"]
    l7.published("circle54", "circle54.local")
    leads(l7, "old54.local", "https://moved54.local")
    assert {each.instance for each in l7.ask("moved54.local")} == l7.task_ids("moved54")
