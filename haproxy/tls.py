"""TLS as HAProxy has it: what its stores are called and hold, and the lines of its crt-list. Pure.

A store is a PEM under a name, which looks like the path of a file. It is one when HAProxy starts; later it is made,
replaced and removed by the Runtime API, and nothing is read from the disk. Names follow from ids, so that whoever
knows what is wanted knows what it is called.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from haproxy.model import ClientCertificate, KeyPair, Secret
from haproxy.settings import AUTHORITIES, CERTIFICATES, IDENTITIES, Settings

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


def _digest(text: str) -> str:
    """No host and no id gives this by itself."""
    return f"_-{blake2b(text.encode(), digest_size=16).hexdigest()}"
