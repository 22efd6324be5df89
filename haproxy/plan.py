"""The planner: (desired, observed, situation) -> ordered ops. Pure; nothing else decides what HAProxy is told.

Order is what keeps requests alive (make before break): first everything that opens (backend, placeholder, servers,
enabling, the row that names the backend), then the routes, then everything that closes. A plan that is cut after
any prefix leaves a state from which the next plan goes on; a plan on its own result is empty.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from haproxy.capabilities import Capabilities
from haproxy.checks import check_rows
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
from haproxy.policy import hold_server, policy_of, runtime_id, task_of
from haproxy.settings import BACKENDS_MAP, CHECK_MAPS, ROUTES_MAP, RULES_MAPS, Settings
from haproxy.tables import Rows, drop_rows, put_rows
from haproxy.targets import Known, Target

READY, LEAVING = ServerState.READY, ServerState.LEAVING


@dataclass(frozen=True, slots=True)
class Situation:
    """What the planner has to know of a backend besides desired and observed. Server names throughout.

    `accepting`: answered the probe. `hold`: requests may wait for a successor. `due`: Swarm is about to stop them.
    `overdue`: past the drain deadline, what is left may be cut. `waiting`: a deletion was refused a moment ago.
    `expired`: earlier generations whose successors have had their time. `blocked`: can't be added, since the
    certificates that they name are not there yet; earlier generations stand in.
    """

    accepting: frozenset[str] = frozenset()
    hold: bool = True
    due: frozenset[str] = frozenset()
    overdue: frozenset[str] = frozenset()
    waiting: frozenset[str] = frozenset()
    expired: frozenset[str] = frozenset()
    blocked: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a logical backend lives in HAProxy, as observed.

    `physical`: the HAProxy backend that serves it or is to serve it. `mapped`: its row in backends.map says so.
    `exists`: HAProxy has the physical backend. `rows`: its servers by name. `misplaced`: its row in backends.map
    names another backend. `foreign`: somebody else's backend or frontend has the name. `checks`: its rows in the
    check maps, be they an earlier tenant's.
    """

    physical: str
    mapped: bool
    exists: bool
    rows: Mapping[str, ServerRow] = field(default_factory=dict)
    misplaced: bool = False
    foreign: bool = False
    checks: Rows = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BackendPlan:
    """Ops of one backend, or of the rules of a service: those before and those after the routes."""

    opening: tuple[Op, ...] = ()
    closing: tuple[Op, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.opening or self.closing)


def join(backends: Iterable[BackendPlan], routes: Iterable[Op], stores: Iterable[BackendPlan] = ()) -> list[Op]:
    """One ordered list for several backends, the routes that lead to them, and the TLS stores that these and hosts
    name, in an order in which none names one that comes after it."""
    inner, outer = list(backends), list(stores)
    opening = [op for plan in (*outer, *inner) for op in plan.opening]
    closing = [op for plan in (*inner, *reversed(outer)) for op in plan.closing]
    return [*opening, *routes, *closing]


def plan_backend(
    name: str,
    known: Known | None,
    place: Place,
    situation: Situation,
    settings: Settings,
    capabilities: Capabilities,
) -> BackendPlan:
    """Ops for the logical backend `name`; `known`: what it is to have, None: it is to go."""
    want = None if known is None else known.want
    if place.foreign:
        return BackendPlan(tuple(_claim(want, place)))
    if known is None or want is None:
        return BackendPlan((), tuple(_remove(name, place, situation, settings, capabilities)))
    targets, wanted = known.targets, known.servers
    opening = [
        *_open_backend(want, place, situation.hold, capabilities),
        *_check_ops(check_rows(place.physical, want), place.checks, settings),
        *_add_servers(targets, place, situation),
        *_enable_servers(wanted, place, situation),
        *_map(name, place, settings),
    ]
    closing = (*_close_hold(place, situation.hold), *_close_servers(known, place, situation))
    return BackendPlan(tuple(opening), closing)


def plan_leaving(place: Place, going: Collection[str]) -> BackendPlan:
    """Ops for a backend that nobody wants and that routes still lead to: tasks of it that go take no new requests.

    The caller sees to it that another one is left.
    """
    rows = (row for row in _servers(place) if row.enabled and task_of(row.name) in going)
    return BackendPlan((), tuple(DisableServer(place.physical, row.name) for row in rows))


def plan_rules(want: Rows, have: Rows, settings: Settings) -> BackendPlan:
    """Ops for the rows of one service's rules: features.map says what else is asked, so it is last of what comes
    and first of what goes."""
    return plan_rows(want, have, RULES_MAPS, settings)


def plan_rows(want: Rows, have: Rows, files: Iterable[str], settings: Settings) -> BackendPlan:
    """Ops for the rows that one owner has in these files."""
    files = tuple(files)
    return BackendPlan(tuple(put_rows(want, have, files, settings)), tuple(drop_rows(want, have, files, settings)))


def plan_checks(want: Rows, have: Rows, settings: Settings) -> BackendPlan:
    """Ops for rows of the check maps that are no placed backend's."""
    return BackendPlan((), tuple(_check_ops(want, have, settings)))


def plan_routes(
    want: Mapping[str, str], have: Mapping[str, str], settings: Settings, file: str = ROUTES_MAP
) -> list[Op]:
    """Rows of routes.map (or tcp.map) for a host: those wanted, those there. New and changed ones before removals.

    Of new rows the longest go first and a host's sentinel last, of removed ones the other way round: in between,
    a path is answered by what was there or by what comes, never by the sentinel in the middle of both.
    """
    path = settings.file(file)
    ops: list[Op] = []
    for key in sorted(want, reverse=True):
        if key not in have:
            ops.append(AddMapRow(path, key, want[key]))
        elif have[key] != want[key]:
            ops.append(SetMapRow(path, key, want[key]))
    return ops + [DeleteMapRow(path, key) for key in sorted(have.keys() - want.keys())]


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


