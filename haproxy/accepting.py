"""Which servers are known to accept connections: by the probe, or because they are in rotation already. Pure.

A task that is known from one backend needs no new probe in another, so a route that moves to a new backend (a
second service begins to share it) finds it ready.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Accepting:
    """Server names by logical backend; the same name in two backends is the same task, address and port."""

    _names: dict[str, set[str]] = field(default_factory=dict)
    _count: Counter[str] = field(default_factory=Counter)

    def __contains__(self, name: str) -> bool:
        return name in self._count

    def of(self, backend: str) -> frozenset[str]:
        return frozenset(self._names.get(backend, ()))

    def all(self) -> frozenset[str]:
        return frozenset(self._count)

    def add(self, backend: str, names: Iterable[str]) -> None:
        known = self._names.setdefault(backend, set())
        new = set(names) - known
        known |= new
        self._count.update(new)

    def keep(self, backend: str, wanted: Iterable[str]) -> None:
        """Forget all of the backend but those still wanted."""
        known = self._names.pop(backend, set())
        kept = known.intersection(wanted)
        if kept:
            self._names[backend] = kept
        for name in known - kept:
            self._count[name] -= 1
            if not self._count[name]:
                del self._count[name]
