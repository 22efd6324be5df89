"""A backend that will have a server again keeps requests waiting for it, up to a bound: on a real HAProxy."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from haproxy import ops, policy
from haproxy.model import Backend, Desired, Route, Server
from haproxy.runtime.client import Runtime
from haproxy.runtime.dumps import StatKind
from tests.integration.live_haproxy import (
    PATIENCE,
    Answer,
    LiveHAProxy,
    application,
    await_true,
    receive,
    request,
    running,
    send,
)

pytestmark = pytest.mark.haproxy

BOUND = 4


class Bench:
    """A proxy with one backend, "late", without servers, and an application that could be one."""

    def __init__(self, proxy: LiveHAProxy, runtime: Runtime, port: int, gate: threading.Event) -> None:
        self.proxy, self.runtime, self.gate = proxy, runtime, gate
        self.physical = proxy.placement["late"]
        self.server = Server("t1", 7, "127.0.0.1", port)

    def begin(self, stack: ExitStack, number: int, path: str = "/") -> list[socket.socket]:
        """`number` requests, every other one a POST, none waited for."""
        started = []
        for index in range(number):
            connection = stack.enter_context(socket.create_connection(self.proxy.address, timeout=PATIENCE))
            method, body = ("POST", "a=1") if index % 2 else ("GET", "")
            send(connection, path, "host: a.test", method=method, body=body)
            started.append(connection)
        return started

    def under_way(self) -> int:
        (row,) = self.runtime.stat(self.physical, StatKind.BACKENDS)
        return row.sessions

    def await_under_way(self, number: int) -> None:
        await_true(lambda: self.under_way() == number, f"{number} requests under way")

    def add_server(self) -> None:
        keywords = policy.server_keywords(self.proxy.settings, self.proxy.capabilities, Backend("late"))
        name = policy.server_name(self.server, keywords)
        add = ops.AddServer(
            self.physical, name, self.server.address, self.server.port, self.server.id, 64, keywords
        )
        self.apply(add, ops.EnableServer(self.physical, name), ops.EnableHealth(self.physical, name))

    def apply(self, *commands: ops.Op) -> None:
        assert [result.refusal for result in self.runtime.apply(commands)] == [None] * len(commands)

    def renew_at_run_time(self) -> None:
        """Put a backend made by `add backend` in the place of the configured one."""
        old, self.physical = self.physical, "dynamic"
        file = self.proxy.settings.file("backends.map")
        self.apply(
            ops.AddBackend(self.physical, policy.HTTP),
            policy.hold_server(self.physical),
            ops.EnableServer(self.physical, "hold"),
            ops.PublishBackend(self.physical),
            ops.SetMapRow(file, "late", self.physical),
            ops.UnpublishBackend(old),
        )


@pytest.fixture(params=["configured", "added"])
def bench(request: pytest.FixtureRequest, haproxy_binary: Path, tmp_path: Path) -> Iterator[Bench]:
    desired = Desired(
        "r", {"late": Backend("late", ("late",), expected=True)}, {("a.test", "/"): Route("a.test", "/", "late")}
    )
    gate = threading.Event()
    with (
        application("late", gate) as port,
        running(haproxy_binary, tmp_path, desired, held_requests=BOUND) as proxy,
        Runtime(proxy.runtime_url) as runtime,
    ):
        bench = Bench(proxy, runtime, port, gate)
        if request.param == "added":
            if not proxy.capabilities.dynamic_backends:
                pytest.skip("this HAProxy makes no backends at run time")
            bench.renew_at_run_time()
        yield bench
        gate.set()


def outcome(answer: Answer) -> tuple[int, str | None]:
    return answer.status, answer.error


def test_requests_wait_for_a_successor_up_to_the_bound(bench: Bench) -> None:
    with ExitStack() as stack:
        waiting = bench.begin(stack, BOUND)
        bench.await_under_way(BOUND)
        for _ in range(3):
            assert outcome(request(bench.proxy.address, "/", "host: a.test")) == (503, "hold-full")
        bench.await_under_way(BOUND)
        bench.add_server()
        assert [outcome(receive(connection)) for connection in waiting] == [(200, None)] * BOUND


def test_whoever_gives_up_waiting_makes_room(bench: Bench) -> None:
    with ExitStack() as impatient, ExitStack() as stack:
        bench.begin(impatient, BOUND)
        bench.await_under_way(BOUND)
        impatient.close()
        bench.await_under_way(0)
        waiting = bench.begin(stack, BOUND)
        bench.await_under_way(BOUND)
        bench.add_server()
        assert [outcome(receive(connection)) for connection in waiting] == [(200, None)] * BOUND


def test_the_bound_is_for_waiting_requests_only(bench: Bench) -> None:
    bench.add_server()
    with ExitStack() as stack:
        started = bench.begin(stack, 3 * BOUND, "/wait")
        bench.await_under_way(3 * BOUND)
        bench.gate.set()
        assert [outcome(receive(connection)) for connection in started] == [(200, None)] * (3 * BOUND)


def test_where_no_successor_is_expected_nothing_waits(bench: Bench) -> None:
    bench.apply(ops.DisableServer(bench.physical, "hold"))
    assert outcome(request(bench.proxy.address, "/", "host: a.test")) == (503, "no-server")


def test_requests_that_wait_are_refused_once_no_successor_is_expected(bench: Bench) -> None:
    with ExitStack() as stack:
        waiting = bench.begin(stack, BOUND)
        bench.await_under_way(BOUND)
        bench.apply(ops.DisableServer(bench.physical, "hold"))
        assert [outcome(receive(connection)) for connection in waiting] == [(503, "no-server")] * BOUND


def test_a_silent_end_of_the_last_server_is_not_seen(bench: Bench) -> None:
    """Stop-first with one replica: the server leaves with requests on it, the next ones wait for another."""
    bench.add_server()
    keywords = policy.server_keywords(bench.proxy.settings, bench.proxy.capabilities, Backend("late"))
    first = policy.server_name(bench.server, keywords)
    with ExitStack() as stack:
        served = bench.begin(stack, 2, "/wait")
        bench.await_under_way(2)
        bench.apply(ops.DisableServer(bench.physical, first))
        waiting = bench.begin(stack, 2)
        bench.await_under_way(4)
        bench.gate.set()
        assert [outcome(receive(connection)) for connection in served] == [(200, None)] * 2
        bench.apply(ops.EnableServer(bench.physical, first))
        assert [outcome(receive(connection)) for connection in waiting] == [(200, None)] * 2
