"""Requests that are odd but real: two rules that meet, and what is at a limit. On real HAProxy."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from haproxy.model import Backend, Desired, Route, Server
from l7.v1 import sync_pb2 as pb
from tests.integration.live_haproxy import PATIENCE, receive, running, send
from tests.integration.live_rules import HOST, LiveRules, live_rules

pytestmark = pytest.mark.haproxy

ORIGIN = "https://app.test"
CORS = pb.Cors(origins=[ORIGIN])
KEY = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="
COOKIE = pb.HashKey(source=pb.HASH_SOURCE_COOKIE, name="s")


@pytest.fixture
def live(haproxy_binary: Path, tmp_path: Path) -> Iterator[LiveRules]:
    with live_rules(haproxy_binary, tmp_path, max_connections=20) as live:
        yield live


@pytest.mark.parametrize("compression", [False, True])
def test_a_long_cookie_decides_as_well(live: LiveRules, compression: bool) -> None:
    """It goes to the compressor beside the cookie itself, and both have to fit into a buffer."""
    live.set(hash_key=COOKIE, compression=compression)
    asked = [(f"cookie: s={'x' * 10_000}{number}", "accept-encoding: gzip") for number in range(40)]
    answers = [live.ask("/", *headers, host="ring.test") for headers in asked]
    assert {answer.status for answer in answers} == {200}
    chosen = [answer.headers["x-upstream-addr"] for answer in answers]
    assert len(set(chosen)) == 4
    live.set(hash_key=COOKIE, compression=not compression)
    assert [live.ask("/", *each, host="ring.test").headers["x-upstream-addr"] for each in asked] == chosen


@pytest.mark.parametrize(
    ("status", "rules"),
    [
        (403, {"allow_prefixes": ["192.0.2.0/24"]}),
        (429, {"rate_limit": pb.RateLimit(requests=1, period_milliseconds=3_600_000)}),
    ],
)
def test_an_allowed_origin_may_read_who_is_refused_and_why(
    live: LiveRules, status: int, rules: dict[str, object]
) -> None:
    live.set(cors=CORS, **rules)
    answers = [live.ask("/", f"origin: {ORIGIN}") for _ in range(3)]
    assert answers[-1].status == status
    assert {answer.headers.get("access-control-allow-origin") for answer in answers} == {ORIGIN}


@pytest.mark.parametrize(
    ("sent", "passed"),
    [
        (("connection: x-real-ip, x-forwarded-for",), []),
        (("connection: te, x-request-id", "te: trailers"), []),
        (("connection: Upgrade, x-real-ip", "upgrade: websocket", KEY, "sec-websocket-version: 13"), ["upgrade"]),
        (("connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQAoAAA"), []),
    ],
)
def test_no_client_has_headers_of_ours_removed(live: LiveRules, sent: tuple[str, ...], passed: list[str]) -> None:
    """An application that is a proxy itself would remove what `Connection` names."""
    pairs = live.ask("/", *sent).seen["pairs"]
    assert isinstance(pairs, list)
    assert [value.lower() for name, value in pairs if name.lower() == "connection"] == passed
    assert {"x-real-ip", "x-forwarded-for", "x-request-id"} <= {name for name, _ in pairs}


def test_no_client_has_a_header_left_out_that_the_service_relies_on(live: LiveRules) -> None:
    """Where it does not fit into a buffer beside all that the client says, the request is not passed on at all."""
    change = pb.HeaderChange(action=pb.HEADER_ACTION_SET, name="x-own", value="v" * 3000)
    live.set(request_headers=[change])
    answers = [live.ask("/", f"cookie: c={'x' * size}") for size in range(9_000, 15_000, 500)]
    assert {answer.status for answer in answers} == {200, 500}
    seen = [answer.seen["headers"] for answer in answers if answer.status == 200]
    assert all(isinstance(headers, dict) and headers.get("x-own") == change.value for headers in seen)


def test_as_many_compressed_requests_as_there_may_be_connections(live: LiveRules) -> None:
    """Each is a second connection to HAProxy: were they of one number, all would wait for each other."""
    live.set(compression=True)
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(live.proxy.address, timeout=PATIENCE)) for _ in range(20)
        ]
        for client in clients:
            send(client, "/", f"host: {HOST}", "accept-encoding: gzip")
        assert [receive(client).status for client in clients] == [200] * 20


EVENTS = 100
"""Held back by 0.2 s each, they would take longer than a test's patience."""


@pytest.mark.parametrize("rules", [pb.Rules(), pb.Rules(name="web", compression=True)])
@pytest.mark.parametrize("kind", ["text/event-stream", "text/plain"])
def test_each_event_of_a_stream_arrives_at_once(
    haproxy_binary: Path, tmp_path: Path, rules: pb.Rules, kind: str
) -> None:
    """HAProxy tells the kernel to wait for more while a body in chunks has not ended, and the kernel does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        servers = {"t": Server("t", 1, "127.0.0.1", server.getsockname()[1])}
        backend = Backend("web", ("web",), expected=False, servers=servers)
        route = Route(HOST, "/", "web", rules=rules.name)
        desired = Desired("r", {"web": backend}, {(HOST, "/"): route}, {rules.name: rules} if rules.name else {})
        with running(haproxy_binary, tmp_path, desired) as proxy, ExitStack() as stack:
            client = stack.enter_context(socket.create_connection(proxy.address, timeout=PATIENCE))
            send(client, "/", f"host: {HOST}", "accept-encoding: gzip")
            task = stack.enter_context(asked(server))
            task.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\n" % kind.encode())
            task.sendall(b"transfer-encoding: chunked\r\n\r\n")
            until = time.monotonic() + PATIENCE
            for _ in range(EVENTS):
                task.sendall(b"9\r\ndata: 1\n\n\r\n")
                assert client.recv(65536)
                assert time.monotonic() < until


def asked(server: socket.socket) -> socket.socket:
    """The connection that has a request: HAProxy's checks have none."""
    while True:
        connection, _ = server.accept()
        with suppress(ConnectionResetError):
            if connection.recv(65536):
                return connection
        connection.close()
