"""The sidecar's copy of the desired state: rules of the protocol, one by one."""

from __future__ import annotations

from typing import Any

import pytest

from haproxy.mirror import Mirror, Touched, name_of
from haproxy.model import ClientCertificate, KeyPair, Route, Secret, ServerState, TlsHost
from l7.kit.errors import BrokenChain, ProtocolError
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


# ---------------------------------------------------------------- keys


def with_balance(name: str, balance: pb.Balance) -> pb.Backend:
    return pb.Backend(name=name, settings=pb.BackendSettings(services=[name], expected=True, balance=balance))


def test_another_policy_is_another_key_and_touches_all_that_leads_there() -> None:
    canary = pb.Route(host="y", path="/", backend="b", canaries=[pb.Canary(backend="a", header="x")])
    port = pb.Route(host=":5432", path="/", backend="a")
    mirror = holding(backend("a", "t1"), backend("b"), routes=(route("x", "a"), canary, port, route("z", "b")))
    flipped = pb.Changes(backends=[with_balance("a", pb.BALANCE_LEAST_CONNECTIONS)])
    touched = mirror.apply(incremental("r1", "r2", flipped))
    assert touched == Touched(frozenset({"a", "a.http-leastconn"}), frozenset({"x", "y", ":5432"}))
    assert mirror.backends.keys() == {"a.http-leastconn", "b"}
    assert mirror.backends["a.http-leastconn"].servers.keys() == {"t1"}
    assert mirror.hosts["x"]["x", "/"].backend == "a.http-leastconn"
    assert mirror.hosts["y"]["y", "/"].canaries[0].backend == "a.http-leastconn"
    assert mirror.desired.backends.keys() == {"a", "b"}
    assert mirror.desired.routes["x", "/"].backend == "a"


def test_the_same_policy_touches_the_backend_only() -> None:
    mirror = holding(backend("a", "t1"), routes=(route("x", "a"),))
    same = pb.Changes(backends=[with_balance("a", pb.BALANCE_UNSPECIFIED)])
    assert mirror.apply(incremental("r1", "r2", same)) == Touched(frozenset({"a"}))


def test_a_backend_that_goes_takes_its_key_along() -> None:
    mirror = holding(with_balance("a", pb.BALANCE_RANDOM), routes=(route("x", "a"),))
    assert mirror.hosts["x"]["x", "/"].backend == "a.http-random"
    touched = mirror.apply(incremental("r1", "r2", pb.Changes(removed_backends=["a"])))
    assert touched == Touched(frozenset({"a", "a.http-random"}), frozenset({"x"}))
    assert mirror.hosts["x"]["x", "/"].backend == "a"


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("a", "a"), ("a.http-leastconn-checked", "a"), ("a.canary", "a.canary"), ("a.tcp.tcp", "a.tcp"),
        ("a.canary.http-hash", "a.canary"), ("a.tcp.tcp-hash", "a.tcp"), ("a:b.http-all", "a:b"), ("http", "http"),
    ],
)  # fmt: skip
def test_cores_name_is_in_the_key(key: str, name: str) -> None:
    assert name_of(key) == name


def test_rules_and_configuration_come_change_and_go() -> None:
    mirror = holding(backend("a"))
    changes = pb.Changes(rules=[pb.Rules(name="a", max_body_bytes=1)], config=pb.Config(json=b'{"x":1}'))
    touched = mirror.apply(incremental("r1", "r2", changes))
    assert touched == Touched(rules=frozenset({"a"}), config=True)
    assert (mirror.rules["a"].max_body_bytes, mirror.desired.config) == (1, b'{"x":1}')
    assert mirror.apply(incremental("r2", "r3", pb.Changes(config=pb.Config(json=b'{"x":1}')))) == Touched()
    assert mirror.apply(incremental("r3", "r4", pb.Changes(removed_rules=["a"]))) == Touched(rules=frozenset({"a"}))
    assert mirror.rules == {}


def test_a_canary_that_makes_no_sense_changes_nothing() -> None:
    mirror = holding(backend("a", "t1"), routes=(route("x", "a"),))
    bad = pb.Route(host="x", path="/", backend="b", canaries=[pb.Canary(backend="a")])
    with pytest.raises(ProtocolError, match="without header"):
        mirror.apply(incremental("r1", "r2", pb.Changes(routes=[bad], removed_backends=["a"])))
    assert (mirror.revision, set(mirror.backends)) == ("r1", {"a"})


