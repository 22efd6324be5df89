"""Routes for some hosts, so that no request loses its backend while a route moves to another one. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from haproxy.features import canary_rows, sni_rows, tcp_rows
from haproxy.mirror import name_of
from haproxy.model import Backend, Route, RouteKey, ServerState
from haproxy.observation import Observation
from haproxy.ops import DeleteMapRow, Op, SetMapRow
from haproxy.plan import plan_routes
from haproxy.policy import task_of
from haproxy.routes import CLOSED, NO_BACKEND, is_sni, is_tcp, rows_for_host
from haproxy.runtime import codec
from haproxy.settings import CANARY_MAP, ROUTES_MAP, SNI_MAP, TCP_MAP, Settings
from haproxy.tables import HOST_MAPS, drop_rows, put_rows
from haproxy.work import rules_owner
from l7.kit.errors import ProtocolError

Wanted = dict[str, dict[str, str]]
"""file -> key -> value, of one host"""

RULES_FIELD = 3
"""Of a row of routes.map (`haproxy.routes`), counted from 0."""


@dataclass(slots=True)
class Routes:
    """Ops for routes, and what they mean for others.

    `waiting`: hosts with rows that wait for backends that HAProxy refuses. `targets`: the backends that rows wait
    for. `protected`: backends that are not wanted and that rows still lead to -> tasks of theirs that go. `ruling`:
    rules that are not wanted and still apply. `released`: what is not wanted, and was led to until now (`work`'s
    names for backends and rules). `late`: host -> whatever makes its rows worth another look when it changes.
    `problems`: host -> why its rows can't be said. `closing`: host whose TLS is, or may yet be, refused -> what
    that waits for; requests without TLS do not.
    """

    ops: list[Op] = field(default_factory=list)
    waiting: set[str] = field(default_factory=set)
    targets: set[str] = field(default_factory=set)
    protected: dict[str, set[str]] = field(default_factory=dict)
    ruling: set[str] = field(default_factory=set)
    released: set[str] = field(default_factory=set)
    late: dict[str, set[str]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    closing: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prospects:
    """`wanted`: the backends that there are to be. `broken`: of them, those that HAProxy refuses. `may_come`:
    whether requests to a backend without a server would wait for one. `patient`: whether routes may wait (longer)
    for a backend to take over. `rules`: names of those that are wanted; `unsaid`: of them, those that HAProxy
    refuses and has no earlier version of. `terminated`: whether TLS of a host ends here now. `awaited`: what TLS of
    a host still needs to end here (`haproxy.work`'s name), "" where it does not have to. `closed`: whether TLS of a
    host is refused until then."""

    wanted: Mapping[str, Backend]
    broken: Collection[str] = ()
    may_come: Callable[[str], bool] = lambda backend: False
    patient: Callable[[str], bool] = lambda backend: True
    rules: Collection[str] = ()
    unsaid: Collection[str] = ()
    terminated: Callable[[str], bool] = lambda host: False
    awaited: Callable[[str], str] = lambda host: ""
    closed: Callable[[str], bool] = lambda host: False


def rows_of_host(host: str, routes: Mapping[RouteKey, Route], closed: bool = False) -> Wanted:
    """All that is to be said of a host, a TCP port, or connections of a host by TLS. Raises ValueError for what
    can't be said."""
    if is_tcp(host):
        return {TCP_MAP: tcp_rows(routes.values())}
    if is_sni(host):
        return {SNI_MAP: sni_rows(routes.values(), (host[1:],) if closed else ())}
    return {CANARY_MAP: canary_rows(host, routes), ROUTES_MAP: rows_for_host(host, routes)}


def plan_hosts(
    hosts: Iterable[str],
    wanted: Mapping[str, Mapping[RouteKey, Route]],
    backends: Prospects,
    seen: Observation,
    settings: Settings,
) -> Routes:
    """Rows of `hosts`. `wanted`: routes by host.

    A row that leads to a backend now moves to another one when that can take over; until then the row stays, and so
    must the backend that it leads to. A path that another row's backend answers becomes a row of its own only when
    its own backend can answer. A host whose rows can't be said keeps those that it has, and so does one whose TLS
    ends here until another takes its connections.
    """
    routes = Routes()
    for host in sorted(hosts, key=lambda host: (not is_sni(host), host)):
        have = seen.rows(HOST_MAPS, host)
        waits = routes.late.get(f"@{host}")
        try:
            kept = {file: dict(rows) for file, rows in have.items()}
            closed = is_sni(host) and backends.closed(host[1:])
            want = kept if waits else rows_of_host(host, wanted.get(host, {}), closed)
            for op in _ops(want, have, settings):
                codec.encode(op)
        except (ProtocolError, ValueError) as error:
            routes.problems[host] = str(error)
            continue
        settling = _Host(host, want, have, backends, seen, routes)
        settling.stay(waits) if waits else settling.settle()
        if is_sni(host) and (what := backends.awaited(host[1:])):
            routes.closing[host] = what
        ops = _ops(want, have, settings)
        routes.released |= _released(ops, have, backends, settings)
        routes.ops += ops
    routes.released -= routes.protected.keys() | {rules_owner(name) for name in routes.ruling}
    return routes


def _ops(want: Wanted, have: Wanted, settings: Settings) -> list[Op]:
    """Canaries are there before the rows that ask for them, and go after them."""
    return [
        *put_rows(want, have, (CANARY_MAP,), settings),
        *plan_routes(want.get(ROUTES_MAP, {}), have.get(ROUTES_MAP, {}), settings),
        *plan_routes(want.get(TCP_MAP, {}), have.get(TCP_MAP, {}), settings, TCP_MAP),
        *plan_routes(want.get(SNI_MAP, {}), have.get(SNI_MAP, {}), settings, SNI_MAP),
        *drop_rows(want, have, (CANARY_MAP,), settings),
    ]


@dataclass(slots=True)
class _Host:
    """One host: takes back out of `want` what has to wait, and notes in `routes` for whom."""

    host: str
    want: Wanted
    have: Wanted
    backends: Prospects
    seen: Observation
    routes: Routes

    def stay(self, late: set[str]) -> None:
        """All that there is, until the connections of this host are taken elsewhere."""
        self.routes.late[self.host] = set(late)
        for file, have in self.have.items():
            for value in have.values():
                self._keep(file, value)

    def settle(self) -> None:
        for file, want in self.want.items():
            have = self.have.get(file, {})
            for key in [key for key in want if self._must_wait(file, key, want[key], have.get(key))]:
                if key in have:
                    want[key] = have[key]
                    self._keep(file, have[key])
                else:
                    del want[key]
        if SNI_MAP in self.want:
            self._pass_on(self.want[SNI_MAP], self.have.get(SNI_MAP, {}))
        if ROUTES_MAP in self.want:
            self._withhold(self.want[ROUTES_MAP], self.have.get(ROUTES_MAP, {}))

    def _pass_on(self, want: dict[str, str], have: Mapping[str, str]) -> None:
        """Puts back rows of connections that are to end here and can't yet, while somebody takes them."""
        for key, value in have.items():
            new, old = backend_in(SNI_MAP, want.get(key, "")), backend_in(SNI_MAP, value)
            what = self.backends.awaited(key)
            if what and old and not new and self.seen.usable_tasks(old):
                want[key] = value
                self._late(what)
                self._keep(SNI_MAP, value)

    def _withhold(self, want: dict[str, str], have: Mapping[str, str]) -> None:
        """Takes rows out of `want` that would have requests wait which are answered now."""
        for key in want.keys() - have.keys():
            new, above = backend_in(ROUTES_MAP, want[key]), _above(key, have)
            stays = above in have and want.get(above) == have[above]
            answered = stays and self.seen.usable_tasks(backend_in(ROUTES_MAP, have[above]))
            if answered and self.backends.may_come(new) and not self.seen.usable_tasks(new):
                self._late(new)
                del want[key]

    def _must_wait(self, file: str, key: str, value: str, before: str | None) -> bool:
        """Whether a row can't be as it is wanted yet. No request ever passes without its rules."""
        if file == ROUTES_MAP and rules_in(value) in self.backends.unsaid:
            self._late(rules_owner(rules_in(value)))
            self.routes.waiting.add(self.host)
            return True
        new, old = backend_in(file, value), backend_in(file, before or "")
        if new == old or new not in self.backends.wanted:
            return False
        if before is None:
            # A new row leads nowhere until the next pass: only a canary's would take requests from another.
            if file == SNI_MAP and self.backends.terminated(key):
                return not self._answers(new)
            return file == CANARY_MAP and not self._is_there(new)
        if not old:  # 404, or a redirect: an answer that is better than none
            return not self._is_there(new)
        if old not in self.seen.placement or self._takes_over(new, old):
            return False
        self._late(new)
        self._late(old)
        return True

    def _answers(self, new: str) -> bool:
        """Whether connections that ended here until now can go to `new`, or have waited for long enough."""
        if not self._is_there(new):
            return False
        if self.seen.usable_tasks(new) or not (self.backends.may_come(new) and self.backends.patient(new)):
            return True
        self.routes.targets.add(new)
        self._late(new)
        return False

    def _is_there(self, new: str) -> bool:
        there = new in self.seen.placement and new not in self.backends.broken
        if not there:
            self.routes.targets.add(new)
            self._late(new)
            if new in self.backends.broken:
                self.routes.waiting.add(self.host)
        return there

    def _takes_over(self, new: str, old: str) -> bool:
        """Whether requests to `old` can go to `new` from now on.

        Each task of the old one that stays has to be usable in the new one, and any at all if one may come: else
        few servers would get the load of many, or requests wait that are answered now.
        """
        if not self._is_there(new):
            return False
        want = self.backends.wanted[new].servers
        before = self.seen.usable_tasks(old) - self._going(new, old)
        now = self.seen.usable_tasks(new)
        stay = {task for task in before if task in want and want[task].state is ServerState.READY}
        if not before or not self.backends.patient(new):
            return True
        if stay <= now and (now or not self.backends.may_come(new)):
            return True
        self.routes.targets.add(new)
        return False

    def _going(self, new: str, old: str) -> set[str]:
        """Tasks of `old` that are known to go."""
        want = self.backends.wanted[new].servers
        leaving = {task for task, server in want.items() if server.state is ServerState.LEAVING}
        if name_of(new) != name_of(old):
            return leaving
        tasks = {task_of(name) for name in self.seen.of(old)}
        return leaving | {task for task in tasks if task not in want}

    def _keep(self, file: str, value: str) -> None:
        """What the row that stays needs."""
        old = backend_in(file, value)
        if old and old not in self.backends.wanted:
            new = {name for name in self.routes.late.get(self.host, ()) if name in self.backends.wanted}
            going = {task for name in new for task in self._going(name, old)}
            self.routes.protected.setdefault(old, set()).update(going)
        if file == ROUTES_MAP and (rules := rules_in(value)) and rules not in self.backends.rules:
            self.routes.ruling.add(rules)
            self._late(rules_owner(rules))

    def _late(self, what: str) -> None:
        self.routes.late.setdefault(self.host, set()).add(what)


def _released(ops: Iterable[Op], have: Wanted, backends: Prospects, settings: Settings) -> set[str]:
    """Backends and rules that rows led to, and that are no longer wanted."""
    files = {settings.file(file): file for file in HOST_MAPS}
    released = set()
    for op in ops:
        if not isinstance(op, SetMapRow | DeleteMapRow):
            continue
        value = have[files[op.map]][op.key]
        old = backend_in(files[op.map], value)
        if old and old not in backends.wanted:
            released.add(old)
        rules = rules_in(value) if files[op.map] == ROUTES_MAP else ""
        if rules and rules not in backends.rules:
            released.add(rules_owner(rules))
    return released


def _above(key: str, have: Mapping[str, str]) -> str:
    """The row that requests for `key` find as long as it has none; "" for none."""
    while key and key not in have:
        key = key[: key.rfind("/", 0, -1) + 1]
    return key


def backend_in(file: str, value: str) -> str:
    """The logical backend in the value of a row, "" for none."""
    found = value.partition("|")[0] if file == ROUTES_MAP else value
    return "" if found in (NO_BACKEND, CLOSED) else found


def rules_in(value: str) -> str:
    """The name of the rules in the value of a row of routes.map, "" for none."""
    fields = value.split("|")
    return fields[RULES_FIELD] if len(fields) > RULES_FIELD else ""
