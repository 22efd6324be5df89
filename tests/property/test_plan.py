"""The planner on a model of HAProxy: whatever is wanted, it gets there without harm on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haproxy import ops, policy
from haproxy.capabilities import Capabilities, capabilities
from haproxy.checks import check_rows
from haproxy.features import canary_rows, rules_rows, tcp_rows
from haproxy.mirror import key_of
from haproxy.model import (
    HOLD,
    Backend,
    Balance,
    Canary,
    Desired,
    HealthCheck,
    Route,
    RouteKey,
    Server,
    ServerRow,
    ServerSettings,
    ServerState,
)
from haproxy.moves import Prospects, backend_in, plan_hosts, rules_in
from haproxy.observation import Observation
from haproxy.ops import Op
from haproxy.places import Places
from haproxy.plan import (
    BackendPlan,
    Situation,
    join,
    plan_backend,
    plan_checks,
    plan_leaving,
    plan_rules,
)
from haproxy.routes import rows
from haproxy.runtime.replies import Reason, check
from haproxy.settings import (
    CANARY_MAP,
    CHECK_MAPS,
    CHECK_STATUS_MAP,
    FEATURES_MAP,
    ROUTES_MAP,
    RULES_MAPS,
    TCP_MAP,
    Settings,
)
from haproxy.tables import HOST_MAPS, owner_of
from haproxy.targets import known_of, targets_of
from l7.v1 import sync_pb2 as pb
from tests.fakes.haproxy import ModelHAProxy

SETTINGS = Settings(run_dir="/run/l7", spare_backends=6, spare_backends_other=6)
LEASTCONN = policy.Policy(Balance.LEAST_CONNECTIONS)
POLICIES = (policy.DEFAULT, LEASTCONN, policy.Policy(checked=True))
FLAVOURS = [capabilities((2, 6, 12)), capabilities((3, 4, 7))]
BACKENDS = ("a", "b", "a:b")
TASKS = ("t1", "t2", "t3", "t4")
ROUTES = (("x.test", "/"), ("x.test", "/p"), ("y.test", "/q"), ("*.test", "/"))
MAX_PASSES = 10

by_flavour = pytest.mark.parametrize("able", FLAVOURS, ids=["2.6", "3.4"])


@dataclass
class Step:
    """What core wants, what the world does, and after how many ops the first plan is cut."""

    desired: Desired
    accepting: frozenset[str]
    due: frozenset[str]
    hold: bool
    connect: frozenset[str]
    close: bool
    fail: frozenset[str]
    overdue: bool
    cut: int
    expired: frozenset[str] = frozenset()


@st.composite
def servers(draw: st.DrawFn) -> dict[str, Server]:
    tasks = draw(st.frozensets(st.sampled_from(TASKS)))
    return {
        task: Server(
            task,
            TASKS.index(task) + 1,
            f"10.0.0.{TASKS.index(task) + 1}",
            draw(st.sampled_from((80, 81))),  # another port: another generation
            draw(st.sampled_from((64, 10))),
            draw(st.sampled_from(ServerState)),
        )
        for task in sorted(tasks)
    }


@st.composite
def backends_of(draw: st.DrawFn, name: str) -> Backend:
    """Of some policy, with some keywords: each another key, or another generation of its servers."""
    return Backend(
        name, (name,), draw(st.booleans()), draw(servers()),
        balance=draw(st.sampled_from((Balance.ROUND_ROBIN, Balance.ROUND_ROBIN, Balance.LEAST_CONNECTIONS))),
        settings=draw(st.sampled_from(((), (ServerSettings(max_connections=7),)))),
    )  # fmt: skip


@st.composite
def desired_states(draw: st.DrawFn) -> Desired:
    names = draw(st.frozensets(st.sampled_from(BACKENDS)))
    made = [draw(backends_of(name)) for name in sorted(names)]
    if made and draw(st.booleans()):
        path = draw(st.sampled_from(("/a", "/b")))
        made[0] = replace(made[0], balance=Balance.ROUND_ROBIN, check=HealthCheck(path, statuses=(200,)))
    backends = {key_of(backend): backend for backend in made}
    keys = draw(st.frozensets(st.sampled_from(ROUTES))) if names else frozenset()
    target = st.sampled_from(sorted(backends)) if names else st.nothing()
    rules = {name: pb.Rules(name=name, max_body_bytes=draw(st.integers(1, 2))) for name in draw(rules_names)}
    for each in rules.values():
        each.allow_prefixes.extend(draw(st.frozensets(st.sampled_from(("10.0.0.0/8", "127.0.0.1/32")))))
    routes = {}
    for key in sorted(keys):
        by = draw(st.sampled_from(("", "yes", "no")))
        canaries = (Canary(draw(target), "header", "x", by),) if draw(st.booleans()) else ()
        named = draw(st.sampled_from(("", *sorted(rules))))
        routes[key] = Route(*key, draw(target), draw(st.booleans()), named, canaries=canaries)
    if names and draw(st.booleans()):
        routes[":5432", "/"] = Route(":5432", "/", draw(target))
    return Desired("r", backends, routes, rules)


rules_names = st.frozensets(st.sampled_from(("r1", "r2")))


tasks_of = st.frozensets(st.sampled_from(TASKS))
steps = st.builds(
    Step, desired_states(), tasks_of, tasks_of, st.booleans(), tasks_of, st.booleans(), tasks_of, st.booleans(),
    st.integers(0, 12),
)  # fmt: skip


@dataclass
class Driver:
    """The reconciler's decisions without its loop: `accepting`, `due` … are task ids here. `patient`: new paths of
    services without a server wait while another answers them."""

    able: Capabilities
    patient: bool = False
    model: ModelHAProxy = field(init=False)
    _seen: Observation | None = None
    places: Places = field(init=False)
    hold: dict[str, bool] = field(default_factory=dict)
    waiting: set[tuple[str, str]] = field(default_factory=set)
    late: dict[str, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.model = ModelHAProxy(SETTINGS, self.able)
        others = [name for name, of in policy.spares(SETTINGS).items() if of not in POLICIES]
        for name in others:  # pools that no step asks for
            self.model.backends.pop(name, None)
        self.model.maps[SETTINGS.file(CHECK_STATUS_MAP)].clear()  # what all share would only cost time here
        self.restart()

    def restart(self) -> None:
        """A sidecar that knows nothing but what HAProxy answers."""
        self.places = Places(None if self.able.dynamic_backends else policy.spares(SETTINGS))
        self.places.adopt(self.seen())

    def seen(self) -> Observation:
        """What HAProxy answers; the same one until something happens."""
        if self._seen is None:
            self._seen = self._look()
        return self._seen

    def _look(self) -> Observation:
        observed = self.model.observed()
        seen = Observation({b: dict(s) for b, s in observed.servers.items()}, dict(observed.backends))
        for file, rows_of_file in {ROUTES_MAP: observed.routes, **observed.tables}.items():
            for key, value in rows_of_file.items():
                seen.table(file).setdefault(owner_of(file, key), {})[key] = value
        return seen

    def names(self, want: Backend) -> dict[str, Server]:
        return {name: each.server for name, each in targets_of(want, SETTINGS, self.able).items()}

    def prospects(self, step: Step) -> Prospects:
        wanted = step.desired.backends

        def may_come(name: str) -> bool:
            return self.patient and step.hold and wanted[name].expected

        return Prospects(wanted, (), may_come, lambda name: self.patient and step.hold, step.desired.rules)

    def plan(self, step: Step) -> list[Op]:
        seen = self.seen()
        orphans = self.places.orphans(seen, seen.servers)
        homeless = {name for name in seen.owners(CHECK_MAPS) if self.places.logical(name) is None}
        names = (
            step.desired.backends.keys() | seen.placement.keys() | orphans | homeless | self.places._homes.keys()
        )
        wanted: dict[str, dict[RouteKey, Route]] = {}
        for key, route in step.desired.routes.items():
            wanted.setdefault(key[0], {})[key] = route
        hosts = wanted.keys() | seen.owners(HOST_MAPS)
        routes = plan_hosts(hosts, wanted, self.prospects(step), seen, SETTINGS)
        self.late = routes.late
        plans = [self._plan(name, step, seen) for name in sorted(names - routes.protected.keys())]
        for name, going in routes.protected.items():
            place = self.places.place(name, None, seen)
            assert place is not None
            plans.append(plan_leaving(place, going))
        rules = step.desired.rules.keys() | seen.owners(RULES_MAPS)
        plans += [self._rules(name, step, seen) for name in sorted(rules - routes.ruling)]
        return join(plans, routes.ops)

    def _rules(self, name: str, step: Step, seen: Observation) -> BackendPlan:
        rules = step.desired.rules.get(name)
        want = rules_rows(rules, self.able) if rules is not None else {}
        return plan_rules(want, seen.rows(RULES_MAPS, name), SETTINGS)

    def _plan(self, name: str, step: Step, seen: Observation) -> BackendPlan:
        want = step.desired.backends.get(name)
        home = self.places.homes([name])[name]
        place = self.places.place(name, policy.policy_of(want) if want else None, seen)
        if place is None:
            stale = seen.rows(CHECK_MAPS, home) if self.places.logical(home) is None else {}
            return plan_checks({}, stale, SETTINGS)
        waiting = frozenset(server for backend, server in self.waiting if backend == place.physical)
        situation = Situation(
            accepting=self._of(step.accepting, self.names(want) if want else ()),
            hold=want is not None and want.expected and step.hold,
            due=self._of(step.due, place.rows),
            overdue=frozenset(place.rows) if step.overdue else frozenset(),
            waiting=waiting,
            expired=step.expired,
        )
        known = None if want is None else known_of(want, SETTINGS, self.able)
        return plan_backend(name, known, place, situation, SETTINGS, self.able)

    @staticmethod
    def _of(tasks: frozenset[str], names: Iterable[str]) -> frozenset[str]:
        return frozenset(name for name in names if name.partition(".")[0] in tasks)

    def apply(self, op: Op) -> None:
        self._seen = None
        refusal = check(op, self.model.apply(op))
        if refusal is None:
            return
        assert refusal.reason is Reason.BUSY, (op, refusal)
        assert isinstance(op, ops.DeleteServer | ops.DeleteBackend), (op, refusal)
        self.waiting.add((op.backend, op.name if isinstance(op, ops.DeleteServer) else HOLD))


def usable(rows: Mapping[str, ServerRow]) -> bool:
    """A request finds a server, or waits."""
    return any(row.enabled and (row.up or row.name == HOLD) for row in rows.values())


def served(driver: Driver, step: Step) -> set[str]:
    """Logical backends that may hold and in which a request is answered or waits."""
    seen = driver.seen()
    wanted = {name for name, want in step.desired.backends.items() if want.expected and step.hold}
    return {name for name in wanted & seen.placement.keys() if usable(seen.servers.get(seen.placement[name], {}))}


def leading(driver: Driver) -> set[tuple[str, str]]:
    """Keys of routes that lead to a backend which takes requests (or that say 404)."""
    seen = driver.seen()
    logical = {(file, key): backend_in(file, value) for file, key, value in rows_of(driver)}
    backends = driver.model.backends
    published = {name for name, home in seen.placement.items() if home in backends and backends[home].published}
    return {key for key, name in logical.items() if name in published | {""}}


def rows_of(driver: Driver) -> list[tuple[str, str, str]]:
    """All rows that lead somewhere: file, key, value."""
    tables = [(file, rows) for file in HOST_MAPS for rows in driver.seen().table(file).values()]
    return [(file, key, value) for file, rows in tables for key, value in rows.items()]


def keys(driver: Driver) -> set[tuple[str, str]]:
    return {(file, key) for file, key, _ in rows_of(driver)}


def ruled(driver: Driver) -> bool:
    """Whether each request that has to pass rules does: none is let through before they are there."""
    features = {key for rows in driver.seen().table(FEATURES_MAP).values() for key in rows}
    return all(rules_in(value) in features | {""} for file, _, value in rows_of(driver) if file == ROUTES_MAP)


def apply_carefully(driver: Driver, step: Step, plan: list[Op]) -> None:
    """Op by op: what held before holds after each."""
    for op in plan:
        before, led = served(driver, step), leading(driver)
        driver.apply(op)
        assert served(driver, step) >= before, op
        assert leading(driver) >= led & keys(driver), op
        assert ruled(driver), op
        assert not driver.model.copies(), op


def let_the_world_move(driver: Driver, step: Step) -> None:
    driver.waiting.clear()
    driver._seen = None
    for name, backend in driver.model.backends.items():
        for row in list(backend.servers.values()):
            task = row.name.partition(".")[0]
            if step.close:
                driver.model.close_connections(name, row.name)
            if task in step.connect and row.usable:
                driver.model.open_connection(name, row.name)
            (driver.model.fail if task in step.fail else driver.model.recover)(name, row.name)


def assert_rows(driver: Driver, step: Step) -> None:
    """All rows are as wanted, but those that wait: there are others that answer."""
    desired, seen = step.desired, driver.seen()
    have = {(file, key): value for file, key, value in rows_of(driver)}
    want: dict[tuple[str, str], str] = {(ROUTES_MAP, key): value for key, value in rows(desired.routes).items()}
    want |= {(TCP_MAP, key): value for key, value in tcp_rows(desired.routes.values()).items()}
    for host in {host for host, _ in desired.routes}:
        want |= {(CANARY_MAP, key): value for key, value in canary_rows(host, desired.routes).items()}
    for place in {row for row in want.keys() | have.keys() if want.get(row) != have.get(row)}:
        file, key = place
        new = backend_in(file, want[place])
        assert new in driver.late[owner_of(file, key)], place
        if place in have:  # it leads elsewhere, as it did
            old = backend_in(file, have[place])
            assert seen.usable_tasks(old)
            assert not usable_tasks_of(step, new) or not seen.usable_tasks(new) >= usable_tasks_of(step, new)
        else:
            assert not seen.usable_tasks(new)
            above = max((k for f, k in have if f == file and key.startswith(k)), key=len)
            assert seen.usable_tasks(backend_in(file, have[file, above]))


def usable_tasks_of(step: Step, key: str) -> set[str]:
    """Tasks that are to take requests."""
    servers = step.desired.backends[key].servers.values()
    return {server.task for server in servers if server.state is ServerState.READY}


def assert_converged(driver: Driver, step: Step) -> None:
    seen, desired = driver.seen(), step.desired
    assert_rows(driver, step)
    assert leading(driver) == keys(driver)
    needed = {backend_in(file, value) for file, _, value in rows_of(driver)}
    assert desired.backends.keys() <= seen.placement.keys()
    assert len(set(seen.placement.values())) == len(seen.placement)
    for name, want in desired.backends.items():
        home = seen.placement[name]
        assert_backend(driver, step, want, seen.servers[home])
        assert driver.model.backends[home].published
        assert seen.rows(CHECK_MAPS, home) == {f: r for f, r in check_rows(home, want).items() if r}
        if not driver.able.dynamic_backends:
            assert policy.policy_of_spare(home) == policy.policy_of(want)
    for name in seen.placement.keys() - desired.backends.keys() - needed:
        left = seen.servers[seen.placement[name]].keys() - {HOLD}
        assert all(driver.model.connections[seen.placement[name], server] for server in left)
        assert left, f"{name} has nothing that keeps it"
    assert seen.owners(CHECK_MAPS) <= set(seen.placement.values())
    ruling = {rules_in(value) for file, _, value in rows_of(driver) if file == ROUTES_MAP} - desired.rules.keys()
    for name in seen.owners(RULES_MAPS) - ruling:
        assert seen.rows(RULES_MAPS, name) == rules_rows(desired.rules[name], driver.able)
    assert desired.rules.keys() <= seen.owners(RULES_MAPS)


def assert_backend(driver: Driver, step: Step, want: Backend, have: Mapping[str, ServerRow]) -> None:
    wanted = driver.names(want)
    assert have[HOLD].enabled == (want.expected and step.hold)
    stays_usable = False
    for name, server in wanted.items():
        if server.state is ServerState.LEAVING:
            continue
        row = have[name]
        assert (row.weight, row.port) == (server.weight, server.port)
        if server.state is ServerState.READY and server.task in step.accepting:
            assert row.enabled
            assert row.check_enabled
        stays_usable |= server.state is ServerState.READY and row.usable
    for name, row in have.items():
        goes = name != HOLD and (name not in wanted or wanted[name].state is ServerState.LEAVING)
        task = name.partition(".")[0]
        of_task = want.servers.get(task)
        if goes and row.enabled and of_task is not None and of_task.state is not ServerState.LEAVING:
            successor = next(each for each in wanted if each.partition(".")[0] == task)
            assert row.up  # an earlier generation
            assert not (successor in have and have[successor].usable)
        elif goes and row.enabled:  # a last server
            assert want.expected
            assert task in want.servers
            assert row.up
            assert not stays_usable
            assert task not in step.due
        if goes and not row.enabled and name not in wanted:
            assert driver.model.connections[row.backend, name], f"{name} could be deleted"


def converge(driver: Driver, step: Step) -> None:
    for _ in range(MAX_PASSES):
        plan = driver.plan(step)
        if not plan:
            return
        apply_carefully(driver, step, plan)
    raise AssertionError(f"no end: {plan}")


@by_flavour
@given(history=st.lists(steps, min_size=1, max_size=6), restarts=st.booleans())
@settings(max_examples=100, deadline=None)
def test_any_history_converges_and_cuts_do_no_harm(able: Capabilities, history: list[Step], restarts: bool) -> None:
    driver = Driver(able, patient=True)
    for step in history:
        let_the_world_move(driver, step)
        apply_carefully(driver, step, driver.plan(step)[: step.cut])
        if restarts:
            driver.restart()
        converge(driver, step)
        assert_converged(driver, step)
        assert driver.plan(step) == []


@by_flavour
@given(first=steps, second=steps, cut=st.integers(0, 40))
@settings(max_examples=80, deadline=None)
def test_a_plan_cut_anywhere_ends_where_the_whole_one_does(
    able: Capabilities, first: Step, second: Step, cut: int
) -> None:
    results = []
    for prefix in (None, cut):
        driver = Driver(able)
        for step in (first, second):
            let_the_world_move(driver, step)
            apply_carefully(driver, step, driver.plan(step)[:prefix])
            converge(driver, step)
        seen = driver.seen()
        results.append(({n: seen.servers[p] for n, p in seen.placement.items()}, sorted(rows_of(driver))))
    assert results[0] == results[1]


def growth(first: Step, second: Step) -> tuple[Step, Step]:
    """`first`, and then all that it has and what `second` has besides; all services are to run."""
    hold = replace(first, hold=True, cut=0)
    backends = {**second.desired.backends, **first.desired.backends}
    running = {name: replace(want, expected=True) for name, want in backends.items()}
    known = {name: want for name, want in running.items() if name in first.desired.backends}
    routes = {**second.desired.routes, **first.desired.routes}
    rules = {**second.desired.rules, **first.desired.rules}
    accepting = first.accepting | second.accepting
    return (
        replace(hold, desired=replace(first.desired, backends=known)),
        replace(hold, desired=Desired("r", running, routes, rules), accepting=accepting),
    )


def answered(driver: Driver) -> set[RouteKey]:
    """Requests that a server answers at once."""
    backends = driver.model.backends
    found = {key: driver.model.backend_of(*key) for key in ROUTES}
    return {
        key
        for key, home in found.items()
        if home and any(row.usable for name, row in backends[home].servers.items() if name != HOLD)
    }


@by_flavour
@given(first=steps, second=steps)
@settings(max_examples=100, deadline=None)
def test_what_comes_takes_no_path_from_what_answers_it(able: Capabilities, first: Step, second: Step) -> None:
    driver = Driver(able, patient=True)
    before, after = growth(first, second)
    converge(driver, before)
    while plan := driver.plan(after):
        found = answered(driver)
        for op in plan:
            driver.apply(op)
            assert answered(driver) >= found, op
    assert_converged(driver, after)
