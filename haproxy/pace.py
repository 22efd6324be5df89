"""When a state is published. Pure: times are seconds of whatever clock.

A change of the configuration is published when nothing else has followed it for a moment, or when it has waited for
long; one of servers alone once in a while: a new version of what is stored already.
"""

from __future__ import annotations

from dataclasses import dataclass

SETTLE = 1.0
"""Seconds without another change of the configuration, after which it is published."""
LONGEST = 5.0
"""Seconds that it waits at the most while others follow."""
SERVERS = 60.0
"""Seconds between two publications when only servers have changed, and proxies have these already."""
ROLL = 1.0
"""The same where proxies get their servers by it (file mode)."""
SHARE = 10
"""Publications may take at most 1/10 of the time."""


@dataclass(slots=True)
class Pace:
    """`pause`: seconds between two publications when only servers have changed.

    `first`, `last`: when the configuration changed that is not published, None: it is. `servers`: whether they
    changed. `published`: when it was the last time, and how long it took."""

    pause: float = SERVERS
    first: float | None = None
    last: float | None = None
    servers: bool = False
    published: float | None = None
    spent: float = 0.0

    def changed(self, now: float, configuration: bool) -> None:
        """Something was changed; without `configuration`: only servers."""
        if configuration:
            self.first = now if self.first is None else self.first
            self.last = now
        else:
            self.servers = True

    def begun(self) -> None:
        """What is known now is being published; what changes from now on is not part of it."""
        self.first = self.last = None
        self.servers = False

    def ended(self, now: float, spent: float) -> None:
        """It was."""
        self.published, self.spent = now, spent

    def due(self) -> float | None:
        """When to publish; None: nothing has changed."""
        found = []
        if self.first is not None and self.last is not None:
            found.append(max(min(self.last + SETTLE, self.first + LONGEST), self._earliest(SETTLE)))
        if self.servers:
            found.append(self._earliest(self.pause))
        return min(found, default=None)

    def _earliest(self, pause: float) -> float:
        return float("-inf") if self.published is None else self.published + max(pause, SHARE * self.spent)


def is_due_for_servers(pace: Pace, now: float) -> bool:
    """Whether a publication is due that has no new configuration."""
    return pace.published is None or now >= pace.published + pace.pause
