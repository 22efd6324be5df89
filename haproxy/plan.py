"""The planner: (desired, observed, situation) -> ordered ops. Pure; nothing else decides what HAProxy is told.

Order is what keeps requests alive (make before break): first everything that opens (backend, placeholder, servers,
enabling, the row that names the backend), then the routes, then everything that closes. A plan that is cut after
any prefix leaves a state from which the next plan goes on; a plan on its own result is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from haproxy.capabilities import Capabilities
from haproxy.model import HOLD, Backend, Server, ServerRow, ServerState
from haproxy.ops import (
    AddBackend,
    AddMapRow,
    AddServer,
    DeleteBackend,
    DeleteMapRow,
    DeleteServer,
    DisableServer,
    EnableHealth,
    EnableServer,
    Op,
    PublishBackend,
    SetMapRow,
    SetWeight,
    ShutdownSessions,
    UnpublishBackend,
)
from haproxy.policy import hold_server, policy_of, runtime_id, server_keywords, server_name
from haproxy.settings import BACKENDS_MAP, ROUTES_MAP, Settings
from l7 import _fastpath


@dataclass(frozen=True, slots=True)
class Situation:
    """What the planner has to know of a backend besides desired and observed. Server names throughout.

    `accepting`: answered the probe. `hold`: requests may wait for a successor. `due`: Swarm is about to stop them.
    `overdue`: past the drain deadline, what is left may be cut. `waiting`: a deletion was refused a moment ago.
    """

    accepting: frozenset[str] = frozenset()
    hold: bool = True
    due: frozenset[str] = frozenset()
    overdue: frozenset[str] = frozenset()
    waiting: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a logical backend lives in HAProxy, as observed.

    `physical`: the HAProxy backend that serves it or is to serve it. `mapped`: its row in backends.map says so.
    `exists`: HAProxy has the physical backend. `rows`: its servers by name. `misplaced`: its row in backends.map
    names another backend. `foreign`: somebody else's backend or frontend has the name.
    """

    physical: str
    mapped: bool
    exists: bool
    rows: Mapping[str, ServerRow] = field(default_factory=dict)
    misplaced: bool = False
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class BackendPlan:
    """Ops of one backend: those before and those after the routes."""

    opening: tuple[Op, ...] = ()
    closing: tuple[Op, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.opening or self.closing)


def join(backends: Iterable[BackendPlan], routes: Iterable[Op]) -> list[Op]:
    """One ordered list for several backends and the routes that lead to them."""
    plans = list(backends)
    opening = [op for plan in plans for op in plan.opening]
    closing = [op for plan in plans for op in plan.closing]
    return [*opening, *routes, *closing]


def plan_backend(
    name: str,
    want: Backend | None,
    place: Place,
    situation: Situation,
    settings: Settings,
    capabilities: Capabilities,
) -> BackendPlan:
    """Ops for the logical backend `name`; `want` None: it is to go."""
    if place.foreign:
        return BackendPlan(tuple(_claim(want, place)))
    if want is None:
        unmap = (place.mapped or place.misplaced) and not _servers(place)
        row = (DeleteMapRow(settings.file(BACKENDS_MAP), name),) if unmap else ()
        return BackendPlan((), (*row, *_remove(place, situation, capabilities)))
    keywords = server_keywords(settings, capabilities, want)
    wanted = {server_name(server, keywords): server for server in want.servers.values()}
    opening = [
        *_open_backend(want, place, situation.hold, capabilities),
        *_add_servers(wanted, keywords, place),
        *_enable_servers(wanted, place, situation),
        *_map(name, place, settings),
    ]
    closing = (*_close_hold(place, situation.hold), *_close_servers(want, wanted, place, situation))
    return BackendPlan(tuple(opening), closing)


def plan_routes(want: Mapping[str, str], have: Mapping[str, str], settings: Settings) -> list[Op]:
    """Rows of routes.map for some hosts: those wanted, those there. New and changed rows go before removals.

    Of new rows the longest go first and a host's sentinel last, of removed ones the other way round: in between,
    a path is answered by what was there or by what comes, never by the sentinel in the middle of both.
    """
    file = settings.file(ROUTES_MAP)
    ops: list[Op] = []
    for key in sorted(want, reverse=True):
        if key not in have:
            ops.append(AddMapRow(file, key, want[key]))
        elif have[key] != want[key]:
            ops.append(SetMapRow(file, key, want[key]))
    return ops + [DeleteMapRow(file, key) for key in sorted(have.keys() - want.keys())]


def _claim(want: Backend | None, place: Place) -> Iterator[Op]:
    """HAProxy refuses what is somebody else's, and says why. What an interrupted plan of ours left behind has no
    server yet and is not published: that it deletes, and the next plan starts anew."""
    if want is not None and place.rows:
        yield AddBackend(place.physical, policy_of(want).name)
    elif want is not None:
        yield DeleteBackend(place.physical)


