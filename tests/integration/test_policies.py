"""Policies and server keywords do what they are for, on a real HAProxy."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from haproxy import ops, policies, policy
from haproxy.model import Backend, Balance, HealthCheck, RetryOn, Server, ServerSettings
from haproxy.render import CONFIG
from haproxy.runtime.dumps import StatKind
from tests.integration.live_backend import HOST, Application, LiveBackend, application, live_backend, well
from tests.integration.live_haproxy import PATIENCE, await_true, free_port, receive, send

pytestmark = pytest.mark.haproxy

Start = Callable[..., LiveBackend]


@pytest.fixture
def start(haproxy_binary: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts an HAProxy with the backend `web`; its fields and, as `proxy`, settings are arguments."""
    with ExitStack() as stack:

        def start(proxy: dict[str, Any] | None = None, **fields: Any) -> LiveBackend:
            backend = Backend("web", ("web",), **fields)
            return stack.enter_context(live_backend(haproxy_binary, tmp_path, backend, **proxy or {}))

        yield start


@pytest.fixture
def apps() -> Iterator[list[Application]]:
    with application("one", 1) as one, application("two", 2) as two:
        yield [one, two]


def own(**fields: Any) -> tuple[ServerSettings, ...]:
    return (ServerSettings(**fields),)


def crash(method: str, path: str) -> int | None:
    return None


def begin(live: LiveBackend, stack: ExitStack, number: int, path: str = "/") -> list[socket.socket]:
    started = [
        stack.enter_context(socket.create_connection(live.proxy.address, timeout=PATIENCE)) for _ in range(number)
    ]
    for connection in started:
        send(connection, path, HOST)
    return started


def sessions(live: LiveBackend) -> int:
    (row,) = live.runtime.stat(live.physical, StatKind.BACKENDS)
    return row.sessions


# ---------------------------------------------------------------- retries


@pytest.mark.parametrize(
    ("retry_on", "method", "times"),
    [
        (RetryOn.CONNECT, "GET", 1),
        (RetryOn.CONNECT, "POST", 1),
        (RetryOn.SAFE, "GET", 1 + policies.RETRIES),
        (RetryOn.SAFE, "HEAD", 1 + policies.RETRIES),
        (RetryOn.SAFE, "OPTIONS", 1 + policies.RETRIES),
        (RetryOn.SAFE, "POST", 1),
        (RetryOn.SAFE, "DELETE", 1),
        (RetryOn.ALL, "GET", 1 + policies.RETRIES),
        (RetryOn.ALL, "POST", 1 + policies.RETRIES),
        (RetryOn.ALL, "DELETE", 1 + policies.RETRIES),
    ],
)
def test_a_request_that_crashes_the_application_is_sent_so_often(
    start: Start, apps: list[Application], retry_on: RetryOn, method: str, times: int
) -> None:
    live = start(retry_on=retry_on)
    live.add(*apps)
    for app in apps:
        app.behaviour = crash
    body = "a=1" if method == "POST" else ""
    assert live.ask("/crash", method=method, body=body).status == 502
    assert sum(app.asked(method, "/crash") for app in apps) == times


@pytest.mark.parametrize("retry_on", [RetryOn.SAFE, RetryOn.ALL])
@pytest.mark.parametrize("failure", [None, 502, 503, 504])
def test_another_server_answers(
    start: Start, apps: list[Application], retry_on: RetryOn, failure: int | None
) -> None:
    live = start(retry_on=retry_on)
    live.add(*apps)
    apps[0].behaviour = lambda method, path: failure
    answers = [live.ask() for _ in range(6)]
    assert {(answer.status, answer.body) for answer in answers} == {(200, b"two")}
    assert apps[0].asked("GET") > 0


def test_an_error_that_says_nothing_about_the_server_is_passed_on(start: Start, apps: list[Application]) -> None:
    live = start(retry_on=RetryOn.ALL)
    live.add(apps[0])
    apps[0].behaviour = lambda method, path: 500
    assert live.ask().status == 500
    assert apps[0].asked("GET") == 1


def test_a_body_arrives_as_it_was_in_each_try(start: Start, apps: list[Application]) -> None:
    live = start(retry_on=RetryOn.ALL)
    live.add(apps[0])
    apps[0].behaviour = crash
    body = "x" * policies.LONGEST_KEPT_BODY
    with socket.create_connection(live.proxy.address, timeout=PATIENCE) as connection:
        head = f"POST / HTTP/1.1\r\n{HOST}\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode())
        time.sleep(0.05)  # not a condition: that the body comes later than the head is what is tested
        connection.sendall(body.encode())
        assert receive(connection).status == 502
    assert apps[0].bodies == [body.encode()] * (1 + policies.RETRIES)


