"""What the demo's clients have seen so far, for the screen and for the story to wait on. No IO."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from testbed.load import Report
from testbed.namespace import TestbedError

RECENT = 1.0
"""Seconds that count as now: a task that answered within them answers."""


@dataclass(frozen=True, slots=True)
class Answering:
    """A task that answers at present: its name in Swarm, and requests per second."""

    service: str
    slot: int
    version: str
    rate: float


@dataclass(slots=True)
class Board:
    """Written by the thread that reads the clients' accounts, read by screen and story."""

    sent: int = 0
    failed: int = 0
    waiting: int = 0
    """Status of the last answer before the load began."""
    report: Report | None = None
    by_path: tuple[Report, ...] = ()
    """The final reports: of all requests, and of those for each path."""
    first: dict[str, float] = field(default_factory=dict)
    """Task name (`service.slot.id`) -> unix time of its first answer's end."""
    _accounts: deque[tuple[float, Mapping[str, Any]]] = field(default_factory=deque)
    _news: threading.Condition = field(default_factory=threading.Condition)
    _ended: bool = False

    def take(self, message: Mapping[str, Any], now: float) -> None:
        """A line of the clients, as of `now` (monotonic seconds)."""
        with self._news:
            if "report" in message:
                self.by_path = tuple(Report(**each) for each in message["by_path"])
                self.report = Report(**message["report"])
            elif "waiting" in message:
                self.waiting = message["waiting"]
            else:
                self._count(message, now)
            self._news.notify_all()

    def _count(self, account: Mapping[str, Any], now: float) -> None:
        self.sent += account["sent"]
        self.failed += account["failed"]
        self.first.update(account["first"])
        self._accounts.append((now, account))
        while self._accounts[0][0] < now - RECENT:
            self._accounts.popleft()

    def end(self) -> None:
        """No more will come."""
        with self._news:
            self._ended = True
            self._news.notify_all()

    def answering(self) -> list[Answering]:
        """Who answered within the last second, by service, version and slot."""
        with self._news:
            counts: dict[tuple[str, int, str], int] = {}
            for _, account in self._accounts:
                for name, version, number in account["answers"]:
                    service, slot, *_ = f"{name}.0".split(".")
                    key = (service, int(slot) if slot.isdecimal() else 0, version)
                    counts[key] = counts.get(key, 0) + number
        found = [Answering(*key, number / RECENT) for key, number in counts.items()]
        return sorted(found, key=lambda each: (each.service, each.version, each.slot))

    def rate(self) -> float:
        """Requests per second that ended within the last second."""
        with self._news:
            return sum(float(account["sent"]) for _, account in self._accounts) / RECENT

    def slowest(self) -> float:
        """Milliseconds, of the last second."""
        with self._news:
            return max((float(account["slowest_ms"]) for _, account in self._accounts), default=0.0)

    def wait(self, what: str, probe: Callable[[], bool], timeout: float = 60.0) -> None:
        """Until `probe` holds; looked at with every account. Raises TestbedError in vain."""
        deadline = time.monotonic() + timeout
        while not probe():
            with self._news:
                if self._ended or not self._news.wait(max(0.0, deadline - time.monotonic())):
                    raise TestbedError(f"waited {timeout:.0f} s in vain for {what}")


def of_service(answering: Iterable[Answering], service: str) -> list[Answering]:
    return [each for each in answering if each.service == service]


def versions(answering: Iterable[Answering]) -> set[str]:
    return {each.version for each in answering}
