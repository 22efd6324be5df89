"""What of the wanted TLS can be had now, out of the contents that have arrived: certificates, CAs, passwords. Pure;
kept up to date from what was touched.

What is missing or bad costs its host only: what HAProxy has already goes on where there is something, and a Problem
says what to do. It is the same on every proxy, since contents are.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple, Protocol, TypeVar

from haproxy import expiry
from haproxy.certificates import Certificate, Complaint, check_authorities, check_certificate, parse_passwords
from haproxy.credentials import Credentials, Line
from haproxy.model import Backend, ClientCertificate, KeyPair, Secret, TlsHost
from haproxy.model import Protocol as ServerProtocol
from haproxy.settings import AUTHORITIES, CERTIFICATES, IDENTITIES, Settings
from haproxy.tls import ANY, NO_STORES, Entry, Stores, authority_store, certificate_store, identity_store
from haproxy.uses import Part, User
from haproxy.wire import secret_from
from l7.v1 import sync_pb2 as pb

PREFIX = "com.docker.lb."
RENEW = "make a secret of a newer one, and name that in the label"


V = TypeVar("V")


class State(Protocol):
    """What names secrets: a mirror, or a state that stays as it is."""

    @property
    def tls_hosts(self) -> Mapping[str, TlsHost]: ...
    @property
    def rules(self) -> Mapping[str, pb.Rules]: ...
    @property
    def backends(self) -> Mapping[str, Backend]: ...


class Labels(NamedTuple):
    """By which a certificate and its key are named; both "" for the operator's."""

    certificate: str
    key: str


IDENTITY_LABELS = Labels(f"{PREFIX}ssl_backend_cert", f"{PREFIX}ssl_backend_key")


@dataclass(frozen=True, slots=True)
class Lack:
    """A content that has not arrived, and whose label names it."""

    secret: Secret
    service: str
    label: str


@dataclass(slots=True)
class Found:
    """What came of one look. `pem`: name of a store -> what it is to hold."""

    pem: dict[str, bytes] = field(default_factory=dict, repr=False)
    entry: Entry | None = None
    certificate: Certificate | None = None
    stage: int | None = None
    problems: list[pb.Problem] = field(default_factory=list)
    lacks: list[Lack] = field(default_factory=list)


NOTHING = Found()