def test_a_body_that_does_not_say_its_length_begins_at_once(start: Start, apps: list[Application]) -> None:
    """A client that streams waits for the answer before it sends more."""
    live = start(retry_on=RetryOn.ALL)
    live.add(apps[0])
    with socket.create_connection(live.proxy.address, timeout=PATIENCE) as connection:
        connection.sendall(f"POST / HTTP/1.1\r\n{HOST}\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n".encode())
        await_true(lambda: apps[0].asked("POST") == 1, "the request has arrived")


@pytest.mark.parametrize("retry_on", RetryOn)
def test_a_request_that_reached_no_task_is_always_sent_to_another(
    start: Start, apps: list[Application], retry_on: RetryOn
) -> None:
    live = start(retry_on=retry_on)
    live.add(apps[0])
    for number in range(3):
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            refusing = Server(f"gone{number}", 10 + number, "127.0.0.1", nobody.getsockname()[1])
        live.put(refusing)
        answers = [live.ask(method=method) for method in ("GET", "POST", "DELETE")]
        assert [answer.status for answer in answers] == [200] * 3


@pytest.mark.parametrize("retry_on", [RetryOn.SAFE, RetryOn.ALL])
def test_such_policies_hold_too(start: Start, apps: list[Application], retry_on: RetryOn) -> None:
    live = start(retry_on=retry_on)
    with ExitStack() as stack:
        waiting = begin(live, stack, 3)
        await_true(lambda: sessions(live) == 3, "requests wait")
        live.add(apps[0])
        assert [receive(connection).status for connection in waiting] == [200] * 3


# ---------------------------------------------------------------- choosing a server


@pytest.mark.parametrize("balance", Balance)
def test_every_balance_reaches_all_servers_but_first(
    start: Start, apps: list[Application], balance: Balance
) -> None:
    """A request without a hash key goes to any."""
    live = start(balance=balance)
    live.add(*apps)
    counts = Counter(live.ask().body for _ in range(40))
    assert sum(counts.values()) == 40
    assert set(counts) == ({b"one"} if balance is Balance.FIRST else {b"one", b"two"})


def test_first_takes_the_next_when_the_first_is_full(start: Start, apps: list[Application]) -> None:
    live = start(balance=Balance.FIRST, settings=own(max_connections=1))
    live.add(*apps)
    with ExitStack() as stack:
        (busy,) = begin(live, stack, 1, "/wait")
        await_true(lambda: apps[0].asked("GET", "/wait") == 1, "the first is busy")
        assert live.ask().body == b"two"
        apps[0].gate.set()
        assert receive(busy).body == b"one"


# ---------------------------------------------------------------- max_connections and waiting


def test_no_more_requests_at_once_than_a_server_may_have(start: Start, apps: list[Application]) -> None:
    live = start(settings=own(max_connections=2))
    live.add(apps[0])
    with ExitStack() as stack:
        started = begin(live, stack, 5, "/wait")
        await_true(lambda: queued(live) == 3, "three wait in the queue")
        await_true(lambda: apps[0].asked("GET", "/wait") == 2, "two are under way")
        apps[0].gate.set()
        assert [receive(connection).status for connection in started] == [200] * 5


def test_requests_that_queue_for_a_busy_server_are_not_held(start: Start, apps: list[Application]) -> None:
    """The bound on held requests is for those without a server: a queue in front of busy ones has no bound."""
    live = start({"held_requests": 2}, settings=own(max_connections=1))
    live.add(*apps)
    with ExitStack() as stack:
        started = begin(live, stack, 12, "/wait")
        await_true(lambda: queued(live) == 10, "ten wait in the queue")
        for app in apps:
            app.gate.set()
        assert [receive(connection).status for connection in started] == [200] * 12


def test_the_bound_holds_where_servers_with_a_limit_are_gone(start: Start, apps: list[Application]) -> None:
    live = start({"held_requests": 2}, settings=own(max_connections=1))
    (name,) = live.add(apps[0])
    live.apply(ops.DisableServer(live.physical, name))
    with ExitStack() as stack:
        waiting = begin(live, stack, 2)
        await_true(lambda: sessions(live) == 2, "two wait")
        assert live.ask().error == "hold-full"
        live.apply(ops.EnableServer(live.physical, name))
        assert [receive(connection).status for connection in waiting] == [200] * 2


