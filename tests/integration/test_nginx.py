"""What labels do to requests through a real NGINX: TLS, passing on, headers, limits, and what it refuses."""

from __future__ import annotations

import base64
import os
import socket
import ssl
from contextlib import ExitStack
from pathlib import Path

import pytest

from l7.v1 import sync_pb2 as pb
from testbed.certificates import Issued, TestAuthority
from tests.integration.live_haproxy import Answer, application, receive, request, send
from tests.integration.live_nginx import World

pytestmark = pytest.mark.nginx


@pytest.fixture
def world(tmp_path: Path, stack: ExitStack) -> World:
    """`a.test` leads to an application named `one`."""
    world = World(tmp_path)
    world.backend("web", stack.enter_context(application("one")))
    world.route("a.test", "/", "web", rules="web")
    return world


def rules(world: World, **fields: object) -> None:
    world.state.rules["web"] = pb.Rules(name="web", **fields)  # type: ignore[arg-type]


def certified(world: World, host: str, authority: TestAuthority, **more: object) -> Issued:
    issued = authority.issue(host)
    certificate, key = world.secret(f"{host}.cert", issued.certificate), world.secret(f"{host}.key", issued.key)
    pair = pb.KeyPair(certificate=certificate, key=key)
    world.state.tls_hosts[host] = pb.TlsHost(host=host, service="web", certificate=pair, **more)  # type: ignore[arg-type]
    return issued


