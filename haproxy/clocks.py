"""What time it is for each server and backend: the reconciler's memory of when things happened.

Keys are (logical backend, server name); times are seconds of a monotonic clock and always passed in. `wake` of a
method's answer is when the backend has to be looked at again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from haproxy import drain
from haproxy.model import HOLD, Backend, Server, ServerRow, ServerState
from haproxy.plan import Situation
from haproxy.settings import Settings

Key = tuple[str, str]


@dataclass(slots=True)
class Clocks:
    """`closing`: deletions that were refused. `leaving`: when a leaving server is due. `unusable`: since when a
    backend has no usable server. `draining`: since when a server is out of rotation for good."""

    closing: dict[Key, drain.Closing] = field(default_factory=dict)
    leaving: dict[Key, float] = field(default_factory=dict)
    unusable: dict[str, float] = field(default_factory=dict)
    draining: dict[Key, float] = field(default_factory=dict)

    def left(self, backend: str, wanted: Mapping[str, Server], now: float) -> list[float]:
        """Start the clocks of servers that are leaving, when we hear of it; wakes, one per new one."""
        wakes = []
        for name, server in wanted.items():
            if server.state is ServerState.LEAVING and (backend, name) not in self.leaving:
                due = self.leaving[(backend, name)] = drain.stop_time(now, server.stop_in)
                wakes.append(due)
        return wakes

    def refused(self, backend: str, server: str, now: float) -> float:
        """HAProxy would not delete it yet; wake."""
        closing = drain.refused(self.closing.get((backend, server)), now)
        self.closing[(backend, server)] = closing
        return closing.next_try

    def disabled(self, backend: str, server: str, now: float) -> None:
        self.draining.setdefault((backend, server), now)

    def gone(self, backend: str, server: str, now: float) -> float | None:
        """It is deleted; seconds that it drained, None if it never served."""
        self.closing.pop((backend, server), None)
        self.leaving.pop((backend, server), None)
        since = self.draining.pop((backend, server), None)
        return None if since is None else now - since

    def usable(self, backend: str, rows: Mapping[str, ServerRow], now: float) -> bool:
        """Note whether a backend has a usable server. True: it has just lost its last one."""
        if any(row.usable for name, row in rows.items() if name != HOLD):
            self.unusable.pop(backend, None)
            return False
        return self.unusable.setdefault(backend, now) == now

    def situation(
        self,
        backend: str,
        want: Backend | None,
        rows: Mapping[str, ServerRow],
        accepting: frozenset[str],
        settings: Settings,
        now: float,
    ) -> Situation:
        """What the planner has to know, at `now`."""
        closing = {name: self.closing[(backend, name)] for name in rows if (backend, name) in self.closing}
        deadline, timeout = settings.hold_deadline / 1000, settings.drain_timeout / 1000
        expected = want is not None and want.expected
        return Situation(
            accepting=accepting,
            hold=drain.may_hold(expected, self.unusable.get(backend), now, deadline),
            due=frozenset(name for name in rows if self.leaving.get((backend, name), now + 1) <= now),
            overdue=frozenset(name for name, clock in closing.items() if clock.overdue(now, timeout)),
            waiting=frozenset(name for name, clock in closing.items() if clock.waiting(now)),
        )

    def forget(self, backend: str) -> None:
        self.unusable.pop(backend, None)