def _check_ops(want: Rows, have: Rows, settings: Settings) -> list[Op]:
    """All of it before a server is checked: a spare may have had another tenant."""
    return [*put_rows(want, have, CHECK_MAPS, settings), *drop_rows(want, have, CHECK_MAPS, settings)]


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


def _add_servers(targets: Mapping[str, Target], place: Place, situation: Situation) -> Iterator[Op]:
    new = targets.keys() - place.rows.keys() - situation.blocked
    used = {row.id for row in place.rows.values()} if new else set[int]()
    for name in sorted(new):
        server, keywords = targets[name].server, targets[name].keywords
        if server.state is LEAVING:
            continue
        number = runtime_id(server, name, used)
        used.add(number)
        yield AddServer(place.physical, name, server.address, server.port, number, server.weight, keywords)
    for name in sorted([name for name, row in place.rows.items() if _weighs_otherwise(row, targets.get(name))]):
        if name not in situation.blocked:
            yield SetWeight(place.physical, name, targets[name].server.weight)


def _weighs_otherwise(row: ServerRow, target: Target | None) -> bool:
    return target is not None and row.weight != target.server.weight


def _enable_servers(wanted: Mapping[str, Server], place: Place, situation: Situation) -> Iterator[Op]:
    """HAProxy's checks come after enabling: its own first one waits a full interval (management guide, 9.3)."""
    for name in sorted([name for name, server in wanted.items() if not _serves(place.rows.get(name), server)]):
        row = place.rows.get(name)
        if row is not None and row.enabled:
            yield EnableHealth(place.physical, name)
        elif name in situation.accepting and (row is not None or name not in situation.blocked):
            yield EnableServer(place.physical, name)
            yield EnableHealth(place.physical, name)


def _serves(row: ServerRow | None, server: Server) -> bool:
    """Whether nothing is left to be said so that it does, or it is not to."""
    return server.state is not READY or (row is not None and row.check_enabled and row.enabled)


def _close_servers(known: Known, place: Place, situation: Situation) -> Iterator[Op]:
    wanted, last = known.servers, known.want.expected and not _usable(known.servers, place)
    for name in sorted([name for name in place.rows if not _stays(wanted.get(name)) and name != HOLD]):
        row, server = place.rows[name], wanted.get(name)
        successor = known.successor(task_of(name)) if server is None else None
        if successor is not None and wanted[successor].state is not LEAVING:
            serves = _serves_on(row, place.rows.get(successor), situation)
        else:
            serves = last and _still_serves(row, server or wanted.get(successor or ""), situation)
        if row.enabled and not serves:
            yield DisableServer(place.physical, name)
        elif row.enabled:
            continue
        if server is None:
            yield from _delete(place.physical, name, situation)


def _stays(server: Server | None) -> bool:
    return server is not None and server.state is not LEAVING


def _usable(wanted: Mapping[str, Server], place: Place) -> bool:
    """Whether a server that is to stay takes requests. What this plan itself enables counts in the next one:
    HAProxy may refuse it."""
    ready = (name for name, server in wanted.items() if server.state is READY)
    return any(name in place.rows and place.rows[name].usable for name in ready)


def _serves_on(row: ServerRow, successor: ServerRow | None, situation: Situation) -> bool:
    """An earlier generation of a task that stays goes on until its own successor can take over, or has had its
    time. What this plan itself enables counts in the next one."""
    ready = successor is not None and successor.usable
    return row.up and not ready and row.name not in situation.expired


def _still_serves(row: ServerRow, server: Server | None, situation: Situation) -> bool:
    """A backend's last server may go on until a successor is there, or until it is about to be stopped.

    `server`: its task, in whatever generation; None: the task is gone.
    """
    return row.up and row.name not in situation.due and server is not None


def _delete(physical: str, name: str, situation: Situation) -> Iterator[Op]:
    if name in situation.waiting:
        return
    if name in situation.overdue:
        yield ShutdownSessions(physical, name)
    yield DeleteServer(physical, name)


def _servers(place: Place) -> list[ServerRow]:
    return [row for name, row in sorted(place.rows.items()) if name != HOLD]


def _remove(
    name: str, place: Place, situation: Situation, settings: Settings, capabilities: Capabilities
) -> Iterator[Op]:
    """Servers first; once HAProxy says that they are gone, what was said of it, the placeholder and the backend."""
    hold = place.rows.get(HOLD)
    gone = not _servers(place)
    if gone:
        yield from drop_rows({}, place.checks, CHECK_MAPS, settings)
    if gone and (place.mapped or place.misplaced):
        yield DeleteMapRow(settings.file(BACKENDS_MAP), name)
    if hold is not None and hold.enabled:
        yield DisableServer(place.physical, HOLD)
    for row in _servers(place):
        if row.enabled:
            yield DisableServer(place.physical, row.name)
        yield from _delete(place.physical, row.name, situation)
    if not gone or not place.exists or not capabilities.dynamic_backends or HOLD in situation.waiting:
        return
    yield UnpublishBackend(place.physical)
    if hold is not None:
        yield DeleteServer(place.physical, HOLD)
    yield DeleteBackend(place.physical)
