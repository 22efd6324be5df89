"""Who may come in, through a real HAProxy: certificates of clients, and passwords."""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from haproxy.credentials import Credentials
from haproxy.model import ClientCertificate, Route
from l7.v1 import sync_pb2 as pb
from testbed.certificates import TestAuthority
from tests.integration.live_haproxy import Answer, request
from tests.integration.live_tls import (
    HANDSHAKE_REFUSED,
    Host,
    LiveTls,
    Setup,
    asking,
    client,
    identity,
    live_tls,
    of,
)

pytestmark = pytest.mark.haproxy

REQUIRED = pb.Rules(name="required", client_certificate=pb.CLIENT_CERTIFICATE_REQUIRED)
OPTIONAL = pb.Rules(name="optional", client_certificate=pb.CLIENT_CERTIFICATE_OPTIONAL)
REDIRECTED = pb.Rules(name="redirected", client_certificate=pb.CLIENT_CERTIFICATE_REQUIRED, https_redirect=True)
FORGED = ("x-ssl-client-cn: root", "X-SSL-Client-DN: /CN=root", "x_ssl_client_sha256: 00", "x-forwarded-user: root")


@dataclass
class Clients:
    """`required.test`, `optional.test` and `redirected.test` want a certificate of `authority`, `other.test` one of
    `stranger`; `open.test` none."""

    live: LiveTls
    authority: TestAuthority
    alice: Path
    mallory: Path

    def ask(
        self, host: str, who: Path | None = None, sni: str = "", version: ssl.TLSVersion | None = None
    ) -> Answer:
        return self.live.ask(host, "/", *FORGED, context=client(who, version=version), sni=sni or host)

    def answered(self, host: str, who: Path | None = None) -> bool:
        """Whether there is any answer. A client of TLS 1.3 hears of a refusal after its own handshake."""
        try:
            return self.ask(host, who).status != 0
        except HANDSHAKE_REFUSED:
            return False


@pytest.fixture
def clients(haproxy_binary: Path, tmp_path: Path) -> Iterator[Clients]:
    authority, stranger = TestAuthority(), TestAuthority("stranger")
    hosts = of(authority, "required.test", "optional.test", "redirected.test", "other.test", "open.test")
    hosts |= {
        f"{name}.test": asking(hosts[f"{name}.test"], ClientCertificate.REQUIRED, authority)
        for name in ("required", "redirected")
    }
    hosts["optional.test"] = asking(hosts["optional.test"], ClientCertificate.OPTIONAL, authority)
    hosts["other.test"] = asking(hosts["other.test"], ClientCertificate.REQUIRED, stranger)
    rules = {each.name: each for each in (REQUIRED, OPTIONAL, REDIRECTED)}
    routes = [Route(f"{name}.test", "/", "web", rules=name) for name in rules]
    routes += [Route("open.test", "/", "web"), Route("other.test", "/", "web", rules="required")]
    alice, mallory = identity(tmp_path, authority, "alice"), identity(tmp_path, stranger, "mallory")
    with live_tls(haproxy_binary, Setup(tmp_path, hosts, routes, rules=rules)) as live:
        yield Clients(live, authority, alice, mallory)


def told(answer: Answer) -> dict[str, str]:
    """What the application is told about the client's certificate."""
    assert answer.status == 200
    headers = dict(answer.seen["headers"])  # type: ignore[call-overload]
    return {name: value for name, value in headers.items() if "ssl" in name or "user" in name}


def test_the_application_is_told_whose_certificate_it_is(clients: Clients) -> None:
    certificate = x509.load_pem_x509_certificate(clients.alice.read_bytes())
    serial = f"{certificate.serial_number:X}"
    for host in ("required.test", "optional.test", "redirected.test"):
        found = told(clients.ask(host, clients.alice))
        assert found == {
            "x-ssl-client-cn": "alice",
            "x-ssl-client-dn": "/CN=alice",
            "x-ssl-client-serial": serial.zfill(len(serial) + len(serial) % 2),
            "x-ssl-client-sha256": certificate.fingerprint(SHA256()).hex(),
        }


def test_without_a_certificate_only_optional_lets_in(clients: Clients) -> None:
    assert not clients.answered("required.test")
    assert told(clients.ask("optional.test")) == {}
    assert told(clients.ask("open.test", clients.alice)) == {}


