"""TLS toward tasks: spoken by the proxy, and verified; or passed on as it is, by the name in it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from haproxy import tls
from haproxy.checks import check_of
from haproxy.model import Backend, KeyPair, Protocol, ProxyHeader, Redirect, Route, Secret, ServerSettings
from haproxy.probe import Trust, ask
from haproxy.verification import Refusal
from l7.v1 import sync_pb2 as pb
from testbed.certificates import Issued, TestAuthority
from testbed.protocols import GRPC_SERVICE, grpc_application, web_application
from tests.integration.live_haproxy import PATIENCE, application, receive
from tests.integration.live_tls import HANDSHAKE_REFUSED, LiveTls, Setup, client, live_tls, of

pytestmark = pytest.mark.haproxy

CA, WRONG_CA = Secret("ca1", "ca"), Secret("ca2", "wrong")
PAIR = KeyPair(Secret("c1", "cert"), Secret("k1", "key"))


def serving(directory: Path, issued: Issued, client_ca: bytes = b"", name: str = "task") -> ssl.SSLContext:
    """A task's side of TLS."""
    path = directory / f"{name}.pem"
    path.write_bytes(issued.combined)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=client_ca.decode())
    return context


# ---------------------------------------------------------------- spoken by the proxy

HTTPS = ServerSettings(protocol=Protocol.HTTPS)
VERIFIED = replace(HTTPS, tls_ca=CA, tls_name="task.test")
WAYS = {
    "unverified": HTTPS,
    "verified": VERIFIED,
    "wrong-ca": replace(VERIFIED, tls_ca=WRONG_CA),
    "wrong-name": replace(VERIFIED, tls_name="other.test"),
    "no-name": replace(VERIFIED, tls_name=""),
}


CERTIFICATES: dict[str, dict[str, Any]] = {
    "wildcard": {"names": ["*.test"]},
    "partly": {"names": ["t*k.test"]},
    "deeper": {"names": ["*.task.test"]},
    "common": {"common_name": "task.test"},
    "common-too": {"names": ["other.test"], "common_name": "task.test"},
    "address": {"names": ["10.0.0.1"]},
    "expired": {"names": ["task.test"], "begin": -9, "end": -1},
    "early": {"names": ["task.test"], "begin": 1, "end": 9},
}
"""What else a task may show, asked for as `VERIFIED`."""

WORDS = {
    "wrong-ca": ("ssl_backend_ca", "signed by no CA in wrong: "),
    "wrong-name": ("ssl_backend_name", "not for other.test but for task.test"),
    "no-name": ("ssl_backend_name", "not for nobody.invalid"),
    "deeper": ("ssl_backend_name", "not for task.test but for *.task.test"),
    "address": ("ssl_backend_name", "not for task.test but for"),
    "expired": ("ssl_backend_ca", "certificate has expired"),
    "early": ("ssl_backend_ca", "certificate is not yet valid"),
    "nobody": ("ssl_backend_cert", "demand a client certificate"),
}
"""Name of a backend -> label and words of why the probe refuses it."""


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


@pytest.fixture
def tasks(haproxy_binary: Path, tmp_path: Path, setup: Setup) -> Iterator[LiveTls]:
    """One task, whose backends differ in how it is spoken to; others with certificates of all kinds; one that wants
    a certificate."""
    authority = TestAuthority()
    setup.authorities = {CA: authority.certificate, WRONG_CA: TestAuthority().certificate}
    setup.identities = {tls.identity_store(setup.settings, PAIR): authority.issue(common_name="proxy").combined}
    with ExitStack() as stack:
        task = serving(tmp_path, authority.issue("task.test"))
        port = stack.enter_context(application("task", tls=task))
        for name, settings in WAYS.items():
            setup.serve(name, port, settings)
        for name, each in CERTIFICATES.items():
            issued = authority.issue(*each.get("names", ()), **{k: v for k, v in each.items() if k != "names"})
            port = stack.enter_context(application(name, tls=serving(tmp_path, issued, name=name)))
            setup.serve(name, port, VERIFIED)
        strict = serving(tmp_path, authority.issue("task.test"), authority.certificate, "strict")
        port = stack.enter_context(application("strict", tls=strict))
        setup.serve("nobody", port, VERIFIED)
        setup.serve("known", port, replace(VERIFIED, tls_certificate=PAIR))
        setup.routes = [Route(f"{name}.test", "/", name) for name in setup.backends]
        yield stack.enter_context(live_tls(haproxy_binary, setup))


