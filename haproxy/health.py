"""What HAProxy's own checks say about the tasks, as changes worth telling core. Pure.

`l7.fastpath.Health` reads HAProxy's dumps and says of which servers the verdict changed. A task may have servers
of two generations, its backend two keys while its policy changes; what a task is to do counts, too. So the verdicts
of a backend are made anew where a server's changed, or what is wanted, or where it lives, and nowhere else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from haproxy.mirror import name_of
from haproxy.model import HOLD, Backend, ServerState
from haproxy.policy import task_of
from l7.v1 import sync_pb2 as pb

Key = tuple[str, str]
"""Core's name of a backend, and a task id."""

Change = tuple[str, str, int, int]
"""Physical backend, server, verdict before and now; as `l7.fastpath.Health.end` has them."""


def verdict(server: int, runs: bool) -> pb.HealthStatus:
    """On a task, by one of its servers. One that runs and is out of rotation has not passed a first check yet."""
    if runs and server == pb.HEALTH_STATUS_MAINTENANCE:
        return pb.HEALTH_STATUS_DOWN
    return _STATUSES[server]


_STATUSES: dict[int, pb.HealthStatus] = {
    each: each for each in (pb.HEALTH_STATUS_UP, pb.HEALTH_STATUS_DOWN, pb.HEALTH_STATUS_MAINTENANCE)
}


class Verdicts:
    """On all tasks, by core's names; `look` changes them in place."""

    def __init__(self) -> None:
        self._servers: dict[str, dict[str, int]] = {}
        self._placement: dict[str, str] = {}
        self._keys: dict[str, list[str]] = {}
        self._tenants: dict[str, list[str]] = {}
        self._tasks: dict[str, dict[str, pb.HealthStatus]] = {}
        self._counts: Counter[int] = Counter()

    def get(self, key: Key) -> pb.HealthStatus:
        """GONE for one of whom HAProxy has no server."""
        return self._tasks.get(key[0], {}).get(key[1], pb.HEALTH_STATUS_GONE)

    def tasks(self) -> list[Key]:
        """All there are."""
        return [(name, task) for name, tasks in self._tasks.items() for task in tasks]

    def counts(self) -> dict[str, int]:
        """How many tasks there are of each state."""
        return {name: self._counts[status] for status, name in _NAMES.items()}

    def names(self, changes: Iterable[Change], placement: Mapping[str, str], touched: Collection[str]) -> set[str]:
        """Take in what a look found; core's names of the backends that it concerns. `placement`: logical ->
        physical backend; `touched`: keys of logical ones whose tasks are to do something else."""
        physical = {change[0] for change in changes if self._note(*change)}
        moved = self._moved(placement)
        tenants = (key for backend in physical for key in self._tenants.get(backend, ()))
        return {name_of(key) for key in (*touched, *moved, *tenants)}

    def renew(self, names: Iterable[str], wanted: Mapping[str, Backend]) -> list[Key]:
        """Decide anew on the tasks of these backends; those on whom the verdict changed, sorted. `wanted`: logical
        backends, by key, as they should be."""
        return [(name, task) for name in sorted(names) for task in self._renew(name, wanted)]

    def keys_of(self, name: str) -> list[str]:
        """Keys under which a backend has a place, by core's name."""
        return self._keys.get(name, [])

    # -------------------------------------------------------------- inside

    def _note(self, backend: str, server: str, before: int, now: int) -> bool:
        """Whether it matters."""
        del before
        if server == HOLD:
            return False
        if now == pb.HEALTH_STATUS_GONE:
            of = self._servers.get(backend, {})
            of.pop(server, None)
            if not of:
                self._servers.pop(backend, None)
        else:
            self._servers.setdefault(backend, {})[server] = now
        return True

    def _moved(self, placement: Mapping[str, str]) -> set[str]:
        """Logical backends that have another place than before."""
        before = self._placement
        if before == placement:
            return set()
        self._placement = dict(placement)
        self._keys, self._tenants = {}, {}
        for key, physical in placement.items():
            self._keys.setdefault(name_of(key), []).append(key)
            self._tenants.setdefault(physical, []).append(key)
        return {key for key in before.keys() | placement.keys() if before.get(key) != placement.get(key)}

    def _renew(self, name: str, wanted: Mapping[str, Backend]) -> list[str]:
        now: dict[str, pb.HealthStatus] = {}
        for key in self.keys_of(name):
            tasks = wanted[key].servers if key in wanted else {}
            for server, status in self._servers.get(self._placement[key], {}).items():
                task = task_of(server)
                runs = task in tasks and tasks[task].state is ServerState.READY
                now[task] = min(now.get(task, pb.HEALTH_STATUS_GONE), verdict(status, runs))
        before = self._tasks.pop(name, {})
        if now:
            self._tasks[name] = now
        changed = sorted(task for task in before.keys() | now.keys() if before.get(task) != now.get(task))
        self._counts.subtract(before[task] for task in changed if task in before)
        self._counts.update(now[task] for task in changed if task in now)
        return changed


_NAMES = {pb.HEALTH_STATUS_UP: "up", pb.HEALTH_STATUS_DOWN: "down", pb.HEALTH_STATUS_MAINTENANCE: "maint"}


def told(verdicts: Verdicts, keys: Iterable[Key]) -> list[pb.ServerHealth]:
    """For core: of these, GONE for those that are no more."""
    return [pb.ServerHealth(backend=key[0], task=key[1], status=verdicts.get(key)) for key in keys]
