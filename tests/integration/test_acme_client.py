"""What is asked of an ACME server, asked of a real one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from l7.acme.client import Certificate, Client, Order, Overloaded, Refused, load_key
from l7.config import AcmeSettings
from l7.kit.errors import ConfigError, Unavailable
from testbed.pebble import Pebble
from testbed.swarm import wait_for
from tests.integration.live_haproxy import free_port
from tests.integration.live_pebble import Answers, account_key, answering, pebble

LIFE = 600


@pytest.fixture(scope="module")
def answers() -> Iterator[Answers]:
    with answering() as answers:
        yield answers


@pytest.fixture(scope="module")
def server(answers: Answers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with pebble(tmp_path_factory.mktemp("pebble"), answers.port, LIFE) as server:
        yield server


def client_of(server: Pebble, directory: Path, kind: str = "ec") -> Client:
    key = account_key(directory / "account.pem", kind)
    return Client(AcmeSettings(server.url, "ops@example.org", str(server.ca_file)), key)


@pytest.fixture
def client(server: Pebble, tmp_path: Path) -> Client:
    client = client_of(server, tmp_path)
    client.connect()
    return client


def got(order: Order, answers: Answers) -> Certificate:
    for challenge in order.challenges:
        answers.known[challenge.token] = challenge.key_authorization
        order.answer(challenge)
    wait_for("the validation", lambda: order.validated() == 0.0, timeout=20)
    order.finalize()
    try:
        return wait_for("the certificate", order.issued, timeout=20)
    finally:
        order.close()


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_a_certificate_with_its_chain_and_key(
    server: Pebble, answers: Answers, tmp_path: Path, kind: str
) -> None:
    client = client_of(server, tmp_path, kind)
    client.connect()
    certificate = got(client.order("a.test"), answers)
    chain = x509.load_pem_x509_certificates(certificate.pem)
    key = serialization.load_pem_private_key(certificate.pem, password=None)
    assert key.public_key() == chain[0].public_key()
    names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.test"]
    chain[0].verify_directly_issued_by(chain[1])
    chain[-1].verify_directly_issued_by(x509.load_pem_x509_certificate(server.root()))
    assert certificate.not_before == int(chain[0].not_valid_before_utc.timestamp())
    assert certificate.not_after - certificate.not_before == pytest.approx(LIFE, abs=2)
    assert certificate.not_after > time.time()


def test_two_orders_have_two_keys(client: Client, answers: Answers) -> None:
    first, second = (got(client.order("twice.test"), answers) for _ in range(2))
    keys = [serialization.load_pem_private_key(each.pem, password=None) for each in (first, second)]
    assert keys[0].public_key() != keys[1].public_key()


def test_the_account_is_found_again(client: Client, server: Pebble, answers: Answers) -> None:
    accounts = server.log.count("Created account")
    client.forget()
    client.connect()
    assert server.log.count("Created account") == accounts
    assert got(client.order("again.test"), answers)


def test_a_refused_challenge_is_told_in_the_servers_words(client: Client, answers: Answers) -> None:
    order = client.order("refused.test")
    (challenge,) = order.challenges
    order.answer(challenge)
    with pytest.raises(Refused) as caught:
        wait_for("a verdict", lambda: order.validated() == 0.0, timeout=20)
    order.close()
    assert "404" in caught.value.reply
    assert "refused.test" in caught.value.command


def test_a_name_that_does_not_exist_is_told(client: Client) -> None:
    order = client.order("nowhere.invalid")
    order.answer(order.challenges[0])
    with pytest.raises(Refused, match=r"nowhere\.invalid"):
        wait_for("a verdict", lambda: order.validated() == 0.0, timeout=20)
    order.close()


def test_a_name_that_the_server_does_not_take(client: Client) -> None:
    with pytest.raises(Refused) as caught:
        client.order("under_score.test")
    assert caught.value.kind in ("malformed", "rejectedIdentifier")


def test_nonces_that_are_dropped_cost_nothing_but_time(tmp_path: Path, answers: Answers) -> None:
    with pebble(tmp_path / "pebble", answers.port, PEBBLE_WFE_NONCEREJECT="40") as server:
        client = client_of(server, tmp_path)
        client.connect()
        assert got(client.order("nonce.test"), answers)


def test_authorizations_that_the_server_knows_need_no_answer(tmp_path: Path, answers: Answers) -> None:
    with pebble(tmp_path / "pebble", answers.port, PEBBLE_AUTHZREUSE="100") as server:
        client = client_of(server, tmp_path)
        client.connect()
        got(client.order("reuse.test"), answers)
        order = client.order("reuse.test")
        assert order.challenges == ()
        assert got(order, answers).host == "reuse.test"


def test_a_server_of_an_unknown_ca_is_not_trusted(server: Pebble, tmp_path: Path) -> None:
    client = Client(AcmeSettings(server.url), account_key(tmp_path / "account.pem"))
    with pytest.raises(Overloaded, match="certificate verify failed"):
        client.connect()


def test_a_server_that_is_away_is_unavailable(server: Pebble, tmp_path: Path) -> None:
    away = AcmeSettings(f"https://127.0.0.1:{free_port()}/dir", "", str(server.ca_file))
    with pytest.raises(Unavailable, match="Connection refused"):
        Client(away, account_key(tmp_path / "account.pem")).connect()


def test_what_is_no_acme_server_is_unavailable(answers: Answers, tmp_path: Path) -> None:
    other = AcmeSettings(f"http://127.0.0.1:{answers.port}/dir")
    with pytest.raises(Overloaded):
        Client(other, account_key(tmp_path / "account.pem")).connect()


def test_a_missing_key_names_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="l7 pki init"):
        load_key(str(tmp_path / "none"))


def test_what_is_no_key_is_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "account.pem"
    file.write_text("-----BEGIN PRIVATE KEY-----\nMARKED\n-----END PRIVATE KEY-----\n")
    with pytest.raises(ConfigError) as caught:
        load_key(str(file))
    assert "MARKED" not in f"{caught.value!r}{caught.value.__cause__!r}{caught.value.__context__!r}"


def test_a_missing_ca_file_is_told(tmp_path: Path) -> None:
    client = Client(AcmeSettings("https://localhost/dir", "", "/no/such.pem"), account_key(tmp_path / "a.pem"))
    with pytest.raises(ConfigError, match="CAFile"):
        client.connect()


def test_no_key_is_shown(client: Client, answers: Answers) -> None:
    order = client.order("shown.test")
    shown = repr(order) + repr(client) + repr(order.challenges)
    certificate = got(order, answers)
    secret = certificate.pem.decode().partition("PRIVATE KEY-----\n")[2][:40]
    assert secret not in shown + repr(certificate)
    assert "PRIVATE" not in shown + repr(certificate)
