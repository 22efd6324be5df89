"""For which hosts a certificate is to be got now, what can go, and when to look again. Pure.

Times are seconds of Unix time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from l7.issued import Issued, newest

MINUTE = 60.0
DAY = 86400.0
HOUR = 3600.0
_FIRST = MINUTE
"""The pause after a first failure; it doubles with each further one, up to a limit."""

SERVER = ""
"""Among the attempts: those that failed before it came to any host, at the server itself or at our account."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What was tried in vain, `failures` times in a row, the last time at `last`. `until`: when the server said to
    come back, 0 when it did not."""

    failures: int
    last: float
    until: float = 0.0

    def again(self, limit: float) -> float:
        """When to try again, if no pause is longer than `limit`."""
        doubled = min(self.failures - 1, 30)  # far beyond every limit, and no number is too large
        return max(self.last + min(_FIRST * 2.0**doubled, limit), self.until)


@dataclass(frozen=True, slots=True)
class Orders:
    """`get`: hosts, the most urgent first; `due`: those and others whose turn is not yet, since they failed before.
    `wake`: when there is something to do, None for never."""

    get: tuple[str, ...] = ()
    due: frozenset[str] = frozenset()
    remove: tuple[Issued, ...] = ()
    wake: float | None = None


def orders(
    wanted: Mapping[str, Collection[str]],
    stored: Iterable[Issued],
    attempts: Mapping[str, Attempt],
    refusals: Mapping[str, Attempt],
    now: float,
) -> Orders:
    """`wanted`: hosts by service cluster. `attempts` by host, and of `SERVER`; `refusals` to remove one, by id.

    A certificate is renewed when a third of its life is left. What another one has taken the place of is removed;
    what nobody wants is kept until it expires, in case somebody wants it again.
    """
    hosts = {host for each in wanted.values() for host in each if obtainable(host)}
    certificates = tuple(stored)
    best = newest(certificates)
    due = {host: renewal(best[host]) if host in best else 0.0 for host in hosts}
    turns = {host: max(at, _again(host, attempts)) for host, at in due.items()}
    goes = dict(_removals(certificates, best, hosts, refusals))
    get = sorted((_end(best, host), host) for host, at in turns.items() if at <= now)
    return Orders(
        get=tuple(host for _, host in get),
        due=frozenset(host for host, at in due.items() if at <= now),
        remove=tuple(each for each, at in goes.items() if at <= now),
        wake=min((at for at in (*due.values(), *turns.values(), *goes.values()) if at > now), default=None),
    )


def obtainable(host: str) -> bool:
    """Whether http-01, the only challenge that l7 answers, can prove this host (RFC 8555, section 8.3)."""
    return "*" not in host


def renewal(certificate: Issued) -> float:
    """When to get the next one: a third of its life is left."""
    return certificate.not_after - (certificate.not_after - certificate.not_before) / 3


def failed(before: Attempt | None, now: float, until: float = 0.0) -> Attempt:
    """One more failure."""
    return Attempt((before.failures if before else 0) + 1, now, until)


def _again(host: str, attempts: Mapping[str, Attempt]) -> float:
    """When the host may be tried again, for all that went wrong."""
    limits = ((host, DAY), (SERVER, HOUR))
    return max((attempts[key].again(limit) for key, limit in limits if key in attempts), default=0.0)


def _end(best: Mapping[str, Issued], host: str) -> int:
    return best[host].not_after if host in best else 0


def _removals(
    certificates: Iterable[Issued],
    best: Mapping[str, Issued],
    hosts: Collection[str],
    refusals: Mapping[str, Attempt],
) -> Iterator[tuple[Issued, float]]:
    """What can go, and from when on."""
    for each in sorted(certificates, key=lambda certificate: certificate.id):
        if each != best[each.host]:
            at = 0.0
        elif each.host not in hosts:
            at = float(each.not_after)
        else:
            continue
        refused = refusals.get(each.id)
        yield each, max(at, refused.again(HOUR)) if refused else at
