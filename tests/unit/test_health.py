"""Verdicts on tasks, and what of them is worth telling."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import pytest

from haproxy.health import Key, Verdicts, told
from haproxy.model import HOLD, Admin, Backend, Server, ServerRow, ServerState
from haproxy.telling import Telling
from l7.fastpath import Health
from l7.v1 import sync_pb2 as pb
from tests.fakes.haproxy import SERVERS_STATE, servers_state_row

UP, DOWN, MAINT, GONE = (
    pb.HEALTH_STATUS_UP,
    pb.HEALTH_STATUS_DOWN,
    pb.HEALTH_STATUS_MAINTENANCE,
    pb.HEALTH_STATUS_GONE,
)


def row(backend: str, name: str, admin: int = 0, up: bool = True) -> ServerRow:
    return ServerRow(backend, name, 1, "10.0.0.1", 80, 64, Admin(admin), up, True)


def out(backend: str, name: str) -> ServerRow:
    return row(backend, name, admin=1, up=False)


@dataclass
class World:
    """Verdicts after looks at an HAProxy that has what the test says."""

    placement: dict[str, str]
    wanted: dict[str, Backend] = field(default_factory=dict)
    verdicts: Verdicts = field(default_factory=Verdicts)
    health: Health = field(default_factory=Health)

    def look(self, *rows: ServerRow, touched: Collection[str] = ()) -> Mapping[Key, pb.HealthStatus]:
        """On whom the verdict is another one."""
        self.health.begin()
        self.health.feed(0, SERVERS_STATE + b"".join(map(servers_state_row, rows)))
        names = self.verdicts.names(self.health.end(), self.placement, touched)
        return {key: self.verdicts.get(key) for key in self.verdicts.renew(names, self.wanted)}


def ready(*tasks: str, state: ServerState = ServerState.READY) -> Backend:
    return Backend("a", servers={task: Server(task, 1, "10.0.0.1", 80, state=state) for task in tasks})


def test_verdicts_of_tasks_by_logical_backend() -> None:
    world = World({"a": "spare-1", "lost": "nowhere"})
    rows = [row("spare-1", "t1.aa"), row("spare-1", "t2.aa", up=False), out("spare-1", "t3.aa")]
    assert world.look(*rows, row("spare-1", HOLD)) == {("a", "t1"): UP, ("a", "t2"): DOWN, ("a", "t3"): MAINT}
    assert world.verdicts.counts() == {"up": 1, "down": 1, "maint": 1}
    assert world.look(*rows, out("spare-1", HOLD)) == {}


@pytest.mark.parametrize(
    ("state", "verdict"),
    [(ServerState.PENDING, MAINT), (ServerState.READY, DOWN), (ServerState.LEAVING, MAINT)],
)
def test_a_task_that_runs_and_never_passed_a_check_is_down(state: ServerState, verdict: pb.HealthStatus) -> None:
    world = World({"a": "a"}, {"a": ready("t1", state=state)})
    assert world.look(out("a", "t1.aa")) == {("a", "t1"): verdict}


def test_a_task_that_begins_to_run_is_down_though_haproxy_says_the_same() -> None:
    world = World({"a": "a"}, {"a": ready("t1", state=ServerState.PENDING)})
    assert world.look(out("a", "t1.aa")) == {("a", "t1"): MAINT}
    world.wanted = {"a": ready("t1")}
    assert world.look(out("a", "t1.aa")) == {}
    assert world.look(out("a", "t1.aa"), touched={"a"}) == {("a", "t1"): DOWN}
    assert world.verdicts.counts() == {"up": 0, "down": 1, "maint": 0}


def test_the_better_of_two_generations_counts() -> None:
    world = World({"a": "a"})
    rows = (out("a", "t1.aa"), row("a", "t1.bb"), row("a", "t2.aa", up=False))
    assert world.look(*rows) == {("a", "t1"): UP, ("a", "t2"): DOWN}
    assert world.look(rows[0], rows[2]) == {("a", "t1"): MAINT}
    assert world.look(*rows) == {("a", "t1"): UP}


def test_only_what_changed_is_said_and_what_went() -> None:
    world = World({"a": "a", "b": "b"})
    world.look(row("a", "t1.x"), row("a", "t2.x"), row("a", "t3.x", up=False))
    now = (row("a", "t1.x"), row("a", "t2.x", up=False), row("b", "t1.x"))
    assert world.look(*now) == {("a", "t2"): DOWN, ("a", "t3"): GONE, ("b", "t1"): UP}
    assert world.look(*now) == {}
    assert world.look() == {("a", "t1"): GONE, ("a", "t2"): GONE, ("b", "t1"): GONE}
    assert (world.verdicts.tasks(), world.verdicts.counts()) == ([], {"up": 0, "down": 0, "maint": 0})


def test_a_backend_that_moves_takes_its_verdicts_with_it() -> None:
    world = World({"a": "spare-1"})
    rows = (row("spare-1", "t1.x"), row("spare-2", "t1.y", up=False))
    assert world.look(*rows) == {("a", "t1"): UP}
    world.placement = {"a": "spare-2", "b": "spare-1"}
    assert world.look(*rows) == {("a", "t1"): DOWN, ("b", "t1"): UP}
    world.placement = {}
    assert world.look(*rows) == {("a", "t1"): GONE, ("b", "t1"): GONE}


def test_core_hears_its_own_names_and_the_better_of_two_keys() -> None:
    world = World({"a": "x", "a.http-leastconn": "y"})
    assert world.look(out("x", "t1.aa"), row("y", "t1.bb")) == {("a", "t1"): UP}
    assert world.look(out("x", "t1.aa")) == {("a", "t1"): MAINT}


# ---------------------------------------------------------------- what core has been told


def heard(sent: list[pb.SyncRequest]) -> list[list[tuple[str, str, int]]]:
    return [[(each.backend, each.task, each.status) for each in request.health.servers] for request in sent]


def test_a_new_stream_hears_all_and_then_changes() -> None:
    world, sent, open_ = World({"a": "a"}), list[pb.SyncRequest](), [False]
    telling = Telling(sent.append, lambda: open_[0])
    counters = pb.Counters(worker_pid=1)
    world.look(row("a", "t1.x"))
    telling.health(world.verdicts, [("a", "t1")], counters)
    assert not sent
    open_[0] = True
    telling.health(world.verdicts, [], counters)
    telling.health(world.verdicts, [], counters)
    assert heard(sent) == [[("a", "t1", UP)]]
    changed = list(world.look())
    telling.health(world.verdicts, changed, counters)
    telling.health(world.verdicts, [], pb.Counters(worker_pid=2))
    assert heard(sent)[1:] == [[("a", "t1", GONE)], []]
    world.look(row("a", "t1.x"))
    telling.forget()
    telling.health(world.verdicts, [], counters)
    assert heard(sent)[3:] == [[("a", "t1", UP)]]


def test_who_has_no_server_is_gone() -> None:
    assert told(Verdicts(), [("a", "t")]) == [pb.ServerHealth(backend="a", task="t", status=GONE)]


def test_verdicts_on_very_many_tasks_are_several_messages_that_core_takes() -> None:
    """gRPC refuses a message of more than 4 MB, and a proxy whose stream ends for that would never be heard."""
    tasks = [f"{number:025}" for number in range(60_000)]
    logical = "a-service-with-a-long-name-of-its-own-that-is-said-for-each-task"
    sent: list[pb.SyncRequest] = []
    telling = Telling(sent.append, lambda: True)
    found = _Many({(logical, task): UP for task in tasks})
    telling.health(found, (), pb.Counters(drift=1))  # type: ignore[arg-type]
    assert len(sent) > 1
    assert max(each.ByteSize() for each in sent) < 1_000_000
    assert [server.task for each in sent for server in each.health.servers] == tasks
    assert all(each.health.counters.drift == 1 for each in sent)


@dataclass(frozen=True)
class _Many:
    """As `Verdicts` are read."""

    of: Mapping[Key, pb.HealthStatus]

    def tasks(self) -> Collection[Key]:
        return self.of.keys()

    def get(self, key: Key) -> pb.HealthStatus:
        return self.of[key]
