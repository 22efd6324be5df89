"""The secrets of the installation's own PKI, as their names and labels tell of them. Pure.

A rotation makes a new generation of all but the ACME account: `l7-ca`, then `l7-ca.2`, and so on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from l7.kit.errors import ConfigError

CA = "l7-ca"
CA_KEY = "l7-ca-key"
CORE = "l7-core"
PROXY = "l7-proxy"
EXTENSION = "l7-extension"
ACME_ACCOUNT = "l7-acme-account"
KEYS = (CA_KEY, ACME_ACCOUNT)
"""Those that hold no certificate."""

KIND = ("com.docker.l7", "pki")
"""Label of every secret here, by which services are kept from naming them."""
BASE = "com.docker.l7.pki.name"
GENERATION = "com.docker.l7.pki.generation"
NOT_AFTER = "com.docker.l7.pki.not_after"
"""End of the certificate: seconds of Unix time, decimal."""
AUTHORITIES = "com.docker.l7.pki.authorities"
"""Of the CA: fingerprints of those that it holds, the newest first, between commas."""

_NUMBER = re.compile(r"[0-9]{1,11}")
"""Whoever makes secrets writes their labels: a date beyond all calendars must not end who reads it."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A secret of the PKI, as its labels tell. `base`: its name without the generation; `not_after` in seconds of
    Unix time, 0: unknown; `authorities`: of a CA, fingerprints, the newest first."""

    id: str
    name: str
    base: str
    generation: int = 1
    not_after: int = 0
    authorities: tuple[str, ...] = ()


def named(base: str, generation: int) -> str:
    """The secret's name."""
    return base if generation == 1 or base == ACME_ACCOUNT else f"{base}.{generation}"


def stored(id: str, name: str, labels: Mapping[str, str]) -> Stored:
    """What a secret's labels say; those of a version without them are of the first generation."""
    return Stored(
        id,
        name,
        labels.get(BASE, name),
        _number(labels, GENERATION, 1),
        _number(labels, NOT_AFTER, 0),
        tuple(each for each in labels.get(AUTHORITIES, "").split(",") if each),
    )


def _number(labels: Mapping[str, str], key: str, default: int) -> int:
    text = labels.get(key, "")
    return int(text) if _NUMBER.fullmatch(text) else default


def newest(secrets: Iterable[Stored]) -> int:
    """The newest generation; its CA is made last, so that one without is none yet."""
    return max((each.generation for each in secrets if each.base == CA), default=1)


_CLUSTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,40}")


def proxy_secret(cluster: str) -> str:
    """Name of the secret with the identity of a cluster's proxies. Raises ConfigError for a bad name."""
    return _of_cluster(PROXY, cluster)


def extension_secret(cluster: str) -> str:
    """The same of a cluster's extension service."""
    return _of_cluster(EXTENSION, cluster)


def _of_cluster(base: str, cluster: str) -> str:
    if not cluster or cluster == "default":
        return base
    if not _CLUSTER.fullmatch(cluster):
        raise ConfigError("--cluster", f"{cluster!r}: letters, digits and _.- only, up to 41")
    return f"{base}-{cluster}"
