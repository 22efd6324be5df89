"""Reads back what HAProxy itself says: the whole at start and in audits, a backend or a row after each change."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from haproxy.model import ServerRow
from haproxy.routes import row_host
from haproxy.runtime.client import Runtime
from haproxy.settings import BACKENDS_MAP, ROUTES_MAP, Settings
from l7.kit.errors import Rejected

FEW_ROWS = 50
"""Up to here, rows of a map are read one by one; beyond, the whole map is cheaper."""


@dataclass(slots=True)
class Observation:
    """What HAProxy answered last, by the keys that the planner asks for; changed in place by the read-backs.

    `servers`: physical backend -> server name -> row, every backend that HAProxy has is a key.
    `placement`: logical -> physical backend. `routes`: host -> key -> value.
    """

    servers: dict[str, dict[str, ServerRow]] = field(default_factory=dict)
    placement: dict[str, str] = field(default_factory=dict)
    routes: dict[str, dict[str, str]] = field(default_factory=dict)


def read_servers(runtime: Runtime) -> dict[str, dict[str, ServerRow]]:
    """Every backend of HAProxy with its servers."""
    servers: dict[str, dict[str, ServerRow]] = {name: {} for name in runtime.backends()}
    for row in runtime.servers_state():
        servers.setdefault(row.backend, {})[row.name] = row
    return servers


def read_all(runtime: Runtime, settings: Settings) -> Observation:
    """Everything, for the start and for audits."""
    routes: dict[str, dict[str, str]] = defaultdict(dict)
    for key, value in runtime.map_rows(settings.file(ROUTES_MAP)):
        routes[row_host(key)][key] = value
    placement = dict(runtime.map_rows(settings.file(BACKENDS_MAP)))
    return Observation(read_servers(runtime), placement, dict(routes))


def read_backends(runtime: Runtime, settings: Settings, seen: Observation, homes: Mapping[str, str]) -> None:
    """Refresh `seen` for some logical backends: their rows, and the servers of where they live (`homes`)."""
    file = settings.file(BACKENDS_MAP)
    for name, home in homes.items():
        physical = runtime.get_map_row(file, name)
        if physical is None:
            seen.placement.pop(name, None)
        else:
            seen.placement[name] = physical
        _read_backend(runtime, seen, home)


def _read_backend(runtime: Runtime, seen: Observation, physical: str) -> None:
    try:
        seen.servers[physical] = {row.name: row for row in runtime.servers_state(physical)}
    except Rejected:  # no such backend: what the last plan wanted, or will make
        seen.servers.pop(physical, None)


def read_routes(runtime: Runtime, settings: Settings, seen: Observation, keys: Iterable[str]) -> None:
    """Refresh `seen` for some keys of routes.map."""
    file, wanted = settings.file(ROUTES_MAP), list(keys)
    rows = dict(runtime.map_rows(file)) if len(wanted) > FEW_ROWS else None
    for key in wanted:
        value = rows.get(key) if rows is not None else runtime.get_map_row(file, key)
        of_host = seen.routes.setdefault(row_host(key), {})
        if value is None:
            of_host.pop(key, None)
        else:
            of_host[key] = value
        if not of_host:
            del seen.routes[row_host(key)]


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
