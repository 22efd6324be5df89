"""The clocks of a server that goes, and of a backend that waits: values and rules, the time is passed in. Pure.

All times are seconds of a monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

FIRST_RETRY = 0.1
LAST_RETRY = 5.0

ON_THE_WAY = 0.5
"""Seconds for which what routes led to stays when they don't any more. A request looks up its route, its rules and
its backend, and then gets a server: one after the other, in a thread that the machine may keep from running in
between (seen: 503 under load). Far less than a task has until its SIGTERM."""

STOP_MARGIN = 0.05
"""A last server is taken out this long before Swarm's earliest SIGTERM: time for the command itself."""


@dataclass(frozen=True, slots=True)
class Closing:
    """A server (or backend) whose deletion HAProxy refused because connections are left.

    `since`: of the first refusal. `next_try`: not before. `tries`: refusals so far.
    """

    since: float
    next_try: float
    tries: int = 1

    def waiting(self, now: float) -> bool:
        return now < self.next_try

    def overdue(self, now: float, timeout: float) -> bool:
        """Whether what is left may be cut; `timeout` in seconds."""
        return now - self.since >= timeout


def refused(closing: Closing | None, now: float) -> Closing:
    """After a(nother) refusal: twice as patient as before, up to LAST_RETRY."""
    if closing is None:
        return Closing(since=now, next_try=now + FIRST_RETRY)
    pause = min(LAST_RETRY, FIRST_RETRY * 2**closing.tries)
    return replace(closing, next_try=now + pause, tries=closing.tries + 1)


def stop_time(received: float, stop_in: int) -> float:
    """When a leaving server must be out of rotation even if it is the last. `stop_in`: milliseconds."""
    return received + stop_in / 1000 - STOP_MARGIN


def may_hold(expected: bool, unusable_since: float | None, now: float, deadline: float) -> bool:
    """Whether requests to a backend may wait: a successor is wanted, and has not been missing for too long."""
    return expected and (unusable_since is None or now - unusable_since < deadline)
