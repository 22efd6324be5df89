"""The planner on a model of HAProxy: whatever is wanted, it gets there without harm on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haproxy import ops, policy
from haproxy.capabilities import Capabilities, capabilities
from haproxy.checks import shared_rows
from haproxy.features import rules_rows
from haproxy.model import HOLD, Backend, Desired, Route, RouteKey, Server, ServerRow, ServerState
from haproxy.moves import Prospects, plan_hosts
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
    targets_of,
)
from haproxy.routes import row_host, rows
from haproxy.runtime.replies import Reason, check
from haproxy.settings import CHECK_MAPS, CHECK_STATUS_MAP, ROUTES_MAP, RULES_MAPS, Settings
from haproxy.tables import SHARED, owner_of
from tests.fakes.haproxy import ModelHAProxy

SETTINGS = Settings(run_dir="/run/l7", spare_backends=6)
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
def desired_states(draw: st.DrawFn) -> Desired:
    names = draw(st.frozensets(st.sampled_from(BACKENDS)))
    backends = {name: Backend(name, (), draw(st.booleans()), draw(servers())) for name in sorted(names)}
    keys = draw(st.frozensets(st.sampled_from(ROUTES))) if names else frozenset()
    target = st.sampled_from(sorted(names)) if names else st.nothing()
    return Desired("r", backends, {key: Route(*key, draw(target), draw(st.booleans())) for key in sorted(keys)})


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
    places: Places = field(init=False)
    hold: dict[str, bool] = field(default_factory=dict)
    waiting: set[tuple[str, str]] = field(default_factory=set)
    late: dict[str, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.model = ModelHAProxy(SETTINGS, self.able)
        self.restart()

    def restart(self) -> None:
        """A sidecar that knows nothing but what HAProxy answers."""
        self.places = Places(None if self.able.dynamic_backends else policy.spares(SETTINGS))
        self.places.adopt(self.seen())

    def seen(self) -> Observation:
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
        names = step.desired.backends.keys() | seen.placement.keys() | orphans
        wanted: dict[str, dict[RouteKey, Route]] = {}
        for key, route in step.desired.routes.items():
            wanted.setdefault(key[0], {})[key] = route
        hosts = wanted.keys() | seen.routes.keys()
        routes = plan_hosts(hosts, wanted, self.prospects(step), seen, SETTINGS)
        self.late = routes.late
        plans = [self._plan(name, step, seen) for name in sorted(names - routes.protected.keys())]
        for name, going in routes.protected.items():
            place = self.places.place(name, None, seen)
            assert place is not None
            plans.append(plan_leaving(place, going))
        rules = step.desired.rules.keys() | seen.owners(RULES_MAPS) | {SHARED}
        plans += [self._rules(name, step, seen) for name in sorted(rules - routes.ruling)]
        return join(plans, routes.ops)

    def _rules(self, name: str, step: Step, seen: Observation) -> BackendPlan:
        if name == SHARED:
            have = seen.rows(CHECK_MAPS, SHARED)
            return plan_checks({CHECK_STATUS_MAP: shared_rows()}, have, SETTINGS)
        rules = step.desired.rules.get(name)
        want = rules_rows(rules, self.able) if rules is not None else {}
        return plan_rules(want, seen.rows(RULES_MAPS, name), SETTINGS)

    def _plan(self, name: str, step: Step, seen: Observation) -> BackendPlan:
        want = step.desired.backends.get(name)
        place = self.places.place(name, policy.policy_of(want) if want else None, seen)
        if place is None:
            return plan_checks({}, seen.rows(CHECK_MAPS, name), SETTINGS)
        waiting = frozenset(server for backend, server in self.waiting if backend == place.physical)
        situation = Situation(
            accepting=self._of(step.accepting, self.names(want) if want else ()),
            hold=want is not None and want.expected and step.hold,
            due=self._of(step.due, place.rows),
            overdue=frozenset(place.rows) if step.overdue else frozenset(),
            waiting=waiting,
        )
        return plan_backend(name, want, place, situation, SETTINGS, self.able)

    @staticmethod
    def _of(tasks: frozenset[str], names: Iterable[str]) -> frozenset[str]:
        return frozenset(name for name in names if name.partition(".")[0] in tasks)

    def apply(self, op: Op) -> None:
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


def leading(driver: Driver) -> set[str]:
    """Keys of routes that lead to a backend which takes requests (or that say 404)."""
    seen = driver.seen()
    logical = {key: value.partition("|")[0] for of_host in seen.routes.values() for key, value in of_host.items()}
    backends = driver.model.backends
    published = {name for name, home in seen.placement.items() if home in backends and backends[home].published}
    return {key for key, name in logical.items() if name in published | {"-"}}


def keys(driver: Driver) -> set[str]:
    return {key for of_host in driver.seen().routes.values() for key in of_host}


def apply_carefully(driver: Driver, step: Step, plan: list[Op]) -> None:
    """Op by op: what held before holds after each."""
    for op in plan:
        before, led = served(driver, step), leading(driver)
        driver.apply(op)
        assert served(driver, step) >= before, op
        assert leading(driver) >= led & keys(driver), op
        assert not driver.model.copies(), op


def let_the_world_move(driver: Driver, step: Step) -> None:
    driver.waiting.clear()
    for name, backend in driver.model.backends.items():
        for row in list(backend.servers.values()):
            task = row.name.partition(".")[0]
            if step.close:
                driver.model.close_connections(name, row.name)
            if task in step.connect and row.usable:
                driver.model.open_connection(name, row.name)
            (driver.model.fail if task in step.fail else driver.model.recover)(name, row.name)


def usable_server(driver: Driver, row: str) -> bool:
    seen = driver.seen()
    servers = seen.servers[seen.placement[row.partition("|")[0]]]
    return any(server.usable for name, server in servers.items() if name != HOLD)


def assert_converged(driver: Driver, step: Step) -> None:
    seen, desired = driver.seen(), step.desired
    have = {key: value for of_host in seen.routes.values() for key, value in of_host.items()}
    routes = rows(desired.routes)
    late = {key for key, value in routes.items() if value.partition("|")[0] in driver.late.get(row_host(key), ())}
    assert {**{key: routes[key] for key in late}, **have} == routes
    for key in late - have.keys():
        assert not usable_server(driver, routes[key])
        assert usable_server(driver, have[max((k for k in have if key.startswith(k)), key=len)])
    assert leading(driver) == keys(driver)
    assert desired.backends.keys() <= seen.placement.keys()
    assert len(set(seen.placement.values())) == len(seen.placement)
    for name, want in desired.backends.items():
        assert_backend(driver, step, want, seen.servers[seen.placement[name]])
        assert driver.model.backends[seen.placement[name]].published
    for name in seen.placement.keys() - desired.backends.keys():
        left = seen.servers[seen.placement[name]].keys() - {HOLD}
        assert all(driver.model.connections[seen.placement[name], server] for server in left)
        assert left, f"{name} has nothing that keeps it"


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
        if goes and row.enabled:  # a last server
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
        results.append(({n: seen.servers[p] for n, p in seen.placement.items()}, seen.routes))
    assert results[0] == results[1]


def growth(first: Step, second: Step) -> tuple[Step, Step]:
    """`first`, and then all that it has and what `second` has besides; all services are to run."""
    hold = replace(first, hold=True, cut=0)
    backends = {**second.desired.backends, **first.desired.backends}
    running = {name: replace(want, expected=True) for name, want in backends.items()}
    known = {name: want for name, want in running.items() if name in first.desired.backends}
    routes = {**second.desired.routes, **first.desired.routes}
    accepting = first.accepting | second.accepting
    return (
        replace(hold, desired=replace(first.desired, backends=known)),
        replace(hold, desired=Desired("r", running, routes), accepting=accepting),
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
