"""Checks as rows and as what the probe asks; what a version of HAProxy can't do, said."""

from __future__ import annotations

import pytest

from haproxy.capabilities import capabilities
from haproxy.checks import DEFAULT_LIST, MIN_PATIENCE, Check, all_rows, check_of, check_rows, problems, shared_rows
from haproxy.model import Backend, HealthCheck, KeyPair, Protocol, ProxyHeader, Secret, Server, ServerSettings
from haproxy.policy import NOBODY
from haproxy.settings import CHECK_HOST_MAP, CHECK_LIST_MAP, CHECK_PATH_MAP, CHECK_STATUS_MAP
from l7.v1 import sync_pb2 as pb

SERVER = Server("t1", 1, "10.0.0.1", 80)
CA = Secret("ca1", "ca")
PAIR = KeyPair(Secret("a1", "cert"))
HTTP = HealthCheck("/health", "check.test", (200, 418))
NONE: dict[str, dict[str, str]] = {
    CHECK_PATH_MAP: {}, CHECK_HOST_MAP: {}, CHECK_LIST_MAP: {}, CHECK_STATUS_MAP: {},
}  # fmt: skip


def test_rows_of_a_check() -> None:
    rows = check_rows("spare-1", Backend("web", check=HTTP))
    assert rows[CHECK_PATH_MAP] == {"spare-1": "/health"}
    assert rows[CHECK_HOST_MAP] == {"spare-1": "check.test"}
    assert rows[CHECK_LIST_MAP] == {"spare-1": "spare-1|"}
    assert list(rows[CHECK_STATUS_MAP]) == ["spare-1|200", "spare-1|418"]


def test_what_is_default_has_no_row() -> None:
    assert check_rows("web", Backend("web", check=HealthCheck("/"))) == NONE | {CHECK_PATH_MAP: {"web": "/"}}
    assert check_rows("web", Backend("web")) == NONE
    assert check_rows("web", Backend("web", check=HTTP, tcp=True)) == NONE


def test_all_rows_are_those_of_placed_backends_and_the_shared_ones() -> None:
    backends = {"web": Backend("web", check=HTTP), "lost": Backend("lost", check=HTTP)}
    rows = all_rows({"web": "made", "gone": "other"}, backends)
    assert rows[CHECK_PATH_MAP] == {"made": "/health"}
    assert rows[CHECK_STATUS_MAP].keys() == {"made|200", "made|418", *shared_rows()}
    assert {key.removeprefix(DEFAULT_LIST) for key in shared_rows()} == {str(n) for n in range(200, 400)}


@pytest.mark.parametrize(
    ("backend", "check"),
    [
        (Backend("web"), Check("10.0.0.1", 80)),
        (Backend("web", check=HTTP), Check("10.0.0.1", 80, http=HTTP)),
        (Backend("web", settings=(ServerSettings(check_port=81),)), Check("10.0.0.1", 81)),
        (Backend("web", settings=(ServerSettings(protocol=Protocol.HTTPS),)), Check("10.0.0.1", 80, tls=True)),
        (Backend("web", check=HTTP, settings=(ServerSettings(protocol=Protocol.HTTPS),)),
         Check("10.0.0.1", 80, tls=True, http=HTTP)),
        (Backend("web", check=HTTP, settings=(ServerSettings(protocol=Protocol.H2C),)), Check("10.0.0.1", 80)),
        (Backend("web", check=HTTP, tcp=True, settings=(ServerSettings(protocol=Protocol.HTTPS, check_port=81),)),
         Check("10.0.0.1", 81)),
        (Backend("web", check=HTTP, settings=(ServerSettings(protocol=Protocol.HTTPS, tls_name="a.test"),)),
         Check("10.0.0.1", 80, tls=True, http=HTTP, name="a.test")),
        (Backend("web", check=HTTP, settings=(ServerSettings(tls_name="a.test"),)),
         Check("10.0.0.1", 80, http=HTTP)),
        (Backend("web", check=HTTP, settings=(ServerSettings(proxy_header=ProxyHeader.V2),)),
         Check("10.0.0.1", 80, http=HTTP, header=ProxyHeader.V2)),
        (Backend("web", settings=(ServerSettings(proxy_header=ProxyHeader.V2),)), Check("10.0.0.1", 80)),
        (Backend("web", check=HTTP, settings=(ServerSettings(protocol=Protocol.HTTPS, tls_certificate=PAIR),)),
         Check("10.0.0.1", 80, tls=True, http=HTTP, certificate=PAIR)),
        (Backend("web", settings=(ServerSettings(protocol=Protocol.HTTPS, tls_ca=CA, tls_name="a.test"),)),
         Check("10.0.0.1", 80, tls=True, name="a.test", ca=CA)),
        (Backend("web", settings=(ServerSettings(protocol=Protocol.HTTPS, tls_ca=CA),)),
         Check("10.0.0.1", 80, tls=True, name=NOBODY, ca=CA)),
        (Backend("web", tcp=True, settings=(ServerSettings(protocol=Protocol.HTTPS, tls_ca=CA),)),
         Check("10.0.0.1", 80)),
    ],
)  # fmt: skip
def test_what_a_server_is_asked(backend: Backend, check: Check) -> None:
    assert check_of(backend, SERVER) == check


def test_each_service_of_a_backend_has_its_own() -> None:
    backend = Backend("a:b", ("a", "b"), settings=(ServerSettings(), ServerSettings(check_port=81)))
    assert check_of(backend, Server("t2", 2, "10.0.0.2", 80, service=1)).port == 81


def test_the_probe_is_as_patient_as_haproxy_and_that_makes_no_other_check() -> None:
    slow = Backend("web", settings=(ServerSettings(check_interval=30_000),))
    assert [check_of(each, SERVER).patience for each in (Backend("web"), slow)] == [MIN_PATIENCE, 30_000]
    assert check_of(slow, SERVER) == check_of(Backend("web"), SERVER)


@pytest.mark.parametrize(
    ("rules", "labels"),
    [
        (None, []),
        (pb.Rules(name="web", timeout_server_milliseconds=5, timeout_tunnel_milliseconds=5), []),
        (pb.Rules(name="web", timeout_connect_milliseconds=5), ["com.docker.lb.timeout_connect"]),
        (pb.Rules(name="web", timeout_connect_milliseconds=5, queue_timeout_milliseconds=5),
         ["com.docker.lb.queue_timeout", "com.docker.lb.timeout_connect"]),
    ],
)  # fmt: skip
def test_what_needs_3_4_is_a_problem_below(rules: pb.Rules | None, labels: list[str]) -> None:
    found = problems(rules, capabilities((3, 2, 26)))
    assert [problem.label for problem in found] == labels
    assert all(problem.service == "web" and "3.4" in problem.remedy for problem in found)
    assert problems(rules, capabilities((3, 4, 0))) == ()
