"""The loop on a model of HAProxy: what is acknowledged, refused, overtaken, and what others pay for it: nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from haproxy import admission, drain, reconcile
from haproxy.accepting import Passed
from haproxy.capabilities import Capabilities, capabilities
from haproxy.checks import check_of
from haproxy.clocks import Clocks
from haproxy.health import Change
from haproxy.mirror import Mirror
from haproxy.model import Stored, StoredCertificate
from haproxy.observation import Observation
from haproxy.ops import AddBackend, AddServer, Op
from haproxy.places import PoolExhausted
from haproxy.plan import BackendPlan
from haproxy.probe import Target
from haproxy.reconcile import Reconciler
from haproxy.runtime.client import Result
from haproxy.runtime.dumps import Info
from haproxy.runtime.replies import Reason, Refusal, check
from haproxy.settings import FEATURES_MAP, Settings
from haproxy.work import Work
from l7.kit.errors import Rejected, Unavailable
from l7.v1 import sync_pb2 as pb
from tests.fakes.haproxy import ModelHAProxy

SETTINGS = Settings(run_dir="/run/l7", spare_backends=3)
V26, V34 = capabilities((2, 6, 12)), capabilities((3, 4, 7))


@dataclass
class Listener:
    """Notes what it is told."""

    said: list[tuple[str, ...]] = field(default_factory=list)

    def acknowledged(self, revision: str, seconds: float) -> None:
        self.said.append(("ack", revision))

    def refused(self, revision: str, reason: str) -> None:
        self.said.append(("nack", revision, reason))

    def drained(self, seconds: float) -> None: ...

    def drifted(self, differences: int) -> None:
        self.said.append(("drift", str(differences)))

    def observed(self, seen: Observation, changes: Collection[Change]) -> None: ...

    def stored(self, names: Collection[str]) -> None: ...


class Thread:
    """Runtime and its thread in one, on a model. `refuse` says which ops HAProxy refuses; `before` is called
    ahead of each batch, as what happens meanwhile."""

    def __init__(self, model: ModelHAProxy) -> None:
        self.model = model
        self.refuse: Callable[[Op], bool] = lambda op: False
        self.before: Callable[[], None] = lambda: None
        self.stopping = False
        self.batches: list[Sequence[Op]] = []

    @property
    def runtime(self) -> Thread:
        return self

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        await asyncio.sleep(0)
        return function(*args)

    async def apply(self, ops: Sequence[Op]) -> list[Result]:
        self.before()
        await asyncio.sleep(0)
        self.batches.append(ops)
        return [self._apply(op) for op in ops]

    def _apply(self, op: Op) -> Result:
        if self.refuse(op):
            return Result(op, Refusal(Reason.OTHER, "no"))
        return Result(op, check(op, self.model.apply(op)))

    def info(self) -> Info:
        return Info((3, 4, 7), 1, 1, self.stopping, {})

    def backends(self) -> tuple[str, ...]:
        return tuple(self.model.backends)

    def stream_servers_state(self, backend: str | None = None) -> Iterator[bytes]:
        if backend is not None and backend not in self.model.backends:
            raise Rejected("show servers state", "Can't find backend.")
        yield self.model.servers_state(backend)

    def map_rows(self, file: str) -> tuple[tuple[str, str], ...]:
        return tuple(self.model.maps[file])

    def get_map_row(self, file: str, key: str) -> str | None:
        return dict(self.model.maps[file]).get(key)

    def certificates(self) -> Stored[StoredCertificate]:
        return self.model.stores.certificates()

    def authorities(self) -> Stored[int]:
        return self.model.stores.authorities()


@dataclass
class Bench:
    """A reconciler on a model, and the core before it."""

    thread: Thread
    mirror: Mirror
    listener: Listener
    reconciler: Reconciler
    content: dict[str, tuple[str, ...]] = field(default_factory=dict)
    routes: dict[str, str] = field(default_factory=dict)
    """`host` or `host/path` -> backend."""
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of a backend, besides the usual ones."""
    rules: dict[str, pb.Rules] = field(default_factory=dict)
    """By the backend whose routes have them."""
    number: int = 0

    def push(self) -> str:
        self.number += 1
        backends = [
            pb.Backend(
                name=name,
                settings=pb.BackendSettings(services=[name], expected=True, **self.settings.get(name, {})),
                servers=[
                    pb.Server(task=task, id=int(task[1:]), address="10.0.0.1", port=80, weight=64, state=2)
                    for task in tasks
                ],
            )
            for name, tasks in self.content.items()
        ]  # fmt: skip
        routes = [
            pb.Route(host=host, path=f"/{path}", backend=to, rules=to if to in self.rules else "")
            for (host, _, path), to in ((key.partition("/"), to) for key, to in self.routes.items())
        ]
        touched = self.mirror.apply(
            pb.SyncResponse(
                kind=pb.UPDATE_KIND_COMPLETE, results_in=f"r{self.number}", last=True,
                changes=pb.Changes(backends=backends, routes=routes, rules=self.rules.values()),
            )
        )  # fmt: skip
        assert touched is not None
        self.reconciler.update(touched)
        return f"r{self.number}"

    async def converge(self) -> None:
        while self.reconciler._wake.is_set():
            await self.reconciler.converge(self.thread)  # type: ignore[arg-type]

    async def settle(self, accept: bool = True) -> None:
        """Work everything off; all that is wanted accepts connections."""
        await self.converge()
        for name in list(self.mirror.backends) if accept else ():
            for server, of in self.reconciler.wanted(name).items():
                passed = Passed(of.task, check_of(self.mirror.backends[name], of))
                self.reconciler.admission._accepted(Target(name, server, passed))
        await self.converge()

    def backend_of(self, host: str, path: str = "/") -> str | None:
        return self.thread.model.backend_of(host, path)