def test_a_certificate_of_a_wrong_ca_is_refused_even_where_none_is_required(clients: Clients) -> None:
    for host in ("required.test", "optional.test"):
        assert not clients.answered(host, clients.mallory)
        line = clients.live.await_logged(lambda line, host=host: line["sni"] == host)  # type: ignore[misc]
        assert "certificate" in line["refused"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_over_a_connection_to_another_host_nobody_comes_in(clients: Clients, version: ssl.TLSVersion) -> None:
    for host in ("required.test", "optional.test"):
        for sni, who in (("open.test", clients.alice), ("other.test", clients.mallory)):
            answer = clients.ask(host, who, sni, version)
            assert (answer.status, answer.error) == (421, "other-host")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_of_another_host_lets_nobody_in(clients: Clients, version: ssl.TLSVersion) -> None:
    """A client who has proved something to another host's CA goes on with that session."""
    context = client(clients.mallory, version=version)
    with clients.live.connected("other.test", context) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: other.test\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        session = connection.session
    for host in ("required.test", "optional.test"):
        try:
            with clients.live.connected(host, context, session) as connection:
                connection.sendall(f"GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
                answer = connection.recv(65536)
        except HANDSHAKE_REFUSED:
            continue
        assert answer.startswith(b"HTTP/1.1 421")


def test_clear_text_is_refused_or_redirected(clients: Clients) -> None:
    answer = clients.live.plainly("required.test", "/", *FORGED)
    assert (answer.status, answer.error) == (403, "client-certificate")
    assert told(clients.live.plainly("optional.test", "/", *FORGED)) == {}
    answer = clients.live.plainly("redirected.test", "/x?y")
    assert (answer.status, answer.headers["location"]) == (308, "https://redirected.test/x?y")


# ---------------------------------------------------------------- passwords

KEY = bytes(range(32))


@pytest.fixture
def locked(haproxy_binary: Path, tmp_path: Path) -> Iterator[LiveTls]:
    rules = {
        "locked": pb.Rules(name="locked", basic_auth=pb.Secret(id="s"), basic_auth_realm='the "back" office'),
        "lost": pb.Rules(name="lost", basic_auth=pb.Secret(id="not-there")),
        "cors": pb.Rules(
            name="cors", basic_auth=pb.Secret(id="s"), cors=pb.Cors(origins=["https://b.test"], methods=["PUT"])
        ),
    }
    lines = {"s": (("alice", "wonder:land"), ("Bob Ross", "ügly"), ("a\r\nx-evil: 1", "x"))}
    hosts: dict[str, Host] = of(TestAuthority(), "locked.test")
    routes = [Route(f"{name}.test", "/", "web", rules=name) for name in rules]
    setup = Setup(tmp_path, hosts, routes, rules=rules, credentials=Credentials(KEY, lines))
    with live_tls(haproxy_binary, setup) as live:
        yield live


def basic(user: str, password: str, scheme: str = "Basic") -> str:
    return f"authorization: {scheme} {b64encode(f'{user}:{password}'.encode()).decode()}"


def test_who_knows_a_password_comes_in(locked: LiveTls) -> None:
    for user, password in (("alice", "wonder:land"), ("Bob Ross", "ügly")):
        for answer in (
            locked.plainly("locked.test", "/", basic(user, password), *FORGED),
            locked.ask("locked.test", "/", basic(user, password, "basic"), *FORGED),
        ):
            assert told(answer) == {"x-forwarded-user": user}


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (basic("alice", "wonderland"),),
        (basic("alice", ""),),
        (basic("", ""),),
        (basic("bob", "wonder:land"),),
        ("authorization: Basic",),
        ("authorization: Basic  ",),
        (basic("alice", "wonder:land", "Bearer"),),
        (basic("a\r\nx-evil: 1", "x"),),
        ("x-forwarded-user: alice",),
    ],
)
def test_nobody_else_does(locked: LiveTls, headers: tuple[str, ...]) -> None:
    answer = locked.plainly("locked.test", "/", *headers)
    assert (answer.status, answer.error) == (401, "auth")
    assert answer.headers["www-authenticate"] == 'Basic realm="the back office", charset="UTF-8"'


def test_without_the_secret_nobody_comes_in(locked: LiveTls) -> None:
    for headers in ((), (basic("alice", "wonder:land"),)):
        answer = locked.plainly("lost.test", "/", *headers)
        assert (answer.status, answer.error) == (401, "auth")
        assert 'realm="restricted"' in answer.headers["www-authenticate"]


def test_preflights_carry_no_password(locked: LiveTls) -> None:
    with locked.connected("locked.test"):
        pass
    origin = ("origin: https://b.test", "access-control-request-method: PUT")
    answer = request(locked.proxy.address, "/", "host: cors.test", *origin, method="OPTIONS")
    assert answer.status == 204
    refused = locked.plainly("cors.test", "/", origin[0])
    assert refused.status == 401
    assert refused.headers["access-control-allow-origin"] == "https://b.test"


def test_the_key_is_in_no_configuration(locked: LiveTls) -> None:
    text = (locked.directory / "haproxy.cfg").read_text()
    assert b64encode(KEY).decode() not in text
    assert "wonder" not in "".join(each.read_text() for each in locked.directory.glob("*.map"))


def test_without_a_key_nobody_comes_in(haproxy_binary: Path, tmp_path: Path) -> None:
    rules = {"locked": pb.Rules(name="locked", basic_auth=pb.Secret(id="s"))}
    setup = Setup(tmp_path, routes=[Route("locked.test", "/", "web", rules="locked")], rules=rules)
    with live_tls(haproxy_binary, setup) as live:
        assert live.plainly("locked.test", "/", basic("", "")).status == 401
