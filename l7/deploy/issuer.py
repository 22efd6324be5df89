"""Signs renewals with the CA that core has mounted, and says what is the matter with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from l7.deploy import pki
from l7.kit import tls


@dataclass(frozen=True, slots=True)
class Issuer:
    """`files`: core's own identity and the CAs; `key`: path of the newest CA's key. All are read each time: a few
    kilobytes, now and then, and never out of date."""

    files: tls.TlsFiles
    key: str
    lifetime: timedelta = pki.RENEWED
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def renew(self, uri: str, names: tuple[str, ...], request: bytes) -> tuple[bytes, bytes]:
        """See `l7.serve.pki_api.Issuer`."""
        public_key = pki.requested_key(request)
        subject = pki.Subject(uri, names)
        certificates = pki.sign(self.authority(), subject, public_key, self.clock(), self.lifetime)
        return certificates, tls.read("ca", self.files.ca)

    def authority(self) -> pki.Authority:
        """The CA that belongs to the key. Raises ConfigError."""
        return pki.authority(
            tls.read("ca", self.files.ca), tls.read("CA key", self.key), tls.read("identity", self.files.identity)
        )