def _open_backend(want: Backend, place: Place, hold: bool, capabilities: Capabilities) -> Iterator[Op]:
    """The placeholder comes before publishing: it marks the backend as ours, and as not half done."""
    if capabilities.dynamic_backends and not place.exists:
        yield AddBackend(place.physical, policy_of(want).name)
    row = place.rows.get(HOLD)
    if row is None:
        yield hold_server(place.physical)
    if hold and not (row is not None and row.enabled):
        yield EnableServer(place.physical, HOLD)
    if capabilities.dynamic_backends and not (place.exists and place.mapped):
        yield PublishBackend(place.physical)


def _map(name: str, place: Place, settings: Settings) -> Iterator[Op]:
    if place.misplaced:
        yield SetMapRow(settings.file(BACKENDS_MAP), name, place.physical)
    elif not place.mapped:
        yield AddMapRow(settings.file(BACKENDS_MAP), name, place.physical)


def _close_hold(place: Place, hold: bool) -> Iterator[Op]:
    """Last, so that a server which is enabled in the same plan takes what waits."""
    row = place.rows.get(HOLD)
    if not hold and row is not None and row.enabled:
        yield DisableServer(place.physical, HOLD)


def _add_servers(wanted: Mapping[str, Server], keywords: tuple[str, ...], place: Place) -> Iterator[Op]:
    have = {name: (row.weight,) for name, row in place.rows.items() if name != HOLD}
    difference = _fastpath.diff({name: (server.weight,) for name, server in wanted.items()}, have)
    used = {row.id for row in place.rows.values()}
    for name in difference.added:
        server = wanted[name]
        if server.state is ServerState.LEAVING:
            continue
        number = runtime_id(server, name, used)
        used.add(number)
        yield AddServer(place.physical, name, server.address, server.port, number, server.weight, keywords)
    for name in difference.changed:
        yield SetWeight(place.physical, name, wanted[name].weight)


def _enable_servers(wanted: Mapping[str, Server], place: Place, situation: Situation) -> Iterator[Op]:
    """HAProxy's checks come after enabling: its own first one waits a full interval (management guide, 9.3)."""
    for name in sorted(wanted):
        row = place.rows.get(name)
        if wanted[name].state is not ServerState.READY:
            continue
        if row is not None and row.enabled:
            if not row.check_enabled:
                yield EnableHealth(place.physical, name)
        elif name in situation.accepting:
            yield EnableServer(place.physical, name)
            yield EnableHealth(place.physical, name)


def _close_servers(want: Backend, wanted: Mapping[str, Server], place: Place, situation: Situation) -> Iterator[Op]:
    last = want.expected and not _usable(wanted, place)
    for name, row in sorted(place.rows.items()):
        server = wanted.get(name)
        if name == HOLD or (server is not None and server.state is not ServerState.LEAVING):
            continue
        if row.enabled and not (last and _still_serves(row, server, want, situation)):
            yield DisableServer(place.physical, name)
        elif row.enabled:
            continue
        if server is None:
            yield from _delete(place.physical, name, situation)


def _usable(wanted: Mapping[str, Server], place: Place) -> bool:
    """Whether a server that is to stay takes requests. What this plan itself enables counts in the next one:
    HAProxy may refuse it."""
    ready = (name for name, server in wanted.items() if server.state is ServerState.READY)
    return any(name in place.rows and place.rows[name].usable for name in ready)


def _still_serves(row: ServerRow, server: Server | None, want: Backend, situation: Situation) -> bool:
    """A backend's last server may go on until a successor is there, or until it is about to be stopped.

    `server` None: an earlier generation of a task that is still wanted serves on too; a task that is gone can't.
    """
    if not row.up or row.name in situation.due:
        return False
    return server is not None or row.name.partition(".")[0] in want.servers


def _delete(physical: str, name: str, situation: Situation) -> Iterator[Op]:
    if name in situation.waiting:
        return
    if name in situation.overdue:
        yield ShutdownSessions(physical, name)
    yield DeleteServer(physical, name)


def _servers(place: Place) -> list[ServerRow]:
    return [row for name, row in sorted(place.rows.items()) if name != HOLD]


def _remove(place: Place, situation: Situation, capabilities: Capabilities) -> Iterator[Op]:
    """Servers first; once HAProxy says that they are gone, the placeholder and the backend itself."""
    hold = place.rows.get(HOLD)
    if hold is not None and hold.enabled:
        yield DisableServer(place.physical, HOLD)
    for row in _servers(place):
        if row.enabled:
            yield DisableServer(place.physical, row.name)
        yield from _delete(place.physical, row.name, situation)
    if _servers(place) or not place.exists or not capabilities.dynamic_backends or HOLD in situation.waiting:
        return
    yield UnpublishBackend(place.physical)
    if hold is not None:
        yield DeleteServer(place.physical, HOLD)
    yield DeleteBackend(place.physical)
