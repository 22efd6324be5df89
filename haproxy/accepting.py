"""Which servers are known to accept requests: by the probe, or because they are in rotation already. Pure.

What is known is known of a task, its address and the check that it passed, and not of a server's name: a task that
is known from one backend, or as an earlier generation, needs no new probe, so a route that moves to a new backend
finds it ready. A task that took connections has to be asked again when its check becomes an HTTP request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from haproxy.checks import Check


@dataclass(frozen=True, slots=True)
class Passed:
    """What is known to be so: this task passes this check."""

    task: str
    check: Check


@dataclass(slots=True)
class Accepting:
    """Server names by logical backend, each with what made it known."""

    _names: dict[str, dict[str, Passed]] = field(default_factory=dict)
    _count: Counter[Passed] = field(default_factory=Counter)

    def __contains__(self, passed: Passed) -> bool:
        return passed in self._count

    def of(self, backend: str) -> frozenset[str]:
        """Names of servers."""
        return frozenset(self._names.get(backend, ()))

    def all(self) -> frozenset[str]:
        """Names of servers of all backends."""
        return frozenset(name for names in self._names.values() for name in names)

    def unknown(self, backend: str, names: Mapping[str, Passed]) -> dict[str, Passed]:
        """Those of which that is not known yet, for this reason: of thousands, mostly none."""
        known = self._names.get(backend, {})
        return {} if known == names else {name: each for name, each in names.items() if known.get(name) is not each}

    def add(self, backend: str, names: Mapping[str, Passed]) -> None:
        """These accept, from now on for this reason."""
        known = self._names.setdefault(backend, {})
        for name, passed in names.items():
            old = known.get(name)
            if old is not passed and old != passed:
                self._forget(old)
                known[name] = passed
                self._count[passed] += 1

    def keep(self, backend: str, wanted: Mapping[str, Passed]) -> None:
        """Forget all of the backend but those that are still wanted, and for the same reason."""
        known = self._names.get(backend, {})
        if known and known == wanted:
            return
        self._names.pop(backend, None)
        kept = dict(_common(known, wanted))
        if kept:
            self._names[backend] = kept
        for name in known.keys() - kept.keys():
            self._forget(known[name])

    def _forget(self, passed: Passed | None) -> None:
        if passed is None:
            return
        self._count[passed] -= 1
        if not self._count[passed]:
            del self._count[passed]


def _common(known: Mapping[str, Passed], wanted: Mapping[str, Passed]) -> Iterator[tuple[str, Passed]]:
    """Mostly they are the same objects: to compare two values takes long, of thousands."""
    for name, passed in known.items():
        other = wanted.get(name)
        if other is passed or other == passed:
            yield name, passed
