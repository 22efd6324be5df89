"""A cluster's servers as its proxies see them together: what most say, totals, and where they differ. Pure.

What is looked at is named as HAProxy names it (`shop.http-leastconn`, `<task>.<generation>`); what is told has
core's names. Placeholders, spares and what is not ours are left out.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from haproxy.mirror import name_of
from haproxy.model import HOLD
from haproxy.policy import policy_of_spare, task_of
from l7.v1 import sync_pb2 as pb

Key = tuple[str, str]
"""(core's name of a backend, task id)."""
Change = tuple[str, str, int, int]
"""(backend, server, verdict before, verdict now), as `Health.end` gives it."""
Totals = Mapping[str, int]

UP, DOWN, MAINTENANCE, GONE = 1, 2, 3, 4
"""As l7.v1.HealthStatus."""
_OURS = re.compile(r"[^.]+\.[0-9a-f]{6}")


class Looked(Protocol):
    """What it asks of `l7.fastpath.Health` after a look."""

    def server(self, backend: str, server: str) -> dict[str, int]: ...
    def backends(self) -> dict[str, dict[str, int]]: ...


@dataclass(frozen=True, slots=True)
class Split:
    """`up`: so many proxies see a server up, of `proxies`, and the others do not."""

    up: int
    proxies: int


@dataclass(frozen=True, slots=True)
class Load:
    """Of a backend, over all proxies: sessions now, those of them that wait for a server, and all that there were
    since the proxies started."""

    sessions: int = 0
    queued: int = 0
    total: int = 0

    def __add__(self, other: Load) -> Load:
        return Load(self.sessions + other.sessions, self.queued + other.queued, self.total + other.total)


class Cluster:
    """`runs` says of (backend, task) whether the task runs and is wanted: out of rotation it has not passed a first
    check yet, and counts as down."""

    def __init__(self, runs: Callable[[str, str], bool]) -> None:
        self._runs = runs
        self._rows: defaultdict[Key, dict[tuple[str, str], int]] = defaultdict(dict)
        self._servers: defaultdict[str, set[str]] = defaultdict(set)
        self._idle: set[Key] = set()
        self._several: set[Key] = set()
        """Tasks that have more than one server: generations differ between versions of HAProxy, too."""
        self._differed: set[Key] = set()
        self.verdicts: dict[Key, int] = {}
        self.others: dict[Key, int] = {}
        """Those of `verdicts` that are not UP."""
        self.splits: dict[Key, Split] = {}
        """Servers that were seen differently in two looks in a row: no two proxies answer at the same moment."""
        self.loads: dict[str, Load] = {}
        self.states: defaultdict[str, Counter[int]] = defaultdict(Counter)
        """Servers of a backend by verdict."""

    def looked(self, changes: Iterable[Change], health: Looked, proxies: int, quorum: int) -> None:
        """A look has ended; `proxies` answered, and so many as `quorum` were asked to agree."""
        changed = self._idle | self._several
        for backend, server, _, now in changes:
            if _is_ours(backend, server):
                changed.add(self._put(backend, server, now))
        for key in changed:
            self._judge(key, self._verdict(key, health, quorum))
        self._total(health.backends(), health, proxies)

    @property
    def counts(self) -> Counter[int]:
        """Servers by verdict."""
        counts = Counter(self.others.values())
        counts[UP] = len(self.verdicts) - len(self.others)
        return counts

    @property
    def load(self) -> Load:
        return sum(self.loads.values(), Load())

    # ------------------------------------------------------------ inside

    def _put(self, backend: str, server: str, verdict: int) -> Key:
        key = (name_of(backend), task_of(server))
        if verdict == GONE:
            self._rows[key].pop((backend, server), None)
            self._servers[backend].discard(server)
        else:
            self._rows[key][backend, server] = verdict
            self._servers[backend].add(server)
        if not self._servers[backend]:
            del self._servers[backend]
        return key

    def _verdict(self, key: Key, health: Looked, quorum: int) -> int:
        """Of all servers of a task, by the rule of `Health`: there are two while it goes from one generation, or
        policy, to another, and where proxies are of different versions."""
        rows = self._rows[key]
        if len(rows) < 2:
            self._several.discard(key)
            return next(iter(rows.values()), GONE)
        self._several.add(key)
        views = Counter[str]()
        for row in rows:
            views.update(health.server(*row))
        if views["up"] >= quorum:
            return UP
        return MAINTENANCE if views["maintenance"] > views["down"] else DOWN

    def _judge(self, key: Key, now: int) -> None:
        before = self.verdicts.pop(key, GONE)
        self._idle.discard(key)
        if now == MAINTENANCE:
            self._idle.add(key)
            now = DOWN if self._runs(*key) else MAINTENANCE
        self.others.pop(key, None)
        if now == GONE:
            del self._rows[key]
        else:
            self.verdicts[key] = now
        if now not in (UP, GONE):
            self.others[key] = now
        self._count(key[0], before, now)

    def _count(self, backend: str, before: int, now: int) -> None:
        states = self.states[backend]
        for verdict, change in ((before, -1), (now, 1)):
            if verdict != GONE:
                states[verdict] += change
        if not +states:
            del self.states[backend]

    def _total(self, backends: Mapping[str, Totals], health: Looked, proxies: int) -> None:
        loads: defaultdict[str, Load] = defaultdict(Load)
        differ: Counter[Key] = Counter()
        for backend, totals in backends.items():
            servers = self._servers.get(backend)
            if servers is None:
                continue
            loads[name_of(backend)] += _load(totals)
            up = totals["up"] - _placeholders(backend, health)
            if 0 < up < proxies * len(servers):
                for server in servers:
                    differ[name_of(backend), task_of(server)] += health.server(backend, server)["up"]
        now = {key: Split(up, proxies) for key, up in differ.items() if 0 < up < proxies}
        self.splits = {key: split for key, split in now.items() if key in self._differed}
        self._differed = set(now)
        self.loads = dict(loads)


def _is_ours(backend: str, server: str) -> bool:
    return _OURS.fullmatch(server) is not None and policy_of_spare(backend) is None


def _placeholders(backend: str, health: Looked) -> int:
    """How many proxies have the placeholder enabled."""
    try:
        return health.server(backend, HOLD)["up"]
    except KeyError:
        return 0


def _load(totals: Totals) -> Load:
    """By the backend's own row, where there is one: what waits in it is in no server's."""
    return Load(*(totals.get(f"own_{name}", totals[name]) for name in ("sessions", "queued", "total")))


# ---------------------------------------------------------------- what core is told


def told(cluster: Cluster) -> dict[Key, pb.ServerHealth]:
    """All that is worth telling: who is not up, and about whom the proxies differ."""
    return {
        key: _health(key, cluster.verdicts[key], cluster.splits.get(key))
        for key in sorted(cluster.others.keys() | cluster.splits.keys())
        if key in cluster.verdicts
    }


def news(
    before: Mapping[Key, pb.ServerHealth], now: Mapping[Key, pb.ServerHealth], cluster: Cluster
) -> list[pb.ServerHealth]:
    """What has changed; who is in `now` no more is up, or gone."""
    changed = [health for key, health in now.items() if before.get(key) != health]
    left = [_health(key, cluster.verdicts.get(key, GONE), None) for key in before if key not in now]
    return changed + left


def _health(key: Key, verdict: int, split: Split | None) -> pb.ServerHealth:
    found = pb.ServerHealth(backend=key[0], task=key[1], status=pb.HealthStatus.Name(verdict))
    if split is not None:
        found.up, found.proxies = split.up, split.proxies
    return found


def batches(servers: Sequence[pb.ServerHealth], size: int = 5000) -> list[Sequence[pb.ServerHealth]]:
    """At least one, each of half a megabyte at the most."""
    return [servers[start : start + size] for start in range(0, len(servers), size)] or [()]
