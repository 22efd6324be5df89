"""What HAProxy answered, as the planner asks for it, and how two looks differ. Pure; `observe` does the looking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from haproxy.model import HOLD, ServerRow
from haproxy.policy import task_of
from haproxy.settings import ACME_MAP, CHECK_MAPS, ROUTES_MAP, RULES_MAPS
from haproxy.stores import SeenStores, differing
from haproxy.tables import HOST_MAPS, SHARED
from haproxy.work import CHALLENGES, Work

OWNED_MAPS = (*HOST_MAPS, *RULES_MAPS, *CHECK_MAPS, ACME_MAP)
"""All but backends.map."""

Table = dict[str, dict[str, str]]
"""owner -> key -> value"""


@dataclass(slots=True)
class Observation:
    """What HAProxy answered last, by the keys that the planner asks for; changed in place by the read-backs.

    `servers`: physical backend -> server name -> row, every backend that HAProxy has is a key (`haproxy.servers`).
    `placement`: logical -> physical backend. `routes`: routes.map. `tables`: the other maps that have owners
    (`haproxy.tables`), by file. `stores`: those of TLS.
    """

    servers: Mapping[str, Mapping[str, ServerRow]] = field(default_factory=dict)
    placement: dict[str, str] = field(default_factory=dict)
    routes: Table = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    stores: SeenStores = field(default_factory=SeenStores)

    def table(self, file: str) -> Table:
        return self.routes if file == ROUTES_MAP else self.tables.setdefault(file, {})

    def rows(self, files: Iterable[str], owner: str) -> dict[str, dict[str, str]]:
        """What the owner has in these files; a file without any is left out."""
        found = {file: self.table(file).get(owner) for file in files}
        return {file: rows for file, rows in found.items() if rows}

    def owners(self, files: Iterable[str]) -> set[str]:
        return {owner for file in files for owner in self.table(file)}

    def of(self, logical: str) -> Mapping[str, ServerRow]:
        """Servers of a logical backend, as it is placed."""
        return self.servers.get(self.placement.get(logical, ""), {})

    def usable_tasks(self, logical: str) -> set[str]:
        """Tasks with a server that takes requests."""
        return {task_of(name) for name, row in self.of(logical).items() if row.usable and name != HOLD}


@dataclass(slots=True)
class Drift:
    """Differences, and whom they concern; backends are physical ones. News of health checks counts nothing."""

    count: int = 0
    work: Work = field(default_factory=Work)


def drift(servers: Iterable[tuple[str, int]], before: Observation, now: Observation) -> Drift:
    """What changed though nobody of ours changed it. `servers`: of them (`haproxy.servers.Differing`).

    A server that a health check took out or in is news for the planner (its backend is in the answer), not drift.
    """
    found = Drift()
    for backend, count in servers:
        found.work.backends.add(backend)
        found.count += count
    if now is before:
        return found
    for logical in _different(before.placement, now.placement):
        found.work.add([before.placement.get(logical, logical), now.placement.get(logical, logical)])
        found.count += 1
    for file in OWNED_MAPS:
        _compare(file, before, now, found)
    found.work.stores |= differing(before.stores, now.stores)
    found.count += len(found.work.stores)
    return found


def _compare(file: str, before: Observation, now: Observation, found: Drift) -> None:
    """Counted by owner: one who has several rows of a file wrong is looked at once."""
    owners = _different(before.table(file), now.table(file))
    found.count += len(owners)
    if file in HOST_MAPS:
        found.work.hosts |= owners
    elif file in RULES_MAPS:
        found.work.rules |= owners
    elif file == ACME_MAP:
        found.work.rules |= {CHALLENGES} if owners else set()
    else:
        found.work.rules |= owners & {SHARED}
        found.work.backends |= owners - {SHARED}


def _different(old: Mapping[str, object], new: Mapping[str, object]) -> set[str]:
    return {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