def test_what_queues_for_a_server_that_leaves_is_answered_by_its_successor(
    start: Start, apps: list[Application]
) -> None:
    live = start(settings=own(max_connections=1))
    (name,) = live.add(apps[0])
    with ExitStack() as stack:
        (busy,) = begin(live, stack, 1, "/wait")
        await_true(lambda: apps[0].asked("GET", "/wait") == 1, "one is under way")
        waiting = begin(live, stack, 4)
        await_true(lambda: queued(live) == 4, "four wait in the queue")
        live.apply(ops.DisableServer(live.physical, name))
        live.add(apps[1])
        assert [receive(connection).body for connection in waiting] == [b"two"] * 4
        apps[0].gate.set()
        assert receive(busy).body == b"one"


def queued(live: LiveBackend) -> int:
    return sum(row.queued for row in live.runtime.stat(live.physical, StatKind.BACKENDS))


# ---------------------------------------------------------------- passive health


@pytest.mark.parametrize("failure", [None, 500, 503])
def test_a_server_is_out_after_so_many_failures_and_back_after_a_while(
    start: Start, apps: list[Application], failure: int | None
) -> None:
    live = start(settings=own(max_fails=3, fail_timeout=1000, check_interval=100))
    name, other = live.add(*apps)
    apps[0].behaviour = lambda method, path: failure
    statuses = [live.ask().status for _ in range(8)]
    since = time.monotonic()
    assert Counter(statuses) == {200: 5, failure or 502: 3}
    assert apps[0].asked("GET") == 3
    assert (live.is_up(name), live.is_up(other)) == (False, True)
    apps[0].behaviour = well
    await_true(lambda: live.is_up(name), "it is back")
    assert time.monotonic() - since > 0.8
    assert {live.ask().body for _ in range(4)} == {b"one", b"two"}


def test_failures_in_between_successes_are_none(start: Start, apps: list[Application]) -> None:
    live = start(settings=own(max_fails=3))
    (name,) = live.add(apps[0])
    for failing in (True, True, False) * 3:
        apps[0].behaviour = lambda method, path, failing=failing: 500 if failing else 200  # type: ignore[misc]
        live.ask()
    assert live.is_up(name)


@pytest.mark.parametrize("status", [404, 501])
def test_an_answer_that_is_the_clients_fault_is_no_failure(
    start: Start, apps: list[Application], status: int
) -> None:
    live = start(settings=own(max_fails=1))
    (name,) = live.add(apps[0])
    apps[0].behaviour = lambda method, path: status
    assert [live.ask().status for _ in range(3)] == [status] * 3
    assert live.is_up(name)


def test_without_max_fails_nothing_is_counted(start: Start, apps: list[Application]) -> None:
    live = start(settings=own(fail_timeout=1000))
    (name,) = live.add(apps[0])
    apps[0].behaviour = lambda method, path: 500
    assert [live.ask().status for _ in range(20)] == [500] * 20
    assert live.is_up(name)


def test_services_in_one_backend_keep_their_own_values(start: Start, apps: list[Application]) -> None:
    live = start(settings=(ServerSettings(max_fails=1, fail_timeout=60_000), ServerSettings()))
    names = [*live.add(apps[0]), *live.add(apps[1], service=1)]
    for app in apps:
        app.behaviour = lambda method, path: 500
    for _ in range(6):
        live.ask()
    assert [live.is_up(name) for name in names] == [False, True]


# ---------------------------------------------------------------- slow start


def test_the_share_of_a_new_server_grows(start: Start, apps: list[Application]) -> None:
    live = start(settings=(ServerSettings(), ServerSettings(slow_start=5000)))
    live.add(apps[0])
    live.add(apps[1], service=1)

    def share() -> int:
        return Counter(live.ask().body for _ in range(60))[b"two"]

    first = share()
    assert first < 20
    await_true(lambda: first < share() < 30, "it has grown")
    await_true(lambda: share() == 30, "it is complete")


# ---------------------------------------------------------------- times of a service's own


def test_a_timeout_of_its_own(start: Start, apps: list[Application]) -> None:
    """Waiting for an answer for too long is nothing that is tried again."""
    live = start(retry_on=RetryOn.ALL)
    live.set_rules(timeout_server_milliseconds=200)
    live.add(*apps)
    assert (live.ask("/wait").status, live.ask("/").status) == (504, 200)
    assert sum(app.asked("GET", "/wait") for app in apps) == 1


