"""TLS stores: (what a store is to hold, what HAProxy has) → ordered ops. Pure; one store at a time.

A store has an owner of its own: what HAProxy refuses of one costs its host, CA or identity only. A rotation is
`set` and `commit` of the same store: handshakes have the old certificate until then, the new one from then on.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b, sha1

from haproxy.model import CrtListRow, StoredCertificate
from haproxy.ops import (
    AbortAuthority,
    AbortCertificate,
    AddCrtListEntry,
    CommitAuthority,
    CommitCertificate,
    DeleteAuthority,
    DeleteCertificate,
    DeleteCrtListEntry,
    NewAuthority,
    NewCertificate,
    Op,
    SetAuthority,
    SetCertificate,
)
from haproxy.plan import BackendPlan
from haproxy.settings import AUTHORITIES, CERTIFICATES_LIST, Settings
from haproxy.tls import ANY, Entry


@dataclass(slots=True)
class SeenStores:
    """What HAProxy answered of its stores: certificates and CAs by name, lines of the crt-list by store.

    `contents`: digest of what we know a store to hold, since nobody can read a key: what we sent, or wrote into the
    file that it was loaded from. A store without one is sent anew.
    """

    certificates: dict[str, StoredCertificate] = field(default_factory=dict)
    authorities: dict[str, int] = field(default_factory=dict)
    rows: dict[str, tuple[CrtListRow, ...]] = field(default_factory=dict)
    contents: dict[str, str] = field(default_factory=dict)
    transactions: tuple[Op, ...] = ()
    """What ends the transactions that were found open."""

    def has(self, name: str) -> bool:
        """Whether the store is there, with a content."""
        found = self.certificates.get(name)
        return bool(found and found.sha1) or self.authorities.get(name, 0) > 0

    def knows(self, name: str) -> bool:
        """Whether HAProxy has anything by this name."""
        return name in self.certificates or name in self.authorities or name in self.rows

    @property
    def names(self) -> set[str]:
        return {*self.certificates, *self.authorities, *self.rows}


def digest(pem: bytes) -> str:
    """For `SeenStores.contents`."""
    return blake2b(pem, digest_size=16).hexdigest()


def by_store(rows: Iterable[CrtListRow]) -> dict[str, tuple[CrtListRow, ...]]:
    """Lines of the crt-list, in their order."""
    found: dict[str, list[CrtListRow]] = {}
    for row in rows:
        found.setdefault(row.store, []).append(row)
    return {name: tuple(lines) for name, lines in found.items()}


def open_transactions(certificate: str, authority: str) -> tuple[Op, ...]:
    """What ends transactions of these stores, "" for none: until then nothing else can be changed."""
    ends: list[Op] = [AbortCertificate(certificate)] if certificate else []
    return (*ends, *((AbortAuthority(authority),) if authority else ()))


def is_authority(settings: Settings, name: str) -> bool:
    """Whether a store of this name holds CAs."""
    return name.startswith(settings.file(f"{AUTHORITIES}/"))


def plan_store(
    name: str, pem: bytes | None, entry: Entry | None, seen: SeenStores, settings: Settings
) -> BackendPlan:
    """For one store. `pem` None: it is to go. `entry`: the line that shows it for a host, None for none.

    The opening part comes before anything that names the store, the closing part after everything that did.
    """
    if is_authority(settings, name):
        return _authority(name, pem, seen)
    if pem is None:
        return BackendPlan((), (*_remove_rows(seen.rows.get(name, ()), settings), *_delete(name, seen)))
    opening = _content(name, pem, seen)
    line = None if entry is None or entry.host == ANY else entry
    rows = seen.rows.get(name, ())
    good = [row for row in rows if line is not None and (row.options, row.hosts) == (line.options, (line.host,))]
    if line is not None and not good:
        list_ = settings.file(CERTIFICATES_LIST)
        opening = (*opening, AddCrtListEntry(list_, name, line.host, line.options))
    # Of two lines for a host the first one counts, so there is no moment without one. The last goes first: what
    # counts until then is what has counted all the time.
    others = [row for row in reversed(rows) if row not in good[:1]]
    return BackendPlan(opening, tuple(_remove_rows(others, settings)))


def _content(name: str, pem: bytes, seen: SeenStores) -> tuple[Op, ...]:
    if _shows(pem, seen.certificates.get(name)) and seen.contents.get(name) == digest(pem):
        return ()
    # Where the commit is refused, the transaction would stay open, and before 3.0 take up what comes next.
    change = (SetCertificate(name, pem), CommitCertificate(name), AbortCertificate(name))
    return change if name in seen.certificates else (NewCertificate(name), *change)


def _shows(pem: bytes, stored: StoredCertificate | None) -> bool:
    """Whether it can be this PEM that HAProxy has: somebody else may have changed it since we did."""
    certificates = _CERTIFICATE.findall(pem)
    if stored is None or not certificates:
        return False
    leaf = sha1(b64decode(certificates[0]), usedforsecurity=False).hexdigest().upper()
    return (stored.sha1, stored.chain) == (leaf, len(certificates) - 1)


_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/=\n]+)-----END CERTIFICATE-----")


def _delete(name: str, seen: SeenStores) -> tuple[Op, ...]:
    return (DeleteCertificate(name),) if name in seen.certificates else ()


def _authority(name: str, pem: bytes | None, seen: SeenStores) -> BackendPlan:
    if pem is None:
        return BackendPlan((), (DeleteAuthority(name),) if name in seen.authorities else ())
    # An id always has the same content, so what is there is right. It must not be committed again: before 3.2 that
    # takes the certificates whose clients it signs out of the crt-list, unseen, and the commit after that one ends
    # HAProxy (2.6.12 and 3.0.11).
    if seen.has(name):
        return BackendPlan()
    change = (SetAuthority(name, pem), CommitAuthority(name), AbortAuthority(name))
    return BackendPlan(change if name in seen.authorities else (NewAuthority(name), *change))


def _remove_rows(rows: Iterable[CrtListRow], settings: Settings) -> list[Op]:
    return [DeleteCrtListEntry(settings.file(CERTIFICATES_LIST), row.store, row.line) for row in rows]


def in_order(names: Iterable[str], settings: Settings) -> list[str]:
    """CAs first, since lines of the crt-list name them."""
    return sorted(names, key=lambda name: (not is_authority(settings, name), name))


def differing(before: SeenStores, now: SeenStores) -> set[str]:
    """Names of the stores of which HAProxy says something else than it did."""
    parts: tuple[tuple[Mapping[str, object], Mapping[str, object]], ...] = (
        (before.certificates, now.certificates),
        (before.authorities, now.authorities),
        (before.rows, now.rows),
    )
    return {name for old, new in parts for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
