"""Class Health in plain Python: what the compiled one must agree with, and the product's explicit pure mode."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from l7.fastpath_pure.health_rows import DOWN, GONE, MAINTENANCE, UP, Dumps, Row

PROCESSES = 64

COUNTERS = ("sessions", "queued", "total", "bytes_in", "bytes_out", "errors", "retries", "redispatches")
VIEWS = ("up", "down", "maintenance")

_GAUGES = 2
"""The first two counters say what is now: at most 32 bits, of all processes together. The others wrap at 64."""
_MOST_GAUGE = 2**32 - 1
_WRAP = 2**64 - 1

P = ParamSpec("P")
T = TypeVar("T")


def _alone(method: Callable[Concatenate[Health, P], T]) -> Callable[Concatenate[Health, P], T]:
    """One call at a time."""

    @wraps(method)
    def guarded(self: Health, /, *args: P.args, **kwargs: P.kwargs) -> T:
        if self._busy:
            raise RuntimeError("Health is in use by another thread")
        self._busy = True
        try:
            return method(self, *args, **kwargs)
        finally:
            self._busy = False

    return guarded


class Seen:
    """What the processes say of one server, or of one backend's own row."""

    __slots__ = ("counted", "counters", "views", "voted")

    def __init__(self) -> None:
        self.views = [0, 0, 0]
        """Number of processes by verdict: up, down, maintenance."""
        self.counters = [0] * len(COUNTERS)
        self.voted = self.counted = 0
        """Processes that had a verdict and counters, as bits: the first row of each counts."""

    def add(self, process: int, row: Row) -> None:
        bit = 1 << process
        if row.verdict and not self.voted & bit:
            self.voted |= bit
            self.views[row.verdict - UP] += 1
        if row.counters and not self.counted & bit:
            self.counted |= bit
            self.counters = _sum(self.counters, row.counters)

    def verdict(self, quorum: int) -> int:
        """UP where enough processes say so, else what more of them say."""
        up, down, maintenance = self.views
        if up >= quorum:
            return UP
        return MAINTENANCE if maintenance > down else DOWN

    def totals(self) -> dict[str, int]:
        return dict(zip(COUNTERS + VIEWS, self.counters + self.views, strict=True))


def _sum(left: Iterable[int], right: Iterable[int]) -> list[int]:
    sums = [a + b for a, b in zip(left, right, strict=True)]
    gauges = [min(each, _MOST_GAUGE) for each in sums[:_GAUGES]]
    return gauges + [each & _WRAP for each in sums[_GAUGES:]]


class Health:
    """Health and totals of servers over several HAProxy processes, aggregated while their dumps arrive.

        health.begin()
        for process, chunk in arriving:
            health.feed(process, chunk)
        for backend, server, before, now in health.end(quorum=2): ...

    A look is what lies between `begin` and `end`. Who calls while another thread is in a call gets RuntimeError.
    """

    def __init__(self, processes: int = 1) -> None:
        """Raises ValueError unless `processes` is 1 to 64."""
        if not 1 <= processes <= PROCESSES:
            raise ValueError(f"processes: {processes} is not 1 to {PROCESSES}")
        self._busy = self._looking = False
        self._dumps = [Dumps() for _ in range(processes)]
        self._verdicts: dict[tuple[str, str], int] = {}
        self._servers: defaultdict[tuple[str, str], Seen] = defaultdict(Seen)
        self._own: defaultdict[str, Seen] = defaultdict(Seen)
        self._unknown = 0

    @_alone
    def begin(self) -> None:
        """A new look at all processes. One that was not ended is as if it had never been."""
        self._dumps = [Dumps() for _ in self._dumps]
        self._servers.clear()
        self._own.clear()
        self._unknown = 0
        self._looking = True

    @_alone
    def feed(self, process: int, chunk: bytes) -> None:
        """Any part of the answers of `show servers state` and `show stat`; of both, one after the other.

        Of two rows of a process about a server the first one says what the process thinks of it; the first one with
        counters has them. Raises IndexError for a process that there is not, ValueError outside a look.
        """
        dumps = self._dumps_of(process)
        for row in dumps.rows(chunk):
            if row is None:
                self._unknown += 1
            elif row.server:
                self._servers[row.backend, row.server].add(process, row)
            else:
                self._own[row.backend].add(process, row)

    def _dumps_of(self, process: int) -> Dumps:
        if not self._looking:
            raise ValueError("not within a look: begin() first")
        if not 0 <= process < len(self._dumps):
            raise IndexError(f"process: {process} is not 0 to {len(self._dumps) - 1}")
        return self._dumps[process]

    @_alone
    def end(self, quorum: int = 1) -> list[tuple[str, str, int, int]]:
        """The look is over: (backend, server, before, now) of each verdict that changed, sorted.

        `before` is 0 for a server that was not known; `now` is GONE for one that no process has, which is then not
        known any more. UP: at least `quorum` processes see it up; else what more of them see, in doubt DOWN.
        Raises ValueError for a quorum below 1, and outside a look.
        """
        if quorum < 1:
            raise ValueError(f"quorum: {quorum} is below 1")
        if not self._looking:
            raise ValueError("not within a look: begin() first")
        self._looking = False
        self._unknown += sum(not dumps.whole for dumps in self._dumps)
        now = {key: seen.verdict(quorum) for key, seen in self._servers.items()}
        before, self._verdicts = self._verdicts, now
        return _changes(before, now)

    @_alone
    def counts(self) -> tuple[int, int, int]:
        """Servers up, down and in maintenance, when the last look ended."""
        verdicts = list(self._verdicts.values())
        return verdicts.count(UP), verdicts.count(DOWN), verdicts.count(MAINTENANCE)

    @_alone
    def server(self, backend: str, server: str) -> dict[str, int]:
        """Totals over the processes, in the look under way or the last one. Raises KeyError for one not seen in it.

        Sums of `sessions` (scur), `queued` (qcur), `total` (stot), `bytes_in`, `bytes_out`, `errors` (econ and
        eresp), `retries` (wretr), `redispatches` (wredis); `up`, `down`, `maintenance`: numbers of processes.
        """
        if (backend, server) not in self._servers:
            raise KeyError((backend, server))
        return self._servers[backend, server].totals()

    @_alone
    def backends(self) -> dict[str, dict[str, int]]:
        """The same by backend: sums over its servers. Where there was a row of the backend itself, its counters
        too, as `own_sessions` and so on: what waits in a backend's own queue is in no server's."""
        found: dict[str, dict[str, int]] = {}
        for (backend, _), seen in self._servers.items():
            total = found.setdefault(backend, dict.fromkeys(COUNTERS + VIEWS, 0))
            sums = _sum([total[name] for name in COUNTERS], seen.counters)
            views = [total[name] + n for name, n in zip(VIEWS, seen.views, strict=True)]
            total.update(zip(COUNTERS + VIEWS, sums + views, strict=True))
        for backend, seen in self._own.items():
            total = found.setdefault(backend, dict.fromkeys(COUNTERS + VIEWS, 0))
            total.update({f"own_{name}": n for name, n in zip(COUNTERS, seen.counters, strict=True)})
        return found

    @_alone
    def unknown(self) -> int:
        """Rows of the look that could not be read. They disturb nothing, whatever is in them."""
        return self._unknown


def _changes(
    before: Mapping[tuple[str, str], int], now: Mapping[tuple[str, str], int]
) -> list[tuple[str, str, int, int]]:
    pairs = ((key, before.get(key, 0), now.get(key, GONE)) for key in before.keys() | now.keys())
    return sorted((*key, old, new) for key, old, new in pairs if old != new)
