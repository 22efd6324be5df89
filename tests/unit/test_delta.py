"""Joining and applying changes, store, session: what one stream gets of a state that moves."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from l7 import delta as deltas
from l7.kit.errors import ProtocolError
from l7.model import Backend, BackendChange, BackendSettings, Changes, Delta, Route, Server, Snapshot
from l7.serve import session as sessions
from l7.serve.session import Ack, Hello, Nack
from l7.store import Store

SETTINGS = BackendSettings(("web",))


def server(task: str, port: int = 80) -> Server:
    return Server(task, 7, "10.0.0.1", port)


def snapshot(revision: str, *tasks: str) -> Snapshot:
    backend = Backend("web", SETTINGS, {task: server(task) for task in tasks})
    route = Route("a.example.org", "/", "web")
    return Snapshot("", revision, {"web": backend}, {route.key: route})


def add(before: str, after: str, *tasks: str, observed: int = 0) -> Delta:
    change = BackendChange("web", servers=tuple(map(server, tasks)))
    return Delta(before, after, Changes(backends=(change,)), observed)


# ------------------------------------------------------------------------------------------ delta


def test_a_backend_that_went_and_came_back_starts_empty() -> None:
    went = Delta("1", "2", Changes(removed_backends=("web",)))
    came = Delta("2", "3", Changes(backends=(BackendChange("web", SETTINGS, (server("new"),)),)))
    result = deltas.apply(snapshot("1", "old"), deltas.join([went, came]))
    assert set(result.backends["web"].servers) == {"new"}


def test_a_delta_from_another_revision_is_refused() -> None:
    with pytest.raises(ProtocolError):
        deltas.apply(snapshot("1"), add("2", "3", "t"))


@pytest.mark.parametrize("chain", [[], [add("1", "2", "a"), add("3", "4", "b")]])
def test_a_broken_or_empty_chain_cannot_be_joined(chain: list[Delta]) -> None:
    with pytest.raises(ProtocolError):
        deltas.join(chain)


def test_a_new_backend_needs_settings() -> None:
    with pytest.raises(ProtocolError, match="settings"):
        deltas.apply(replace(snapshot("1"), backends={}), add("1", "2", "t"))


def test_the_oldest_news_dates_a_joined_delta() -> None:
    chain = [add("1", "2", "a"), add("2", "3", "b", observed=5), add("3", "4", "c", observed=9)]
    assert deltas.join(chain).observed == 5


# ------------------------------------------------------------------------------------------ store


class States:
    """A store of cluster "" together with the state that it serves."""

    def __init__(self, *snapshots: Snapshot, history: int = 256) -> None:
        self.current: Snapshot | None = None
        self.store = Store(self._whole, history)
        for each in snapshots:
            self.put(each)

    def put(self, snapshot: Snapshot, delta: Delta | None = None) -> None:
        self.current = snapshot
        self.store.put("", delta)

    def since(self, revision: str) -> Delta | None:
        return self.store.since("", revision)

    def _whole(self, _cluster: str) -> Snapshot:
        assert self.current is not None
        return self.current


def test_nothing_is_known_before_the_first_put() -> None:
    store = States()
    assert store.store.snapshot("") is None
    assert store.store.revision("") == ""
    assert store.since("1") is None


def test_a_slow_reader_gets_one_joined_delta() -> None:
    store = States()
    store.put(snapshot("1", "a"))
    store.put(snapshot("2", "a", "b"), add("1", "2", "b"))
    store.put(snapshot("3", "a", "b", "c"), add("2", "3", "c"))
    joined = store.since("1")
    assert joined is not None
    assert (joined.applies_to, joined.results_in) == ("1", "3")
    assert deltas.apply(snapshot("1", "a"), joined) == store.current


def test_an_up_to_date_reader_gets_an_empty_delta() -> None:
    store = States()
    store.put(snapshot("1", "a"))
    assert store.since("1") == Delta("1", "1", Changes())


def test_history_is_bounded_and_its_loss_means_everything() -> None:
    store = States(history=1)
    for number in range(3):
        before = add(str(number - 1), str(number), f"t{number}") if number else None
        store.put(snapshot(str(number)), before)
    assert store.since("0") is None
    assert store.since("1") is not None


def test_a_state_without_its_delta_forgets_the_history() -> None:
    store = States()
    store.put(snapshot("1"))
    store.put(snapshot("2", "a"), add("1", "2", "a"))
    store.put(snapshot("9"), None)
    assert store.since("1") is None
    assert store.since("2") is None


def test_a_delta_that_does_not_follow_forgets_what_was_before_it() -> None:
    store = States()
    store.put(snapshot("1"))
    store.put(snapshot("9"), add("8", "9", "x"))
    assert store.since("1") is None
    assert store.since("8") is not None


def test_a_revision_that_came_again_is_reached_by_the_shortest_way() -> None:
    store = States()
    store.put(snapshot("A"))
    store.put(snapshot("B", "x"), add("A", "B", "x"))
    back = Delta("B", "A", Changes(backends=(BackendChange("web", removed_servers=("x",)),)))
    store.put(snapshot("A"), back)
    store.put(snapshot("C", "y"), add("A", "C", "y"))
    joined = store.since("A")
    assert joined == add("A", "C", "y")


def test_only_readers_of_the_cluster_are_woken() -> None:
    store = States()
    with store.store.reader("") as default, store.store.reader("blue") as blue:
        assert default.is_set(), "a new reader looks once"
        for wake in (default, blue):
            wake.clear()
        store.put(snapshot("1"))
        assert default.is_set()
        assert not blue.is_set()


async def test_a_waiting_reader_wakes() -> None:
    store = States()
    with store.store.reader("") as wake:
        wake.clear()
        waiting = asyncio.create_task(wake.wait())
        await asyncio.sleep(0)
        store.put(snapshot("1"))
        assert await waiting


# ---------------------------------------------------------------------------------------- session


def opened(store: States, revision: str = "") -> sessions.Session:
    return sessions.opened(Hello("", "h1", revision=revision))


def step(session: sessions.Session, states: States) -> tuple[sessions.Session, Snapshot | Delta | None]:
    update = sessions.next_update(session, states.store.revision(""), states.since)
    if update is None:
        return session, None
    whole = states.store.whole("") if update is sessions.WHOLE else update
    return sessions.sent(session, whole), whole


@pytest.fixture
def store() -> States:
    store = States()
    store.put(snapshot("1", "a"))
    store.put(snapshot("2", "a", "b"), add("1", "2", "b", observed=77))
    return store


def test_without_a_state_nothing_is_sent() -> None:
    assert step(opened(States()), States())[1] is None


@pytest.mark.parametrize("revision", ["", "unknown"])
def test_who_has_nothing_known_gets_everything(store: States, revision: str) -> None:
    session, update = step(opened(store, revision), store)
    assert update == store.current
    assert step(session, store)[1] is None


def test_who_comes_back_gets_only_the_difference(store: States) -> None:
    _, update = step(opened(store, "1"), store)
    assert update == add("1", "2", "b", observed=77)


def test_who_is_up_to_date_is_told_so_once(store: States) -> None:
    session, update = step(opened(store, "2"), store)
    assert update == Delta("2", "2", Changes())
    assert step(session, store)[1] is None


def test_a_refused_revision_is_not_sent_again_and_the_next_one_comes_whole(store: States) -> None:
    session, _ = step(opened(store, "1"), store)
    session = sessions.refused(session, Nack("2", "no"))
    assert step(session, store)[1] is None
    store.put(snapshot("3", "a", "b", "c"), add("2", "3", "c"))
    session, update = step(session, store)
    assert update == store.current
    store.put(snapshot("2", "a", "b"), Delta("3", "2", Changes()))
    assert step(session, store)[1] is not None, "a state that comes back later is a new one"


def test_a_late_refusal_does_not_break_the_chain(store: States) -> None:
    session, _ = step(opened(store, "1"), store)
    store.put(snapshot("3", "a", "b", "c"), add("2", "3", "c"))
    session, update = step(session, store)
    session = sessions.refused(session, Nack("2", "no"))
    assert isinstance(update, Delta)
    assert step(session, store)[1] is None


def test_a_second_hello_brings_everything_even_after_a_refusal(store: States) -> None:
    session, _ = step(opened(store, "1"), store)
    session = sessions.refused(session, Nack("2", "no"))
    session = sessions.greeted_again(session, Hello("", "h1"))
    assert step(session, store)[1] == store.current


def test_an_acknowledgement_is_measured_from_the_first_news(store: States) -> None:
    session, _ = step(opened(store, "1"), store)
    assert sessions.observed_at(session, "2") == 77
    session = sessions.acknowledged(session, Ack("2", 10))
    assert session.acked == "2"
    assert sessions.observed_at(session, "2") == 0


def test_an_acknowledgement_covers_what_was_sent_before(store: States) -> None:
    session, _ = step(opened(store, "1"), store)
    store.put(snapshot("3", "c"), add("2", "3", "c", observed=99))
    session, _ = step(session, store)
    assert [revision for revision, _ in sessions.acknowledged(session, Ack("2")).observed] == ["3"]
    assert sessions.acknowledged(session, Ack("3")).observed == ()


def test_what_is_never_acknowledged_is_forgotten_in_the_end(store: States) -> None:
    session = opened(store)
    for number in range(3 * sessions.PENDING):
        session = sessions.sent(session, snapshot(str(number)))
    assert len(session.observed) == sessions.PENDING
