"""Certificates, keys and passwords as users give them, checked before HAProxy sees them. Pure.

What is wrong comes out as a `Complaint`: what it is and what to do about it, never any of the content.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from haproxy.credentials import USER

ANY_HOST = ("", "*")
"""Hosts that a certificate need not be for: none at all, and that of the default certificate."""

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\r?\n.+?-----END \1-----", re.S)


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong, and what to do about it."""

    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its key. `pem`: leaf, chain in order, key, as HAProxy takes it; times in seconds of Unix
    time; `names`: those that it is for; `fingerprint`: SHA-256 of the leaf, `sha1` its SHA-1, hexadecimal."""

    pem: bytes = field(repr=False)
    not_before: float
    not_after: float
    names: tuple[str, ...]
    fingerprint: str
    sha1: str
    serial: int


class _Bad(Exception):
    """Carries a complaint out of the depth."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.complaint = Complaint(message, remedy)


def check_certificate(
    certificate: bytes, key: bytes | None, host: str, now: float, limit: int
) -> Certificate | Complaint:
    """The certificate for a host, with its key: from `key`, or from the same content when that is None or empty.

    `limit`: bytes of PEM that HAProxy takes at run time. One that has expired is no complaint: what to do then
    depends on what there is besides.
    """
    try:
        return _checked(certificate, key, host, now, limit)
    except _Bad as bad:
        return bad.complaint


def check_authorities(content: bytes, limit: int) -> bytes | Complaint:
    """The certificates of CAs in it, as HAProxy takes them."""
    try:
        found = _certificates(content)
        if not found:
            raise _Bad(*_no_pem(content, "certificate of a CA"))
        pem = b"".join(each.public_bytes(Encoding.PEM) for each in found)
        _within(pem, limit, "leave out CAs that are not needed")
    except _Bad as bad:
        return bad.complaint
    return pem


# ---------------------------------------------------------------- certificate and key


def _checked(content: bytes, key: bytes | None, host: str, now: float, limit: int) -> Certificate:
    found = _certificates(content)
    if not found:
        raise _Bad(*_no_pem(content, "certificate"))
    private = _private_key(key or content, separate=bool(key))
    leaf = _leaf(found, private)
    names = names_of(leaf)
    if host not in ANY_HOST and not covers(names, host):
        shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "") if names else "no name"
        raise _Bad(f"the certificate is not for {host} but for {shown}", f"use a certificate that names {host}")
    begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if begin.timestamp() > now:
        when = begin.strftime("%Y-%m-%d %H:%M UTC")
        raise _Bad(f"the certificate is not valid before {when}", "wait, or use another one")
    pem = _joined([leaf, *_chain(leaf, found)], private)
    _within(pem, limit, "leave out the root, use an ECDSA key, or run HAProxy 3.4 or newer")
    return Certificate(
        pem, begin.timestamp(), end.timestamp(), names, leaf.fingerprint(hashes.SHA256()).hex(),
        leaf.fingerprint(hashes.SHA1()).hex(), leaf.serial_number,
    )  # fmt: skip


def _certificates(content: bytes) -> list[x509.Certificate]:
    return [_certificate(block) for kind, block in _blocks(content) if kind.endswith(b"CERTIFICATE")]


