"""What each of the last states was compiled from. Pure.

A publication comes a while after its state; what was written since is taken back, step by step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from l7.inputs import Written

KEPT = 10_000
"""States of a cluster."""


@dataclass(slots=True)
class InputLog:
    """Of one cluster. `services`: what is written now, by name."""

    services: dict[str, Written] = field(default_factory=dict)
    _undo: dict[str, Written | None] = field(default_factory=dict)
    _states: deque[tuple[str, dict[str, Written | None]]] = field(default_factory=lambda: deque(maxlen=KEPT))

    def put(self, name: str, text: Written | None) -> None:
        """A service says something else now; None: it is none of this cluster's any more."""
        before = self.services.get(name)
        if before == text:
            return
        self._undo.setdefault(name, before)
        if text is None:
            self.services.pop(name, None)
        else:
            self.services[name] = text

    def settle(self, revision: str) -> None:
        """What was put so far makes this state."""
        if self._undo or not self._states or self._states[-1][0] != revision:
            self._states.append((revision, self._undo))
            self._undo = {}

    def at(self, revision: str) -> Mapping[str, Written] | None:
        """What a state was compiled from; None when that is not known any more."""
        found = dict(self.services)
        _take_back(found, self._undo)
        for known, undo in reversed(self._states):
            if known == revision:
                return found
            _take_back(found, undo)
        return None

    def forget(self) -> None:
        """No state of before is known any more."""
        self._states.clear()
        self._undo.clear()


def _take_back(services: dict[str, Written], undo: Mapping[str, Written | None]) -> None:
    for name, before in undo.items():
        if before is None:
            services.pop(name, None)
        else:
            services[name] = before


