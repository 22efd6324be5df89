"""TLS through a real HAProxy: which certificate is shown, to whom, what is passed on, and what the log says."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.certificates import TestAuthority
from tests.integration.live_haproxy import PATIENCE
from tests.integration.live_tls import HANDSHAKE_REFUSED, Host, LiveTls, Setup, client, live_tls, of

pytestmark = pytest.mark.haproxy


@pytest.fixture(scope="module")
def authority() -> TestAuthority:
    return TestAuthority()


@pytest.fixture(scope="module")
def hosts(authority: TestAuthority) -> dict[str, Host]:
    """A certificate per host; none is good for the others."""
    return of(authority, "a.test", "b.test", "*.w.test", "own.w.test")


@pytest.fixture
def live(haproxy_binary: Path, tmp_path: Path, hosts: dict[str, Host]) -> Iterator[LiveTls]:
    with live_tls(haproxy_binary, Setup(tmp_path, dict(hosts))) as live:
        yield live


def test_each_host_has_its_own_certificate(live: LiveTls, hosts: dict[str, Host]) -> None:
    names = {"a.test": "a.test", "B.test": "b.test", "x.w.test": "*.w.test", "own.w.test": "own.w.test"}
    for asked, host in names.items():
        assert live.shown(asked) == hosts[host].certificate.fingerprint, asked


@pytest.mark.parametrize("name", ["c.test", "w.test", "x.y.w.test", None])
def test_nobody_else_s_certificate_is_shown_to_who_asks_for_an_unknown_name(
    live: LiveTls, name: str | None
) -> None:
    with pytest.raises(HANDSHAKE_REFUSED), live.connected(name):
        pass
    line = live.await_logged(lambda line: "refused" in line)
    assert line["client"] == "127.0.0.1"
    assert line["sni"] == (name or "-")
    assert "handshake" in line["refused"]
    assert len(live.logged()) == 1


def test_a_default_certificate_is_for_all_other_names_only(
    haproxy_binary: Path, tmp_path: Path, authority: TestAuthority, hosts: dict[str, Host]
) -> None:
    """Also where its own names are those of hosts."""
    default = Host(authority.issue("default.test", "a.test", "*.w.test"))
    with live_tls(haproxy_binary, Setup(tmp_path, {**hosts, "*": default}), default_certificate=True) as live:
        for name in ("c.test", "default.test", None):
            assert live.shown(name) == default.certificate.fingerprint
        assert live.shown("a.test") == hosts["a.test"].certificate.fingerprint
        assert live.shown("x.w.test") == hosts["*.w.test"].certificate.fingerprint


def test_a_request_over_tls_is_like_any_other(live: LiveTls, authority: TestAuthority) -> None:
    answer = live.ask("a.test", "/x?y", context=client(None, authority.certificate))
    assert answer.status == 200
    headers = dict(answer.seen["headers"])  # type: ignore[call-overload]
    assert headers["x-forwarded-proto"] == "https"
    assert headers["x-forwarded-port"] == str(live.address[1])
    assert headers["x-forwarded-for"] == headers["x-real-ip"] == "127.0.0.1"
    line = live.await_logged(lambda line: line.get("path") == "/x")
    assert line["tls"]["version"] == "TLSv1.3"
    assert line["tls"]["cipher"] == "TLS_AES_128_GCM_SHA256"
    assert line["tls"]["sni"] == "a.test"
    assert len(live.logged()) == 1


def test_without_tls_the_log_says_so(live: LiveTls) -> None:
    assert live.plainly("a.test").status == 200
    assert live.await_logged(lambda line: True)["tls"] is None


def test_what_is_no_tls_is_refused(live: LiveTls) -> None:
    with socket.create_connection(live.address, timeout=PATIENCE) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n")
        assert connection.recv(100) == b""
    assert live.await_logged(lambda line: True)["end"].startswith("PR")


@pytest.mark.parametrize(
    ("offered", "chosen"), [(("h2", "http/1.1"), "h2"), (("http/1.1",), "http/1.1"), ((), None)]
)
def test_the_protocol_is_agreed_on(live: LiveTls, offered: tuple[str, ...], chosen: str | None) -> None:
    with live.connected("a.test", client(None, b"", None, *offered)) as connection:
        assert connection.selected_alpn_protocol() == chosen


def test_old_versions_are_refused_and_old_ciphers(live: LiveTls) -> None:
    with live.connected("a.test", client(version=ssl.TLSVersion.TLSv1_2)) as connection:
        cipher = connection.cipher()
        assert cipher is not None
        assert cipher[0] == "ECDHE-ECDSA-AES128-GCM-SHA256"
    weak = client(version=ssl.TLSVersion.TLSv1_2)
    weak.set_ciphers("AES128-SHA:ECDHE-ECDSA-AES128-SHA@SECLEVEL=0")
    with pytest.raises(HANDSHAKE_REFUSED), live.connected("a.test", weak):
        pass
    assert "Protocol  : TLSv1.2" in s_client(live, "-tls1_2")
    assert "alert protocol version" in s_client(live, "-tls1_1", "-cipher", "ALL@SECLEVEL=0")


@pytest.mark.parametrize(("option", "version"), [("--http2", "2"), ("--http1.1", "1.1")])
def test_requests_of_curl(live: LiveTls, authority: TestAuthority, option: str, version: str) -> None:
    """Who trusts nobody but the CA, and asks by name."""
    trust = live.directory / "authority.pem"
    trust.write_bytes(authority.certificate)
    command = ["curl", "--silent", "--show-error", option, "--cacert", str(trust), "--max-time", str(PATIENCE)]
    port = live.address[1]
    command += ["--resolve", f"b.test:{port}:127.0.0.1", "--write-out", "\\n%{http_version} %{http_code}"]
    done = subprocess.run([*command, f"https://b.test:{port}/x"], capture_output=True, text=True)
    body, _, said = done.stdout.rpartition("\n")
    assert (said, done.stderr) == (f"{version} 200", "")
    assert json.loads(body)["headers"]["x-forwarded-host"] == f"b.test:{port}"


@pytest.mark.parametrize(
    ("settings", "version", "cipher"),
    [
        ({"ssl_protocols": ("TLSv1.2",)}, "TLSv1.2", ""),
        ({"ssl_protocols": ("TLSv1.3",)}, "TLSv1.3", ""),
        ({"ssl_protocols": ("TLSv1.0", "TLSv1.1")}, "TLSv1.1", ""),
        ({"ssl_ciphers": "HIGH:!aNULL:!MD5", "ssl_protocols": ("TLSv1.2",)}, "TLSv1.2",
         "ECDHE-ECDSA-AES256-GCM-SHA384"),
        ({"ssl_ciphersuites": "TLS_CHACHA20_POLY1305_SHA256"}, "TLSv1.3", "TLS_CHACHA20_POLY1305_SHA256"),
        ({"ssl_options": ("prefer-client-ciphers", "curves", "P-256"), "dh_param": 1024}, "TLSv1.3", ""),
    ],
)  # fmt: skip
def test_the_operator_chooses_versions_and_ciphers(
    haproxy_binary: Path,
    tmp_path: Path,
    hosts: dict[str, Host],
    settings: dict[str, Any],
    version: str,
    cipher: str,
) -> None:
    with live_tls(haproxy_binary, Setup(tmp_path, dict(hosts)), **settings) as live:
        said = s_client(live, "-cipher", "ALL@SECLEVEL=0")
        assert f"New, {version}, " in said or f"Protocol  : {version}" in said
        assert f"Cipher is {cipher}" in said
        ssl_protocols = settings.get("ssl_protocols", ("TLSv1.2", "TLSv1.3"))
        for refused in {"TLSv1.2", "TLSv1.3"} - set(ssl_protocols):
            option = "-" + refused.lower().replace("v", "").replace(".", "_")
            assert "Cipher is (NONE)" in s_client(live, option)


def s_client(live: LiveTls, *words: str, host: str = "a.test") -> str:
    """What `openssl s_client` says of a handshake."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{live.address[1]}", "-servername", host, *words]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
    return done.stdout + done.stderr
