"""Plans for TLS stores, out of what the loop remembers: what HAProxy was sent, what may not go yet, and who waits.
No IO."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from haproxy.credentials import NO_CREDENTIALS, Credentials
from haproxy.mirror import Mirror
from haproxy.observation import Observation
from haproxy.ops import (
    AddMapRow,
    CommitAuthority,
    CommitCertificate,
    DeleteAuthority,
    DeleteCertificate,
    DeleteCrtListEntry,
    DeleteServer,
    Op,
    SetAuthority,
    SetCertificate,
)
from haproxy.plan import BackendPlan
from haproxy.routes import CLOSED
from haproxy.settings import CERTIFICATES, SNI_MAP, Settings
from haproxy.stores import SeenStores, digest, plan_store
from haproxy.tls import ANY, DIGESTED, NO_STORES, Entry, Stores, certificate_store
from haproxy.work import store_owner


class Wanted(Protocol):
    """What of the wanted TLS can be had now (`haproxy.material`). `pem`: name of a store -> its content; `entries`
    by host; `files`: what HAProxy started from, or has taken since."""

    @property
    def pem(self) -> Mapping[str, bytes]: ...

    @property
    def entries(self) -> Mapping[str, Entry]: ...

    @property
    def credentials(self) -> Credentials: ...

    def lacking(self, host: str) -> bool:
        """Whether a content of this host has not arrived."""
        ...

    def files(self) -> Stores: ...


@dataclass(frozen=True, slots=True)
class Nothing:
    """Where there is no TLS."""

    pem: Mapping[str, bytes] = field(default_factory=dict)
    entries: Mapping[str, Entry] = field(default_factory=dict)
    credentials: Credentials = NO_CREDENTIALS

    def lacking(self, host: str) -> bool:
        return False

    def files(self) -> Stores:
        return NO_STORES


@dataclass(slots=True)
class StorePlans:
    """`seen` and `settings` give the newest ones. `lingering`: whether HAProxy has servers of before, of which
    nobody knows which stores they name. `doomed`: stores that have to wait until they can go. `waiting`: backend ->
    stores that its servers need and that are not there."""

    material: Wanted
    mirror: Mirror
    seen: Callable[[], Observation]
    settings: Callable[[], Settings]
    lingering: Callable[[], bool]
    doomed: set[str] = field(default_factory=set)
    waiting: dict[str, frozenset[str]] = field(default_factory=dict)
    _sent: dict[str, str] = field(default_factory=dict)

    def adopt(self, stores: SeenStores) -> None:
        """What an HAProxy that was just started or found holds, as far as files say."""
        files = self.material.files()
        self.doomed.clear()
        self._sent.clear()
        pem = {**files.certificates, **files.authorities, **files.identities}
        stores.contents = {name: digest(content) for name, content in pem.items() if stores.has(name)}

    def all(self) -> set[str]:
        """All that are wanted or there, of ours."""
        ours = self.settings().file("tls/")
        return {*self.material.pem, *(name for name in self.seen().stores.names if name.startswith(ours))}

    def has(self, name: str) -> bool:
        """Whether HAProxy has it, with whatever content."""
        return self.seen().stores.has(name)

    def holds(self, name: str) -> bool:
        """Whether HAProxy has just what is wanted of it."""
        return self.has(name) and not plan_store(
            name, self.material.pem.get(name), self._entry(name), self.seen().stores, self.settings()
        )

    def terminated(self, host: str) -> bool:
        """Whether HAProxy shows a certificate for this host."""
        return certificate_store(self.settings(), host) in self.seen().stores.rows

    def awaited(self, host: str) -> str:
        """What the host needs to be shown a certificate, if it is to be (`haproxy.work`'s name)."""
        wanted = host in self.mirror.tls_hosts and bool(self.settings().tls_bind)
        return store_owner(certificate_store(self.settings(), host)) if wanted and not self.terminated(host) else ""

    def closed(self, host: str, refused: Container[str]) -> bool:
        """Whether nobody is to be shown a certificate for the host, as its own is not there, and who has a wildcard
        above it must not stand in. `refused`: owners of stores that HAProxy refuses. What is on its way closes no
        host that is served already and demands no certificate of its clients."""
        want, owner = self.mirror.tls_hosts.get(host), self.awaited(host)
        if want is None or not owner or host.startswith(ANY):
            return False
        was = self.seen().table(SNI_MAP).get(f"@{host}", {}).get(host) == CLOSED
        new = host not in self.seen().routes
        if host in self.material.entries:  # what shows it comes with this very batch, before any route
            return was or owner in refused or (new and want.client_ca is not None)
        return was or new or want.client_ca is not None or not self.material.lacking(host)

    def plan(self, name: str) -> BackendPlan:
        pem, seen = self.material.pem.get(name), self.seen().stores
        if name.startswith(self.settings().file(f"{CERTIFICATES}/")) and not self._listens(name):
            return BackendPlan()
        if pem is None and seen.knows(name) and self._has_to_stay(name):
            self.doomed.add(name)
            return BackendPlan()
        self.doomed.discard(name)
        return plan_store(name, pem, self._entry(name), seen, self.settings())

    def transactions(self) -> tuple[Op, ...]:
        """What ends those that were found open, once."""
        seen = self.seen().stores
        found, seen.transactions = seen.transactions, ()
        return found

    def done(self, op: Op) -> None:
        """HAProxy has carried it out."""
        contents = self.seen().stores.contents
        if isinstance(op, SetCertificate | SetAuthority):
            self._sent[op.store] = digest(op.pem)
        elif isinstance(op, CommitCertificate | CommitAuthority) and op.store in self._sent:
            contents[op.store] = self._sent.pop(op.store)
        elif isinstance(op, DeleteCertificate | DeleteAuthority):
            contents.pop(op.store, None)

    def released(self, ops: Iterable[Op]) -> set[str]:
        """Stores that had to wait, and may go after these."""
        sni = self.settings().file(SNI_MAP)
        if not self.doomed or not any(
            isinstance(op, DeleteServer | DeleteCrtListEntry) or (isinstance(op, AddMapRow) and op.map == sni)
            for op in ops
        ):
            return set()
        found, self.doomed = self.doomed, set()
        return found

    def unblocked(self) -> set[str]:
        """Backends that waited for a store which is there now."""
        return {key for key, stores in self.waiting.items() if any(map(self.has, stores))}

    def await_stores(self, backend: str, stores: Collection[str]) -> None:
        """Servers of this backend need these, which are not there; none: they have all."""
        if stores:
            self.waiting[backend] = frozenset(stores)
        else:
            self.waiting.pop(backend, None)

    def _listens(self, name: str) -> bool:
        """Whether HAProxy can be told of this host: the default certificate comes and goes by a reload."""
        settings = self.settings()
        if name == certificate_store(settings, ANY):
            there = settings.default_certificate and self.has(name)
            return there and name in self.material.pem
        return bool(settings.tls_bind)

    def _entry(self, name: str) -> Entry | None:
        entries = self.material.entries
        pem_of = self.settings().file(f"{CERTIFICATES}/")
        if not name.startswith(pem_of):
            return None
        file = name.removeprefix(pem_of)
        if not file.startswith(DIGESTED):
            return entries.get(_host_of(file))
        return next((each for each in entries.values() if each.store == name), None)

    def _has_to_stay(self, name: str) -> bool:
        """That of a host until its connections are taken elsewhere, and those that servers may name until none is
        left of before."""
        rows = self.seen().stores.rows.get(name, ())
        if rows:
            return any(self._is_taken_over(host) for row in rows for host in row.hosts)
        return not name.startswith(self.settings().file(f"{CERTIFICATES}/")) and self.lingering()

    def _is_taken_over(self, host: str) -> bool:
        taken = f"@{host}"
        routes = self.mirror.hosts.get(taken, {})
        to = next((route.backend for route in routes.values()), "")
        return bool(to) and taken not in self.seen().table(SNI_MAP)


def _host_of(file: str) -> str:
    """The host whose certificate has this file, whose name is no digest."""
    plain = file.removesuffix(".pem")
    return "*" + plain[1:] if plain.startswith("_.") or plain == "_" else plain
