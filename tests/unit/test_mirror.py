"""The sidecar's copy of the desired state: rules of the protocol, one by one."""

from __future__ import annotations

import pytest

from haproxy.mirror import BrokenChain, Mirror, Touched
from haproxy.model import Route, ServerState
from l7.kit.errors import ProtocolError
from l7.v1 import sync_pb2 as pb

COMPLETE, INCREMENTAL = pb.UPDATE_KIND_COMPLETE, pb.UPDATE_KIND_INCREMENTAL


def server(task: str, port: int = 80) -> pb.Server:
    return pb.Server(task=task, id=1, address="10.0.0.1", port=port, weight=64, state=pb.SERVER_STATE_READY)


def backend(name: str, *tasks: str, settings: bool = True, removed: tuple[str, ...] = ()) -> pb.Backend:
    made = pb.Backend(name=name, servers=[server(task) for task in tasks], removed_servers=removed)
    if settings:
        made.settings.CopyFrom(pb.BackendSettings(services=[name], expected=True))
    return made


def route(host: str, to: str, path: str = "/") -> pb.Route:
    return pb.Route(host=host, path=path, backend=to)


def complete(
    revision: str, *backends: pb.Backend, routes: tuple[pb.Route, ...] = (), last: bool = True
) -> pb.SyncResponse:
    changes = pb.Changes(backends=backends, routes=routes)
    return pb.SyncResponse(kind=COMPLETE, results_in=revision, last=last, changes=changes)


def incremental(start: str, revision: str, changes: pb.Changes, last: bool = True) -> pb.SyncResponse:
    return pb.SyncResponse(kind=INCREMENTAL, applies_to=start, results_in=revision, last=last, changes=changes)


def holding(*backends: pb.Backend, routes: tuple[pb.Route, ...] = ()) -> Mirror:
    mirror = Mirror()
    mirror.apply(complete("r1", *backends, routes=routes))
    return mirror


def test_a_complete_counts_from_its_last_chunk_on() -> None:
    mirror = Mirror()
    assert mirror.apply(complete("r1", backend("a", "t1"), last=False)) is None
    assert mirror.desired.backends == {}
    touched = mirror.apply(complete("r1", backend("a", "t2"), routes=(route("h", "a"),)))
    assert touched == Touched(frozenset({"a"}), frozenset({"h"}))
    assert mirror.revision == "r1"
    assert mirror.backends["a"].servers.keys() == {"t1", "t2"}
    assert mirror.hosts == {"h": {("h", "/"): Route("h", "/", "a")}}


def test_a_complete_touches_exactly_what_differs() -> None:
    mirror = holding(
        backend("a", "t1"), backend("b", "t1"), backend("c"), routes=(route("x", "a"), route("y", "b"))
    )
    again = (backend("a", "t1"), backend("b", "t2"), backend("d"))
    touched = mirror.apply(complete("r2", *again, routes=(route("x", "a"), route("z", "b"))))
    assert touched == Touched(frozenset({"b", "c", "d"}), frozenset({"y", "z"}))
    assert mirror.hosts.keys() == {"x", "z"}


def test_an_incremental_changes_what_it_names() -> None:
    mirror = holding(backend("a", "t1", "t2"), backend("b", "t1"), routes=(route("x", "a"), route("x", "a", "/p")))
    changes = pb.Changes(
        backends=[backend("a", "t3", settings=False, removed=("t1",))],
        removed_backends=["b"],
        removed_routes=[pb.RouteKey(host="x", path="/p")],
        routes=[route("y", "a")],
    )
    touched = mirror.apply(incremental("r1", "r2", changes))
    assert touched == Touched(frozenset({"a", "b"}), frozenset({"x", "y"}))
    assert mirror.backends.keys() == {"a"}
    assert mirror.backends["a"].servers.keys() == {"t2", "t3"}
    assert mirror.backends["a"].services == ("a",)
    assert mirror.routes.keys() == {("x", "/"), ("y", "/")}


def test_a_broken_chain_changes_nothing() -> None:
    mirror = holding(backend("a", "t1"))
    with pytest.raises(BrokenChain):
        mirror.apply(incremental("r0", "r2", pb.Changes(removed_backends=["a"])))
    assert (mirror.revision, set(mirror.backends)) == ("r1", {"a"})


@pytest.mark.parametrize("kind", [COMPLETE, INCREMENTAL])
def test_a_message_that_makes_no_sense_changes_nothing(kind: pb.UpdateKind) -> None:
    mirror = holding(backend("a", "t1"), routes=(route("x", "a"),))
    bad = backend("b", "t1")
    bad.servers[0].state = pb.SERVER_STATE_UNSPECIFIED
    changes = pb.Changes(backends=[bad], removed_backends=["a"], removed_routes=[pb.RouteKey(host="x", path="/")])
    with pytest.raises(ProtocolError, match="unknown state"):
        mirror.apply(pb.SyncResponse(kind=kind, applies_to="r1", results_in="r2", last=True, changes=changes))
    assert (mirror.revision, set(mirror.backends), set(mirror.routes)) == ("r1", {"a"}, {("x", "/")})
    mirror.apply(incremental("r1", "r3", pb.Changes()))
    assert mirror.revision == "r3"


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ProtocolError, match="unknown kind"):
        Mirror().apply(pb.SyncResponse(results_in="r1", last=True))


def test_removed_and_there_again_starts_anew() -> None:
    mirror = holding(backend("a", "t1", "t2"))
    mirror.apply(incremental("r1", "r2", pb.Changes(removed_backends=["a"], backends=[backend("a", "t3")])))
    assert mirror.backends["a"].servers.keys() == {"t3"}


def test_removals_count_first_whichever_chunk_they_are_in() -> None:
    mirror = holding(backend("a", "t1"), backend("b", "t1"), routes=(route("x", "a"),))
    there = pb.Changes(backends=[backend("a", "t1"), backend("b", "t9")], routes=[route("x", "b")])
    gone = pb.Changes(
        backends=[backend("a", settings=False, removed=("t1",))],
        removed_backends=["b"],
        removed_routes=[pb.RouteKey(host="x", path="/")],
    )
    mirror.apply(incremental("r1", "r2", there, last=False))
    mirror.apply(incremental("r1", "r2", gone))
    assert mirror.backends["a"].servers.keys() == {"t1"}
    assert mirror.backends["b"].servers.keys() == {"t9"}
    assert mirror.routes["x", "/"].backend == "b"


def test_what_a_broken_stream_left_is_not_part_of_the_next_update() -> None:
    mirror = holding(backend("a", "t1"))
    mirror.apply(incremental("r1", "r2", pb.Changes(backends=[backend("x", "t1")]), last=False))
    mirror.apply(complete("r2", backend("b", "t1")))
    assert mirror.backends.keys() == {"b"}
    mirror.apply(complete("r3", backend("y", "t1"), last=False))
    mirror.apply(incremental("r2", "r3", pb.Changes(backends=[backend("c", "t1")])))
    assert mirror.backends.keys() == {"b", "c"}


def test_states_of_servers_are_read() -> None:
    leaving = server("t1")
    leaving.state, leaving.stop_in_milliseconds = pb.SERVER_STATE_LEAVING, 3100
    mirror = holding(pb.Backend(name="a", servers=[leaving]))
    assert mirror.backends["a"].servers["t1"].state is ServerState.LEAVING
    assert mirror.backends["a"].servers["t1"].stop_in == 3100
