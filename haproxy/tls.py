"""TLS as HAProxy has it: names and contents of its stores, lines of its crt-list, and its listeners, as text. Pure.

A store is a PEM under a name, which looks like the path of a file. It is one when HAProxy starts; later it is made,
replaced and removed by the Runtime API, and nothing is read from the disk. Names follow from ids, so that whoever
knows what is wanted knows what it is called.

Clients come to one frontend, which reads the name that they ask for. Where it is passed on, the connection goes to
the application as it is; else over a unix socket to the frontend for HTTP, where TLS ends and all its rules hold.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from haproxy.capabilities import Capabilities
from haproxy.credentials import NO_CREDENTIALS, Credentials
from haproxy.headers import connection_log_format, expect_proxy
from haproxy.model import ClientCertificate, KeyPair, Secret
from haproxy.names import TCP_BASE, TERMINATE, TLS
from haproxy.settings import (
    AUTHORITIES,
    BACKENDS_MAP,
    CERTIFICATES,
    CERTIFICATES_LIST,
    DEFAULT_LIST,
    IDENTITIES,
    SNI_MAP,
    VERSIONS,
    Settings,
)

LONGEST_NAME = 128
"""Characters of a host or an id that are part of a file's name; of longer ones it is a digest."""

_VERIFY = {ClientCertificate.OPTIONAL: "optional", ClientCertificate.REQUIRED: "required"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the crt-list: the certificate `store` is for `host` ("*.x": one label; "*": clients that name no
    host, or an unknown one, which is no line but a word of the configuration).

    `client_certificate`: what clients are asked for; `client_ca`: the store of who signs it, "" for none.
    """

    store: str
    host: str
    client_certificate: ClientCertificate = ClientCertificate.NONE
    client_ca: str = ""

    @property
    def options(self) -> str:
        """Words between the brackets of the line (configuration manual, section 5.1, "crt-list")."""
        word = _VERIFY.get(self.client_certificate)
        return f"verify {word} ca-file {self.client_ca}" if word and self.client_ca else ""

    @property
    def line(self) -> str:
        return crt_list_line(self.store, self.host, self.options)


@dataclass(frozen=True, slots=True)
class Stores:
    """What HAProxy starts with: name of a store -> PEM. Keys are in it, so it does not show what it holds."""

    certificates: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    authorities: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    identities: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    entries: tuple[Entry, ...] = ()
    credentials: Credentials = NO_CREDENTIALS

    @property
    def usable(self) -> tuple[Entry, ...]:
        """Entries whose stores are there: HAProxy does not start with any other."""
        return tuple(
            entry
            for entry in self.entries
            if entry.store in self.certificates and (not entry.client_ca or entry.client_ca in self.authorities)
        )


NO_STORES = Stores()


def crt_list_line(name: str, host: str, options: str = "") -> str:
    """`<name> [<options>] <host>`: the host is the only name that the certificate is shown for."""
    return f"{name} [{options}] {host}" if options else f"{name} {host}"


def certificate_store(settings: Settings, host: str) -> str:
    """The store of a host's certificate and key."""
    plain = _HOST.fullmatch(host) and len(host) <= LONGEST_NAME
    return settings.file(f"{CERTIFICATES}/{host.replace('*', '_') if plain else _digest(host)}.pem")


def authority_store(settings: Settings, secret: Secret) -> str:
    """The store of a CA, of clients or of servers."""
    return settings.file(f"{AUTHORITIES}/{_id(secret)}.pem")


def identity_store(settings: Settings, pair: KeyPair) -> str:
    """The store of a certificate and key that servers are shown."""
    ids = (pair.certificate,) if pair.key is None else (pair.certificate, pair.key)
    return settings.file(f"{IDENTITIES}/{'-'.join(map(_id, ids))}.pem")


_HOST = re.compile(r"\*|(\*\.)?[a-z0-9][a-z0-9._-]*")
_ID = re.compile(r"[A-Za-z0-9]+")


def _id(secret: Secret) -> str:
    return secret.id if _ID.fullmatch(secret.id) and len(secret.id) <= LONGEST_NAME else _digest(secret.id)


DIGESTED = "_-"
"""Begins what stands for a name that can't be a file's: no host and no id begins so by itself."""


def _digest(text: str) -> str:
    return f"{DIGESTED}{blake2b(text.encode(), digest_size=16).hexdigest()}"


def files(settings: Settings, stores: Stores) -> dict[str, bytes]:
    """What HAProxy loads at its start, by name relative to `run_dir`."""
    usable = sorted(stores.usable, key=lambda entry: entry.host)
    lists = {
        CERTIFICATES_LIST: [entry.line for entry in usable if entry.host != ANY],
        # `!*` is no name at all: without it the certificate would also be shown for the names in it (section 5.1).
        DEFAULT_LIST: [crt_list_line(entry.store, "!*") for entry in usable if entry.host == ANY],
    }
    pem = {**stores.certificates, **stores.authorities, **stores.identities}
    named = {name.removeprefix(f"{settings.run_dir}/"): content for name, content in pem.items()}
    return {**{name: "".join(f"{line}\n" for line in lines).encode() for name, lines in lists.items()}, **named}


# ---------------------------------------------------------------- the listeners

ANY = "*"

SOCKET = "tls.sock"

HELLO_TIMEOUT = 5
"""Seconds that a client may take to say whom it wants to talk to."""

CIPHERS = ":".join(
    f"ECDHE-{signature}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    for signature in ("ECDSA", "RSA")
)
"""Of TLS 1.2: forward secrecy and authenticated encryption only."""

CIPHERSUITES = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

OLD_CIPHERS = "ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA:AES128-SHA:@SECLEVEL=0"
"""What TLS 1.0 and 1.1 need besides, where the operator names no ciphers: OpenSSL refuses both else."""


def process(settings: Settings, capabilities: Capabilities) -> str:
    """Lines of the global section. Without sessions that are kept apart nothing is resumed: each connection costs a
    whole handshake, and nobody comes in with what another host has found out about him."""
    sessions = "" if capabilities.separate_sessions else "  tune.ssl.cachesize 0\n"
    dh = f"  tune.ssl.default-dh-param {settings.dh_param}\n" if settings.dh_param else ""
    return sessions + dh if settings.tls_bind else ""


def http_bind(settings: Settings) -> str:
    """Where the frontend for HTTP takes what the TLS frontend does not pass on.

    No tickets: they are encrypted with keys that live as long as the process, so whoever gets hold of these reads
    what was said under TLS 1.2 before; sessions are resumed out of HAProxy's memory.
    """
    if not settings.tls_bind:
        return ""
    unknown = f"crt-list {settings.file(DEFAULT_LIST)}" if settings.default_certificate else "strict-sni"
    versions = settings.ssl_protocols
    ciphers = CIPHERS if versions[0] in VERSIONS[2:] else f"{CIPHERS}:{OLD_CIPHERS}"
    words = (
        f"  bind unix@{settings.socket_file(SOCKET)} mode 600 accept-proxy ssl {unknown}",
        f"crt-list {settings.file(CERTIFICATES_LIST)} alpn h2,http/1.1",
        f"ssl-min-ver {versions[0]} ssl-max-ver {versions[-1]}",
        f"ciphers {settings.ssl_ciphers or ciphers} ciphersuites {settings.ssl_ciphersuites or CIPHERSUITES}",
        " ".join(("no-tls-tickets", *settings.ssl_options)),
    )
    return " ".join(words) + "\n"


def sections(settings: Settings) -> tuple[str, ...]:
    """None where there is no TLS."""
    return (_frontend(settings), _terminate(settings)) if settings.tls_bind else ()


def _terminate(settings: Settings) -> str:
    return f"""\
backend {TERMINATE} from {TCP_BASE}
  server l7 unix@{settings.socket_file(SOCKET)} send-proxy-v2
"""


# A condition on what is not there yet waits for it, for `inspect-delay` at most; a `set-var` without one would not
# (configuration manual, section 4.2, "tcp-request content"). What ends here is logged by its requests.
def _frontend(settings: Settings) -> str:
    binds = "".join(f"  bind {address}\n" for address in settings.tls_bind)
    hosts, backends = settings.file(SNI_MAP), settings.file(BACKENDS_MAP)
    return f"""\
frontend {TLS} from {TCP_BASE}
{binds}  maxconn {settings.max_connections}
{expect_proxy(settings)}\
  tcp-request inspect-delay {HELLO_TIMEOUT}s
  acl named var(txn.sni) -m found
  acl known var(txn.logical) -m found
  acl here var(txn.logical) -m str -- -
  tcp-request content reject if !{{ req.ssl_hello_type 1 }}
  tcp-request content set-var(txn.sni) req.ssl_sni,lower if {{ req.ssl_sni -m found }}
  tcp-request content set-var(txn.logical) var(txn.sni),map_str({hosts}) if named
  tcp-request content set-var(txn.parent) var(txn.sni),field(2,.,0) if named !known
  tcp-request content set-var(txn.logical) str(*.),concat(,txn.parent),map_str({hosts}) if named !known
  tcp-request content set-var(txn.logical) str(*),map_str({hosts}) if !known
  tcp-request content set-var(txn.physical) var(txn.logical),map_str({backends}) if known !here
  acl placed var(txn.physical) -m found
  tcp-request content reject if known !here !placed
  tcp-request content set-log-level silent if !placed
{connection_log_format('"sni":"%[var(txn.sni),json(utf8s)]"')}\
  use_backend %[var(txn.physical)] if placed
  default_backend {TERMINATE}
"""