def tls(world: World, name: str, *headers: str, pair: Path | None = None) -> tuple[str, Answer]:
    """Over TLS to this name: the fingerprint of the certificate shown, and the answer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if pair is not None:
        context.load_cert_chain(pair)
    with socket.create_connection(("127.0.0.1", world.tls), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname=name) as secure:
            shown = ssl.DER_cert_to_PEM_cert(secure.getpeercert(binary_form=True) or b"")
            send(secure, "/x?q=1", *(headers or (f"host: {name}",)))
            return Issued(shown.encode(), b"").fingerprint, receive(secure)


def test_tls_ends_here_with_the_certificate_of_each_name(world: World, stack: ExitStack) -> None:
    authority = TestAuthority()
    shown = certified(world, "a.test", authority)
    other = certified(world, "b.test", authority)
    world.route("b.test", "/", "web")
    stack.enter_context(world.running())
    fingerprint, answer = tls(world, "a.test")
    assert fingerprint == shown.fingerprint
    assert answer.seen["app"] == "one"
    told = answer.seen["headers"]
    assert isinstance(told, dict)
    assert (told["x-forwarded-proto"], told["x-forwarded-port"]) == ("https", "443")
    assert tls(world, "b.test")[0] == other.fingerprint
    with pytest.raises((ssl.SSLError, ConnectionError)):
        tls(world, "unknown.test")
    assert request(world.address, "/", "host: a.test").status == 200


def test_a_bad_certificate_costs_its_own_host(world: World, stack: ExitStack) -> None:
    certified(world, "a.test", TestAuthority())
    bad = pb.KeyPair(certificate=world.secret("bad", b"nothing"))
    world.state.tls_hosts["bad.test"] = pb.TlsHost(host="bad.test", service="worse", certificate=bad)
    late = pb.KeyPair(certificate=pb.Secret(id="nowhere", name="late.cert"))
    world.state.tls_hosts["late.test"] = pb.TlsHost(host="late.test", service="slow", certificate=late)
    outcome = world.roller.render(world.state)
    assert outcome.lacking
    assert [problem.service for problem in outcome.problems] == ["worse", "slow"]
    stack.enter_context(world.running())
    assert tls(world, "a.test")[1].status == 200


def test_clients_certificates(world: World, stack: ExitStack, tmp_path: Path) -> None:
    clients = TestAuthority("clients")
    required = pb.CLIENT_CERTIFICATE_REQUIRED
    ca = world.secret("clients.ca", clients.certificate)
    certified(world, "a.test", TestAuthority(), client_certificate=required, client_ca=ca)
    rules(world, client_certificate=required)
    stack.enter_context(world.running())
    pair = tmp_path / "client.pem"
    pair.write_bytes(clients.issue(common_name="somebody").combined)
    assert tls(world, "a.test")[1].status == 403
    answer = tls(world, "a.test", pair=pair)[1]
    assert "somebody" in dict(answer.seen["pairs"])["x-ssl-client-dn"]  # type: ignore[call-overload]
    assert request(world.address, "/", "host: a.test", "x-ssl-client-dn: CN=forged").status == 403


def test_tls_that_is_passed_on_and_tls_that_ends_here_know_their_clients(
    world: World, stack: ExitStack, tmp_path: Path
) -> None:
    own = TestAuthority().issue("passed.test")
    (tmp_path / "own.pem").write_bytes(own.combined)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "own.pem")
    port = stack.enter_context(application("two", tls=context))
    world.backend("raw", port, settings=pb.BackendSettings(services=["raw"], tcp=True))
    world.route("@passed.test", "/", "raw")
    here = certified(world, "a.test", TestAuthority())
    stack.enter_context(world.running())
    fingerprint, answer = tls(world, "passed.test")
    assert (fingerprint, answer.seen["app"]) == (own.fingerprint, "two")
    assert not [name for name in answer.seen["headers"] if name.startswith("x-")]  # type: ignore[attr-defined]
    fingerprint, answer = tls(world, "a.test")
    assert (fingerprint, answer.seen["app"]) == (here.fingerprint, "one")
    assert answer.seen["headers"]["x-forwarded-for"] == "127.0.0.1"  # type: ignore[index]


def test_what_a_client_says_of_itself_is_not_believed(world: World, stack: ExitStack) -> None:
    stack.enter_context(world.running())
    lies = ("x-forwarded-for: 9.9.9.9", "x-real-ip: 9.9.9.9", "x-forwarded-proto: https", "forwarded: for=9.9.9.9")
    told = request(world.address, "/", "host: a.test", *lies).seen["headers"]
    assert isinstance(told, dict)
    assert (told["x-forwarded-for"], told["x-real-ip"], told["x-forwarded-proto"]) == (
        "127.0.0.1",
        "127.0.0.1",
        "http",
    )
    assert "forwarded" not in told


def test_headers_are_data(world: World, stack: ExitStack) -> None:
    odd = 'a$b;"{} \\ $http_host'
    rules(
        world,
        request_headers=[
            pb.HeaderChange(action=pb.HEADER_ACTION_SET, name="X-Odd", value=odd),
            pb.HeaderChange(action=pb.HEADER_ACTION_REMOVE, name="X-Gone"),
        ],
        response_headers=[
            pb.HeaderChange(action=pb.HEADER_ACTION_SET, name="X-Answer", value=odd),
            pb.HeaderChange(action=pb.HEADER_ACTION_REMOVE, name="X-Hidden"),
        ],
    )
    stack.enter_context(world.running())
    answer = request(world.address, "/", "host: a.test", "x-gone: 1", "x-answer-x-hidden: 1", "x-answer-x-shown: 1")
    seen = answer.seen["headers"]
    assert isinstance(seen, dict)
    assert (seen["x-odd"], "x-gone" in seen) == (odd, False)
    assert (answer.headers["x-answer"], "x-hidden" in answer.headers, answer.headers["x-shown"]) == (
        odd,
        False,
        "1",
    )


def test_https_redirect_hsts_allow_and_limits(world: World, stack: ExitStack) -> None:
    certified(world, "a.test", TestAuthority())
    rules(world, https_redirect=True, hsts="max-age=60", allow_prefixes=["127.0.0.0/8"], max_body_bytes=10)
    world.route("b.test", "/", "web", rules="closed")
    world.state.rules["closed"] = pb.Rules(name="closed", allow_prefixes=["10.0.0.0/8"])
    stack.enter_context(world.running())
    plain = request(world.address, "/x?y", "host: a.test")
    assert (plain.status, plain.headers["location"]) == (308, "https://a.test/x?y")
    assert "strict-transport-security" not in plain.headers
    assert tls(world, "a.test")[1].headers["strict-transport-security"] == "max-age=60"
    assert request(world.address, "/", "host: b.test").status == 403


def test_a_rate_limit_and_a_longest_body(world: World, stack: ExitStack) -> None:
    limit = pb.RateLimit(requests=5, period_milliseconds=60_000)
    rules(world, rate_limit=limit, max_body_bytes=10)
    stack.enter_context(world.running())
    assert request(world.address, "/", "host: a.test", method="POST", body="x" * 11).status == 413
    statuses = [request(world.address, "/", "host: a.test").status for _ in range(8)]
    assert statuses[:4] == [200] * 4
    assert statuses[-1] == 429


def test_cross_origin_requests(world: World, stack: ExitStack) -> None:
    cors = pb.Cors(origins=["https://x.test"], methods=["GET", "PUT"], credentials=True, max_age_seconds=5)
    rules(world, cors=cors)
    stack.enter_context(world.running())
    asked = ("origin: https://x.test", "access-control-request-method: PUT", "access-control-request-headers: X-A")
    answer = request(world.address, "/", "host: a.test", *asked, method="OPTIONS")
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == "https://x.test"
    assert answer.headers["access-control-allow-methods"] == "GET, PUT"
    assert answer.headers["access-control-allow-headers"] == "X-A"
    foreign = request(world.address, "/", "host: a.test", "origin: https://evil.test")
    assert (foreign.status, "access-control-allow-origin" in foreign.headers) == (200, False)


def test_an_upgrade_and_nothing_else_is_passed_through(world: World, stack: ExitStack) -> None:
    """What an application does with it is its own: here the head of the request is looked at."""
    stack.enter_context(world.running())
    upgrade = ("upgrade: websocket", "connection: Upgrade", "origin: https://x.test")
    with socket.create_connection(world.address, timeout=10) as connection:
        key = base64.b64encode(os.urandom(16)).decode()
        head = "\r\n".join(("GET /ws HTTP/1.1", "host: a.test", f"sec-websocket-key: {key}", *upgrade, "", ""))
        connection.sendall(head.encode())
        connection.settimeout(10)
        seen = ""
        while not seen.rstrip().endswith("}"):  # the head of the answer may come before its body
            more = connection.recv(65536).decode()
            assert more, seen
            seen += more
    assert '"upgrade": "websocket"' in seen.lower()
    assert "https://x.test" in seen
    h2c = request(world.address, "/", "host: a.test", "upgrade: h2c", "http2-settings: AAMAAABk")
    assert "upgrade" not in h2c.seen["headers"]  # type: ignore[operator]


def test_the_proxys_own_failures_are_told_from_the_applications(world: World, stack: ExitStack) -> None:
    world.backend("dead", 1)
    world.route("dead.test", "/", "dead")
    world.backend("none")
    world.route("none.test", "/", "none")
    stack.enter_context(world.running())
    failed = request(world.address, "/fail", "host: a.test")
    assert (failed.status, failed.error) == (503, None)
    dead = request(world.address, "/", "host: dead.test")
    assert (dead.status, dead.error) == (502, "bad-response")
    unknown = request(world.address, "/", "host: unknown.test")
    assert (unknown.status, unknown.error) == (503, "unknown-host")
    none = request(world.address, "/", "host: none.test")
    assert (none.status, none.error) == (503, "no-server")


def test_a_server_that_fails_is_left_out_for_a_while(world: World, stack: ExitStack) -> None:
    port = world.state.backends["web"].servers[0].port
    own = pb.ServerSettings(max_fails=1, fail_timeout_milliseconds=30_000)
    world.backend("two", 1, port, settings=pb.BackendSettings(services=["two"], server_settings=[own]))
    world.route("two.test", "/", "two")
    stack.enter_context(world.running())
    answers = [request(world.address, "/", "host: two.test") for _ in range(12)]
    assert {answer.status for answer in answers} == {200}
    tried = [answer.headers["x-upstream-addr"].count("127.0.0.1:1,") for answer in answers]
    assert 1 <= sum(tried) <= 8  # once for each worker


def test_what_nginx_refuses_is_told_and_not_published(world: World) -> None:
    world.config["HTTPOptions"] = ["no_such_directive on;"]
    world.state.config = b"{}"
    with pytest.raises(AssertionError, match="no_such_directive"):
        world.files()
    world.config["HTTPOptions"] = ["client_header_timeout 5s;"]
    assert world.files().files


def test_what_nginx_cannot_do_is_told(world: World) -> None:
    settings = world.state.backends["web"].settings
    settings.health_check.path = "/health"
    settings.balance = pb.BALANCE_FIRST
    rules(
        world, basic_auth=pb.Secret(id="p", name="p"), hash_key=pb.HashKey(source=pb.HASH_SOURCE_COOKIE, name="a-b")
    )
    told = {problem.label.rpartition(".")[2] for problem in world.roller.render(world.state).problems}
    assert told == {"health_check_path", "balance", "basic_auth", "sticky_session_cookie"}


def test_two_thousand_hosts_are_files_of_bounded_length(world: World) -> None:
    for number in range(2000):
        world.route(f"host-{number}.{'x' * 63}.test", "/", "web")
    files = world.files()
    assert len(files.files) > 1
    assert all(len(content) < 1_024_000 for content in files.files.values())
