"""The installation's own PKI: one CA, one identity for core, one per service cluster. No IO, but a clock and
randomness, which certificates are made of.

Keys are EC P-256. Identities live for ten years, the CA for twenty: they are only good for connections
between the parts of one installation, and rotation is by making them anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from l7.kit.errors import ConfigError
from l7.kit.tls import CORE_URI, DEFAULT_CLUSTER, proxy_uri

CA_DAYS = 20 * 365
IDENTITY_DAYS = 10 * 365
_SKEW = timedelta(hours=1)
"""Certificates count from an hour ago: the clocks of nodes differ."""

CORE_NAMES = ("core", "l7_core", "tasks.core", "tasks.l7_core", "localhost")
"""The names at which proxies look for core; a stack of another name adds its own."""


@dataclass(frozen=True, slots=True)
class Authority:
    """The CA: certificate and private key, PEM each."""

    certificate: bytes
    key: bytes


def new_authority(now: datetime | None = None) -> Authority:
    """A new CA with a name of its own, so that two installations are told apart."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"l7 installation {x509.random_serial_number() & 0xFFFFFFFF:08x}")
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(name, name, key.public_key(), CA_DAYS, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key))


def core_identity(authority: Authority, extra_names: Sequence[str] = (), now: datetime | None = None) -> bytes:
    """Certificate and key of core, one PEM. `extra_names` are DNS names beside CORE_NAMES."""
    return _identity(authority, "core", CORE_URI, (*CORE_NAMES, *extra_names), now)


def proxy_identity(authority: Authority, cluster: str, now: datetime | None = None) -> bytes:
    """Certificate and key for the proxies of a service cluster, "" the default one; one PEM."""
    return _identity(authority, f"proxy {cluster or DEFAULT_CLUSTER}", proxy_uri(cluster), (), now)


def issued_by(identity: bytes, authority: bytes) -> bool:
    """Whether the certificate in `identity` was signed by the CA certificate `authority`, PEM both."""
    try:
        _certificate(identity).verify_directly_issued_by(_certificate(authority))
    except (InvalidSignature, ValueError):
        return False
    return True


def _identity(authority: Authority, name: str, uri: str, dns_names: Sequence[str], now: datetime | None) -> bytes:
    ca = _certificate(authority.certificate)
    ca_key = _private_key(authority.key)
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)]
    alternatives += map(_dns_name, dict.fromkeys(dns_names))
    # Core is server to extensions; both usages, because an extension service will be both as well.
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    certificate = (
        _builder(_name(f"l7 {name}"), ca.subject, key.public_key(), IDENTITY_DAYS, now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(usages, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + _key_pem(key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    days: int,
    now: datetime | None,
) -> x509.CertificateBuilder:
    begin = (now or datetime.now(UTC)) - _SKEW
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
    )


def _dns_name(name: str) -> x509.DNSName:
    try:
        return x509.DNSName(name)
    except ValueError as error:
        raise ConfigError("--name", f"{name!r}: {error}") from error


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _certificate(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise ConfigError("certificate", "is not PEM") from error


def _private_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError("CA key", "is not an unencrypted PEM key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError("CA key", "is not an EC key")
    return key
