"""What is the matter with the installation's own certificates, as Problems for `l7 status`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from l7.deploy import pki
from l7.deploy.issuer import Issuer
from l7.deploy.stored import EXTENSION, KIND, PROXY, Stored, newest, stored
from l7.kit import tls
from l7.kit.errors import ConfigError
from l7.model import Problem, StoredSecret

LABEL = "pki"
AHEAD = timedelta(days=60)
"""Before a certificate of years ends; renewed ones are not looked at here."""
_ROTATE = "run `l7 pki rotate`, see docs/operations.md"


def problems(
    files: tls.TlsFiles, issuer: Issuer | None, secrets: Iterable[StoredSecret], now: datetime
) -> tuple[Problem, ...]:
    """Of core's own files, of the key to renew others with, and of the secrets that tasks start with."""
    return (*_own(files, now), *_key(issuer), *_first_ones(secrets, now))


def _own(files: tls.TlsFiles, now: datetime) -> Iterator[Problem]:
    try:
        core = pki.not_after(tls.read("identity", files.identity))
        authorities = [pki.not_after(each) for each in tls.certificates(tls.read("ca", files.ca))]
    except ConfigError as error:
        yield _problem(str(error), "restore the secret, or begin anew with `l7 pki init`")
        return
    yield from _ending("core's own certificate", core, now)
    if authorities:
        yield from _ending("the CA", max(authorities), now)


def _key(issuer: Issuer | None) -> Iterator[Problem]:
    if issuer is None:
        yield _problem(
            "core has no CA key, so the certificates of proxies and extension services are not renewed",
            "give core the secret l7-ca-key and --tls-ca-key (L7_TLS_CA_KEY), as deploy/stack.yml does",
        )
        return
    try:
        issuer.authority()
    except ConfigError as error:
        yield _problem(f"certificates are not renewed: {error}", "attach the CA's key that belongs to core's CA")


def _first_ones(secrets: Iterable[StoredSecret], now: datetime) -> Iterator[Problem]:
    """Of the newest generation; those before it are on their way out."""
    found = [_stored(each) for each in secrets if KIND in each.labels and not each.config]
    generation = newest(found)
    for each in sorted(found, key=lambda each: each.name):
        # Core's own, and the CA, are looked at in core's files.
        if each.generation == generation and each.not_after and each.base.startswith((PROXY, EXTENSION)):
            yield from _ending(f"the certificate in the secret {each.name}", _date(each), now)


def _stored(secret: StoredSecret) -> Stored:
    return stored(secret.id, secret.name, dict(secret.labels))


def _date(secret: Stored) -> datetime:
    return datetime.fromtimestamp(secret.not_after, UTC)


def _ending(what: str, end: datetime, now: datetime) -> Iterator[Problem]:
    if end - now < AHEAD:
        verb = "has ended" if end <= now else "ends"
        yield _problem(f"{what} {verb} on {end:%Y-%m-%d}", _ROTATE)


def _problem(message: str, remedy: str) -> Problem:
    return Problem("", LABEL, "", message, remedy, fatal=False)