@dataclass(slots=True)
class Material:
    """`content` gives the content of a secret, None while it is not there. `limit`: bytes of a PEM that HAProxy
    takes at run time. `files`: what HAProxy started from, or has taken since; `before`: what it had when we came.

    `pem`: name of a store -> what it is to hold; `entries` and `certificates` by host; `lines`: passwords by id of
    their secret.
    """

    settings: Settings
    limit: int
    content: Callable[[str], bytes | None]
    files: Callable[[], Stores] = lambda: NO_STORES
    before: Stores = NO_STORES
    pem: dict[str, bytes] = field(default_factory=dict, repr=False)
    entries: dict[str, Entry] = field(default_factory=dict)
    certificates: dict[str, Certificate] = field(default_factory=dict)
    lines: dict[str, tuple[Line, ...]] = field(default_factory=dict, repr=False)
    key: bytes = field(default=b"", repr=False)
    _found: dict[User, Found] = field(default_factory=dict)
    _users: dict[str, set[User]] = field(default_factory=dict)

    def look(self, users: Iterable[User], mirror: State, now: float) -> set[str]:
        """Look at these anew, at `now` (Unix time); names of the stores that are to be other than before."""
        changed: set[str] = set()
        for user in users:
            changed |= self._put(user, self._look(user, mirror, now))
        return changed

    def due(self, now: float) -> list[User]:
        """Hosts whose certificate has come to another stage since they were looked at."""
        return [
            (Part.HOST, host)
            for host, each in self.certificates.items()
            if expiry.stage(each.not_after, now) != self._found[Part.HOST, host].stage
        ]

    def retain(self, ids: Container[str]) -> None:
        """Only these secrets are needed."""
        for gone in [each for each in self.lines if each not in ids]:
            del self.lines[gone]

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.key, self.lines)

    @property
    def problems(self) -> Iterator[pb.Problem]:
        return (problem for found in self._found.values() for problem in found.problems)

    @property
    def lacks(self) -> Iterator[Lack]:
        return (lack for found in self._found.values() for lack in found.lacks)

    def lacking(self, host: str) -> bool:
        """Whether a content of this host has not arrived."""
        return bool(self._found.get((Part.HOST, host), NOTHING).lacks)

    def stage(self, host: str) -> int | None:
        """How near the end of the host's certificate is (`haproxy.expiry`)."""
        return self._found[Part.HOST, host].stage

    # -------------------------------------------------------------- what was found

    def _put(self, user: User, found: Found) -> set[str]:
        old = self._found.pop(user, NOTHING)
        changed = {name for name, pem in found.pem.items() if self.pem.get(name) != pem}
        if found.entry != old.entry:
            changed |= {each.store for each in (found.entry, old.entry) if each is not None}
        for name, pem in found.pem.items():
            self._users.setdefault(name, set()).add(user)
            self.pem[name] = pem
        for name in old.pem.keys() - found.pem.keys():
            self._users[name].discard(user)
            if not self._users[name]:
                del self._users[name], self.pem[name]
                changed.add(name)
        if user[0] is Part.HOST:
            _set(self.entries, user[1], found.entry)
            _set(self.certificates, user[1], found.certificate)
        if found != NOTHING:
            self._found[user] = found
        return changed

    def _look(self, user: User, mirror: State, now: float) -> Found:
        part, key = user
        found = Found()
        if part is Part.HOST and key in mirror.tls_hosts:
            self._host(mirror.tls_hosts[key], found, now)
        elif part is Part.RULES and key in mirror.rules:
            self._rules(mirror.rules[key], found)
        elif part is Part.BACKEND and key in mirror.backends:
            self._backend(mirror.backends[key], found, now)
        return found

    @property
    def stores(self) -> Stores:
        """All of it, as HAProxy is to start with."""
        return stores_of(self.settings, self.pem, self.entries, self.credentials)

    # -------------------------------------------------------------- hosts

    def _host(self, host: TlsHost, found: Found, now: float) -> None:
        labels = _labels(host)
        before = cache(lambda: self._before(host.host, now))  # most never need it
        certificate = self._newest(host, labels, found, before, now) or before().certificate
        clients = self._clients(host, found, before)
        if certificate is None or clients is None:
            return
        store = certificate_store(self.settings, host.host)
        found.entry, found.certificate = Entry(store, host.host, *clients), certificate
        found.pem[store] = certificate.pem
        found.stage = expiry.stage(certificate.not_after, now)
        if found.stage is not None:
            words = expiry.in_words(found.stage, certificate.not_after)
            _complain(found, host.service, labels, Complaint(f"the certificate of {host.host} {words}", RENEW))

    def _clients(
        self, host: TlsHost, found: Found, before: Callable[[], Found]
    ) -> tuple[ClientCertificate, str] | None:
        """What clients are asked for, and the store of who signs it; None: it can't be said."""
        if host.client_certificate is ClientCertificate.NONE or host.client_ca is None:
            return ClientCertificate.NONE, ""
        store = self._authorities(host.client_ca, host.service, f"{PREFIX}ssl_client_ca", found)
        if store:
            return host.client_certificate, store
        entry = before().entry
        if entry is None:
            return None
        if entry.client_ca:
            found.pem[entry.client_ca] = before().pem[entry.client_ca]
        return entry.client_certificate, entry.client_ca

    def _before(self, host: str, now: float) -> Found:
        """What the host has already: by what we last said, or by what there was when we came."""
        if (last := self._found.get((Part.HOST, host))) is not None and last.entry is not None:
            return last
        found = Found()
        entry = next((each for each in self.before.entries if each.host == host), None)
        pem = self.before.certificates.get(entry.store) if entry is not None else None
        if entry is None or pem is None or (entry.client_ca and entry.client_ca not in self.before.authorities):
            return found
        checked = check_certificate(pem, None, host, now, self.limit)
        if isinstance(checked, Certificate):
            found.entry, found.certificate = entry, checked
            found.pem = {entry.store: pem}
            if entry.client_ca:
                found.pem[entry.client_ca] = self.before.authorities[entry.client_ca]
        return found

    def _newest(
        self, host: TlsHost, labels: Labels, found: Found, before: Callable[[], Found], now: float
    ) -> Certificate | None:
        """What the labels name, when it is good enough."""
        pair = self._pair(host.certificate, host.service, labels, found)
        if pair is None:
            return None
        checked = check_certificate(*pair, host.host, now, self.limit)
        if isinstance(checked, Complaint):
            stays = "the one before stays until the proxy starts anew"
            became = stays if before().certificate is not None else "none is served"
            _complain(found, host.service, labels, Complaint(f"{checked.message}: {became}", checked.remedy))
            return None
        if checked.not_after <= now and (kept := before().certificate) is not None and kept.not_after > now:
            words = expiry.in_words(0, checked.not_after)
            message = f"the certificate {words}: the one before stays, as long as it lasts"
            _complain(found, host.service, labels, Complaint(message, RENEW))
            return None
        return checked

    def _pair(self, pair: KeyPair, service: str, labels: Labels, found: Found) -> tuple[bytes, bytes | None] | None:
        """Certificate and key, None while one of them is missing."""
        certificate = self._content(pair.certificate, service, labels.certificate, found)
        key = None if pair.key is None else self._content(pair.key, service, labels.key, found)
        return None if certificate is None or (pair.key is not None and key is None) else (certificate, key)

    def _content(self, secret: Secret, service: str, label: str, found: Found) -> bytes | None:
        content = self.content(secret.id)
        if content is None:
            found.lacks.append(Lack(secret, service, label))
        return content

    def _authorities(self, secret: Secret, service: str, label: str, found: Found) -> str:
        """The store of these CAs, "" when they are missing or bad."""
        content = self._content(secret, service, label, found)
        if content is None:
            return ""
        checked = check_authorities(content, self.limit)
        if isinstance(checked, Complaint):
            found.problems.append(_problem(service, label, checked))
            return ""
        name = authority_store(self.settings, secret)
        found.pem[name] = checked
        return name

    # -------------------------------------------------------------- servers, passwords

    def _backend(self, backend: Backend, found: Found, now: float) -> None:
        for service, own in zip(backend.services, backend.settings, strict=False):
            if backend.tcp or own.protocol is not ServerProtocol.HTTPS:
                continue
            if own.tls_ca is not None:
                self._authorities(own.tls_ca, service, f"{PREFIX}ssl_backend_ca", found)
            if own.tls_certificate is not None:
                self._identity(own.tls_certificate, service, found, now)

    def _identity(self, pair: KeyPair, service: str, found: Found, now: float) -> None:
        contents = self._pair(pair, service, IDENTITY_LABELS, found)
        if contents is None:
            return
        checked = check_certificate(*contents, "", now, self.limit)
        if isinstance(checked, Complaint):
            _complain(found, service, IDENTITY_LABELS, checked)
        else:
            found.pem[identity_store(self.settings, pair)] = checked.pem

    def _rules(self, rules: pb.Rules, found: Found) -> None:
        if not rules.HasField("basic_auth"):
            return
        secret, label = secret_from(rules.basic_auth), f"{PREFIX}basic_auth"
        content = self._content(secret, rules.name, label, found)
        if content is None:
            return
        self.lines[secret.id], complaints = parse_passwords(content)
        found.problems += [_problem(rules.name, label, each) for each in complaints]


