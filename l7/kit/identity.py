"""Our own certificate, kept fresh: the Docker secret is only the first one, core signs the next.

    <directory>/<digest of the first one>-<number>/ca.pem, identity.pem

Renewed ones are on tmpfs and count only for the first identity that they came from: whoever is given another secret
begins with that. When the newest has expired (core was away for long), the first one counts again.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from l7.kit import logs, tasks, tls
from l7.kit.backoff import Backoff
from l7.kit.channel import open_channel
from l7.kit.errors import ConfigError, ProtocolError
from l7.kit.tls import TlsFiles
from l7.v1 import pki_pb2 as pb
from l7.v1 import pki_pb2_grpc as rpc

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate

log = logs.get("identity")

SETTLE = 5.0
"""Seconds before the first identity is renewed: a start has more urgent things to do."""
BACKOFF = Backoff(first=1.0, limit=600.0)
PATIENCE = 10.0
LOOK = 3600.0
"""Seconds between looks at the clock, which may be set."""
SPENT = 2 / 3
"""Share of an identity's life after which it is renewed."""


@dataclass(frozen=True, slots=True)
class _Renewed:
    """A renewed identity; its dates in seconds of the epoch."""

    files: TlsFiles
    begin: float
    end: float

    @property
    def due(self) -> float:
        return self.begin + SPENT * (self.end - self.begin)


class Identity:
    """`first` are the files of the secret, `directory` is on tmpfs, `core` the address that renewals come from."""

    def __init__(self, first: TlsFiles, directory: Path | str, core: str) -> None:
        self.first = first
        self._core = core
        self._directory = Path(directory)
        self._renewed: _Renewed | None = None
        self._origin = ""
        self._wake = asyncio.Event()
        self._outdated = False
        self._said = ""

    def files(self) -> TlsFiles:
        """Those of the newest identity that is valid. May be called in any thread."""
        newest = self._renewed
        return newest.files if newest is not None and time.time() < newest.end else self.first

    def core_trusts(self, digest: str) -> None:
        """What core says of the CAs to be trusted: when they are not ours, it is time for a renewal."""
        if digest and digest != self._trusted():
            self._outdated = True
            self._wake.set()

    def _trusted(self) -> str:
        try:
            return tls.authorities_digest(tls.read("ca", self.files().ca))
        except ConfigError as error:
            log.warning("CA unreadable", error=str(error))
            return ""

    # ---------------------------------------------------------------- renewal

    async def run(self, stop: asyncio.Event) -> None:
        """Renews in time, until `stop`. Without core, or without core's having the CA's key, the identity that is
        there stays; core's absence is never an error here."""
        self.load()
        await tasks.first(stop, self._run())

    async def _run(self) -> None:
        delays = BACKOFF.jittered(Random())
        await self._sleep(SETTLE if self._renewed is None else 0.0)
        while True:
            if self._wait() > 0:
                await self._sleep(min(LOOK, self._wait()))
            elif await self._try():
                delays = BACKOFF.jittered(Random())
            else:
                await self._sleep(next(delays))

    def _wait(self) -> float:
        """Seconds until the next renewal."""
        return self._renewed.due - time.time() if self._renewed is not None and not self._outdated else 0.0

    async def _sleep(self, seconds: float) -> None:
        """Less when core's CAs turn out to have changed."""
        self._wake.clear()
        if seconds > 0:
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            except TimeoutError:
                return

    async def _try(self) -> bool:
        try:
            await self._renew()
        except grpc.aio.AioRpcError as error:
            self._failed(error.code().name, error.details() or "")
        except (ConfigError, ProtocolError, OSError) as error:
            self._failed(type(error).__name__, str(error))
        else:
            self._outdated, self._said = False, ""
            return True
        return False

    def _failed(self, code: str, details: str) -> None:
        if code != self._said:
            self._said = code
            log.warning("identity not renewed", core=self._core, code=code, details=details)

    async def _renew(self) -> None:
        key, request = _request()
        async with open_channel(self._core, self.files(), own=True) as channel:
            stub = rpc.PkiServiceStub(channel)  # type: ignore[no-untyped-call]
            answer = await stub.Renew(pb.RenewRequest(certificate_request=request), timeout=PATIENCE)
        self._take(answer, key)

    def _take(self, answer: pb.RenewResponse, key: EllipticCurvePrivateKey) -> None:
        """Keeps what came, all of it or nothing. Raises ProtocolError for what is not ours."""
        chain = tls.certificates(answer.certificates)
        if not chain or not tls.certificates(answer.authorities):
            raise ProtocolError("core's answer holds no certificates")
        if _certificate(chain[0]).public_key() != key.public_key():
            raise ProtocolError("core's answer is for another key")
        kept = self._kept()
        place = self._directory / f"{self._prefix()}{_number(kept[-1]) + 1 if kept else 1}"
        draft = self._directory / f"{place.name}.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700, parents=True)
        _write(draft / "ca.pem", answer.authorities)
        _write(draft / "identity.pem", b"".join(chain) + _key_pem(key))
        draft.replace(place)
        self._renewed = _renewed(place)
        for old in kept[:-1]:  # the last one may be being read by a thread of gRPC's
            shutil.rmtree(old)
        log.info("identity renewed", until=self._renewed.end)

    # ---------------------------------------------------------------- what an earlier process renewed

    def load(self) -> None:
        """Finds what an earlier process of this task was given."""
        self._origin = _digest(self.first)
        for each in self._directory.glob("*"):
            if each.name.endswith(".new") or not each.name.startswith(self._prefix()):
                shutil.rmtree(each)
        for place in reversed(self._kept()):
            try:
                self._renewed = _renewed(place)
            except (OSError, ConfigError) as error:
                log.warning("renewed identity unreadable", path=str(place), error=str(error))
                continue
            return

    def _prefix(self) -> str:
        return f"{self._origin}-"

    def _kept(self) -> list[Path]:
        """Places of renewed identities, the oldest first."""
        return sorted(self._directory.glob(f"{self._prefix()}*[0-9]"), key=_number)


def _number(place: Path) -> int:
    number = place.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def _digest(files: TlsFiles) -> str:
    """Of the first identity, so that renewed ones of another are told apart."""
    read = tls.read("ca", files.ca) + tls.read("identity", files.identity)
    return hashlib.sha256(read).hexdigest()[:16]


def _renewed(place: Path) -> _Renewed:
    files = TlsFiles(str(place / "ca.pem"), str(place / "identity.pem"))
    certificate = _certificate(tls.read("identity", files.identity))
    return _Renewed(
        files, certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    )


def _request() -> tuple[EllipticCurvePrivateKey, bytes]:
    """A new key, and the request for it, PKCS #10 in DER. Imports late, as all here that need `cryptography`: it
    costs the start of the extension service a fifth of its time."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return key, request.public_bytes(serialization.Encoding.DER)


def _key_pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _certificate(pem: bytes) -> Certificate:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise ConfigError("certificate", "is not PEM") from error


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
