"""One look at all proxies of a cluster: who still answers, who has, and whether it counts. Pure: the time is an
argument, in seconds of a monotonic clock."""

from __future__ import annotations

from collections.abc import Iterable

PATIENCE = 2.0
"""Seconds that a proxy may be silent."""
LONGEST = 30.0
"""Seconds that a look may take."""
INTERVAL = 5.0
SHARE = 20
"""A proxy is looked at for at most 1/20 of the time."""


class Look:
    """`number`: which; `asked`: the proxies that are to answer. What one has said counts together with what all
    others say, and can't be taken back: if one breaks off, the whole look is `spoilt`."""

    def __init__(self, number: int, asked: Iterable[int], now: float) -> None:
        self.number = number
        self.answered: dict[int, float] = {}
        """Seconds that HAProxy took, by proxy."""
        self.missed: dict[int, str] = {}
        """Why there is no answer."""
        self._heard = dict.fromkeys(asked, now)
        self._begun: set[int] = set()
        self._end = now + LONGEST

    @property
    def open(self) -> bool:
        """Whether somebody still answers."""
        return bool(self._heard)

    @property
    def spoilt(self) -> frozenset[int]:
        """Those that broke off."""
        return frozenset(self._begun & self.missed.keys())

    @property
    def quorum(self) -> int:
        """Most of those that answered."""
        return len(self.answered) // 2 + 1

    def expects(self, proxy: int) -> bool:
        return proxy in self._heard

    def said(self, proxy: int, now: float) -> None:
        """A part of its answer was taken."""
        self._heard[proxy] = now
        self._begun.add(proxy)

    def ended(self, proxy: int, seconds: float) -> None:
        """Its answer is whole."""
        del self._heard[proxy]
        self.answered[proxy] = seconds

    def failed(self, proxy: int, reason: str) -> None:
        """There will be no more of it; nothing, for one that is done."""
        if self._heard.pop(proxy, None) is not None:
            self.missed[proxy] = reason

    def expire(self, now: float) -> float:
        """Give up those that are silent for too long; seconds until the next one is."""
        for proxy, heard in list(self._heard.items()):
            if now >= min(heard + PATIENCE, self._end):
                self.failed(proxy, "no answer in time")
        return min([*(heard + PATIENCE for heard in self._heard.values()), self._end]) - now

    def pause(self) -> float:
        """Seconds until the next look."""
        return max(INTERVAL, (SHARE - 1) * max(self.answered.values(), default=0.0))
