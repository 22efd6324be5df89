"""Names of TLS stores, lines of the crt-list, and what HAProxy starts with."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haproxy import tls
from haproxy.capabilities import capabilities
from haproxy.credentials import Credentials, auth_rows, digest, key_rows
from haproxy.model import ClientCertificate, Desired, KeyPair, Route, Secret
from haproxy.render import render_config, render_files
from haproxy.settings import ACME_MAP, AUTH_MAP, SNI_MAP, Settings
from haproxy.tables import PROXY, owner_of

OLD, NEW = capabilities((2, 6, 12)), capabilities((3, 4, 7))
SETTINGS = Settings(tls_bind=(":443",), spare_backends=1, spare_backends_other=0)
TLS = "/run/l7/tls"


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("a.test", "a.test"),
        ("*.a.test", "_.a.test"),
        ("*", "_"),
        ("a_b.test", "a_b.test"),
        ("xn--9.test", "xn--9.test"),
    ],
)
def test_the_store_of_a_host_shows_which(host: str, name: str) -> None:
    assert tls.certificate_store(SETTINGS, host) == f"{TLS}/certificates/{name}.pem"


@pytest.mark.parametrize(
    "host", ["_.a.test", "_", "x" * 200, "../../etc/passwd", "a/b", "[::1]", "A.test", "a b", ""]
)
def test_what_could_be_taken_for_another_is_a_digest(host: str) -> None:
    name = tls.certificate_store(SETTINGS, host).removeprefix(f"{TLS}/certificates/")
    assert name.startswith("_-")
    assert len(name) == len("_-.pem") + 32
    assert name != tls.certificate_store(SETTINGS, host + "x").rpartition("/")[2]


def test_stores_of_secrets_follow_from_ids() -> None:
    ca, certificate, key = (Secret(each, "any") for each in ("ca1", "c1", "../k"))
    assert tls.authority_store(SETTINGS, ca) == f"{TLS}/authorities/ca1.pem"
    assert tls.identity_store(SETTINGS, KeyPair(certificate)) == f"{TLS}/identities/c1.pem"
    both = tls.identity_store(SETTINGS, KeyPair(certificate, key))
    assert both.startswith(f"{TLS}/identities/c1-_-")
    assert "/k" not in both


def test_a_line_of_the_crt_list() -> None:
    assert tls.Entry("s", "a.test").line == "s a.test"
    assert (
        tls.Entry("s", "a.test", ClientCertificate.REQUIRED, "ca").line == "s [verify required ca-file ca] a.test"
    )
    assert (
        tls.Entry("s", "a.test", ClientCertificate.OPTIONAL, "ca").line == "s [verify optional ca-file ca] a.test"
    )


def stores() -> tls.Stores:
    a, b, every = (tls.certificate_store(SETTINGS, host) for host in ("a.test", "b.test", "*"))
    ca = tls.authority_store(SETTINGS, Secret("ca1", "ca"))
    entries = (
        tls.Entry(b, "b.test", ClientCertificate.REQUIRED, ca),
        tls.Entry(a, "a.test"),
        tls.Entry(every, "*"),
        tls.Entry(tls.certificate_store(SETTINGS, "gone.test"), "gone.test"),
        tls.Entry(a, "c.test", ClientCertificate.REQUIRED, "not-there"),
    )
    return tls.Stores({a: b"A", b: b"B", every: b"E"}, {ca: b"CA"}, {}, entries)


def test_files_are_those_that_the_configuration_names() -> None:
    """What names a store that is not there is left out: HAProxy would not start."""
    files = render_files(SETTINGS, NEW, Desired(), {}, (), stores())
    assert files["tls/certificates.list"].decode().splitlines() == [
        f"{TLS}/certificates/a.test.pem a.test",
        f"{TLS}/certificates/b.test.pem [verify required ca-file {TLS}/authorities/ca1.pem] b.test",
    ]
    assert files["tls/default.list"].decode() == f"{TLS}/certificates/_.pem !*\n"
    assert files["tls/certificates/a.test.pem"] == b"A"
    assert files["tls/authorities/ca1.pem"] == b"CA"


def test_nothing_shows_a_key() -> None:
    held = tls.Stores({"s": b"PRIVATE"}, credentials=Credentials(b"SECRET", {"id": (("u", "password"),)}))
    assert not any(word in repr(held) for word in ("PRIVATE", "SECRET", "password"))


def test_without_tls_there_is_none() -> None:
    text = render_config(Settings(spare_backends=1, spare_backends_other=0), OLD, Desired(), {}, ())
    assert "frontend l7.tls" not in text
    assert " ssl " not in text
    assert "tune.ssl" not in text


def test_sessions_are_resumed_where_they_are_kept_apart() -> None:
    assert "tune.ssl.cachesize 0" in render_config(SETTINGS, OLD, Desired(), {}, ())
    assert "tune.ssl.cachesize" not in render_config(SETTINGS, NEW, Desired(), {}, ())


def bind(**changes: object) -> str:
    return tls.http_bind(replace(SETTINGS, **changes))  # type: ignore[arg-type]


def test_the_listener_is_as_the_operator_says() -> None:
    assert "ssl-min-ver TLSv1.2 ssl-max-ver TLSv1.3" in bind()
    assert "ssl-min-ver TLSv1.2 ssl-max-ver TLSv1.2" in bind(ssl_protocols=("TLSv1.2",))
    assert " ciphers HIGH:!aNULL:!MD5 " in bind(ssl_ciphers="HIGH:!aNULL:!MD5")
    assert "@SECLEVEL=0" in bind(ssl_protocols=("TLSv1.1", "TLSv1.2"))
    assert "@SECLEVEL=0" not in bind(ssl_protocols=("TLSv1.1", "TLSv1.2"), ssl_ciphers="HIGH")
    assert bind(ssl_options=("curves", "P-256")).endswith(" no-tls-tickets curves P-256\n")
    assert " strict-sni " in bind()
    assert " strict-sni " not in bind(default_certificate=True)


def test_rows_of_connections_and_challenges() -> None:
    routes = [Route("@a.test", "/", "a.tls"), Route("@*.b.test", "/", ""), Route(":5432", "/", "db")]
    desired = Desired("r", routes={(route.host, "/"): route for route in routes}, challenges={"t0ken": "t0ken.x"})
    files = render_files(SETTINGS, NEW, desired, {}, ())
    assert files[SNI_MAP] == b"*.b.test -\na.test a.tls\n"
    assert files[ACME_MAP] == b"t0ken t0ken.x\n"
    assert files["routes.map"] == b""
    assert files["tcp.map"] == b"5432 db\n"
    assert owner_of(SNI_MAP, "a.test") == "@a.test"
    assert owner_of(ACME_MAP, "t0ken") == "t0ken"


def test_rows_of_passwords() -> None:
    secret = Credentials(b"k" * 32, {"s": (("alice", "x"), ("bob:", "x"), ("", "x"), ("ev\nil", "x"))})
    assert auth_rows("web", "s", secret) == {f"web|{digest(secret.key, 'alice', 'x')}": "alice"}
    assert auth_rows("web", "other", secret) == auth_rows("web", "s", Credentials()) == {}
    assert key_rows(secret) == {"key": "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="}
    assert key_rows(Credentials()) == {}
    assert owner_of(AUTH_MAP, "key") == PROXY
    assert owner_of(AUTH_MAP, "key|AB") == "key"