@pytest.mark.parametrize("name", [*WAYS, *CERTIFICATES, "nobody", "known"])
def test_the_probe_says_what_haproxy_says(tasks: LiveTls, setup: Setup, name: str) -> None:
    backend = setup.backends[name]
    answer, found = tasks.plainly(f"{name}.test"), probed(setup, name)
    assert (found is True) is (answer.status == 200)
    expected = WORDS.get(name)
    if expected is None:
        assert found is True
        return
    assert isinstance(found, Refusal)
    assert found.label == f"com.docker.lb.{expected[0]}"
    assert expected[1] in found.message
    assert found.remedy
    assert str(backend.servers["t"].port) not in found.message


def probed(setup: Setup, name: str) -> bool | Refusal:
    backend = setup.backends[name]
    check = check_of(backend, backend.servers["t"])
    stores = setup.stores()
    ca = stores.authorities[tls.authority_store(setup.settings, check.ca)] if check.ca else None
    shown = stores.identities[tls.identity_store(setup.settings, check.certificate)] if check.certificate else None
    return asyncio.run(ask(check, Trust(ca, shown)))


@pytest.mark.parametrize("name", ["unverified", "verified", "known"])
def test_a_task_is_asked_over_tls(tasks: LiveTls, name: str) -> None:
    answer = tasks.plainly(f"{name}.test")
    assert answer.status == 200
    assert answer.seen["app"] == ("strict" if name == "known" else "task")


@pytest.mark.parametrize("name", ["wrong-ca", "wrong-name", "no-name", "nobody"])
def test_a_task_that_does_not_prove_itself_gets_no_request(tasks: LiveTls, name: str) -> None:
    answer = tasks.plainly(f"{name}.test")
    assert answer.status in (502, 503)
    assert answer.error in ("no-server", "bad-response")
    assert tasks.plainly("verified.test").status == 200


# ---------------------------------------------------------------- passed on


@contextmanager
def proxied(context: ssl.SSLContext) -> Iterator[int]:
    """A task that reads a header of the PROXY protocol before TLS, and answers with its bytes in hexadecimal."""

    def serve(connection: socket.socket) -> None:
        with connection:
            start = connection.recv(16, socket.MSG_PEEK | socket.MSG_WAITALL)
            v2 = start.startswith(b"\r\n\r\n\0\r\nQUIT\n")
            length = 16 + int.from_bytes(start[14:16], "big") if v2 else _line(connection)
            head = connection.recv(length, socket.MSG_WAITALL)
            try:
                with context.wrap_socket(connection, server_side=True) as secure:
                    secure.recv(65536)
                    body = head.hex().encode()
                    secure.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
            except OSError:
                return  # a check, which says nothing

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _line(connection: socket.socket) -> int:
    """Length of a line that is there."""
    while b"\r\n" not in (seen := connection.recv(108, socket.MSG_PEEK)):
        if not seen:
            return 0
    return seen.index(b"\r\n") + 2


