"""What is said about a request, whose word is believed, and pages of the operator's own: on a real HAProxy."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from haproxy.model import Backend, Desired, Route, Server
from haproxy.pages import LONGEST_PAGE
from l7 import __version__
from l7.v1 import sync_pb2 as pb
from tests.integration.live_haproxy import (
    PATIENCE,
    Answer,
    LiveHAProxy,
    application,
    await_true,
    free_port,
    receive,
    request,
    running,
    send,
)
from tests.integration.live_rules import LiveRules, live_rules

pytestmark = pytest.mark.haproxy

HOST = "host: a.test"
INFO = ("x-request-id", "x-proxy-id", "x-server-info", "x-upstream-addr", "x-upstream-response-time")


def told(answer: Answer, name: str) -> object:
    headers = answer.seen["headers"]
    assert isinstance(headers, dict)
    return headers.get(name)


def desired(port: int, **more: Backend) -> Desired:
    web = Backend("web", ("web",), expected=False, servers={"t": Server("t", 1, "127.0.0.1", port)})
    routes = {("a.test", "/"): Route("a.test", "/", "web"), ("none.test", "/x"): Route("none.test", "/x", "none")}
    return Desired("r", {"web": web, "none": Backend("none", expected=False), **more}, routes)


# ---------------------------------------------------------------- trusted proxies


@pytest.fixture(scope="module")
def trusting(haproxy_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveHAProxy]:
    """Loopback is trusted, and 10.0.0.0/8 behind it; 41 more, so that they fill more than a line."""
    others = tuple(f"172.16.{number}.0/24" for number in range(41))
    with application("web") as port:
        with running(
            haproxy_binary, tmp_path_factory.mktemp("trusting"), desired(port),
            trusted_proxies=(*others, "127.0.0.0/8", "10.0.0.0/8", "fd00::/8"),
        ) as proxy:  # fmt: skip
            yield proxy


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (["198.51.100.7"], "198.51.100.7"),
        (["6.6.6.6, 198.51.100.7"], "198.51.100.7"),
        (["6.6.6.6, 198.51.100.7, 10.1.1.1"], "198.51.100.7"),
        (["6.6.6.6, 198.51.100.7, 10.1.1.1, fd00::1, 172.16.3.9"], "198.51.100.7"),
        (["6.6.6.6", "198.51.100.7, 10.1.1.1"], "198.51.100.7"),
        (["2001:db8::7, 10.1.1.1"], "2001:db8::7"),
        (["10.0.0.1, 10.0.0.2"], "10.0.0.1"),
        (["6.6.6.6, unknown"], "127.0.0.1"),
        (["6.6.6.6, unknown, 10.1.1.1"], "10.1.1.1"),
        (["6.6.6.6, "], "127.0.0.1"),
        (["198.51.100.7, 10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4, 10.0.0.5"], "10.0.0.1"),
        (["x"], "127.0.0.1"),
        ([], "127.0.0.1"),
    ],
)
def test_the_client_is_the_last_address_that_is_not_trusted(
    trusting: LiveHAProxy, forwarded: list[str], client: str
) -> None:
    answer = request(trusting.address, "/", HOST, *(f"x-forwarded-for: {each}" for each in forwarded))
    assert (told(answer, "x-forwarded-for"), told(answer, "x-real-ip")) == (client, client)


def test_what_a_trusted_proxy_says_of_the_scheme_counts(trusting: LiveHAProxy) -> None:
    answer = request(trusting.address, "/", HOST, "x-forwarded-proto: https")
    assert (told(answer, "x-forwarded-proto"), told(answer, "x-forwarded-port")) == ("https", "443")
    answer = request(trusting.address, "/", HOST, "x-forwarded-proto: https", "x-forwarded-port: 8443")
    assert told(answer, "x-forwarded-port") == "8443"
    answer = request(trusting.address, "/", HOST, "x-forwarded-proto: gopher", "x-forwarded-port: 1;x")
    assert told(answer, "x-forwarded-proto") == "http"
    assert told(answer, "x-forwarded-port") == str(trusting.address[1])
    assert told(request(trusting.address, "/", HOST, "x-forwarded-host: evil.test"), "x-forwarded-host") == "a.test"


@pytest.mark.acceptance(98)
def test_a_trusted_proxys_request_id_is_kept_and_logged(trusting: LiveHAProxy) -> None:
    answer = request(trusting.address, "/", HOST, "x-request-id: abc-1:2/3=")
    assert told(answer, "x-request-id") == answer.headers["x-request-id"] == "abc-1:2/3="
    log = Path(trusting.settings.file("log"))
    await_true(lambda: '"request_id":"abc-1:2/3="' in log.read_text(), "the id in the log")
    for bad in ('a"b', "a b", "x" * 129, "a\\", ""):
        answer = request(trusting.address, "/", HOST, f"x-request-id: {bad}")
        assert told(answer, "x-request-id") != bad
        assert len(answer.headers["x-request-id"]) == 36


def test_whoever_is_not_trusted_is_not_believed(haproxy_binary: Path, tmp_path: Path) -> None:
    forged = ("x-forwarded-for: 10.6.6.6", "x-forwarded-proto: https", "x-forwarded-port: 1", "x-request-id: mine")
    with application("web") as port:
        with running(haproxy_binary, tmp_path, desired(port), trusted_proxies=("10.0.0.0/8",)) as proxy:
            answer = request(proxy.address, "/", HOST, *forged)
            assert (told(answer, "x-forwarded-for"), told(answer, "x-forwarded-proto")) == ("127.0.0.1", "http")
            assert told(answer, "x-forwarded-port") == str(proxy.address[1])
            assert told(answer, "x-request-id") != "mine"


@pytest.fixture(scope="module")
def behind_tls(haproxy_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRules]:
    directory = tmp_path_factory.mktemp("behind")
    with live_rules(haproxy_binary, directory, trusted_proxies=("127.0.0.1/32",)) as live:
        yield live


@pytest.mark.acceptance(53)
def test_behind_a_proxy_that_speaks_tls_nothing_is_redirected_to_https(behind_tls: LiveRules) -> None:
    behind_tls.set(https_redirect=True, hsts="max-age=60")
    assert behind_tls.ask("/").status == 308
    answer = behind_tls.ask("/", "x-forwarded-proto: https")
    assert (answer.status, answer.headers["strict-transport-security"]) == (200, "max-age=60")


def test_rules_about_clients_are_about_those_behind_the_proxy(behind_tls: LiveRules) -> None:
    behind_tls.set(allow_prefixes=["2001:db8::/33", "198.51.100.0/25", "203.0.113.9"])
    for client, status in (
        ("198.51.100.127", 200), ("198.51.100.128", 403), ("203.0.113.9", 200), ("203.0.113.8", 403),
        ("2001:db8:7fff::1", 200), ("2001:db8:8000::1", 403), ("::ffff:203.0.113.9", 200), ("127.0.0.1", 403),
    ):  # fmt: skip
        assert behind_tls.ask("/", f"x-forwarded-for: {client}").status == status, client
    behind_tls.set(rate_limit=pb.RateLimit(requests=2, period_milliseconds=3_600_000))
    first = [behind_tls.ask("/", "x-forwarded-for: 192.0.2.1").status for _ in range(4)]
    second = [behind_tls.ask("/", "x-forwarded-for: 192.0.2.2").status for _ in range(4)]
    assert first == second == [200, 200, 429, 429]


def test_addresses_of_one_site_are_one_client(behind_tls: LiveRules) -> None:
    """Whoever has IPv6 has 2^64 addresses at least (RFC 6177); each would be a client with a bound of its own."""
    behind_tls.set(rate_limit=pb.RateLimit(requests=2, period_milliseconds=3_600_000))

    def ask(*clients: str) -> list[int]:
        return [behind_tls.ask("/", f"x-forwarded-for: {client}").status for client in clients]

    assert ask("2001:db8:1:2::1", "2001:db8:1:2::2", "2001:db8:1:2:ffff::3") == [200, 200, 429]
    assert ask("2001:db8:1:3::1") == [200]
    assert ask("::ffff:192.0.2.11", "::ffff:192.0.2.12", "::ffff:192.0.2.13") == [200] * 3


# ---------------------------------------------------------------- PROXY protocol

CLIENT = "198.51.100.7"
VERSION_1 = f"PROXY TCP4 {CLIENT} 192.0.2.1 5555 443\r\n".encode()
VERSION_2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack(
    "!H4s4sHH", 12, socket.inet_aton(CLIENT), socket.inet_aton("192.0.2.1"), 5555, 443
)


def after(header: bytes, address: tuple[str, int]) -> Answer:
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        connection.sendall(header)
        send(connection, "/", HOST)
        return receive(connection)


@pytest.mark.parametrize("header", [VERSION_1, VERSION_2])
def test_the_proxy_protocol_is_taken_from_trusted_addresses(
    haproxy_binary: Path, tmp_path: Path, header: bytes
) -> None:
    with application("web") as port:
        with running(
            haproxy_binary, tmp_path, desired(port), trusted_proxies=("127.0.0.1/32",), proxy_protocol=True
        ) as proxy:
            answer = after(header, proxy.address)
    assert (told(answer, "x-forwarded-for"), told(answer, "x-real-ip")) == (CLIENT, CLIENT)


def test_the_proxy_protocol_is_taken_from_nobody_else(haproxy_binary: Path, tmp_path: Path) -> None:
    with application("web") as port:
        with running(
            haproxy_binary, tmp_path, desired(port), trusted_proxies=("10.0.0.0/8",), proxy_protocol=True
        ) as proxy:
            assert after(VERSION_1, proxy.address).status in {0, 400}
            assert told(after(b"", proxy.address), "x-forwarded-for") == "127.0.0.1"


# ---------------------------------------------------------------- toward the client


@pytest.fixture(scope="module", params=[False, True], ids=["shown", "hidden"])
def telling(
    request: pytest.FixtureRequest, haproxy_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveHAProxy]:
    with application("web") as port:
        made = desired(port, gone=Backend("gone", servers={"t": Server("t", 1, "127.0.0.1", free_port())}))
        directory = tmp_path_factory.mktemp("telling")
        with running(haproxy_binary, directory, made, hide_info_headers=bool(request.param)) as proxy:
            yield proxy


@pytest.mark.acceptance(98)
def test_information_on_answers_and_errors(telling: LiveHAProxy) -> None:
    hidden = telling.settings.hide_info_headers
    mine = "x-request-id: mine"
    answered = request(telling.address, "/", HOST, mine)
    failing = request(telling.address, "/fail", HOST)
    refused = [request(telling.address, "/x", f"host: {host}") for host in ("no.test", "none.test", 'b"ad')]
    assert failing.status == 503
    for answer in (answered, failing):
        assert [name for name in INFO if name in answer.headers] == ([] if hidden else [*INFO])
    for answer in refused:
        wanted = [name for name in INFO if name != "x-upstream-addr"]
        assert [name for name in wanted if name in answer.headers] == ([] if hidden else wanted)
        assert "x-upstream-addr" not in answer.headers
        assert answer.error is not None
    if not hidden:
        assert answered.headers["x-server-info"] == f"l7/{__version__}"
        assert answered.headers["x-upstream-response-time"].removesuffix("us").isdigit()
        assert told(answered, "x-request-id") == answered.headers["x-request-id"] != "mine"
        assert int(answered.headers["x-upstream-addr"].rpartition(":")[2]) > 1


def test_the_placeholder_is_no_upstream(haproxy_binary: Path, tmp_path: Path) -> None:
    made = Desired("r", {"late": Backend("late")}, {("a.test", "/"): Route("a.test", "/", "late")})
    with running(haproxy_binary, tmp_path, made, hold_timeout=1, connect_timeout=10) as proxy:
        answer = request(proxy.address, "/", HOST)
    assert (answer.status, answer.error) == (503, "no-server")
    assert "x-upstream-addr" not in answer.headers


# ---------------------------------------------------------------- pages

PAGES = (
    (400, "<p>bad"),
    (404, "<h1>Not here</h1> é \"'\\ %[src] ${HOME} #\n"),
    (405, "<p>no"),
    (429, "<p>slow down"),
    (503, "x" * LONGEST_PAGE),
)


@pytest.fixture(scope="module")
def paged(haproxy_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRules]:
    with live_rules(haproxy_binary, tmp_path_factory.mktemp("paged"), error_pages=PAGES) as live:
        yield live


@pytest.mark.acceptance(19)
def test_pages_of_the_operators_own(paged: LiveRules) -> None:
    pages = dict(PAGES)
    paged.route(Route("a.test", "/app", "web", rules="web"), Route("none.test", "/", "none"))
    paged.set(rate_limit=pb.RateLimit(requests=1, period_milliseconds=3_600_000))
    paged.ask("/app")
    for answer, status, error in (
        (paged.ask("/other"), 404, "no-route"),
        (paged.ask("/", host="unknown.test"), 503, "unknown-host"),
        (paged.ask("/", host="none.test"), 503, "no-server"),
        (paged.ask("/", host="*.w.test"), 400, "bad-host"),
        (paged.ask("/%zz"), 400, "bad-path"),
        (paged.ask("/app"), 429, "rate-limit"),
    ):
        assert (answer.status, answer.error) == (status, error)
        assert answer.body.decode() == pages[status]
        assert answer.headers["content-type"] == "text/html; charset=utf-8"


def test_an_applications_own_page_is_left_alone(paged: LiveRules) -> None:
    paged.route(Route("a.test", "/", "web"))
    answer = paged.ask("/fail")
    assert (answer.status, answer.seen["app"], answer.error) == (503, "web1", None)


# ---------------------------------------------------------------- log


def test_a_compressed_answer_is_logged_once(haproxy_binary: Path, tmp_path: Path) -> None:
    client = f"x-forwarded-for: {CLIENT}"
    with live_rules(haproxy_binary, tmp_path, trusted_proxies=("127.0.0.1/32",)) as live:
        live.set(compression=True)
        live.ask("/first?secret", client, "accept-encoding: gzip", "x-answer-content-type: text/plain")
        live.ask("/second", client)
        log = Path(live.proxy.settings.file("log"))
        await_true(lambda: "second" in log.read_text(), "the second line")
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert [line["path"] for line in lines] == ["/first", "/second"]
    first, second = lines
    assert second["client"] == CLIENT
    assert {**first, **{name: second[name] for name in ("time", "request_id", "path", "bytes", "times")}} == second
