"""Certificates of a test's own making: a CA and what it issues, and a self-signed one for a task."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Issued:
    """Certificate and private key, PEM each."""

    certificate: bytes
    key: bytes

    @property
    def combined(self) -> bytes:
        return self.certificate + self.key

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, hexadecimal."""
        return x509.load_pem_x509_certificate(self.certificate).fingerprint(hashes.SHA256()).hex()


class TestAuthority:
    """A CA that exists as long as the test does."""

    __test__ = False  # no test class for pytest

    def __init__(self, name: str = "test CA") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        now = datetime.datetime.now(datetime.UTC)
        builder = _builder(self._name, self._name, self._key.public_key(), now - _DAY, now + 3650 * _DAY)
        ca = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate = ca.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def issue(self, *names: str, begin: float = -1, end: float = 90, common_name: str = "") -> Issued:
        """For DNS names or IP addresses; valid from `begin` to `end`, in days from now. No names: only the common
        name, as clients have it."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        subject = _name(common_name or (names[0] if names else "client"))
        builder = _builder(subject, self._name, key.public_key(), now + begin * _DAY, now + end * _DAY)
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False
            )
        certificate = builder.sign(self._key, hashes.SHA256())
        return Issued(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))


_DAY = datetime.timedelta(days=1)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    begin: datetime.datetime,
    end: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def self_signed(directory: Path, *protocols: str) -> ssl.SSLContext:
    """The server's side of a certificate for `task.test`; `protocols`: what it offers by ALPN. Writes a file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = _name("task.test"), datetime.datetime.now(datetime.UTC)
    certificate = _builder(name, name, key.public_key(), now - _DAY, now + _DAY).sign(key, hashes.SHA256())
    file = directory / "task.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + _pem(key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context
