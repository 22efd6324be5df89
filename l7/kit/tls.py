"""Transport security of every gRPC connection: mutual TLS, plain only on loopback and unix sockets.

An identity is a certificate of the installation's own CA with a URI as subject alternative name:
`l7://core` for the core, `l7://cluster/<name>/proxy` for the proxies of a service cluster ("" is `default`),
`l7://cluster/<name>/extension` for its extension service. Servers also carry a DNS name, which clients demand.
`l7 pki init` makes the first ones, core renews them (`l7.v1.PkiService`).
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from l7.kit import logs
from l7.kit.errors import ConfigError, ProtocolError

DEFAULT_CLUSTER = "default"
"""How the service cluster "" is written where a name cannot be empty."""

_PROXY_URI = re.compile(r"l7://cluster/(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]*)/proxy")
_RENEWABLE_URI = re.compile(r"l7://cluster/(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]*)/(?P<role>proxy|extension)")
_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.+?-----END [A-Z ]*PRIVATE KEY-----\n?", re.S)
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.S)
_NAMES = "x509_subject_alternative_name"
_URIS = "peer_uri"
_log = logs.get("kit.tls")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files. `identity` holds the certificate followed by its key; `ca` the CA's certificate."""

    ca: str
    identity: str


NewestFiles = Callable[[], TlsFiles]
"""Where the newest identity is now. May be called in a thread of gRPC's."""


def server_credentials(newest: NewestFiles) -> grpc.ServerCredentials:
    """Credentials that demand a client certificate of the CA. The files are read at each handshake, so that
    renewed ones count without a restart. Raises ConfigError when they are unusable now; later, those of before
    stay in use."""
    current = _Current(newest)
    return grpc.dynamic_ssl_server_credentials(current.first(), current.newer, require_client_authentication=True)


class _Current:
    """What a server shows: read when somebody connects, handed on when it has changed."""

    def __init__(self, newest: NewestFiles) -> None:
        self._newest = newest
        self._shown = _read_identity(newest())

    def first(self) -> grpc.ServerCertificateConfiguration:
        return _configuration(*self._shown)

    def newer(self) -> grpc.ServerCertificateConfiguration | None:
        """None: go on with what you have."""
        try:
            read = _read_identity(self._newest())
        except ConfigError as error:
            _log.error("identity unusable, the one before stays", error=str(error))
            return None
        if read == self._shown:
            return None
        self._shown = read
        return _configuration(*read)


def _configuration(ca: bytes, key: bytes, chain: bytes) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=ca)


def client_credentials(files: TlsFiles) -> grpc.ChannelCredentials:
    """Credentials that prove the own identity and check the server's. Raises ConfigError."""
    ca, key, chain = _read_identity(files)
    return grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=chain)


def require_private(address: str) -> None:
    """Raises ConfigError unless a gRPC `address` is loopback or a unix socket, where plain is allowed."""
    if not is_private(address):
        raise ConfigError("address", f"{address} is neither loopback nor a unix socket: it needs TLS")


def is_private(address: str) -> bool:
    """Whether `address` stays in the host: "host:port", "[v6]:port", "unix:path", as gRPC writes them."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host = re.sub(r"^(ipv4|ipv6|dns):(///)?", "", address).rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_uri(cluster: str) -> str:
    """The URI that a proxy of the service cluster carries in its certificate."""
    return f"l7://cluster/{cluster or DEFAULT_CLUSTER}/proxy"


CORE_URI = "l7://core"
AUTHORITIES = "l7-authorities"
"""Initial metadata of the Sync stream: the digest of the CAs that core trusts, by which a change shows."""

CORE_NAME = "core"
"""The DNS name by which clients know core, wherever it is."""


def extension_uri(cluster: str) -> str:
    """The URI that the extension service of a service cluster carries in its certificate."""
    return f"l7://cluster/{cluster or DEFAULT_CLUSTER}/extension"


def extension_name(cluster: str) -> str:
    """The DNS name by which the proxies of a service cluster know their extension service, wherever it is."""
    name = cluster or DEFAULT_CLUSTER
    lower = name.lower()  # DNS does not tell "East" from "east", but they are two clusters
    mark = "" if lower == name else f"-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return f"{lower}{mark}.extension.l7.internal"


def peer_names(auth: Mapping[str, Sequence[bytes]]) -> frozenset[str]:
    """Subject alternative names of the peer, from gRPC's auth context; empty for a plain connection."""
    return frozenset(name.decode("utf-8", "replace") for name in auth.get(_NAMES, ()))


def peer_clusters(names: frozenset[str]) -> frozenset[str]:
    """The service clusters that these names may speak for; the default one is ""."""
    found = (_PROXY_URI.fullmatch(name) for name in names)
    return frozenset("" if m["name"] == DEFAULT_CLUSTER else m["name"] for m in found if m)


def is_plain(auth: Mapping[str, Sequence[bytes]]) -> bool:
    """Whether a connection has no TLS: then it is on loopback or a unix socket."""
    return list(auth.get("transport_security_type", ())) == [b"insecure"]


def peer_uri(auth: Mapping[str, Sequence[bytes]]) -> str:
    """The one URI that the peer's certificate carries; "" when there is none, or more than one."""
    uris = [uri.decode("utf-8", "replace") for uri in auth.get(_URIS, ())]
    return uris[0] if len(uris) == 1 else ""


def peer_certificate(auth: Mapping[str, Sequence[bytes]]) -> tuple[str, str]:
    """(name of the CA that signed the peer's certificate, its end in ISO 8601); both "" without one."""
    from cryptography import x509  # late: the extension service starts faster without

    pem = auth.get("x509_pem_cert", ())
    if not pem:
        return "", ""
    try:
        read = x509.load_pem_x509_certificate(pem[0])
    except ValueError as error:
        raise ProtocolError("the peer's certificate is not PEM") from error
    names = read.issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return (str(names[0].value) if names else ""), read.not_valid_after_utc.isoformat()


def dns_names(uri: str) -> tuple[str, ...] | None:
    """The DNS names that belong to the identity of a proxy or an extension service; None: it is neither."""
    found = _RENEWABLE_URI.fullmatch(uri)
    if found is None:
        return None
    return (extension_name(found["name"]),) if found["role"] == "extension" else ()


def authorities_digest(pem: bytes) -> str:
    """The same for the same CA certificates, in whatever order and spelling."""
    bodies = {b"".join(each.split()) for each in _CERTIFICATE.findall(pem)}
    return hashlib.sha256(b"\n".join(sorted(bodies))).hexdigest()


def certificates(pem: bytes) -> tuple[bytes, ...]:
    """Those of a PEM text, in its order."""
    return tuple(_CERTIFICATE.findall(pem))


def _read_identity(files: TlsFiles) -> tuple[bytes, bytes, bytes]:
    """(CA certificate, private key, certificate chain), PEM each."""
    ca, identity = read("ca", files.ca), read("identity", files.identity)
    keys, chain = _KEY.findall(identity), _CERTIFICATE.findall(identity)
    if len(keys) != 1 or not chain:
        raise ConfigError(files.identity, "needs exactly one private key and at least one certificate, PEM")
    if b"BEGIN CERTIFICATE" not in ca:
        raise ConfigError(files.ca, "holds no certificate, PEM")
    return ca, keys[0], b"".join(chain)


def read(what: str, path: str) -> bytes:
    """A file's content. Raises ConfigError, which says what it is good for: `what`."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(path, f"TLS {what} cannot be read: {error.strerror}") from error
