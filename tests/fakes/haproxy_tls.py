"""The model's TLS stores: certificates, CAs, and the crt-list. HAProxy's rules and replies, and nothing of ours.

`tests/contract/test_haproxy_model_tls.py` holds it to the real one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from haproxy import ops
from haproxy.capabilities import Capabilities
from haproxy.model import CrtListRow, Stored, StoredCertificate

TRANSACTION_OF_A_STORE = (3, 0, 0)
"""Before, a PEM for any store goes into the transaction that is open."""
COMMITS_WITHOUT_KEY = (3, 4, 0)
"""Where nothing uses the store."""
CA_FILE = re.compile(r"ca-file (\S+)")
NO_KEY = "unable to load SSL private key into SSL Context: passed a null parameter.\nFailed!\n"

T = TypeVar("T")


@dataclass(frozen=True)
class Pem:
    """What HAProxy makes of a certificate's PEM. `matches`: the key, None where there is none."""

    sha1: str
    chain: int
    matches: bool | None

    @classmethod
    def read(cls, pem: bytes) -> Pem | None:
        """None: HAProxy takes no such thing."""
        certificates = _certificates(pem)
        if not certificates:
            return None
        _, begin, key = pem.partition(b"-----BEGIN PRIVATE KEY-----")
        public = load_pem_private_key(begin + key, None).public_key() if begin else None
        matches = None if public is None else public == certificates[0].public_key()
        sha1 = certificates[0].fingerprint(hashes.SHA1()).hex().upper()
        return cls(sha1, len(certificates) - 1, matches)


def _certificates(pem: bytes) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(pem) if b"-----BEGIN CERTIFICATE-----" in pem else []


@dataclass
class _Kind(Generic[T]):
    """Stores of one kind, and the one transaction that there can be. `noun`: within a sentence, and first."""

    noun: tuple[str, str]
    stores: dict[str, T | None] = field(default_factory=dict)
    changed: tuple[str, T] | None = None

    def new(self, name: str, done: str) -> str:
        if name in self.stores:
            return f"{self.noun[1]} '{name}' already exists!\n"
        self.stores[name] = None
        return f"{done} '{name}'!\n"

    def elsewhere(self, name: str, verb: str) -> str:
        """The refusal, where the open transaction is about another store."""
        if self.changed is None or self.changed[0] == name:
            return ""
        about = f"The ongoing transaction is about '{self.changed[0]}'"
        return f"{about} but you are trying to {verb} '{name}'\n"

    def unknown(self, name: str) -> str:
        if name in self.stores:
            return ""
        return f"Can't replace a {self.noun[0]} which is not referenced by the configuration!\n"

    def abort(self, name: str) -> str:
        if self.changed is None:
            return "No ongoing transaction!\n"
        if refusal := self.elsewhere(name, "abort a transaction for"):
            return refusal
        self.changed = None
        return f"Transaction aborted for certificate '{name}'!\n"

    def commit(self, name: str) -> str:
        if self.changed is None:
            return f"No ongoing transaction! !\nCan't commit {name}!\n"
        if refusal := self.elsewhere(name, "set"):
            return f"{refusal}Can't commit {name}!\n"
        self.stores[name], self.changed = self.changed[1], None
        return f"Committing {name}\nSuccess!\n"

    def delete(self, name: str, used: bool) -> str:
        error = f"Can't remove the {self.noun[0]}: "
        if self.changed is not None and self.changed[0] == name:
            return f"{error}ongoing transaction for the {self.noun[0]} '{name}'\n"
        if name not in self.stores:
            return f"{error}{self.noun[0]} '{name}' doesn't exist!\n"
        if used:
            return f"{error}{self.noun[0]} '{name}' in use, can't be deleted!\n"
        del self.stores[name]
        return f"{self.noun[1]} '{name}' deleted!\n"