# ---------------------------------------------------------------- TLS


def tls_host(host: str, certificate: str = "c1", **more: Any) -> pb.TlsHost:
    return pb.TlsHost(
        host=host, service="a", certificate=pb.KeyPair(certificate=pb.Secret(id=certificate, name="n")), **more
    )


def test_tls_challenges_and_sources_come_change_and_go() -> None:
    mirror = holding()
    changes = pb.Changes(
        tls_hosts=[tls_host("x", client_certificate=2, client_ca=pb.Secret(id="ca", name="n", config=True))],
        challenges=[pb.Challenge(token="t", key_authorization="t.k")],
        secret_sources=pb.SecretSources(addresses=["10.0.0.1:8081"]),
    )
    touched = mirror.apply(incremental("r1", "r2", changes))
    assert touched == Touched(tls_hosts=frozenset({"x"}), challenges=frozenset({"t"}), sources=True)
    pair = KeyPair(Secret("c1", "n"))
    assert mirror.desired.tls_hosts == {
        "x": TlsHost("x", "a", pair, ClientCertificate.REQUIRED, Secret("ca", "n", True))
    }
    assert mirror.desired.challenges == {"t": "t.k"}
    assert mirror.desired.secret_sources == ("10.0.0.1:8081",)
    same = pb.Changes(secret_sources=changes.secret_sources)
    assert mirror.apply(incremental("r2", "r3", same)) == Touched()
    gone = pb.Changes(removed_tls_hosts=["x"], removed_challenges=["t"], secret_sources=pb.SecretSources())
    touched = mirror.apply(incremental("r3", "r4", gone))
    assert touched == Touched(tls_hosts=frozenset({"x"}), challenges=frozenset({"t"}), sources=True)
    assert (mirror.tls_hosts, mirror.challenges, mirror.secret_sources) == ({}, {}, ())


@pytest.mark.parametrize(
    "bad",
    [pb.TlsHost(host="y"), tls_host("y", client_certificate=7)],
    ids=["no certificate", "unknown verification"],
)
def test_tls_that_makes_no_sense_changes_nothing(bad: pb.TlsHost) -> None:
    mirror = holding(backend("a", "t1"))
    with pytest.raises(ProtocolError, match="TLS of y"):
        mirror.apply(incremental("r1", "r2", pb.Changes(tls_hosts=[bad], removed_backends=["a"])))
    assert (mirror.revision, set(mirror.backends), mirror.tls_hosts) == ("r1", {"a"}, {})


def test_what_does_not_differ_stays_the_object_that_it_was() -> None:
    mirror = holding(backend("a", "t1"), backend("b", "t1"), routes=(route("x", "a"), route("y", "b")))
    a, b, x, y = mirror.backends["a"], mirror.backends["b"], mirror.routes["x", "/"], mirror.routes["y", "/"]
    mirror.apply(complete("r2", backend("a", "t1"), backend("b", "t2"), routes=(route("x", "a"), route("y", "a"))))
    assert mirror.backends["a"] is a
    assert mirror.backends["b"] != b
    assert mirror.routes["x", "/"] is x
    assert mirror.routes["y", "/"] != y


def test_a_name_that_no_proxy_takes_costs_its_backend_alone() -> None:
    mirror = holding(backend("a", "t1"))
    a = mirror.backends["a"]
    touched = mirror.apply(complete("r2", backend("a", "t1"), backend("b", "no name")))
    assert touched == Touched(frozenset({"b"}))
    assert mirror.backends["a"] == a
    for kind in ("no", "t2"):
        touched = mirror.apply(incremental(mirror.revision, kind, pb.Changes(backends=[backend("a", kind)])))
        assert touched == Touched(frozenset({"a"}))
    assert mirror.apply(complete("r3", backend("a", "t2"))) == Touched(frozenset({"a", "b"}))
    assert mirror.backends["a"].servers.keys() == {"t2"}


def test_settings_that_are_absent_are_not_empty_ones() -> None:
    mirror = holding(backend("a", "t1", settings=False))
    assert mirror.backends["a"].expected
    empty = backend("a", "t1", settings=False)
    empty.settings.CopyFrom(pb.BackendSettings())
    assert mirror.apply(complete("r2", empty)) == Touched(frozenset({"a"}))
    assert not mirror.backends["a"].expected
    assert mirror.apply(complete("r3", backend("a", "t1", settings=False))) == Touched(frozenset({"a"}))
