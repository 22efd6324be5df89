"""Certificates that core got from an ACME server, as the labels of their Docker secrets tell of them. Pure.

A secret holds certificate, chain and key, one PEM. Its content is never read back: what there is, for which host
and until when, is what its labels say; so core needs no memory of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from l7.model import StoredSecret

KIND = ("com.docker.l7", "acme")
"""The label that all of them have."""

HOST = "com.docker.l7.acme.host"
NOT_BEFORE = "com.docker.l7.acme.not_before"
NOT_AFTER = "com.docker.l7.acme.not_after"
"""Validity: seconds of Unix time, decimal."""

PREFIX = "l7-acme-"
"""What all their names begin with."""

_SECONDS = re.compile(r"[0-9]{1,11}")
_USUAL_LIFE = 90 * 86400
_NAME = 64
"""Longest name of a Docker secret."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its key in the Docker secret `id`. Validity in seconds of Unix time."""

    id: str
    name: str
    host: str
    not_before: int
    not_after: int


def issued(secret: StoredSecret) -> Issued | None:
    """What a secret's labels say; None when it is no certificate of ours, or nothing can be made of them."""
    labels = dict(secret.labels)
    host, end = labels.get(HOST, ""), labels.get(NOT_AFTER, "")
    if secret.config or labels.get(KIND[0]) != KIND[1] or not host or not _SECONDS.fullmatch(end):
        return None
    begin = labels.get(NOT_BEFORE, "")
    start = int(begin) if _SECONDS.fullmatch(begin) else int(end) - _USUAL_LIFE
    return Issued(secret.id, secret.name, host, start, int(end))


def newest(certificates: Iterable[Issued]) -> dict[str, Issued]:
    """Of each host the one that is valid for the longest time; the same for whoever looks."""
    best: dict[str, Issued] = {}
    for each in certificates:
        if each.host not in best or _rank(each) > _rank(best[each.host]):
            best[each.host] = each
    return best


def _rank(certificate: Issued) -> tuple[int, int, str]:
    return certificate.not_after, certificate.not_before, certificate.id


def labels_of(host: str, not_before: int, not_after: int) -> dict[str, str]:
    """The labels of a secret with such a certificate."""
    return dict([KIND]) | {HOST: host, NOT_BEFORE: str(not_before), NOT_AFTER: str(not_after)}


def name_of(host: str, certificate: bytes) -> str:
    """`l7-acme-<host>-<digest>`, the host cut to what a name may have."""
    digest = sha256(certificate).hexdigest()[:12]
    room = _NAME - len(PREFIX) - 1 - len(digest)
    return f"{PREFIX}{host[:room].rstrip('.-_')}-{digest}"
