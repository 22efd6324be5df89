"""Labels that are wrong, missing or shared: acceptance items 26, 27 and 34, and quarantine, on a real Swarm."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import WITNESS, Create
from tests.e2e.installation import Installation

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]

MARK = "injected"
BAD = {
    "badport": {"hosts": f"{MARK}1.local", "port": "abc"},
    "nohost": {"hosts": "", "port": "8080"},
    "spaced": {"hosts": f"{MARK}2 .local", "port": "8080"},
    "semicolon": {"hosts": f"{MARK}3.local; show env", "port": "8080"},
    "brace": {"hosts": f"{MARK}4.local{{", "port": "8080"},
    "newline": {"hosts": f"{MARK}5.local\nshutdown", "port": "8080"},
    "long": {"hosts": f"{MARK}6.{'x' * 300}.local", "port": "8080"},
}


@pytest.mark.acceptance(26)
def test_bad_labels_cost_only_their_own_service(l7: Installation, create: Create) -> None:
    costs_only_their_own(l7, create)
    for proxy in range(len(l7.services)):
        rows = l7.haproxy("show map /run/l7/routes.map", proxy)
        assert "beside26.local/" in rows
        assert MARK not in rows + l7.haproxy("show backend", proxy)
        assert MARK not in l7.file(proxy, "haproxy.cfg").read_text()


def costs_only_their_own(l7: Installation, create: Create) -> None:
    """Each is told, in `l7 status` and core's log, and not routed; others are, and nothing of theirs fails."""
    with l7.load(WITNESS) as reports:
        for name, labels in BAD.items():
            create(name, labels=labels)
        create("beside", "beside26.local")
        for name, labels in BAD.items():
            wrong = "port" if name == "badport" else "hosts"
            problem = l7.problem(name, wrong)
            assert problem["fatal"]
            assert problem["message"]
            assert problem["remedy"]
            shown = labels[wrong].encode("unicode_escape").decode()
            assert problem["value"] == (shown if len(shown) <= 80 else f"{shown[:77]}...")
            assert l7.logged('"problem"', f'"{name}"', f"com.docker.lb.{wrong}")
        l7.published("beside", "beside26.local")
    assert l7.unharmed(reports)
    assert not [host for host in l7.hosts() if MARK in host]
    for number in range(1, 7):
        assert {each.error for each in l7.ask(f"{MARK}{number}.local")} == {"unknown-host"}


@pytest.mark.acceptance(27)
def test_without_port_the_only_published_one_is_taken(l7: Installation, create: Create) -> None:
    create("onlyport", "", 1, "--publish=18027:8080", labels={"hosts": "only27.local"})
    l7.published("onlyport", "only27.local")
    l7.solved("onlyport")


@pytest.mark.acceptance(27)
@pytest.mark.parametrize(
    ("ports", "reason"),
    [((), "publishes no port"), (("--publish=18028:8080", "--publish=18029:8081"), "8080, 8081")],
    ids=["none", "two"],
)
def test_without_port_and_no_single_one_published_it_is_skipped(
    l7: Installation, create: Create, ports: tuple[str, ...], reason: str
) -> None:
    create("noport", "", 1, *ports, labels={"hosts": "no27.local"})
    problem = l7.problem("noport", "port")
    assert reason in problem["message"]
    assert problem["fatal"]
    l7.running("noport", 1)
    l7.refused("no27.local")


@pytest.mark.acceptance(34)
def test_services_of_the_same_host_share_it(l7: Installation, create: Create) -> None:
    create("share1", "share34.local", 2)
    create("share2", "share34.local", 1)
    l7.running("share1", 2)
    l7.running("share2", 1)
    l7.reach("share34.local", l7.task_ids("share1") | l7.task_ids("share2"))
    l7.remove("share2")
    l7.reach("share34.local", l7.task_ids("share1"))


def test_a_bad_update_keeps_the_route_of_before(l7: Installation, create: Create) -> None:
    create("kept", "kept.local")
    tasks = l7.published("kept", "kept.local")
    with l7.load("kept.local") as reports:
        l7.update("kept", "--label-add=com.docker.lb.hosts=kept.local;")
        problem = l7.problem("kept", "hosts")
        assert problem["value"] == "kept.local;"
        assert "previous labels" in problem["message"]
        l7.converged()
        assert [{each.instance} for each in l7.answered("kept.local")] == [tasks] * len(l7.series)
        l7.update("kept", "--label-add=com.docker.lb.hosts=kept.local,other.kept.local")
        l7.solved("kept")
        l7.answered("other.kept.local")
    assert l7.unharmed(reports)
    assert l7.task_ids("kept") == tasks


def test_swarm_keeps_one_specification_of_before_and_not_two(l7: Installation, create: Create) -> None:
    create("twice", "twice.local")
    l7.published("twice", "twice.local")
    l7.update("twice", "--label-add=com.docker.lb.port=abc")
    l7.problem("twice", "port")
    l7.update("twice", "--label-add=com.docker.lb.port=xyz")
    l7.refused("twice.local", timeout=60)
    assert l7.problem("twice", "port")["value"] == "xyz"
    l7.update("twice", "--label-add=com.docker.lb.port=8080")
    l7.answered("twice.local")
    l7.solved("twice")
