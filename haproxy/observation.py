"""What HAProxy answered, as the planner asks for it, and how two looks differ. Pure; `observe` does the looking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from haproxy.model import ServerRow


@dataclass(slots=True)
class Observation:
    """What HAProxy answered last, by the keys that the planner asks for; changed in place by the read-backs.

    `servers`: physical backend -> server name -> row, every backend that HAProxy has is a key.
    `placement`: logical -> physical backend. `routes`: host -> key -> value.
    """

    servers: dict[str, dict[str, ServerRow]] = field(default_factory=dict)
    placement: dict[str, str] = field(default_factory=dict)
    routes: dict[str, dict[str, str]] = field(default_factory=dict)


def drift(before: Observation, now: Observation) -> tuple[int, set[str], set[str]]:
    """What changed though nobody of ours changed it: number of differences, physical backends, hosts.

    A server that a health check took out or in is news for the planner (its backend is in the answer), not drift.
    """
    backends, count = set(), 0
    for name in before.servers.keys() | now.servers.keys():
        old, new = before.servers.get(name, {}), now.servers.get(name, {})
        if old != new:
            backends.add(name)
            count += sum(_set(old.get(s)) != _set(new.get(s)) for s in old.keys() | new.keys())
    for logical in _different(before.placement, now.placement):
        backends |= {before.placement.get(logical, logical), now.placement.get(logical, logical)}
        count += 1
    hosts = _different(before.routes, now.routes)
    return count + len(hosts), backends, hosts


def _set(row: ServerRow | None) -> tuple[object, ...] | None:
    """What only a command changes."""
    return None if row is None else (row.id, row.address, row.port, row.weight, row.admin)


def _different(old: Mapping[str, object], new: Mapping[str, object]) -> set[str]:
    return {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
