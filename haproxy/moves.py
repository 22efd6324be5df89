"""Routes for some hosts, so that no request loses its backend while a route moves to another one. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from haproxy.model import Route, RouteKey
from haproxy.observation import Observation
from haproxy.ops import Op
from haproxy.plan import plan_routes
from haproxy.routes import rows_for_host
from haproxy.runtime import codec
from haproxy.settings import Settings
from l7.kit.errors import ProtocolError


@dataclass(slots=True)
class Routes:
    """Ops for routes. `waiting`: hosts with rows that wait for a backend. `targets`: the backends that they wait
    for. `protected`: backends that they still need. `problems`: host -> why its rows can't be said."""

    ops: list[Op] = field(default_factory=list)
    waiting: set[str] = field(default_factory=set)
    targets: set[str] = field(default_factory=set)
    protected: set[str] = field(default_factory=set)
    problems: dict[str, str] = field(default_factory=dict)


def plan_hosts(
    hosts: Iterable[str],
    wanted: Mapping[str, Mapping[RouteKey, Route]],
    backends: Collection[str],
    seen: Observation,
    broken: Collection[str],
    settings: Settings,
) -> Routes:
    """Rows of `hosts`. `wanted`: routes by host. `backends`: those that are wanted; `broken`: of them, those that
    HAProxy refuses.

    A row that leads to a backend now moves to another only when that one is there; until then the row stays, and
    so must the backend that it leads to. A host whose rows can't be said keeps those that it has.
    """
    routes = Routes()
    for host in sorted(hosts):
        have = seen.routes.get(host, {})
        try:
            want = rows_for_host(host, wanted.get(host, {}))
            for op in plan_routes(want, have, settings):
                codec.encode(op)
        except (ProtocolError, ValueError) as error:
            routes.problems[host] = str(error)
            continue
        for key in want.keys() & have.keys():
            old, new = _logical(have[key]), _logical(want[key])
            missing = new in backends and (new not in seen.placement or new in broken)
            if missing and old != new and old in seen.placement:
                want[key] = have[key]
                routes.waiting.add(host)
                routes.targets.add(new)
                if old not in backends:
                    routes.protected.add(old)
        routes.ops += plan_routes(want, have, settings)
    return routes


def _logical(value: str) -> str:
    """The logical backend in the value of a row."""
    return value.partition("|")[0]
