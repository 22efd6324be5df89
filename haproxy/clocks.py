"""What time it is for each server and backend: the reconciler's memory of when things happened.

Times are seconds of a monotonic clock and always passed in. What is remembered of a server ends with the server,
and all of a backend with `forget`: memory follows what there is, not what there ever was.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from haproxy import drain
from haproxy.model import HOLD, Backend, Server, ServerRow, ServerState
from haproxy.plan import Situation
from haproxy.policy import task_of
from haproxy.settings import Settings


@dataclass(slots=True)
class _Servers:
    """Of one backend. `closing`: deletions that were refused (HOLD: that of the backend). `leaving`: when a task
    that leaves is due. `draining`: since when a server is out of rotation for good. `superseded`: since when an
    earlier generation serves in the place of its successor. `timeouts`: how long each may drain (seconds), known
    from when it was wanted. Keys are server names, but task ids in `leaving` and `timeouts`: a task may have
    servers of several generations."""

    closing: dict[str, drain.Closing] = field(default_factory=dict)
    leaving: dict[str, float] = field(default_factory=dict)
    draining: dict[str, float] = field(default_factory=dict)
    superseded: dict[str, float] = field(default_factory=dict)
    timeouts: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Clocks:
    """`unusable`: since when a backend that is expected to have a usable server has none. `awaited`: since when
    routes wait for a backend to take over from another one. `released`: since when no route leads to what is not
    wanted (`haproxy.work`'s names)."""

    unusable: dict[str, float] = field(default_factory=dict)
    awaited: dict[str, float] = field(default_factory=dict)
    released: dict[str, float] = field(default_factory=dict)
    _servers: dict[str, _Servers] = field(default_factory=dict)

    def left(self, backend: str, servers: Iterable[Server], now: float) -> list[float]:
        """Start the clocks of tasks that are leaving, when we hear of it; when to look again, one per new one."""
        leaving = {s.task: s.stop_in for s in servers if s.state is ServerState.LEAVING}
        if not leaving and backend not in self._servers:
            return []
        clocks = self._of(backend)
        known = {task: due for task, due in clocks.leaving.items() if task in leaving}
        new = {task: drain.stop_time(now, leaving[task]) for task in leaving.keys() - known.keys()}
        clocks.leaving = known | new
        return list(new.values())

    def refused(self, backend: str, server: str, now: float) -> float:
        """HAProxy would not delete it yet; when to look again."""
        clocks = self._of(backend)
        closing = clocks.closing[server] = drain.refused(clocks.closing.get(server), now)
        return closing.next_try

    def disabled(self, backend: str, server: str, now: float) -> None:
        self._of(backend).draining.setdefault(server, now)

    def gone(self, backend: str, server: str, now: float) -> float | None:
        """It is deleted; seconds that it drained, None if it never served."""
        clocks = self._of(backend)
        clocks.closing.pop(server, None)
        since = clocks.draining.pop(server, None)
        return None if since is None else now - since

    def usable(self, backend: str, want: Backend | None, rows: Mapping[str, ServerRow], now: float) -> bool:
        """Note whether a backend has a usable server. True: it has just lost its last one, or has none and is
        expected to have one from now on. Without that nobody waits: how long it was so is no matter."""
        expected = want is not None and want.expected
        if not expected or any(row.usable for name, row in rows.items() if name != HOLD):
            self.unusable.pop(backend, None)
            return False
        return self.unusable.setdefault(backend, now) == now

    def supersede(
        self,
        backend: str,
        wanted: Collection[str],
        rows: Mapping[str, ServerRow],
        now: float,
        blocked: Collection[str] = (),
    ) -> list[str]:
        """Note which servers serve in the place of a successor; those of which that is news. `blocked`: successors
        whose time has not begun."""
        earlier = {name for name in rows.keys() - wanted if rows[name].enabled and name != HOLD}
        if blocked:
            tasks = set(map(task_of, blocked))
            earlier = {name for name in earlier if task_of(name) not in tasks}
        clocks = self._of(backend) if earlier else self._servers.get(backend)
        if clocks is None:
            return []
        new = sorted(earlier - clocks.superseded.keys())
        clocks.superseded = {name: clocks.superseded.get(name, now) for name in earlier}
        return new

    def wait(self, backend: str, now: float) -> bool:
        """Routes wait for this backend; whether that is news."""
        return self.awaited.setdefault(backend, now) == now

    def unwait(self, backend: str) -> None:
        """Its time has not begun: it can't be ready."""
        self.awaited.pop(backend, None)

    def patient(self, backend: str, now: float, deadline: float) -> bool:
        """Whether routes may (still) wait for it; `deadline` in seconds."""
        return now - self.awaited.get(backend, now) < deadline

    def release(self, owner: str, now: float) -> float:
        """No route leads to it from now on; until when requests may be on their way to it."""
        self.released[owner] = now
        return now + drain.ON_THE_WAY

    def under_way(self, owner: str, now: float) -> bool:
        """Whether requests may still be on their way to what was released."""
        return now < self.released[owner] + drain.ON_THE_WAY

    def holds(self, backend: str, want: Backend | None, settings: Settings, now: float) -> bool:
        """Whether requests to a backend may wait for a server, if it has none."""
        expected = want is not None and want.expected
        return drain.may_hold(expected, self.unusable.get(backend), now, settings.hold_deadline / 1000)

    def situation(
        self,
        backend: str,
        want: Backend | None,
        rows: Mapping[str, ServerRow],
        accepting: frozenset[str],
        settings: Settings,
        now: float,
    ) -> Situation:
        """What the planner has to know, at `now`. Forgets servers that HAProxy no longer has."""
        clocks = self._drain_timeouts(backend, want)
        _prune(clocks, want, rows)
        hold = settings.hold_deadline / 1000

        def overdue(name: str, clock: drain.Closing) -> bool:
            return clock.overdue(now, clocks.timeouts.get(task_of(name), settings.drain_timeout / 1000))

        due = {task for task, when in clocks.leaving.items() if when <= now}
        return Situation(
            accepting=accepting,
            hold=self.holds(backend, want, settings, now),
            due=frozenset(name for name in rows if task_of(name) in due) if due else frozenset(),
            overdue=frozenset(name for name, clock in clocks.closing.items() if overdue(name, clock)),
            waiting=frozenset(name for name, clock in clocks.closing.items() if clock.waiting(now)),
            expired=frozenset(name for name, since in clocks.superseded.items() if now - since >= hold),
        )

    def _drain_timeouts(self, backend: str, want: Backend | None) -> _Servers:
        """Remember what services say: a task that is gone is no longer in what is wanted."""
        said = want is not None and any(each.drain_timeout for each in want.settings)
        if not said and not (backend in self._servers and self._servers[backend].timeouts):
            return self._servers.get(backend) or _Servers()
        clocks = self._of(backend)
        own = {s.task: want.settings_of(s).drain_timeout / 1000 for s in want.servers.values()} if want else {}
        kept = {task: seconds for task, seconds in clocks.timeouts.items() if task not in own}
        clocks.timeouts = kept | {task: seconds for task, seconds in own.items() if seconds}
        return clocks

    def forget(self, backend: str) -> None:
        """The backend is no more."""
        self.unusable.pop(backend, None)
        self.awaited.pop(backend, None)
        self.released.pop(backend, None)
        self._servers.pop(backend, None)

    def _of(self, backend: str) -> _Servers:
        return self._servers.setdefault(backend, _Servers())


def _prune(clocks: _Servers, want: Backend | None, rows: Mapping[str, ServerRow]) -> None:
    """A backend that is wanted (again) is not being deleted, and a server that takes requests does not drain."""
    for name in [n for n in clocks.closing if n not in rows and (n != HOLD or want is not None)]:
        del clocks.closing[name]
    for name in [n for n in clocks.draining if n not in rows or rows[n].enabled]:
        del clocks.draining[name]
    if clocks.timeouts:
        tasks = {task_of(name) for name in rows} | (want.servers.keys() if want else set())
        clocks.timeouts = {task: each for task, each in clocks.timeouts.items() if task in tasks}
