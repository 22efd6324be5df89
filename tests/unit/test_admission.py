"""Who is asked, and what carries over when names, checks and backends change."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from haproxy import policy
from haproxy.accepting import Passed
from haproxy.admission import Admission
from haproxy.capabilities import capabilities
from haproxy.checks import Check
from haproxy.model import (
    Admin,
    Backend,
    Balance,
    HealthCheck,
    Protocol,
    Secret,
    Server,
    ServerRow,
    ServerSettings,
)
from haproxy.probe import Prober, Target
from haproxy.settings import Settings
from haproxy.verification import Refusal

WEB = Backend("web", ("web",), servers={"t1": Server("t1", 1, "10.0.0.1", 80)})
BY_HTTP = replace(WEB, check=HealthCheck("/health"))
V34 = capabilities((3, 4, 7))


def own(**settings: Any) -> Backend:
    return replace(WEB, settings=(ServerSettings(**settings),))


@dataclass
class Bench:
    """An admission whose prober only notes what it is to ask."""

    backends: dict[str, Backend] = field(default_factory=dict)
    asked: dict[str, set[Target]] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.admission = Admission(self.names, self.told.append, self.backends.get)

    def names(self, backend: str) -> dict[str, Server]:
        want = self.backends.get(backend)
        if want is None:
            return {}
        words = policy.server_keywords(Settings(), V34, want)
        return {policy.server_name(server, words): server for server in want.servers.values()}

    def learn(self, name: str, want: Backend | None, *up: bool) -> set[str]:
        """Rows: the wanted server in rotation, if `up` says so, and up or not. Returns who accepts."""
        self.backends.pop(name, None)
        if want is not None:
            self.backends[name] = want
        rows = {server: row(server, each) for server in self.names(name) for each in up}
        self.admission.learn(name, rows)
        return {server.partition(".")[0] for server in self.admission.accepting.of(name)}

    def answer(self, name: str) -> None:
        for target in self.asked[name]:
            self.admission._accepted(target)


def row(name: str, up: bool) -> ServerRow:
    return ServerRow("web", name, 1, "10.0.0.1", 80, 64, Admin(0), up, True)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench()
    monkeypatch.setattr(Prober, "want", lambda _, name, targets: bench.asked.update({name: targets}))
    return bench


def test_what_runs_is_asked_until_it_answers(bench: Bench) -> None:
    assert bench.learn("web", WEB) == set()
    assert len(bench.asked["web"]) == 1
    bench.answer("web")
    assert bench.told == ["web"]
    assert bench.learn("web", WEB) == {"t1"}
    assert bench.asked["web"] == set()


@pytest.mark.parametrize(
    "changed",
    [own(slow_start=10), own(max_connections=2), own(check_interval=300, check_fall=5), own(protocol=Protocol.H2C)],
)
def test_a_new_generation_needs_no_new_answer(bench: Bench, changed: Backend) -> None:
    bench.learn("web", WEB)
    bench.answer("web")
    before = bench.names("web").keys()
    assert bench.learn("web", changed) == {"t1"}
    assert bench.names("web").keys() != before
    assert bench.asked["web"] == set()


@pytest.mark.parametrize("changed", [own(check_port=81), own(protocol=Protocol.HTTPS), BY_HTTP])
def test_another_check_has_to_be_passed(bench: Bench, changed: Backend) -> None:
    bench.learn("web", WEB)
    bench.answer("web")
    assert bench.learn("web", changed) == set()
    assert len(bench.asked["web"]) == 1


def test_another_path_is_asked_anew_where_nothing_is_in_rotation(bench: Bench) -> None:
    bench.learn("web", BY_HTTP)
    bench.answer("web")
    assert bench.learn("web", BY_HTTP) == {"t1"}
    assert bench.learn("web", replace(BY_HTTP, check=HealthCheck("/other"))) == set()
    (target,) = bench.asked["web"]
    assert target.passed.check.http == HealthCheck("/other")


def test_what_is_in_rotation_is_not_asked(bench: Bench) -> None:
    assert bench.learn("web", WEB, True) == {"t1"}
    assert bench.learn("web", replace(BY_HTTP, check=HealthCheck("/other")), True) == {"t1"}
    assert bench.asked["web"] == set()


def test_what_is_down_is_no_longer_known(bench: Bench) -> None:
    bench.learn("web", WEB, True)
    assert bench.learn("web", WEB, False) == set()
    assert bench.asked["web"] == set()
    assert bench.learn("web.http-leastconn", replace(WEB, balance=Balance.LEAST_CONNECTIONS)) == set()
    assert len(bench.asked["web.http-leastconn"]) == 1


def test_a_move_to_another_policy_takes_the_answer_along_and_one_to_another_check_does_not(bench: Bench) -> None:
    bench.learn("web", WEB, True)
    assert bench.learn("web.http-leastconn", replace(WEB, balance=Balance.LEAST_CONNECTIONS)) == {"t1"}
    assert bench.learn("web.http-checked", BY_HTTP) == set()
    bench.answer("web.http-checked")
    assert bench.learn("web.http-checked", BY_HTTP) == {"t1"}


def test_a_backend_that_goes_is_forgotten(bench: Bench) -> None:
    bench.learn("web", WEB, True)
    bench.admission.forget("web")
    assert bench.learn("other", WEB) == set()
    assert bench.admission.accepting.all() == frozenset()


PROVEN = own(protocol=Protocol.HTTPS, tls_ca=Secret("c1", "ca"), tls_name="a.test")


def test_what_has_to_prove_itself_is_asked_why_it_is_down(bench: Bench) -> None:
    assert bench.learn("web", PROVEN, True) == {"t1"}
    assert bench.asked["web"] == set()
    assert bench.learn("web", PROVEN, False) == set()
    (target,) = bench.asked["web"]
    assert target.service == "web"
    bench.answer("web")
    assert bench.learn("web", PROVEN, True) == {"t1"}
    assert bench.asked["web"] == set()


def test_one_problem_for_each_service_and_label_whichever_task_was_first(bench: Bench) -> None:
    refusals = bench.admission._prober.refusals
    passed = Passed("t1", Check("10.0.0.1", 80))
    expected = [("a", "ca", "x"), ("a", "name", "y"), ("b", "ca", "x")]
    for service, label, message in (("b", "ca", "x"), ("a", "ca", "z"), ("a", "name", "y"), ("a", "ca", "x")):
        refusals[Target("web", f"{service}{label}{message}", passed, service)] = Refusal(label, message, "do")
        refusals[Target("web.other", f"{service}{label}{message}", passed, service)] = Refusal(label, message, "do")
    assert [(each.service, each.label, each.message) for each in bench.admission.problems] == expected