def test_an_upgraded_connection_may_be_silent_for_as_long_as_the_service_says(
    start: Start, apps: list[Application]
) -> None:
    live = start()
    live.set_rules(timeout_tunnel_milliseconds=300)
    live.add(apps[0])
    with socket.create_connection(live.proxy.address, timeout=PATIENCE) as connection:
        connection.sendall(
            f"GET /upgrade HTTP/1.1\r\n{HOST}\r\nconnection: upgrade\r\nupgrade: silence\r\n\r\n".encode()
        )
        answer = receive(connection)
    assert (answer.status, answer.body) == (101, b"")


def test_connecting_and_queueing_have_times_of_their_own_from_3_4_on(start: Start, apps: list[Application]) -> None:
    live = start({"connect_timeout": 20_000, "hold_timeout": 60_000}, settings=own(max_connections=1))
    if not live.proxy.capabilities.own_connect_timeout:
        pytest.skip("this HAProxy can't, and says so: tests/unit/test_checks.py")
    live.set_rules(timeout_connect_milliseconds=100, queue_timeout_milliseconds=200)
    with ExitStack() as stack:
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(2):  # what does not fit into the backlog is not answered at all
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(silent.getsockname())
        name = live.put(Server("silent", 9, "127.0.0.1", silent.getsockname()[1]))
        live.add(apps[0])
        assert [live.ask().status for _ in range(3)] == [200] * 3
        live.apply(ops.DisableServer(live.physical, name))
        (busy,) = begin(live, stack, 1, "/wait")
        await_true(lambda: apps[0].asked("GET", "/wait") == 1, "one is under way")
        assert live.ask().status == 503
        apps[0].gate.set()
        assert receive(busy).status == 200


# ---------------------------------------------------------------- raw TCP


@contextmanager
def greeting(text: bytes) -> Iterator[int]:
    """A server that speaks first, and waits until the client leaves; its port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(text)
            self.request.recv(1)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Checks connect and reset."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


TCP_BALANCES = (Balance.ROUND_ROBIN, Balance.LEAST_CONNECTIONS, Balance.HASH)


@pytest.mark.parametrize("balance", TCP_BALANCES)
def test_tcp_connections_wait_for_a_server_and_are_spread(start: Start, balance: Balance) -> None:
    port = free_port()
    live = start({"tcp_ports": (port,), "tcp_address": "127.0.0.1", "held_requests": 3}, tcp=True, balance=balance)
    with ExitStack() as stack:

        def connect() -> socket.socket:
            return stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))

        waiting = [connect() for _ in range(3)]
        await_true(lambda: sessions(live) == 3, "three wait")
        assert refused(connect())
        for number, text in enumerate((b"one", b"two"), 1):
            live.put(Server(text.decode(), number, "127.0.0.1", stack.enter_context(greeting(text))))
        said = {connection.recv(3) for connection in waiting} | {connect().recv(3) for _ in range(10)}
        assert said <= {b"one", b"two"}
        assert len(said) == (1 if balance is Balance.HASH else 2)


def refused(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_tcp_server_that_refuses_connections_is_out_after_so_many(start: Start) -> None:
    port = free_port()
    live = start(
        {"tcp_ports": (port,), "tcp_address": "127.0.0.1", "check_interval": 60_000}, tcp=True,
        settings=own(max_fails=2),
    )  # fmt: skip
    with greeting(b"one") as good:
        name = live.put(Server("one", 1, "127.0.0.1", good))
        gone = live.put(Server("gone", 2, "127.0.0.1", 1))
        for _ in range(8):
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
                assert connection.recv(3) == b"one"
        assert (live.is_up(name), live.is_up(gone)) == (True, False)


# ---------------------------------------------------------------- size


def test_the_whole_pool_starts(haproxy_binary: Path, tmp_path: Path) -> None:
    backend = Backend("web", ("web",), check=HealthCheck("/"))
    with live_backend(haproxy_binary, tmp_path, backend, spare_backends=200, spare_backends_other=16) as live:
        text = (tmp_path / CONFIG).read_text()
        assert text.count("\ndefaults l7.p-") == len(policy.POLICIES) == 33
        spares = 0 if live.proxy.capabilities.dynamic_backends else 200 + 32 * 16
        assert len([name for name in live.runtime.backends() if name.startswith("spare-")]) == spares