@pytest.fixture
def passing(haproxy_binary: Path, tmp_path: Path) -> Iterator[LiveTls]:
    """`pass.test`, `v1.test`, `v2.test` and `*.w.test` end at their tasks; `a.test` and `own.w.test` here."""
    authority, theirs = TestAuthority(), TestAuthority("theirs")
    setup = Setup(tmp_path, of(authority, "a.test", "own.w.test", "pass.test"))
    setup.rules = {"https": pb.Rules(name="https", https_redirect=True)}
    with ExitStack() as stack:
        context = serving(tmp_path, theirs.issue("pass.test", "v1.test", "v2.test"))
        port = stack.enter_context(application("task", tls=context))
        proxied_port = stack.enter_context(proxied(context))
        setup.serve("app.tls", port, tcp=True)
        setup.serve("v1.tls", proxied_port, ServerSettings(proxy_header=ProxyHeader.V1), tcp=True)
        setup.serve("v2.tls", proxied_port, ServerSettings(proxy_header=ProxyHeader.V2), tcp=True)
        setup.backends["idle.tls"] = Backend("idle.tls", ("idle",), expected=False, tcp=True)
        names = {"pass": "app", "*.w": "app", "v1": "v1", "v2": "v2", "idle": "idle", "lost": "lost"}
        setup.routes = [Route(f"@{host}.test", "/", f"{backend}.tls") for host, backend in names.items()]
        setup.routes += [
            Route("@own.w.test", "/", ""),
            Route("*", "/", "web"),
            Route("pass.test", "/", "", rules="https"),
            Route("v1.test", "/", "", redirect=Redirect("http", "https://new.test")),
        ]
        yield stack.enter_context(live_tls(haproxy_binary, setup))


def test_a_name_that_is_passed_on_meets_the_application_itself(passing: LiveTls) -> None:
    """Also where the proxy has a certificate for it."""
    for host in ("pass.test", "PASS.test", "x.w.test"):
        answer = passing.ask(host)
        assert answer.seen["app"] == "task"
        headers = dict(answer.seen["headers"])  # type: ignore[call-overload]
        assert not any(name.startswith("x-") for name in headers)
    assert passing.ask("a.test").seen["app"] == "web"
    assert passing.ask("own.w.test").seen["app"] == "web"


def test_a_connection_that_is_passed_on_is_logged_once(passing: LiveTls) -> None:
    passing.ask("pass.test")
    line = passing.await_logged(lambda line: line["sni"] == "pass.test")
    assert line["service"] == "app.tls"
    assert line["client"] == "127.0.0.1"
    assert line["received"] > 0
    assert len(passing.logged()) == 1


@pytest.mark.parametrize(
    ("host", "start"), [("v1.test", b"PROXY TCP4 127.0.0.1 "), ("v2.test", b"\r\n\r\n\0\r\nQUIT\n!")]
)
def test_the_task_hears_whose_connection_it_is(passing: LiveTls, host: str, start: bytes) -> None:
    head = bytes.fromhex(passing.ask(host).body.decode())
    assert head.startswith(start)
    if host == "v2.test":
        assert socket.inet_ntoa(head[16:20]) == "127.0.0.1"
        assert int.from_bytes(head[26:28], "big") == passing.address[1]


@pytest.mark.parametrize("host", ["idle.test", "lost.test"])
def test_without_a_server_the_connection_is_closed(passing: LiveTls, host: str) -> None:
    with pytest.raises((*HANDSHAKE_REFUSED, TimeoutError)), passing.connected(host):
        pass
    assert passing.await_logged(lambda line: line["sni"] == host)["sent"] == 0


def test_a_default_takes_what_has_no_other(haproxy_binary: Path, tmp_path: Path) -> None:
    """Also who names nobody; not who names a host whose TLS ends here."""
    setup = Setup(tmp_path, of(TestAuthority(), "a.test"))
    context = serving(tmp_path, TestAuthority("theirs").issue("any.test"))
    with application("task", tls=context) as port:
        setup.serve("app.tls", port, tcp=True)
        setup.routes = [Route("@*", "/", "app.tls"), Route("@a.test", "/", ""), Route("*", "/", "web")]
        with live_tls(haproxy_binary, setup) as live:
            for sni in ("b.test", None):
                assert live.ask("any.test", sni=sni).seen["app"] == "task"
            assert live.ask("a.test").seen["app"] == "web"


def test_plain_http_of_such_a_host_is_redirected(passing: LiveTls) -> None:
    answer = passing.plainly("pass.test", "/x?y")
    assert (answer.status, answer.headers["location"]) == (308, "https://pass.test/x?y")
    answer = passing.plainly("v1.test", "/x?y")
    assert (answer.status, answer.headers["location"]) == (302, "https://new.test/x?y")


# ---------------------------------------------------------------- what a trusted proxy says


