"""Who a certificate is for, and what is said of one that is refused."""

from __future__ import annotations

import ssl

import pytest

from haproxy.checks import Check
from haproxy.model import KeyPair, Secret
from haproxy.verification import covers, hung_up, misnamed, refused

CHECK = Check("10.0.0.1", 80, tls=True, name="a.test", ca=Secret("i1", "mine"))
SHOWING = Check("10.0.0.1", 80, tls=True, certificate=KeyPair(Secret("i2", "pair")))


@pytest.mark.parametrize(
    ("pattern", "name", "good"),
    [
        ("A.test", "a.TEST", True), ("*.test", "a.test", True), ("*.test", "a.b.test", False),
        ("*.test", "test", False), ("a*c.test", "abc.test", True), ("a*c.test", "ac.test", True),
        ("ab*ba.test", "aba.test", False), ("**.test", "a.test", False), ("*", "a", False),
        ("a.*", "a.test", False), ("b.test", "a.test", False), ("", "a.test", False),
    ],
)  # fmt: skip
def test_one_star_stands_for_a_part_of_the_first_label(pattern: str, name: str, good: bool) -> None:
    assert covers(pattern, name) is good


def test_names_and_common_names_count_and_addresses_do_not() -> None:
    common = {"subject": ((("organizationName", "o"),), (("commonName", "a.test"),))}
    assert misnamed(CHECK, common | {"subjectAltName": (("DNS", "b.test"),)}) is None
    found = misnamed(CHECK, {"subjectAltName": (("DNS", "b.test"), ("IP Address", "10.0.0.1"))})
    assert found is not None
    assert found.message == "the certificate of its tasks is not for a.test but for b.test"
    nameless = misnamed(CHECK, {})
    assert nameless is not None
    assert nameless.message.endswith("for no name")


def failed(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = code, f"reason {code}"
    return error


@pytest.mark.parametrize(
    ("code", "words"), [(20, "no CA in mine"), (7, "no CA in mine"), (10, "refused"), (9, "valid now")]
)
def test_openssls_own_reason_is_said(code: int, words: str) -> None:
    found = refused(CHECK, failed(code))
    assert found is not None
    assert found.label == "com.docker.lb.ssl_backend_ca"
    assert words in f"{found.message} {found.remedy}"
    assert f"reason {code}" in found.message


@pytest.mark.parametrize(
    ("reason", "label"),
    [
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "ssl_backend_cert"), ("TLSV1_ALERT_UNKNOWN_CA", "ssl_backend_cert"),
        ("TLSV1_UNRECOGNIZED_NAME", "ssl_backend_name"), ("WRONG_VERSION_NUMBER", ""),
    ],
)  # fmt: skip
def test_what_the_task_says(reason: str, label: str) -> None:
    error = ssl.SSLError()
    error.reason = reason
    found = refused(SHOWING, error)
    assert (found.label if found else "com.docker.lb.") == f"com.docker.lb.{label}"


def test_whether_anything_was_shown_is_said() -> None:
    assert "ssl_backend_cert" in hung_up(SHOWING).message
    assert "none" in hung_up(CHECK).message
