"""Which application a request reaches, with what path, and who answers when none does: on a real HAProxy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from haproxy.model import Backend, Desired, Route, Server
from tests.integration.live_haproxy import LiveHAProxy, application, request, running

pytestmark = pytest.mark.haproxy

# path: what is routed there; True: the prefix is removed
ROUTES = (
    Route("a.test", "/", "root"),
    Route("a.test", "/api", "api"),
    Route("a.test", "/api/v2", "deep", True),
    Route("a.test", "/app", "strip", True),
    Route("a.test", "/a@b", "at", True),
    Route("a.test", "/one/two/three/four/five", "five", True),
    Route("a.test", "/none", "empty"),
    Route("only.test", "/app", "only"),
    Route("*.w.test", "/", "wild"),
    Route("*.w.test", "/x", "wildx", True),
    Route("known.w.test", "/here", "exact"),
    Route("*.x.test", "/deep", "wildx"),
    Route("localhost", "/", "local"),
    Route("[::1]", "/", "six"),
    Route("gone.test", "/", "nowhere"),
)
WITHOUT_SERVER = {"empty"}


@dataclass(frozen=True)
class Case:
    """A request, and the application with the path it sees, or the status and x-l7-error of a refusal."""

    host: str
    target: str
    app: str = ""
    seen: str = ""
    refused: tuple[int, str] | None = None

    @property
    def name(self) -> str:
        return f"{self.host} {self.target}"


def case(host: str, target: str, app: str, seen: str | None = None) -> Case:
    return Case(host, target, app, target if seen is None else seen)


def refused(host: str, target: str, status: int, error: str) -> Case:
    return Case(host, target, refused=(status, error))


HOSTS = (
    case("a.test", "/", "root"),
    case("A.TEST", "/", "root"),
    case("a.Test:1234", "/", "root"),
    case("a.test.", "/", "root"),
    case("A.TEST.:80", "/api", "api"),
    case("a.test:", "/", "root"),
    case("b.w.test", "/", "wild"),
    case("B.W.TEST.:8080", "/y", "wild"),
    case("b.w.test", "/x/1", "wildx", "/1"),
    case("b.x.test", "/deep/1", "wildx"),
    case("localhost", "/", "local"),
    case("[::1]:8080", "/", "six"),
    case("known.w.test", "/here/1", "exact"),
    refused("known.w.test", "/x", 404, "no-route"),
    refused("known.w.test", "/", 404, "no-route"),
    refused("b.x.test", "/", 404, "no-route"),
    refused("b.c.w.test", "/", 503, "unknown-host"),
    refused("w.test", "/", 503, "unknown-host"),
    refused("unknown.test", "/", 503, "unknown-host"),
    refused("unknown.test", "/api", 503, "unknown-host"),
    refused("xa.test", "/", 503, "unknown-host"),
    refused("a.test.evil", "/", 503, "unknown-host"),
    refused("test", "/", 503, "unknown-host"),
    refused("gone.test", "/", 503, "no-server"),
)

BAD_HOSTS = (
    "a.test/api",
    "a.test/",
    "*.w.test",
    "*",
    "a.test,b.w.test",
    "a test",
    ".w.test",
    "a..test",
    "a.test..",
    "a.test:80:80",
    "a.test:8o",
    "a.test|x",
    "a.test%2fapi",
    "user@a.test",
    "",
)

PATHS = (
    case("a.test", "/other", "root"),
    case("a.test", "/api", "api"),
    case("a.test", "/api/", "api"),
    case("a.test", "/api/x/y", "api"),
    case("a.test", "/api?q=/../app", "api"),
    case("a.test", "/api?%61=%7E&b", "api"),
    case("a.test", "/api/%7E?", "api"),
    case("a.test", "/app/?%61=%7E&b", "strip", "/?%61=%7E&b"),
    case("a.test", "/?/api", "root"),
    case("a.test", "/apifoo", "root"),
    case("a.test", "/api.x", "root"),
    case("a.test", "/API", "root"),
    case("a.test", "/ap", "root"),
    case("a.test", "/api/v2/", "deep", "/"),
    case("a.test", "/api/v2/z", "deep", "/z"),
    case("a.test", "/api/v20", "api"),
    case("a.test", "/api/v1", "api"),
    refused("only.test", "/", 404, "no-route"),
    refused("only.test", "/apple", 404, "no-route"),
    refused("only.test", "/ap", 404, "no-route"),
    refused("a.test", "/none/x", 503, "no-server"),
)

REWRITES = (
    case("a.test", "/app/x?q=1", "strip", "/x?q=1"),
    case("a.test", "/app/", "strip", "/"),
    case("a.test", "/app/?q=1", "strip", "/?q=1"),
    case("a.test", "/app/app", "strip", "/app"),
    case("a.test", "/app/x%20y%2Fz?a=%61%20&b=100%", "strip", "/x%20y%2Fz?a=%61%20&b=100%"),
    case("a.test", "/app/caf%c3%a9/?q=//x/../y", "strip", "/caf%c3%a9/?q=//x/../y"),
    case("a.test", "//app//x", "strip", "/x"),
    case("a.test", "/app/x/", "strip", "/x/"),
    case("a.test", "/one/two/three/four/five/six", "five", "/six"),
    case("a.test", "/a%40b/x", "at", "/x"),
    case("a.test", "/a@b/x@y", "at", "/x@y"),
    case("a.test", "/apple", "root"),
)

# No spelling gets around a route. What is not stripped reaches the application as it was sent.
SPELLINGS = (
    case("a.test", "//api", "api"),
    case("a.test", "///api//x", "api"),
    case("a.test", "/%61pi", "api"),
    case("a.test", "/%61%70%69/x", "api"),
    case("a.test", "/./api", "api"),
    case("a.test", "/x/../api", "api"),
    case("a.test", "/x/%2e%2e/api", "api"),
    case("a.test", "/x/.%2E/api/y", "api"),
    case("a.test", "/x//../api", "api"),
    case("a.test", "/../../api", "api"),
    case("a.test", "/%2e/api", "api"),
    case("a.test", "/api/../x", "root"),
    case("a.test", "/api/v2/../v1", "api"),
    case("a.test", "/api/.", "api"),
    case("a.test", "/api/..", "root"),
    case("a.test", "/api/./v2/%7Eu", "deep", "/~u"),
    case("a.test", "/%2e%2e%2fapi", "root"),
    case("a.test", "/x%2f..%2fapi", "root"),
    case("a.test", "/%252e%252e/api", "root"),
    case("a.test", "/api%2fv2", "root"),
    case("a.test", "/api;x=1", "root"),
    case("a.test", "/.well-known/x", "root"),
    case("a.test", "/x+y/=&'()", "root"),
    refused("a.test", "/api%00", 400, "bad-path"),
    refused("a.test", "/%zzapi", 400, "bad-path"),
    refused("a.test", "/api/%", 400, "bad-path"),
    refused("a.test", "/api/%4", 400, "bad-path"),
    refused("only.test", "/app/../x", 404, "no-route"),
    refused("only.test", "/app/%2e%2e/x", 404, "no-route"),
    refused("b.x.test", "/deep/..", 404, "no-route"),
)


@pytest.fixture(scope="module")
def proxy(haproxy_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveHAProxy]:
    with ExitStack() as stack:
        backends = {}
        for name in sorted({route.backend for route in ROUTES} - {"nowhere"}):
            servers = {}
            if name not in WITHOUT_SERVER:
                port = stack.enter_context(application(name))
                servers["t1"] = Server("t1", 1, "127.0.0.1", port)
            backends[name] = Backend(name, (name,), expected=False, servers=servers)
        desired = Desired("r", backends, {(route.host, route.path): route for route in ROUTES})
        directory = tmp_path_factory.mktemp("routing")
        yield stack.enter_context(running(haproxy_binary, directory, desired))


def check(proxy: LiveHAProxy, wanted: Case) -> None:
    answer = request(proxy.address, wanted.target, f"host: {wanted.host}")
    if wanted.refused is not None:
        assert (answer.status, answer.error) == wanted.refused
        return
    assert answer.status == 200, answer
    assert (answer.seen["app"], answer.seen["target"]) == (wanted.app, wanted.seen)
    assert answer.error is None


@pytest.mark.acceptance(19)
@pytest.mark.acceptance(20)
@pytest.mark.parametrize("wanted", HOSTS, ids=lambda wanted: wanted.name)
def test_host(proxy: LiveHAProxy, wanted: Case) -> None:
    check(proxy, wanted)


@pytest.mark.parametrize("host", BAD_HOSTS)
def test_what_is_no_host_is_refused(proxy: LiveHAProxy, host: str) -> None:
    answer = request(proxy.address, "/", f"host: {host}")
    assert (answer.status, answer.error) in {(400, "bad-host"), (400, None)}


@pytest.mark.acceptance(47)
@pytest.mark.acceptance(49)
@pytest.mark.acceptance(50)
@pytest.mark.parametrize("wanted", PATHS, ids=lambda wanted: wanted.name)
def test_path(proxy: LiveHAProxy, wanted: Case) -> None:
    check(proxy, wanted)


@pytest.mark.acceptance(48)
@pytest.mark.parametrize("wanted", REWRITES, ids=lambda wanted: wanted.name)
def test_rewrite(proxy: LiveHAProxy, wanted: Case) -> None:
    check(proxy, wanted)


@pytest.mark.parametrize("wanted", SPELLINGS, ids=lambda wanted: wanted.name)
def test_no_spelling_gets_around_a_route(proxy: LiveHAProxy, wanted: Case) -> None:
    check(proxy, wanted)


@pytest.mark.acceptance(19)
def test_an_applications_own_503_is_not_marked_as_the_proxys(proxy: LiveHAProxy) -> None:
    answer = request(proxy.address, "/fail", "host: a.test")
    assert (answer.status, answer.seen["app"], answer.error) == (503, "root", None)


def test_absolute_form_is_routed_like_origin_form(proxy: LiveHAProxy) -> None:
    answer = request(proxy.address, "http://a.test/app/x?y", "host: a.test")
    assert answer.seen["app"] == "strip"
    assert str(answer.seen["target"]).removeprefix("http://a.test") == "/x?y"


def test_absolute_form_that_contradicts_host_never_reaches_either_application(proxy: LiveHAProxy) -> None:
    answer = request(proxy.address, "http://a.test/api", "host: b.w.test")
    assert answer.status == 400


def test_two_hosts_are_refused(proxy: LiveHAProxy) -> None:
    assert request(proxy.address, "/", "host: a.test", "host: b.w.test").status == 400


def test_no_host_is_refused(proxy: LiveHAProxy) -> None:
    assert request(proxy.address, "/").status == 400


def test_options_asterisk_goes_to_the_root_of_the_host(proxy: LiveHAProxy) -> None:
    answer = request(proxy.address, "*", "host: a.test", method="OPTIONS")
    assert (answer.status, answer.seen["app"], answer.seen["target"]) == (200, "root", "*")
    assert request(proxy.address, "*", "host: only.test", method="OPTIONS").error == "no-route"


def test_connect_is_refused(proxy: LiveHAProxy) -> None:
    assert request(proxy.address, "a.test:80", "host: a.test:80", method="CONNECT").status in {400, 405}


def test_a_body_is_forwarded(proxy: LiveHAProxy) -> None:
    answer = request(proxy.address, "/api", "host: a.test", method="POST", body="a=1")
    assert (answer.seen["method"], answer.seen["body"]) == ("POST", "a=1")


def test_length_and_chunked_together_are_one_request(proxy: LiveHAProxy) -> None:
    """The classic of request smuggling: what follows the chunks must not be taken for a second request."""
    smuggled = "0\r\n\r\nGET /api HTTP/1.1\r\nhost: a.test\r\n\r\n"
    answer = request(proxy.address, "/", "host: a.test", "transfer-encoding: chunked", method="POST", body=smuggled)
    assert answer.status in {200, 400}
    assert answer.body.count(b'"app"') <= 1


def test_no_tunnel_of_http2_leads_past_the_routes(proxy: LiveHAProxy) -> None:
    """An application that took the upgrade would answer any number of requests that were never looked at."""
    upgrade = ("connection: Upgrade, HTTP2-Settings", "upgrade: H2C", "http2-settings: AAMAAABkAARAAAAAAAIAAAAA")
    headers = request(proxy.address, "/", "host: a.test", *upgrade).seen["headers"]
    assert isinstance(headers, dict)
    assert {"upgrade", "http2-settings"}.isdisjoint(headers)


def test_a_websocket_upgrade_is_passed_on(proxy: LiveHAProxy) -> None:
    key = ("sec-websocket-version: 13", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==")
    upgrade = ("connection: Upgrade", "upgrade: websocket", *key)
    headers = request(proxy.address, "/", "host: a.test", *upgrade).seen["headers"]
    assert isinstance(headers, dict)
    assert headers["upgrade"] == "websocket"


def test_the_application_is_told_who_asked(proxy: LiveHAProxy) -> None:
    forged = ("x-forwarded-for: 6.6.6.6", "x-real-ip: 6.6.6.6", "x-request-id: mine", "forwarded: for=6.6.6.6")
    answer = request(proxy.address, "/app/x", "host: A.test:99", "x-forwarded-proto: https", *forged)
    headers = answer.seen["headers"]
    assert isinstance(headers, dict)
    told = {name: headers.get(name) for name in ("x-forwarded-for", "x-real-ip", "x-forwarded-proto", "forwarded")}
    assert told == {
        "x-forwarded-for": "127.0.0.1",
        "x-real-ip": "127.0.0.1",
        "x-forwarded-proto": "http",
        "forwarded": None,
    }
    assert (headers["x-forwarded-host"], headers["host"]) == ("A.test:99", "A.test:99")
    assert headers["x-forwarded-port"] == str(proxy.address[1])
    assert headers["x-request-id"] == answer.headers["x-request-id"] != "mine"


@pytest.mark.parametrize(
    "name", ["x_forwarded_for", "X-Forwarded_For", "x_real_ip", "x_request_id", "x-forwarded-prefix"]
)
def test_no_spelling_of_a_header_is_believed(proxy: LiveHAProxy, name: str) -> None:
    """Many applications take `_` for `-` (CGI's names of headers have no other)."""
    headers = request(proxy.address, "/", "host: a.test", f"{name}: forged", "x_own: kept").seen["headers"]
    assert isinstance(headers, dict)
    assert "forged" not in headers.values()
    assert headers["x_own"] == "kept"


def test_information_headers(proxy: LiveHAProxy) -> None:
    answered = request(proxy.address, "/", "host: a.test").headers
    assert answered["x-upstream-addr"].startswith("127.0.0.1:")
    assert answered["x-upstream-response-time"].endswith("us")
    assert answered["x-proxy-id"]
    refusal = request(proxy.address, "/", "host: unknown.test").headers
    assert "x-upstream-addr" not in refusal
    assert refusal["x-request-id"]