ISSUED = "l7-acme-"
"""How names of secrets begin that core made itself."""


def _labels(host: TlsHost) -> Labels:
    if host.host == ANY:
        return Labels("", "")
    if host.certificate.certificate.name.startswith(ISSUED):
        return Labels(f"{PREFIX}acme", f"{PREFIX}acme")
    return Labels(f"{PREFIX}ssl_cert", f"{PREFIX}ssl_key")


def _complain(found: Found, service: str, labels: Labels, complaint: Complaint) -> None:
    """Of a certificate and its key, by the label of the one that is to be changed."""
    label = labels.key if "private key" in complaint.message else labels.certificate
    found.problems.append(_problem(service, label, complaint))


def _problem(service: str, label: str, complaint: Complaint) -> pb.Problem:
    message = complaint.message if label else f"Config: DefaultCertificate: {complaint.message}"
    return pb.Problem(service=service, label=label, message=message, remedy=complaint.remedy)


def stores_of(
    settings: Settings, pem: Mapping[str, bytes], entries: Mapping[str, Entry], credentials: Credentials
) -> Stores:
    """Stores of all kinds by name, and entries by host, as one value."""

    def of(directory: str) -> dict[str, bytes]:
        begin = settings.file(f"{directory}/")
        return {name: content for name, content in pem.items() if name.startswith(begin)}

    ordered = tuple(entries[host] for host in sorted(entries))
    return Stores(of(CERTIFICATES), of(AUTHORITIES), of(IDENTITIES), ordered, credentials)


def _set(values: dict[str, V], key: str, value: V | None) -> None:
    if value is None:
        values.pop(key, None)
    else:
        values[key] = value