def test_a_trusted_proxy_s_word_counts_ahead_of_tls(haproxy_binary: Path, tmp_path: Path) -> None:
    setup = Setup(tmp_path, of(TestAuthority(), "a.test"))
    trusted = {"trusted_proxies": ("127.0.0.0/8",), "proxy_protocol": True}
    with live_tls(haproxy_binary, setup, **trusted) as live:
        with socket.create_connection(live.address, timeout=PATIENCE) as plain:
            plain.sendall(b"PROXY TCP4 198.51.100.7 192.0.2.1 5555 8443\r\n")
            with client().wrap_socket(plain, server_hostname="a.test") as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")
                answer = receive(connection)
        headers = dict(answer.seen["headers"])  # type: ignore[call-overload]
        assert headers["x-forwarded-for"] == "198.51.100.7"
        assert headers["x-forwarded-port"] == "8443"
        assert headers["x-forwarded-proto"] == "https"


# ---------------------------------------------------------------- all that rides on TLS


def test_hsts_is_said_over_tls_alone(haproxy_binary: Path, tmp_path: Path) -> None:
    setup = Setup(tmp_path, of(TestAuthority(), "a.test"))
    setup.rules = {"web": pb.Rules(name="web", hsts="max-age=300; includeSubDomains", https_redirect=True)}
    setup.routes = [
        Route("a.test", "/", "web", rules="web"),
        Route("old.test", "/", "web", redirect=Redirect("https", "https://a.test")),
    ]
    setup.challenges = {"t0ken": "t0ken.thumb-print_"}
    setup.hosts |= of(TestAuthority(), "old.test")
    with live_tls(haproxy_binary, setup) as live:
        answer = live.ask("a.test", "/x")
        assert answer.status == 200
        assert answer.headers["strict-transport-security"] == "max-age=300; includeSubDomains"
        answer = live.plainly("a.test", "/x")
        assert (answer.status, answer.headers["location"]) == (308, "https://a.test/x")
        assert "strict-transport-security" not in answer.headers
        assert live.ask("old.test", "/x").headers["location"] == "https://a.test/x"
        assert live.plainly("old.test", "/x").status == 200
        for host in ("a.test", "nobody.test", "192.0.2.1:80"):
            answer = live.plainly(host, "/.well-known/acme-challenge/t0ken")
            assert (answer.status, answer.body) == (200, b"t0ken.thumb-print_")
        assert live.ask("a.test", "/.well-known/acme-challenge/t0ken").body == b"t0ken.thumb-print_"
        assert live.ask("a.test", "/.well-known/acme-challenge/other").seen["app"] == "web"
        assert live.plainly("nobody.test", "/.well-known/acme-challenge/").status == 503


async def test_websockets_and_grpc(haproxy_binary: Path, tmp_path: Path) -> None:
    authority = TestAuthority()
    setup = Setup(tmp_path, of(authority, "ws.test", "rpc.test"))
    with ExitStack() as stack:
        setup.serve("ws", stack.enter_context(web_application("ws")))
        setup.serve("rpc", stack.enter_context(grpc_application("rpc")), ServerSettings(protocol=Protocol.H2C))
        setup.routes = [Route("ws.test", "/", "ws"), Route("rpc.test", "/", "rpc")]
        live = stack.enter_context(live_tls(haproxy_binary, setup))
        address = f"127.0.0.1:{live.address[1]}"
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(
                f"wss://{address}/", headers={"host": "ws.test"}, server_hostname="ws.test",
                ssl=client(None, authority.certificate),
            ) as talk:  # fmt: skip
                await talk.receive()
                await talk.send_str("hello")
                assert "hello" in (await talk.receive()).data
        options = [("grpc.ssl_target_name_override", "rpc.test"), ("grpc.default_authority", "rpc.test")]
        trust = grpc.ssl_channel_credentials(authority.certificate)
        async with grpc.aio.secure_channel(address, trust, options) as channel:
            answer = await channel.unary_unary(f"/{GRPC_SERVICE}/Unary")(b"ping")
            assert b"ping" in answer
