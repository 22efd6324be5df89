"""Which secrets a cluster's state names, counted as the state changes. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from l7.model import BackendSettings, KeyPair, Rules, Secret, TlsHost

Holder = TlsHost | Rules | BackendSettings | None


class Tally:
    """How often each secret is named."""

    def __init__(self) -> None:
        self._counts: Counter[Secret] = Counter()
        self._named: frozenset[Secret] | None = None

    def change(self, old: Holder, new: Holder) -> None:
        """A part of the state came, changed or went."""
        gone, come = Counter(secrets_of(old)), Counter(secrets_of(new))
        if gone == come:
            return
        self._named = None
        self._counts.update(come)
        self._counts.subtract(gone)
        for secret in gone:
            if not self._counts[secret]:
                del self._counts[secret]

    @property
    def named(self) -> frozenset[Secret]:
        """All that are named at least once."""
        if self._named is None:
            self._named = frozenset(self._counts)
        return self._named


def secrets_of(holder: Holder) -> Iterator[Secret]:
    """What a part of the state names, perhaps several times."""
    match holder:
        case TlsHost():
            yield from _pair(holder.certificate)
            yield from _one(holder.client_ca)
        case Rules():
            yield from _one(holder.basic_auth)
        case BackendSettings():
            for server in holder.servers:
                yield from _one(server.tls_ca)
                yield from _pair(server.tls_certificate)


def _pair(pair: KeyPair | None) -> Iterator[Secret]:
    if pair is not None:
        yield pair.certificate
        yield from _one(pair.key)


def _one(secret: Secret | None) -> Iterator[Secret]:
    if secret is not None:
        yield secret
