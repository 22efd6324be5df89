"""Who may come in over TLS: clients' certificates, passwords; versions and ciphers; the default certificate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from testbed.certificates import Issued, TestAuthority
from testbed.system import toml
from tests.e2e.answers import Answer
from tests.e2e.conftest import WITNESS, Create
from tests.e2e.installation import Installation, carried
from tests.e2e.tls_client import TlsClient

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def authority() -> TestAuthority:
    return TestAuthority()


@pytest.fixture
def tls(l7: Installation, tmp_path: Path) -> TlsClient:
    return TlsClient(l7, tmp_path)


@pytest.fixture
def trusted(tls: TlsClient, authority: TestAuthority) -> str:
    return f"--cacert={tls.file('ca.pem', authority.certificate)}"


def seen(answer: Answer) -> dict[str, str]:
    """The headers of the request that the application saw."""
    return {name.lower(): value for name, value in orjson.loads(answer.body)["headers"]}


def proof(tls: TlsClient, name: str, issued: Issued) -> tuple[str, str]:
    """The options by which curl shows a certificate."""
    return f"--cert={tls.file(f'{name}.crt', issued.certificate)}", f"--key={tls.file(f'{name}.key', issued.key)}"


def test_clients_prove_who_they_are(
    l7: Installation, create: Create, tls: TlsClient, authority: TestAuthority, trusted: str
) -> None:
    """Of the right CA only, whichever way they come; who it is goes to the application, and only from us."""
    clients = TestAuthority("clients")
    tls.secret("clients-ca", clients.certificate)
    labels = tls.pair("mutual", authority.issue("mutual.local")) | {"ssl_client_ca": "clients-ca"}
    create("mutual", "mutual.local", labels=labels)
    create("beside", "beside.local", labels=tls.pair("beside", authority.issue("beside.local")))
    alice, mallory = clients.issue(common_name="alice"), authority.issue(common_name="mallory")
    forged = {"X-SSL-Client-CN": "admin", "X-SSL-Client-DN": "CN=admin"}
    own = proof(tls, "alice", alice)
    tls.served("https://mutual.local/", trusted, *own)
    for answer in tls.curl("https://mutual.local/echo", trusted, *own, headers=forged):
        told = seen(answer)
        assert told["x-ssl-client-cn"] == "alice"
        assert told["x-ssl-client-sha256"].lower() == alice.fingerprint
        assert "admin" not in told.values()
    for options in ((), proof(tls, "mallory", mallory)):
        assert {each.status for each in tls.curl("https://mutual.local/", trusted, *options)} == {0}
    assert {each.status for each in l7.ask("mutual.local")} == {403}
    other_name = {"Host": "mutual.local"}
    tls.served("https://beside.local/", trusted)
    assert {each.status for each in tls.curl("https://beside.local/", trusted, headers=other_name)} == {421}
    for answer in tls.curl("https://beside.local/echo", trusted, headers=forged):
        assert not [name for name in seen(answer) if name.startswith("x-ssl")]
    l7.label("mutual", ssl_client_verify="optional")
    tls.served("https://mutual.local/", trusted)
    assert {each.status for each in tls.curl("https://mutual.local/", trusted, *own)} == {200}


def test_passwords(
    l7: Installation, create: Create, tls: TlsClient, authority: TestAuthority, trusted: str
) -> None:
    tls.secret("users", b"alice:correct horse battery\nbob:$2y$10$abcdefghijklmnopqrstuv\n")
    labels = tls.pair("guarded", authority.issue("guarded.local")) | {"basic_auth": "users"}
    create("guarded", "guarded.local", labels=labels)
    tls.served("https://guarded.local/", trusted, status=401)
    good = ("--user", "alice:correct horse battery")
    for answer in tls.served("https://guarded.local/echo", trusted, *good):
        assert seen(answer)["x-forwarded-user"] == "alice"
    for answer in tls.curl("https://guarded.local/", trusted, "--user", "alice:wrong"):
        assert (answer.status, answer.error) == (401, "auth")
        assert answer.headers["www-authenticate"].startswith("Basic realm=")
    problem = l7.problem("guarded", "basic_auth")
    assert "bob" in problem["message"]
    assert "$2y$" not in problem["message"] + problem["value"]
    tls.secret("users2", b"alice:another long password\n")
    l7.label("guarded", basic_auth="users2")
    tls.served("https://guarded.local/", trusted, "--user", "alice:another long password")
    assert {each.status for each in tls.curl("https://guarded.local/", trusted, *good)} == {401}
    l7.solved("guarded")
    assert {each.status for each in l7.ask("guarded.local")} == {401}


def test_a_secret_that_is_not_there_leaves_the_door_shut(l7: Installation, create: Create) -> None:
    create("shut", "shut.local", labels={"basic_auth": "nobody-made-this"})
    l7.running("shut", 1)
    assert l7.problem("shut", "basic_auth")["fatal"]
    l7.refused("shut.local")


# ---------------------------------------------------------------- the operator's settings

SETTINGS = """
[Extensions.default.Config]
SSLProtocols = "TLSv1.2"
SSLCiphers = "ECDHE-ECDSA-AES256-GCM-SHA384"
DefaultCertificate = "default66.pem"
"""


@pytest.fixture
def configured(installation: Installation, authority: TestAuthority) -> Iterator[Issued]:
    """Core with these settings, and the default certificate; requests go on meanwhile."""
    l7 = installation
    issued = authority.issue("default.local")
    client = l7.swarm.docker(l7.manager)
    client.create_secret("default66.pem", issued.combined)  # type: ignore[no-untyped-call]
    file = l7.swarm.directory / "tls.toml"
    file.write_text(toml(l7.settings()) + SETTINGS)
    l7.cli("config", "create", "tls-settings", str(file))
    with l7.load(WITNESS) as reports:
        l7.restart_core("--config-add=source=tls-settings,target=/l7.toml", "--env-add=L7_CONFIG=/l7.toml")
        yield issued
        l7.restart_core("--config-rm=tls-settings", "--env-add=L7_CONFIG=/config.toml")
        l7.until("the settings to be gone", lambda: all(_strict(l7, proxy) for proxy in range(len(l7.services))))
    assert carried(reports)


def _strict(l7: Installation, proxy: int) -> bool:
    return "strict-sni" in l7.file(proxy, "haproxy.cfg").read_text()


@pytest.mark.acceptance(58)
@pytest.mark.acceptance(66)
def test_versions_ciphers_and_the_default_certificate(
    installation: Installation, configured: Issued, tmp_path: Path, authority: TestAuthority
) -> None:
    l7, tls = installation, TlsClient(installation, tmp_path)
    issued = authority.issue("known66.local")
    l7.create("known66", "known66.local", labels=tls.pair("known66", issued))
    tls.shows("known66.local", issued.fingerprint)
    tls.shows("unknown66.local", configured.fingerprint, timeout=30)
    tls.shows("", configured.fingerprint)
    for shown in tls.handshake("known66.local", "-tls1_2"):
        assert (shown.protocol, shown.cipher) == ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384")
    for options in (("-tls1_3",), ("-tls1_1", "-cipher", "ALL@SECLEVEL=0")):
        for shown in tls.handshake("known66.local", *options):
            assert shown.error
            assert shown.fingerprint == ""
    assert {each.error for each in tls.curl("https://unknown66.local/", "--insecure")} == {"unknown-host"}
    l7.remove("known66")
