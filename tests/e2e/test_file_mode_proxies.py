"""NGINX proxies in file mode as such: acceptance items 33, 61, 75, 83 and 94, on a real Swarm."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import orjson
import pytest

from testbed.certificates import Issued, TestAuthority
from testbed.sessions import SessionReport
from tests.e2e import test_acceptance_default as default
from tests.e2e.conftest import Create
from tests.e2e.file_mode import GRACE, KILL, NODES, PROXY, QUIT, Edge
from tests.e2e.file_mode_tests import Batch
from tests.e2e.installation import WITNESS
from tests.e2e.tls_client import TlsClient
from tests.e2e.together import Case

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]


@pytest.fixture
def create(create_on_edge: Create) -> Create:
    return create_on_edge


def others_come_scale_and_go(edge: Edge, create: Create) -> None:
    create("other75", "other75.local")
    edge.published("other75", "other75.local")
    edge.scale("other75", 2)
    edge.running("other75", 2)
    edge.settled_on("other75.local", edge.task_ids("other75"))
    edge.remove("other75")


def certificate_turns(edge: Edge, tls: TlsClient, new: Issued, before: set[str]) -> None:
    """What is under way ends well, new handshakes get the new one, and the old key leaves with the last proxy of
    `before`."""
    with edge.load("turn61.local", rate=2, path="/slow?ms=5000") as long:
        edge.label("turn61", **tls.pair("turn61new", new))
        edge.until("all proxies to be others", lambda: not edge.task_ids(PROXY) & before)
    assert edge.unharmed(long)
    tls.shows("turn61.local", new.fingerprint)
    edge.until("the old key to be gone", lambda: attached(edge).isdisjoint({"turn61.cert", "turn61.key"}))
    assert attached(edge) >= {"turn61new.cert", "turn61new.key"}


@pytest.mark.acceptance(61)
@pytest.mark.acceptance(75)
@pytest.mark.acceptance(83)
def test_connections_live_until_the_grace_period_ends(edge: Edge, create: Create, tmp_path: Path) -> None:
    """A certificate is rotated, and other services come, scale and go, the default one too: the proxies are
    replaced. Sockets live for `ProxyStopGracePeriod` and no shorter, and nobody's request fails."""
    tls, authority = TlsClient(edge, tmp_path), TestAuthority()
    old, new = authority.issue("turn61.local"), authority.issue("turn61.local")
    create("turn61", "turn61.local", labels=tls.pair("turn61", old))
    tls.shows("turn61.local", old.fingerprint)
    edge.converged()
    began, before = time.time(), edge.task_ids(PROXY)
    cases = (
        Case(certificate_turns, (("tls", tls), ("new", new), ("before", before))),
        Case(others_come_scale_and_go),
        Case(default.test_unknown_hosts_have_a_service),
    )
    with edge.sessions(WITNESS, websockets=20) as sessions:
        batch = Batch(edge.fleet, tmp_path, cases)
    for case in cases:
        batch.told(case)
    assert edge.unharmed(batch.bystanders)
    for proxy in range(len(NODES)):
        lived_for_the_grace_period(sessions[proxy], edge.signals(proxy, began))


def attached(edge: Edge) -> set[str]:
    """Names of the secrets that proxies have, whether Swarm wants them to run or not."""
    tasks = [each for each in edge.tasks(PROXY, running=False) if each["Status"]["State"] == "running"]
    return {each["SecretName"] for task in tasks for each in task["Spec"]["ContainerSpec"].get("Secrets", [])}


def lived_for_the_grace_period(report: SessionReport, signals: Iterable[tuple[str, float]]) -> None:
    """Whether all sockets of a proxy were cut when it was killed, the time it has after it was told to leave."""
    (first, told), (second, killed), *_ = signals
    assert (first, second) == (QUIT, KILL)
    assert GRACE <= killed - told < GRACE + 2
    assert (report.opened, report.cut) == (20, 20)
    assert all(killed - 0.2 < float(when) < killed + 2 for when, *_ in report.reasons), report.reasons


@pytest.mark.acceptance(33)
def test_a_task_that_fails_too_often_is_left_out_for_a_while(edge: Edge, create: Create) -> None:
    """What NGINX counts is what it tries at the next task: no answer, and with `retry_on` 502 to 504 as well. None
    of it is seen. After three failures a task is not asked for 15 s, unless its service says 0."""
    names = {"passive33": {"max_fails": "3", "fail_timeout": "15s"}, "never33": {"max_fails": "0"}}
    for name, labels in names.items():
        create(name, f"{name}.local", 3, labels={"retry_on": "safe", **labels})
    for name in names:
        edge.published(name, f"{name}.local", 3)
        edge.reach(f"{name}.local", edge.task_ids(name))
    edge.converged()
    sick = {name: min(edge.task_ids(name)) for name in names}
    for task in sick.values():
        edge.tell(task, "/fail?n=100000&status=503")
    began = time.monotonic()
    for name in names:
        good(edge, f"{name}.local")
    before = {name: requests(edge, task) for name, task in sick.items()}
    for name in names:
        good(edge, f"{name}.local")
    more = {name: requests(edge, task) - before[name] for name, task in sick.items()}
    assert more["passive33"] <= 1, "but for being asked how many"
    assert more["never33"] > 10
    edge.tell(sick["passive33"], "/fail?n=0")
    edge.reach("passive33.local", edge.task_ids("passive33"))
    assert time.monotonic() - began > 14, "tried again too early"


def good(edge: Edge, host: str) -> None:
    assert {each.status for each in edge.ask(host, times=60)} == {200}


def requests(edge: Edge, task: str) -> int:
    """How many a task has had."""
    return int(orjson.loads(edge.tell(task, "/log"))["requests"])


@pytest.mark.acceptance(94)
def test_what_nginx_refuses_is_never_rolled_out(edge: Edge, create: Create) -> None:
    """Raw lines of the operator that NGINX does not know: the proxies stay, a change that comes meanwhile waits,
    and all of it comes with the next good settings."""
    edge.converged()
    before, table = edge.task_ids(PROXY), edge.fleet.tables["edge"]
    table["Config"] = {"HTTPOptions": ["no_such_directive on;"]}
    with edge.load(WITNESS) as reports:
        try:
            edge.fleet.deploy()
            edge.until("a problem", lambda: "no_such_directive" in problems(edge))
            create("waits94", "waits94.local")
            edge.running("waits94", 1)
            edge.converged()
            assert edge.task_ids(PROXY) == before
        finally:
            del table["Config"]
            edge.fleet.deploy()
        edge.answered("waits94.local")
        edge.until("no problem", lambda: "no_such_directive" not in problems(edge))
    assert edge.unharmed(reports)


def problems(edge: Edge) -> str:
    """What `l7 status` says is wrong."""
    return "\n".join(each["message"] for each in edge.status()["problems"])