def _certificate(block: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(block)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _Bad("a certificate in it can't be read", "make the secret anew from the PEM file") from error


def _private_key(content: bytes, separate: bool) -> PrivateKeyTypes:
    where = "the secret of ssl_key" if separate else "it"
    blocks = [block for kind, block in _blocks(content) if kind.endswith(b"PRIVATE KEY")]
    if len(blocks) != 1:
        number = "several private keys" if blocks else "no private key"
        raise _Bad(f"{where} holds {number}", "give one key, PEM, with the certificate or as a secret in ssl_key")
    if b"ENCRYPTED" in blocks[0]:
        raise _Bad("the private key is encrypted", "decrypt it (`openssl pkey`): a secret is encrypted by Swarm")
    try:
        return load_pem_private_key(blocks[0], password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _Bad("the private key can't be read", "make the secret anew from the PEM file") from error


def _leaf(found: Sequence[x509.Certificate], private: PrivateKeyTypes) -> x509.Certificate:
    """The one whose key it is, wherever it stands."""
    wanted = _public(private.public_key())
    for each in found:
        try:
            if _public(each.public_key()) == wanted:
                return each
        except (ValueError, UnsupportedAlgorithm):
            continue
    raise _Bad("the private key does not match the certificate", "name the key that the certificate was made with")


def _public(key: object) -> bytes:
    text: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return text


def _chain(leaf: x509.Certificate, found: Sequence[x509.Certificate]) -> Iterator[x509.Certificate]:
    """The certificates above the leaf, each signed by the next, without a root that signed itself: whoever trusts
    that has it. Those that belong to none are left out."""
    rest = [each for each in found if each != leaf]
    below = leaf
    while (above := next((each for each in rest if _issued(below, each)), None)) is not None:
        if above.subject == above.issuer:
            return
        yield above
        rest.remove(above)
        below = above


def _issued(below: x509.Certificate, above: x509.Certificate) -> bool:
    if below.issuer != above.subject:
        return False
    try:
        below.verify_directly_issued_by(above)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def _joined(certificates: Sequence[x509.Certificate], private: PrivateKeyTypes) -> bytes:
    """Written anew, so that there is nothing else in it: a blank line would end it for HAProxy 2.6."""
    key = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates) + key


def _blocks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    return ((match[1], match[0].replace(b"\r", b"") + b"\n") for match in _BLOCK.finditer(content))


def _no_pem(content: bytes, what: str) -> tuple[str, str]:
    if content[:1] == b"\x30":
        return f"no {what} in PEM; it looks like DER", "convert it: `openssl x509 -inform der`"
    return f"no {what} in it", "it has to be PEM: -----BEGIN CERTIFICATE----- ..."


def _within(pem: bytes, limit: int, remedy: str) -> None:
    if len(pem) > limit:
        raise _Bad(f"{len(pem)} bytes are more than this HAProxy takes at run time, {limit}", remedy)


# ---------------------------------------------------------------- names


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """DNS names and IP addresses that it is for, in lower case; the common name where there are none."""
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return tuple(str(each.value).lower() for each in common)
    names = alternatives.get_values_for_type(x509.DNSName)
    addresses = alternatives.get_values_for_type(x509.IPAddress)
    return (*(name.lower() for name in names), *map(str, addresses))


def covers(names: Sequence[str], host: str) -> bool:
    """Whether a certificate with these names is for the host; `*` in a name stands for one label (RFC 6125), and a
    wildcard host needs the same wildcard."""
    host = host.lower().strip("[]")
    try:
        return str(ip_address(host)) in names
    except ValueError:
        parent = host.partition(".")[2]
        return host in names or (f"*.{parent}" in names and bool(parent))


# ---------------------------------------------------------------- passwords

_HASHED = re.compile(r"\$(2[abxy]?|apr1|1|5|6|y|7|argon2[a-z]*|scrypt|pbkdf2[a-z0-9-]*)\$|\{[A-Z0-9.-]+\}")
LONGEST_LOGIN = 512


def parse_passwords(content: bytes) -> tuple[tuple[tuple[str, str], ...], tuple[Complaint, ...]]:
    """(user, password) of each line `user:password` that can be used, and complaints about the others, which name
    the line's user or its number, nothing else of it. Blank lines and such as begin with `#` don't count."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return (), (Complaint("the lines are not UTF-8", "give lines user:password"),)
    lines: list[tuple[str, str]] = []
    complaints: list[Complaint] = []
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.removesuffix("\r")
        if not line.strip() or line.startswith("#"):
            continue
        read = _login(number, line)
        if isinstance(read, Complaint):
            complaints.append(read)
        else:
            lines.append(read)
    if not lines and not complaints:
        complaints.append(Complaint("there is no line in it", "give lines user:password"))
    return tuple(lines), tuple(complaints)


def _login(number: int, line: str) -> tuple[str, str] | Complaint:
    user, colon, password = line.partition(":")
    if not colon or not user or not password:
        return Complaint(f"line {number} is no user:password", "give one user and password in each line")
    if len(line) > LONGEST_LOGIN:
        return Complaint(f"line {number} is too long", f"use at most {LONGEST_LOGIN} characters")
    if not USER.fullmatch(user):
        message = f"the user in line {number} can't be named in a header, as the application is told it"
        return Complaint(message, "use ASCII letters, digits and signs, and no blank at either end")
    if _HASHED.match(password):
        return Complaint(
            f"the password of {user} in line {number} looks hashed, as htpasswd does: {user} is not let in by it",
            "write the password itself: Swarm encrypts the secret, and no proxy keeps it in clear",
        )
    return user, password
