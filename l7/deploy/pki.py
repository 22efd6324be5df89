"""The installation's own PKI: one CA, an identity for core, two per service cluster. No IO, but a clock and
randomness, which certificates are made of.

Keys are EC P-256. The CA lives for twenty years, the identities that `l7 pki init` makes for two: they are only
the first ones, core renews them for 30 days each (`l7.v1.PkiService`). They are good for connections between the
parts of one installation and for nothing else.

A new CA (`l7 pki rotate`) is also signed by the one before it. That certificate, the cross certificate, goes with
each identity of the new CA, so that those who only know the old one accept it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from l7.kit import tls
from l7.kit.errors import ConfigError, Rejected
from l7.kit.tls import CORE_NAME, CORE_URI, extension_name, extension_uri, proxy_uri

CA_LIFE = timedelta(days=20 * 365)
FIRST = timedelta(days=2 * 365)
"""Life of the identities that are Docker secrets."""
RENEWED = timedelta(days=30)
_SKEW = timedelta(hours=1)
"""Certificates count from an hour ago, short-lived ones from a tenth of their life: clocks of nodes differ."""

CORE_NAMES = (CORE_NAME, "l7_core", "tasks.core", "tasks.l7_core", "localhost")
"""The names at which proxies look for core; a stack of another name adds its own."""


@dataclass(frozen=True, slots=True)
class Authority:
    """The CA: certificate and private key, PEM each. `chain`: the cross certificate, which its identities carry."""

    certificate: bytes
    key: bytes = field(repr=False)
    chain: bytes = b""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose identity: the URI that says the role, and DNS names where it is a server."""

    uri: str
    names: tuple[str, ...] = ()


def new_authority(now: datetime | None = None) -> Authority:
    """A new CA with a name of its own, so that two installations, and two CAs of one, are told apart."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"l7 installation {x509.random_serial_number() & 0xFFFFFFFF:08x}")
    begin = (now or datetime.now(UTC)) - _SKEW
    builder = _ca_builder(name, name, key.public_key(), path_length=1)
    certificate = builder.not_valid_before(begin).not_valid_after(begin + CA_LIFE).sign(key, hashes.SHA256())
    return Authority(_pem(certificate), _key_pem(key))


def cross_signed(new: Authority, old: Authority) -> Authority:
    """The new CA with the old one's word for it. Raises ConfigError when the old one cannot give it."""
    issuer, subject = certificate_of(old.certificate), certificate_of(new.certificate)
    limits = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
    if limits.path_length is not None and limits.path_length < 1:
        raise ConfigError(
            "CA", "was made by a version that could not rotate: remove the secrets l7-* and begin anew"
        )
    key = _private_key(new.key).public_key()
    builder = _ca_builder(subject.subject, issuer.subject, key, path_length=0)
    builder = builder.not_valid_before(subject.not_valid_before_utc).not_valid_after(issuer.not_valid_after_utc)
    return Authority(new.certificate, new.key, _pem(builder.sign(_private_key(old.key), hashes.SHA256())))


def authority(authorities: bytes, key: bytes, identity: bytes) -> Authority:
    """The CA among `authorities` that `key` belongs to, with the cross certificates that `identity` (core's)
    carries; all PEM. Raises ConfigError."""
    public = _private_key(key).public_key()
    found = [each for each in tls.certificates(authorities) if certificate_of(each).public_key() == public]
    if not found:
        raise ConfigError("CA key", "belongs to none of the CA's certificates")
    return Authority(found[0], key, b"".join(tls.certificates(identity)[1:]))


def core_identity(authority: Authority, extra_names: Sequence[str] = (), now: datetime | None = None) -> bytes:
    """Certificates and key of core, one PEM. `extra_names` are DNS names beside CORE_NAMES."""
    return _identity(authority, Subject(CORE_URI, (*CORE_NAMES, *extra_names)), now)


def proxy_identity(authority: Authority, cluster: str, now: datetime | None = None) -> bytes:
    """Certificates and key for the proxies of a service cluster, "" the default one; one PEM."""
    return _identity(authority, Subject(proxy_uri(cluster)), now)


def extension_identity(authority: Authority, cluster: str, now: datetime | None = None) -> bytes:
    """The same for its extension service."""
    return _identity(authority, Subject(extension_uri(cluster), (extension_name(cluster),)), now)


def account_key() -> bytes:
    """A new key for an account at an ACME server, PEM."""
    return _key_pem(ec.generate_private_key(ec.SECP256R1()))


def sign(
    authority: Authority, subject: Subject, key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> bytes:
    """The certificate for a key, followed by the cross certificate if there is one; PEM."""
    ca = certificate_of(authority.certificate)
    alternatives: list[x509.GeneralName] = [x509.UniformResourceIdentifier(subject.uri)]
    alternatives += map(_dns_name, dict.fromkeys(subject.names))
    # Core and extension services are servers, and all but core are clients: an extension service renews itself.
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    certificate = (
        _builder(_name("l7 " + subject.uri.removeprefix("l7://").replace("/", " ")), ca.subject, key)
        .not_valid_before(now - min(_SKEW, life / 10))
        .not_valid_after(now + life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(usages, critical=False)
        .sign(_private_key(authority.key), hashes.SHA256())
    )
    return _pem(certificate) + authority.chain


def requested_key(request: bytes) -> ec.EllipticCurvePublicKey:
    """The key of a PKCS #10 request, DER, whose sender proved to have its private half. Raises Rejected."""
    what = "certificate request"
    try:
        read = x509.load_der_x509_csr(request)
        key = read.public_key()
        valid = read.is_signature_valid
    except (ValueError, TypeError, InvalidSignature) as error:
        raise Rejected(what, "cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Rejected(what, "the key is not EC P-256")
    if not valid:
        raise Rejected(what, "the signature is wrong")
    return key


def issued_by(identity: bytes, authority: bytes) -> bool:
    """Whether the certificate in `identity` was signed by the CA certificate `authority`, PEM both."""
    try:
        certificate_of(identity).verify_directly_issued_by(certificate_of(authority))
    except (InvalidSignature, ValueError):
        return False
    return True


def not_after(pem: bytes) -> datetime:
    """Until when the first certificate of a PEM text is good. Raises ConfigError."""
    return certificate_of(pem).not_valid_after_utc


def dns_names(pem: bytes) -> tuple[str, ...]:
    """Those of the first certificate of a PEM text. Raises ConfigError."""
    extensions = certificate_of(pem).extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return tuple(names.get_values_for_type(x509.DNSName))


def fingerprint(pem: bytes) -> str:
    """What people compare: the first 16 digits of SHA-256, hexadecimal. Raises ConfigError."""
    return certificate_of(pem).fingerprint(hashes.SHA256()).hex()[:16]


def certificate_of(pem: bytes) -> x509.Certificate:
    """The first certificate of a PEM text. Raises ConfigError."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise ConfigError("certificate", "is not PEM") from error


def _identity(authority: Authority, subject: Subject, now: datetime | None) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return sign(authority, subject, key.public_key(), now or datetime.now(UTC), FIRST) + _key_pem(key)


def _ca_builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, path_length: int
) -> x509.CertificateBuilder:
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
    return (
        _builder(subject, issuer, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(usage, critical=True)
    )


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    serial = x509.random_serial_number()
    return x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key).serial_number(serial)


def _dns_name(name: str) -> x509.DNSName:
    try:
        return x509.DNSName(name)
    except ValueError as error:
        raise ConfigError("--name", f"{name!r}: {error}") from error


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _private_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError("CA key", "is not an unencrypted PEM key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError("CA key", "is not an EC key")
    return key