@pytest.fixture(params=[V26, V34], ids=["2.6", "3.4"])
def able(request: pytest.FixtureRequest) -> Capabilities:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
async def bench(able: Capabilities, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(admission.Prober, "want", lambda self, backend, targets: None)
    monkeypatch.setattr(drain, "ON_THE_WAY", 0)
    thread, mirror, listener = Thread(ModelHAProxy(SETTINGS, able)), Mirror(), Listener()
    reconciler = Reconciler(SETTINGS, able, mirror, listener)
    await reconciler.start(thread)  # type: ignore[arg-type]
    yield Bench(thread, mirror, listener, reconciler)
    reconciler.close()


async def test_what_is_refused_stays_refused_until_it_goes_well(bench: Bench) -> None:
    bench.content, bench.routes = {"bad": ("t1",), "good": ("t2",)}, {"bad.test": "bad", "good.test": "good"}
    bench.thread.refuse = lambda op: isinstance(op, AddServer) and op.name.startswith("t1")
    bench.push()
    await bench.settle()
    assert bench.listener.said[0][:2] == ("nack", "r1")
    assert "bad" in bench.listener.said[0][2]
    assert bench.backend_of("good.test")

    bench.reconciler.touch(Work({"good"}))
    await bench.settle()
    bench.content["other"] = ("t3",)
    bench.push()
    await bench.settle()
    assert [said[:2] for said in bench.listener.said] == [("nack", "r1"), ("nack", "r2")]

    bench.thread.refuse = lambda op: False
    bench.reconciler._try_again()
    await bench.settle()
    assert bench.listener.said[-1] == ("ack", "r2")


async def test_an_update_amid_a_pass_is_planned_as_a_whole(bench: Bench) -> None:
    bench.content, bench.routes = {"a": ("t1",)}, {"h.test": "a"}
    bench.push()
    await bench.settle()
    seen = []

    def meanwhile() -> None:
        seen.append(bench.backend_of("h.test"))
        if bench.number == 2:
            bench.content, bench.routes = {"b": ("t1",)}, {"h.test": "b"}
            bench.push()

    bench.routes["other.test"] = "a"
    bench.push()
    bench.thread.before = meanwhile
    await bench.settle()
    assert None not in seen
    assert bench.listener.said[-1] == ("ack", "r3")
    assert ("ack", "r2") not in bench.listener.said
    assert "a" not in bench.reconciler.seen.placement


async def test_updates_that_overtake_every_pass_pile_up_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.content = {f"b{number}": (f"t{number}",) for number in range(1, 3)}
    bench.push()
    await bench.settle()
    planned, plan = Counter[str](), bench.reconciler.planner.backend

    def counted(key: str) -> BackendPlan:
        planned[key] += 1
        return plan(key)

    def meanwhile() -> None:
        if bench.number < 20:
            bench.content[f"b{bench.number % 2 + 1}"] = (f"t{bench.number + 10}",)
            bench.push()

    monkeypatch.setattr(bench.reconciler.planner, "backend", counted)
    bench.thread.before = meanwhile
    bench.content["first"] = ("t3",)
    bench.push()
    await bench.converge()
    assert bench.listener.said[-1] == ("ack", "r20")
    assert planned["first"] <= 3


async def test_where_a_backend_lives_is_asked_when_that_was_changed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, get = list[str](), bench.thread.get_map_row

    def noted(file: str, key: str) -> str | None:
        asked.append(key)
        return get(file, key)

    monkeypatch.setattr(bench.thread, "get_map_row", noted)
    bench.content = {"a": ("t1",)}
    bench.push()
    await bench.settle()
    assert "a" in asked
    asked.clear()
    bench.content["a"] = ("t1", "t2")
    bench.push()
    await bench.settle()
    assert len(bench.reconciler.seen.of("a")) == 3
    assert asked == []
    del bench.content["a"]
    bench.push()
    await bench.settle()
    assert "a" in asked
    assert bench.reconciler.seen.placement == {}


@pytest.mark.parametrize("able", [V34], ids=["3.4"])
async def test_a_route_stays_where_it_is_when_its_new_backend_is_refused(bench: Bench) -> None:
    bench.content, bench.routes = {"a": ("t1",)}, {"h.test": "a"}
    bench.push()
    await bench.settle()
    bench.content, bench.routes = {"b": ("t1",)}, {"h.test": "b", "new.test": "b"}
    bench.thread.refuse = lambda op: isinstance(op, AddBackend)
    bench.push()
    await bench.settle()
    assert bench.listener.said[-1][:2] == ("nack", "r2")
    assert bench.backend_of("h.test") == "a"

    bench.thread.refuse = lambda op: False
    bench.reconciler._try_again()
    await bench.settle()
    assert bench.backend_of("h.test") == bench.backend_of("new.test") == "b"
    assert "a" not in bench.thread.model.backends
    assert bench.listener.said[-1] == ("ack", "r2")


async def test_a_path_is_answered_as_before_until_its_new_service_can(bench: Bench) -> None:
    bench.content, bench.routes = {"a": ("t1",)}, {"h.test": "a"}
    bench.push()
    await bench.settle()
    bench.content["b"], bench.routes["h.test/p"], bench.routes["h.test/p/q"] = ("t2",), "b", "a"
    bench.push()
    await bench.settle(accept=False)
    assert bench.listener.said[-1] == ("ack", "r2")
    homes = bench.reconciler.seen.placement
    assert {bench.backend_of("h.test", path) for path in ("/", "/p", "/p/q")} == {homes["a"]}
    await bench.settle()
    assert [bench.backend_of("h.test", path) for path in ("/p", "/p/q")] == [homes["b"], homes["a"]]
    assert bench.reconciler.planner.late == {}


async def test_a_path_is_its_new_services_once_that_had_its_time(bench: Bench) -> None:
    bench.content, bench.routes = {"a": ("t1",)}, {"h.test": "a"}
    bench.push()
    await bench.settle()
    bench.content["b"], bench.routes["h.test/p"] = ("t2",), "b"
    bench.push()
    await bench.settle(accept=False)
    bench.reconciler.settings = replace(SETTINGS, hold_deadline=0)
    bench.reconciler.touch(Work({"b"}))  # as the clock does
    await bench.settle(accept=False)
    assert bench.backend_of("h.test", "/p") == bench.reconciler.seen.placement["b"]


async def test_a_path_that_nobody_answers_is_its_new_services_at_once(bench: Bench) -> None:
    bench.content, bench.routes = {"a": ("t1",)}, {"h.test": "a"}
    bench.push()
    await bench.settle(accept=False)
    bench.content["b"], bench.routes["h.test/p"] = ("t2",), "b"
    bench.content["c"], bench.routes["c.test/p"] = ("t3",), "c"
    bench.push()
    await bench.settle(accept=False)
    homes = bench.reconciler.seen.placement
    assert bench.backend_of("h.test", "/p") == homes["b"]
    assert bench.backend_of("c.test", "/p") == homes["c"]


@pytest.mark.parametrize("able", [V26], ids=["2.6"])
async def test_an_exhausted_pool_keeps_nobody_else_waiting(bench: Bench) -> None:
    for name, task in (("a", "t1"), ("b", "t2"), ("c", "t3")):
        bench.content[name], bench.routes[f"{name}.test"] = (task,), name
    bench.push()
    await bench.settle()
    bench.content["d"], bench.content["b"] = ("t4",), ("t2", "t5")
    bench.push()
    with pytest.raises(PoolExhausted):
        await bench.settle()
    physical = bench.reconciler.seen.placement["b"]
    assert len(bench.thread.model.backends[physical].servers) == 3
    assert bench.listener.said == [("ack", "r1")]


@pytest.mark.parametrize("able", [V26], ids=["2.6"])
async def test_a_pool_that_cannot_grow_refuses_the_service(bench: Bench) -> None:
    bench.reconciler._pool_grows = False
    bench.content = dict.fromkeys("abcd", ("t1",))
    bench.push()
    await bench.settle()
    assert bench.listener.said == [("nack", "r1", f"d: {reconcile.NO_SPARE}")]
    del bench.content["a"]
    bench.push()
    await bench.settle()
    bench.reconciler._try_again()
    await bench.settle()
    assert bench.listener.said[-1] == ("ack", "r2")


async def test_rows_that_cannot_be_said_cost_their_host_only(bench: Bench) -> None:
    bench.content, bench.routes = {"a": ("t1",)}, {"#bad": "a", "good.test": "a"}
    bench.push()
    await bench.settle()
    assert bench.listener.said[0][:2] == ("nack", "r1")
    assert bench.backend_of("good.test")


async def test_connections_cut_past_the_deadline_end_the_pass(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.content = {"a": ("t1",)}
    bench.push()
    await bench.settle()
    physical = bench.reconciler.seen.placement["a"]
    (name,) = [server for server in bench.thread.model.backends[physical].servers if server != "hold"]
    bench.thread.model.open_connection(physical, name)
    bench.content = {"a": ()}
    bench.push()
    await bench.settle()
    assert bench.listener.said[-1] == ("ack", "r2")
    assert name in bench.thread.model.backends[physical].servers
    bench.reconciler.settings = Settings(run_dir="/run/l7", spare_backends=3, drain_timeout=0)
    bench.reconciler.planner.clocks._of("a").closing.clear()
    bench.reconciler.touch(Work({"a"}))
    await bench.settle()
    await asyncio.sleep(0)
    assert [said[0] for said in bench.listener.said] == ["ack", "ack"]


async def test_a_worker_that_somebody_replaced_is_left(bench: Bench) -> None:
    bench.thread.stopping = True
    bench.reconciler.audit(reconcile.AuditKind.SERVERS)
    with pytest.raises(Unavailable, match="reloaded by somebody else"):
        await bench.settle()


async def test_each_kind_of_audit_has_its_own_pace(bench: Bench) -> None:
    """Health is looked at every second, however long it takes to look at all certificates."""
    bench.reconciler.audit(reconcile.AuditKind.WHOLE)
    await bench.settle()
    spent = bench.reconciler.audit_seconds
    assert spent[reconcile.AuditKind.SERVERS] == 0 < spent[reconcile.AuditKind.WHOLE]


async def test_churn_leaves_no_memory(bench: Bench) -> None:
    for number in range(1, 30):
        bench.content, bench.routes = {f"s{number}": (f"t{number}",)}, {f"h{number}.test": f"s{number}"}
        bench.push()
        await bench.settle()
    bench.content, bench.routes = {}, {}
    bench.push()
    await bench.settle()
    planner = bench.reconciler.planner
    assert planner.places._homes == planner.places._tenants == {}
    assert not planner.late
    assert planner.clocks == Clocks()
    assert planner.admission.accepting.all() == frozenset()
    assert bench.listener.said[-1] == ("ack", "r30")
    assert not planner.seen.routes


async def test_what_routes_led_to_a_moment_ago_stays_for_requests_on_their_way(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.content = {"a": ("t1",), "b": ("t2",)}
    bench.rules = {name: pb.Rules(name=name, https_redirect=True) for name in bench.content}
    bench.routes = {"h.test": "a", "other.test": "b"}
    bench.push()
    await bench.settle()
    monkeypatch.setattr(drain, "ON_THE_WAY", 60)
    before = bench.backend_of("h.test")
    del bench.content["a"], bench.rules["a"]
    bench.routes["h.test"] = "b"
    bench.push()
    for audit in (False, True):
        if audit:
            bench.reconciler.touch_all()
        await bench.settle()
        assert bench.listener.said[-1] == ("ack", "r2")
        assert bench.backend_of("h.test") == bench.backend_of("other.test") != before
        assert bench.reconciler.seen.usable_tasks("a") == {"t1"}
        assert "a" in bench.reconciler.seen.table(FEATURES_MAP)
    monkeypatch.setattr(drain, "ON_THE_WAY", 0)
    bench.reconciler.touch_all()
    await bench.settle()
    assert bench.reconciler.seen.placement.keys() == bench.reconciler.seen.table(FEATURES_MAP).keys() == {"b"}


# ---------------------------------------------------------------- policies, rules


async def test_a_policy_that_is_ready_at_once_flips_in_one_go(bench: Bench) -> None:
    bench.content, bench.routes = {"a": ("t1", "t2")}, {"h.test": "a"}
    bench.push()
    await bench.settle()
    bench.settings["a"] = {"balance": pb.BALANCE_LEAST_CONNECTIONS}
    bench.push()
    await bench.settle(accept=False)  # the tasks are known to accept
    seen = bench.reconciler.seen
    assert seen.placement.keys() == {"a.http-leastconn"}
    assert bench.backend_of("h.test") == seen.placement["a.http-leastconn"]
    assert seen.usable_tasks("a.http-leastconn") == {"t1", "t2"}
    assert bench.listener.said[-1] == ("ack", "r2")


async def test_a_policy_that_is_not_ready_waits_beside_the_one_before(bench: Bench) -> None:
    bench.content, bench.routes = {"a": ("t1", "t2")}, {"h.test": "a"}
    bench.push()
    await bench.settle()
    bench.settings["a"] = {"health_check": pb.HealthCheck(path="/")}
    bench.push()
    await bench.settle(accept=False)
    before = bench.reconciler.seen.placement["a"]
    for touched in (Work({"a"}), Work({"a.http-checked"}), Work(hosts={"h.test"})):  # as audits do
        bench.reconciler.touch(touched)
        await bench.settle(accept=False)
        assert bench.backend_of("h.test") == before
        assert bench.reconciler.seen.usable_tasks("a") == {"t1", "t2"}
    bench.content["a"] = ("t1",)
    bench.push()
    await bench.settle(accept=False)
    assert bench.reconciler.seen.usable_tasks("a") == {"t1"}  # who goes is out of rotation there, too
    await bench.settle()
    assert bench.reconciler.seen.placement.keys() == {"a.http-checked"}
    assert bench.reconciler.planner.clocks.awaited == bench.reconciler.planner.late == {}


async def test_a_policy_that_never_gets_ready_takes_over_after_its_time(bench: Bench) -> None:
    bench.content, bench.routes = {"a": ("t1",)}, {"h.test": "a"}
    bench.push()
    await bench.settle()
    bench.settings["a"] = {"health_check": pb.HealthCheck(path="/")}
    bench.push()
    await bench.settle(accept=False)
    bench.reconciler.settings = replace(SETTINGS, hold_deadline=0)
    bench.reconciler.touch(Work({"a.http-checked"}))  # as the clock does
    await bench.settle(accept=False)
    assert bench.reconciler.seen.placement.keys() == {"a.http-checked"}


async def test_rules_that_cannot_be_said_are_refused_and_others_go_on(bench: Bench) -> None:
    bench.content = {"a": ("t1",), "b": ("t2",)}
    bench.routes = {"a.test": "a", "b.test": "b"}
    long = pb.HeaderChange(action=pb.HEADER_ACTION_SET, name="x", value="v" * 20_000)
    bench.rules = {name: pb.Rules(name=name, allow_prefixes=["10.0.0.0/8"]) for name in "ab"}
    bench.rules["a"].request_headers.append(long)
    bench.push()
    await bench.settle()
    assert bench.listener.said[-1][:2] == ("nack", "r1")
    assert bench.listener.said[-1][2].startswith("rules a: a command of")
    assert bench.backend_of("b.test")
    assert bench.backend_of("a.test") is None  # rather than without its rules
    assert set(bench.reconciler.seen.table("features.map")) == {"b"}

    del bench.rules["a"].request_headers[:]
    bench.push()
    await bench.settle()
    assert bench.listener.said[-1] == ("ack", "r2")
    assert bench.backend_of("a.test")

    bench.rules["a"] = pb.Rules(name="a", max_body_bytes=1, request_headers=[long])
    bench.push()
    await bench.settle()
    assert bench.listener.said[-1][:2] == ("nack", "r3")
    assert bench.backend_of("a.test")  # with the rules from before
    assert bench.reconciler.seen.rows(("allow.map",), "a")


async def test_an_acknowledgement_waits_for_a_reload_that_is_due(bench: Bench) -> None:
    due = [True]
    bench.reconciler._pending = lambda: bool(due)
    bench.content = {"a": ("t1",)}
    bench.push()
    await bench.settle()
    assert bench.listener.said == []
    due.clear()
    bench.reconciler.touch_all()
    await bench.settle()
    assert bench.listener.said == [("ack", "r1")]
