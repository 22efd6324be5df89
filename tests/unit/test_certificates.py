"""Certificates, keys and passwords as users give them: what is taken, in what form, and what is complained of."""

from __future__ import annotations

import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from haproxy.certificates import (
    Certificate,
    Complaint,
    check_authorities,
    check_certificate,
    covers,
    parse_passwords,
)
from testbed.certificates import Issued, TestAuthority

NOW = time.time()
DAY = 86_400
LIMIT = 16_000
CA = TestAuthority()
SHOP = CA.issue("shop.test", "*.shop.test", "10.0.0.1")


def checked(
    certificate: bytes, key: bytes | None = None, host: str = "shop.test", limit: int = LIMIT
) -> Certificate:
    found = check_certificate(certificate, key, host, NOW, limit)
    assert isinstance(found, Certificate), found
    return found


def complaint(certificate: bytes, key: bytes | None = None, host: str = "shop.test", limit: int = LIMIT) -> str:
    found = check_certificate(certificate, key, host, NOW, limit)
    assert isinstance(found, Complaint)
    assert found.remedy
    for line in SHOP.key.splitlines()[1:-1]:
        assert line.decode() not in found.message + found.remedy
    return found.message


def test_in_one_secret_or_two() -> None:
    one, two = checked(SHOP.combined), checked(SHOP.certificate, SHOP.key)
    assert one == two == checked(SHOP.combined, SHOP.key) == checked(SHOP.key + SHOP.certificate)
    assert one.fingerprint == SHOP.fingerprint
    assert one.names == ("shop.test", "*.shop.test", "10.0.0.1")
    assert one.not_after == pytest.approx(NOW + 90 * DAY, abs=600)


def test_it_is_written_anew_without_anything_else() -> None:
    """HAProxy 2.6 takes a blank line for the end."""
    messy = b"Bag Attributes\r\n\r\n" + SHOP.combined.replace(b"\n", b"\r\n") + b"\r\n\r\n# the end\n"
    assert checked(messy) == checked(SHOP.combined)
    assert b"\n\n" not in checked(messy).pem
    assert b"\r" not in checked(messy).pem


def test_nothing_of_the_key_is_shown() -> None:
    assert "PRIVATE" not in repr(checked(SHOP.combined))


def test_the_chain_is_put_in_order_without_root_and_strangers() -> None:
    stranger = TestAuthority("stranger").certificate
    found = checked(CA.certificate + stranger + SHOP.certificate, SHOP.key)
    assert len(x509.load_pem_x509_certificates(found.pem)) == 1
    assert found == checked(SHOP.combined)


@pytest.mark.parametrize(
    ("certificate", "key", "words"),
    [
        (b"", None, "no certificate"),
        (b"nothing", None, "no certificate"),
        (SHOP.certificate, None, "no private key"),
        (SHOP.key, None, "no certificate"),
        (SHOP.combined + SHOP.key, None, "several private keys"),
        (SHOP.certificate, CA.issue("shop.test").key, "does not match"),
        (SHOP.certificate.replace(b"MII", b"AAA"), SHOP.key, "can't be read"),
        (SHOP.certificate, SHOP.key.replace(b"MIG", b"AAA"), "can't be read"),
        (b"\x30\x82\x01\x0a", SHOP.key, "DER"),
        (CA.issue("shop.test", begin=1).combined, None, "not valid before"),
    ],
)
def test_complaints(certificate: bytes, key: bytes | None, words: str) -> None:
    assert words in complaint(certificate, key)


def test_an_encrypted_key() -> None:
    private = load_pem_private_key(SHOP.key, None)
    locked = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    assert "encrypted" in complaint(SHOP.certificate, locked)


def test_too_long_for_the_runtime_api() -> None:
    size = len(checked(SHOP.combined).pem)
    assert len(checked(SHOP.combined, limit=size).pem) == size
    assert str(size) in complaint(SHOP.combined, limit=size - 1)


def test_what_has_expired_is_no_complaint() -> None:
    old = CA.issue("shop.test", begin=-20, end=-10)
    assert checked(old.combined).not_after < NOW


@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("shop.test", True), ("a.shop.test", True), ("*.shop.test", True), ("10.0.0.1", True), ("", True),
        ("*", True),
        ("a.b.shop.test", False), ("other.test", False), ("*.test", False), ("10.0.0.2", False), ("test", False),
    ],
)  # fmt: skip
def test_names(host: str, good: bool) -> None:
    assert isinstance(check_certificate(SHOP.combined, None, host, NOW, LIMIT), Certificate) == good


def test_the_common_name_counts_where_there_is_no_other() -> None:
    only: Issued = CA.issue(common_name="Plain.Test")
    assert checked(only.combined, host="plain.test").names == ("plain.test",)
    assert "plain.test" in complaint(only.combined, host="other.test")


def test_an_ipv6_address() -> None:
    assert covers(("2001:db8::1",), "[2001:DB8::1]")


def test_authorities() -> None:
    another = TestAuthority("another").certificate
    assert check_authorities(CA.certificate + b"\r\n\r\n" + another, LIMIT) == CA.certificate + another
    for content in (b"", b"x", SHOP.key):
        assert isinstance(check_authorities(content, LIMIT), Complaint)
    assert isinstance(check_authorities(CA.certificate * 40, LIMIT), Complaint)


# ---------------------------------------------------------------- passwords


def test_lines() -> None:
    content = "alice:correct horse\r\n\n# staff\nbob:with:colon\nmueller:größe\n".encode()
    lines = (("alice", "correct horse"), ("bob", "with:colon"), ("mueller", "größe"))
    assert parse_passwords(content) == (lines, ())


@pytest.mark.parametrize(
    "password", ["$2y$10$abcdefghijklmnopqrstuv", "$apr1$x$y", "$5$a$b", "$6$a$b", "{SHA}abc=", "{SSHA512}x"]
)
def test_hashes_are_refused_line_by_line(password: str) -> None:
    lines, complaints = parse_passwords(f"alice:{password}\nbob:plain\n".encode())
    assert lines == (("bob", "plain"),)
    (found,) = complaints
    assert "alice" in found.message
    assert password not in found.message + found.remedy


@pytest.mark.parametrize("user", ["müller", " alice", "alice ", "a\tb"])
def test_a_user_who_would_never_get_in_is_told_of(user: str) -> None:
    lines, complaints = parse_passwords(f"{user}:secret\n".encode())
    assert lines == ()
    assert "the user in line 1" in complaints[0].message
    assert user not in complaints[0].message


@pytest.mark.parametrize("content", [b"", b"\n", b"alice", b"alice:", b":secret", b"\xff\xfe", b"a:" + b"x" * 600])
def test_lines_that_are_none(content: bytes) -> None:
    lines, complaints = parse_passwords(content)
    assert lines == ()
    assert len(complaints) == 1
