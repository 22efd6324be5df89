"""TCP ports: which need a reload, which can't be opened, and what is said about it."""

from __future__ import annotations

import socket

import pytest

from haproxy.mirror import Mirror
from haproxy.ports import Ports, is_free
from haproxy.settings import Settings
from l7.v1 import sync_pb2 as pb

SETTINGS = Settings(bind=(":80",), tcp_ports=(5000, 5001))


@pytest.fixture
def mirror() -> Mirror:
    """Services at a declared port, an undeclared one, and that of the HTTP listener."""
    mirror = Mirror()
    ports = {5000: "a", 6000: "b", 80: "c"}
    backends = [
        pb.Backend(name=f"{name}.tcp", settings=pb.BackendSettings(services=[name], tcp=True))
        for name in ports.values()
    ]
    routes = [pb.Route(host=f":{port}", path="/", backend=f"{name}.tcp") for port, name in ports.items()]
    mirror.load("r1", pb.Changes(backends=backends, routes=routes))
    return mirror


@pytest.fixture
def ports(mirror: Mirror) -> Ports:
    found = Ports()
    found.update([*mirror.hosts, "x.test"], mirror.hosts)
    return found


def test_what_is_not_declared_has_to_be_opened(ports: Ports) -> None:
    assert ports.outside(SETTINGS) == (6000,)
    assert ports.open_outside(SETTINGS, Settings(extra_tcp_ports=(6000, 7000))) == (6000,)
    assert ports.open_outside(SETTINGS, SETTINGS) == ()


def test_a_port_that_is_no_longer_wanted_is_forgotten_and_with_it_why_it_was_refused(ports: Ports) -> None:
    ports.refuse([6000], "in use")
    assert ports.outside(SETTINGS) == ()
    ports.update([":6000"], [])
    ports.update([":6000"], [":6000"])
    assert ports.outside(SETTINGS) == (6000,)


@pytest.mark.parametrize(
    ("static", "reloads", "told"),
    [(False, True, ["c"]), (False, False, ["b", "c"]), (True, True, ["b", "c"])],
)
def test_each_service_whose_port_stays_closed_is_told(
    ports: Ports, mirror: Mirror, static: bool, reloads: bool, told: list[str]
) -> None:
    problems = ports.problems(SETTINGS, mirror, static, reloads)
    assert sorted(problem.service for problem in problems) == told
    assert all(problem.remedy and problem.label == "com.docker.lb.tcp_port" for problem in problems)


def test_a_refusal_is_told_with_its_reason(ports: Ports, mirror: Mirror) -> None:
    ports.refuse([6000], "somebody else listens there")
    (_, problem) = ports.problems(SETTINGS, mirror, static=False, reloads=True)
    assert (problem.service, problem.message) == ("b", "port 6000 is not open: somebody else listens there")


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert not is_free("", port)
        assert not is_free("127.0.0.1", port)
    assert is_free("", port)
