"""Routes for some hosts, so that no request loses its backend while a route moves to another one. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from haproxy.model import HOLD, Route, RouteKey
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
    for. `protected`: backends that they still need. `late`: host -> backends without a server as yet, to which new
    rows will lead. `problems`: host -> why its rows can't be said."""

    ops: list[Op] = field(default_factory=list)
    waiting: set[str] = field(default_factory=set)
    targets: set[str] = field(default_factory=set)
    protected: set[str] = field(default_factory=set)
    late: dict[str, set[str]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prospects:
    """`wanted`: the backends that there are to be. `broken`: of them, those that HAProxy refuses. `may_come`:
    whether requests to a backend without a server would wait for one."""

    wanted: Collection[str]
    broken: Collection[str] = ()
    may_come: Callable[[str], bool] = lambda backend: False


def plan_hosts(
    hosts: Iterable[str],
    wanted: Mapping[str, Mapping[RouteKey, Route]],
    backends: Prospects,
    seen: Observation,
    settings: Settings,
) -> Routes:
    """Rows of `hosts`. `wanted`: routes by host.

    A row that leads to a backend now moves to another only when that one is there; until then the row stays, and
    so must the backend that it leads to. A path that another row's backend answers becomes a row of its own only
    when its own backend can answer. A host whose rows can't be said keeps those that it has.
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
        if late := _withhold(want, have, seen, backends.may_come):
            routes.late[host] = late
        for key in want.keys() & have.keys():
            old, new = _logical(have[key]), _logical(want[key])
            missing = new in backends.wanted and (new not in seen.placement or new in backends.broken)
            if missing and old != new and old in seen.placement:
                want[key] = have[key]
                routes.waiting.add(host)
                routes.targets.add(new)
                if old not in backends.wanted:
                    routes.protected.add(old)
        routes.ops += plan_routes(want, have, settings)
    return routes


def _withhold(
    want: dict[str, str], have: Mapping[str, str], seen: Observation, may_come: Callable[[str], bool]
) -> set[str]:
    """Takes rows out of `want` that would have requests wait which are answered now; the backends they wait for."""
    late = set()
    for key in want.keys() - have.keys():
        new, above = _logical(want[key]), _above(key, have)
        stays = above in have and want.get(above) == have[above]
        if stays and may_come(new) and not _answers(new, seen) and _answers(_logical(have[above]), seen):
            late.add(new)
            del want[key]
    return late


def _above(key: str, have: Mapping[str, str]) -> str:
    """The row that requests for `key` find as long as it has none; "" for none."""
    while key and key not in have:
        key = key[: key.rfind("/", 0, -1) + 1]
    return key


def _answers(backend: str, seen: Observation) -> bool:
    """Whether a server of a logical backend takes requests."""
    rows = seen.servers.get(seen.placement.get(backend, ""), {})
    return any(row.usable for name, row in rows.items() if name != HOLD)


def _logical(value: str) -> str:
    """The logical backend in the value of a row."""
    return value.partition("|")[0]