@dataclass
class ModelStores:
    """Reads are those of `Runtime`. `lines`: how many the crt-list ever had; numbers are not given twice."""

    capabilities: Capabilities
    file: str
    certs: _Kind[Pem] = field(default_factory=lambda: _Kind(("certificate", "Certificate")))
    cas: _Kind[int] = field(default_factory=lambda: _Kind(("CA file", "CA file")))
    rows: list[CrtListRow] = field(default_factory=list)
    lines: int = 0

    def certificates(self) -> Stored[StoredCertificate]:
        found = {name: self._shown(name, pem) for name, pem in self.certs.stores.items()}
        return Stored(found, self.certs.changed[0] if self.certs.changed else "")

    def authorities(self) -> Stored[int]:
        counts = {name: count or 0 for name, count in self.cas.stores.items()}
        return Stored(counts, self.cas.changed[0] if self.cas.changed else "")

    def crt_list(self) -> tuple[CrtListRow, ...]:
        return tuple(self.rows)

    def _shown(self, name: str, pem: Pem | None) -> StoredCertificate:
        return StoredCertificate() if pem is None else StoredCertificate(pem.sha1, pem.chain, self._used(name))

    def _used(self, name: str) -> bool:
        return any(row.store == name for row in self.rows)

    def uses(self, ca: str) -> bool:
        """Whether a line of the crt-list names it."""
        return any(ca in CA_FILE.findall(row.options) for row in self.rows)

    # ------------------------------------------------------------ commands

    def apply(self, op: ops.TlsOp) -> str:
        """Carry out one op; HAProxy's reply."""
        match op:
            case ops.AddCrtListEntry():
                return self._add_entry(op)
            case ops.DeleteCrtListEntry():
                return self._delete_entry(op)
            case ops.NewCertificate(name):
                return self.certs.new(name, "New empty certificate store")
            case ops.SetCertificate(name, pem):
                return self._set(name, Pem.read(pem))
            case ops.CommitCertificate(name):
                return self._commit(name)
            case ops.AbortCertificate(name):
                return self.certs.abort(name)
            case ops.DeleteCertificate(name):
                return self.certs.delete(name, self._used(name))
            case _:
                return self._apply_to_cas(op)

    def _apply_to_cas(self, op: ops.AuthorityOp) -> str:
        match op:
            case ops.NewAuthority(name):
                return self.cas.new(name, "New CA file created")
            case ops.SetAuthority(name, pem):
                return self._set_ca(name, pem)
            case ops.CommitAuthority(name):
                return self.cas.commit(name)
            case ops.AbortAuthority(name):
                return self.cas.abort(name)
            case ops.DeleteAuthority(name):
                return self.cas.delete(name, self.uses(name))

    def _set(self, name: str, pem: Pem | None) -> str:
        failed = f"Can't update {name}!\n"
        if self.capabilities.version < TRANSACTION_OF_A_STORE and self.certs.changed is not None:
            about = self.certs.changed[0]
        else:
            about = name
            if refusal := self.certs.elsewhere(name, "set") or self.certs.unknown(name):
                return refusal + failed
        if pem is None:
            return f"unable to load certificate from file '{name}'.\nCan't load the payload\n{failed}"
        what = "created" if self.certs.changed is None else "updated"
        self.certs.changed = about, pem
        return f"Transaction {what} for certificate {about}!\n"

    def _set_ca(self, name: str, pem: bytes) -> str:
        failed = f"Can't update {name}!\n"
        if refusal := self.cas.elsewhere(name, "set") or self.cas.unknown(name):
            return refusal + failed
        if b"-----BEGIN " not in pem:  # a key is one, too
            return f"Invalid payload\n{failed}"
        what = "created" if self.cas.changed is None else "updated"
        self.cas.changed = name, len({*_certificates(pem)})
        return f"transaction {what} for CA {name}!\n"

    def _commit(self, name: str) -> str:
        changed = self.certs.changed
        if changed is None or changed[0] != name or changed[1].matches:
            return self.certs.commit(name)
        if changed[1].matches is False:
            return f"inconsistencies between private key and certificate loaded '{name}'.\nCan't commit {name}!\n"
        if self.capabilities.version < COMMITS_WITHOUT_KEY:
            error = "The transaction must contain at least a certificate and a private key!"
            return f"{error}\nCan't commit {name}!\n"
        if self._used(name):
            self.certs.changed = None
            return f"Committing {name}\n{NO_KEY}"
        return self.certs.commit(name)

    def _add_entry(self, op: ops.AddCrtListEntry) -> str:
        error = "Can't edit the crt-list: "
        if op.list != self.file:
            return f"{error}crt-list '{op.list}' does not exist!\n"
        if missing := [ca for ca in CA_FILE.findall(op.options) if self.cas.stores.get(ca) is None]:
            return f"{error}'ca-file' : unable to load {missing[0]}\n"
        if op.store not in self.certs.stores:
            return f"{error}certificate '{op.store}' does not exist!\n"
        pem = self.certs.stores[op.store]
        if pem is None:
            return f"{error}certificate '{op.store}' is empty!\n"
        inserting = f"Inserting certificate '{op.store}' in crt-list '{op.list}'.\n"
        self.lines += 1
        if pem.matches is None:
            return inserting + NO_KEY
        self.rows.append(CrtListRow(op.store, self.lines, op.options, (op.host,)))
        return f"{inserting}Success!\n"

    def _delete_entry(self, op: ops.DeleteCrtListEntry) -> str:
        error = "Can't delete the entry: "
        if op.list != self.file:
            return f"{error}crt-list '{op.list}' does not exist!\n"
        if op.store not in self.certs.stores:
            return f"{error}certificate '{op.store}' does not exist!\n"
        if self.certs.stores[op.store] is None:
            return f"{error}certificate '{op.store}' is empty!\n"
        rows = [row for row in self.rows if row.store == op.store]
        if not rows:
            return f"{error}certificate '{op.store}' can't be found in crt-list '{op.list}'!\n"
        found = next((row for row in rows if row.line == op.line), None)
        if found is None:
            return f"{error}found a certificate '{op.store}' but the line number is incorrect!\n"
        self.rows.remove(found)
        return f"Entry '{op.store}' deleted in crtlist '{op.list}'!\n"
