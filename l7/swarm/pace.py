"""When to ask Docker for which tasks. Pure: the time is an argument, in seconds of a monotonic clock.

Docker has no events for tasks. So those of a service are asked for often while something is going on with it
(it was changed a moment ago, or a task of it is on its way up or down), and all of them now and then, for what
nobody announced: a crash, a lost node.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from l7.model import Task, TaskState

AFTER_CHANGE = 5.0  # a service or node was changed: its tasks will follow
IN_TRANSITION = 30.0  # without a step in this time, a task is stuck (no node fits it) or slow: no hurry
MANY = 16  # services from which on one listing of everything is cheaper
SHARE = 4  # at most one part in SHARE of the time is spent on asking


@dataclass(frozen=True, slots=True)
class Poll:
    """Ask for the tasks of these services; None: for all tasks."""

    services: frozenset[str] | None


class Pace:
    """`slow` and `fast` are the intervals between polls of everything, and of what is going on."""

    def __init__(self, slow: float, fast: float = 0.1) -> None:
        self._slow = slow
        self._fast = fast
        self._busy: dict[str, float] = {}
        self._all_busy_until = 0.0
        self._moving: dict[str, tuple[str, int]] = {}
        self._last = self._last_complete = float("-inf")
        self._pause = 0.0
        self._pause_complete = 0.0

    def hint(self, service: str, now: float) -> None:
        """A service was changed: its tasks are asked for at once, and for a while."""
        self._busy[service] = max(self._busy.get(service, 0.0), now + AFTER_CHANGE)
        self._last = float("-inf")

    def hint_all(self, now: float) -> None:
        """A node was changed: tasks of any service may move."""
        self._all_busy_until = now + AFTER_CHANGE
        self._last = float("-inf")

    def polled(self, poll: Poll, tasks: Iterable[Task], started: float, now: float) -> None:
        """A poll came back."""
        self._last = now
        self._pause = max(self._fast, (SHARE - 1) * (now - started))
        if poll.services is None:
            self._last_complete = now
            self._pause_complete = max(self._slow, (SHARE - 1) * (now - started))
        before = self._moving
        self._moving = {
            id_: step for id_, step in before.items() if poll.services is not None and step[0] not in poll.services
        }
        for task in tasks:
            if in_transition(task):
                step = self._moving[task.id] = (task.service, task.version)
                if before.get(task.id) != step:
                    self._busy[task.service] = max(self._busy.get(task.service, 0.0), now + IN_TRANSITION)
        self._forget(now)

    def due(self, now: float) -> Poll | None:
        """What is to be asked for now, None if nothing."""
        if now >= self._last_complete + self._pause_complete:
            return Poll(None)
        if now < self._last + self._pause:
            return None
        busy = frozenset(service for service, until in self._busy.items() if until > now)
        if now < self._all_busy_until or len(busy) > MANY:
            return Poll(None)
        return Poll(busy) if busy else None

    def delay(self, now: float) -> float:
        """Seconds until something is due, if nothing happens before."""
        at = self._last_complete + self._pause_complete
        if now < self._all_busy_until or any(until > now for until in self._busy.values()):
            at = min(at, self._last + self._pause)
        return max(0.0, at - now)

    def _forget(self, now: float) -> None:
        """A service is busy no more once its time is over, or its tasks came to rest after its change."""
        moving = {service for service, _ in self._moving.values()}
        self._busy = {
            service: until if service in moving else min(until, now + AFTER_CHANGE)
            for service, until in self._busy.items()
            if until > now
        }


def in_transition(task: Task) -> bool:
    """Whether the task lives, and is not simply running as it should."""
    at_rest = task.state is TaskState.RUNNING and task.desired is TaskState.RUNNING
    return task.state <= TaskState.RUNNING and not at_rest
