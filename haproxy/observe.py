"""Reads back what HAProxy itself says: the whole at start and in audits, a backend or a row after each change."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from haproxy.model import ServerRow
from haproxy.observation import Observation
from haproxy.routes import row_host
from haproxy.runtime.client import Runtime
from haproxy.settings import BACKENDS_MAP, ROUTES_MAP, Settings
from l7.kit.errors import Rejected

FEW_ROWS = 50
"""Up to here, rows of a map are read one by one; beyond, the whole map is cheaper."""


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
