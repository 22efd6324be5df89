"""Deltas, chunks and wire: whatever the way, a reader ends with the same state."""

from __future__ import annotations

from dataclasses import asdict, replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from l7 import delta as deltas
from l7.model import (
    Backend,
    BackendChange,
    BackendSettings,
    Balance,
    Canary,
    Changes,
    ClientCertificate,
    Cors,
    Delta,
    HashKey,
    HashSource,
    HeaderAction,
    HeaderChange,
    HealthCheck,
    KeyPair,
    Problem,
    Protocol,
    ProxyHeader,
    RateLimit,
    Redirect,
    RetryOn,
    Route,
    Rules,
    Secret,
    Server,
    ServerSettings,
    ServerState,
    Snapshot,
    TlsHost,
)
from l7.serve import session as sessions
from l7.serve import wire
from l7.serve.session import Ack, Counters, Health, Hello, Message, Nack, Report, Verdict
from l7.status import ClusterView
from l7.store import Store
from l7.v1 import sync_pb2 as pb

NAMES = st.sampled_from(["a", "b", "c:d"])
TASKS = st.sampled_from(["t1", "t2", "t3", "t4"])

servers = st.builds(
    Server,
    task=TASKS,
    id=st.integers(1, 2**20 - 1),
    address=st.sampled_from(["10.0.0.1", "fd00::1"]),
    port=st.integers(1, 65535),
    weight=st.integers(1, 256),
    state=st.sampled_from(ServerState),
    stop_in=st.integers(0, 5000),
    service=st.integers(0, 2),
)
numbers = st.sampled_from([0, 1, 2**31])
words = st.sampled_from(["", "x", "x-lane"])
secrets = st.builds(Secret, words, words, st.booleans())
pairs = st.builds(KeyPair, secrets, st.none() | secrets)
server_settings = st.builds(
    ServerSettings,
    st.sampled_from(Protocol),
    st.integers(0, 65535),
    *([numbers] * 8),
    st.none() | secrets,
    words,
    st.none() | pairs,
    st.sampled_from(ProxyHeader),
)
tls_hosts = st.builds(
    TlsHost,
    st.sampled_from(["x.org", "*.x.org", "*"]),
    words,
    pairs,
    st.sampled_from(ClientCertificate),
    st.none() | secrets,
)
settings = st.builds(
    BackendSettings,
    st.lists(NAMES, unique=True, max_size=2).map(tuple),
    st.booleans(),
    st.sampled_from(Balance),
    st.sampled_from(RetryOn),
    st.none() | st.builds(HealthCheck, words, words, st.lists(st.integers(100, 599), max_size=2).map(tuple)),
    st.lists(server_settings, max_size=2).map(tuple),
    st.booleans(),
)
# In histories a few of each do, and are drawn fast; whether every field travels is tested one by one.
SETTINGS = (
    BackendSettings(),
    BackendSettings(("a", "b"), False, Balance.HASH, servers=(ServerSettings(), ServerSettings(max_fails=3))),
    BackendSettings(("a",), tcp=True),
)
TLS_HOSTS = (
    TlsHost("x.org", "a", KeyPair(Secret("1", "c"), Secret("2", "k"))),
    TlsHost("x.org", "a", KeyPair(Secret("3", "c"))),
    TlsHost("*", "", KeyPair(Secret("4", "d"))),
)
RULES = (Rules("a", compression=True), Rules("a", allow=("::/0",)), Rules("b", hsts="x"))
backends = st.builds(
    lambda name, settings, servers: Backend(name, settings, {server.task: server for server in servers}),
    NAMES,
    st.sampled_from(SETTINGS),
    st.lists(servers, max_size=4),
)
routes = st.builds(Route, st.sampled_from(["x.org", "*.x.org"]), st.sampled_from(["/", "/p"]), NAMES, st.booleans())
full_routes = st.builds(
    Route,
    st.sampled_from(["x.org", "*.x.org", "*", ":5432"]),
    st.sampled_from(["/", "/p"]),
    NAMES | st.just(""),
    st.booleans(),
    words,
    st.none() | st.builds(Redirect, st.sampled_from(["", "http"]), words),
    st.lists(st.builds(Canary, NAMES, st.sampled_from(["header", "cookie"]), words, words), max_size=2).map(tuple),
)
header_change = st.builds(HeaderChange, st.sampled_from(HeaderAction), words, words)
header_changes = st.lists(header_change, max_size=2).map(tuple)
texts_of_rules = st.lists(words, max_size=2).map(tuple)
rules = st.builds(
    Rules,
    NAMES,
    st.booleans(),
    words,
    texts_of_rules,
    st.none() | st.builds(RateLimit, numbers, numbers),
    st.integers(0, 2**40),
    st.booleans(),
    st.none() | st.builds(Cors, texts_of_rules, texts_of_rules, texts_of_rules, st.booleans(), numbers),
    header_changes,
    header_changes,
    st.none() | st.builds(HashKey, st.sampled_from(HashSource), words),
    *([numbers] * 4),
    st.none() | secrets,
    words,
    st.sampled_from(ClientCertificate),
)


@st.composite
def contents(draw: st.DrawFn) -> Snapshot:
    """A state with revision ""; routes may lead anywhere, which is not this layer's business."""
    return Snapshot(
        "",
        "",
        {backend.name: backend for backend in draw(st.lists(backends, max_size=3))},
        {route.key: route for route in draw(st.lists(routes, max_size=4))},
        {each.name: each for each in draw(st.lists(st.sampled_from(RULES), max_size=2))},
        draw(st.sampled_from([b"{}", b'{"A":1}'])),
        {each.host: each for each in draw(st.lists(st.sampled_from(TLS_HOSTS), max_size=2))},
        draw(st.dictionaries(st.sampled_from(["t", "u"]), st.sampled_from(["t.k", "u.k"]), max_size=2)),
        draw(st.sampled_from([(), ("10.0.0.1:8081",), ("10.0.0.2:8081", "10.0.0.1:8081")])),
    )


@st.composite
def histories(draw: st.DrawFn) -> list[Snapshot]:
    """States that follow each other, each with a revision of its own."""
    states = draw(st.lists(contents(), min_size=2, max_size=7))
    return [replace(state, revision=f"r{number}") for number, state in enumerate(states)]


def difference(old: Snapshot, new: Snapshot) -> Delta:
    """The plainest way from one state to another; independent of the code under test."""
    changed = [
        BackendChange(
            name,
            backend.settings
            if name not in old.backends or old.backends[name].settings != backend.settings
            else None,
            tuple(
                server
                for task, server in sorted(backend.servers.items())
                if name not in old.backends or old.backends[name].servers.get(task) != server
            ),
            tuple(sorted(old.backends[name].servers.keys() - backend.servers.keys()))
            if name in old.backends
            else (),
        )
        for name, backend in sorted(new.backends.items())
        if old.backends.get(name) != backend
    ]
    return Delta(
        old.revision,
        new.revision,
        Changes(
            tuple(changed),
            tuple(sorted(old.backends.keys() - new.backends.keys())),
            tuple(route for key, route in sorted(new.routes.items()) if old.routes.get(key) != route),
            tuple(sorted(old.routes.keys() - new.routes.keys())),
            tuple(each for name, each in sorted(new.rules.items()) if old.rules.get(name) != each),
            tuple(sorted(old.rules.keys() - new.rules.keys())),
            None if old.config == new.config else new.config,
            tuple(each for host, each in sorted(new.tls_hosts.items()) if old.tls_hosts.get(host) != each),
            tuple(sorted(old.tls_hosts.keys() - new.tls_hosts.keys())),
            tuple(pair for pair in sorted(new.challenges.items()) if pair not in old.challenges.items()),
            tuple(sorted(old.challenges.keys() - new.challenges.keys())),
            None if old.secret_sources == new.secret_sources else new.secret_sources,
        ),
    )


def chain(history: list[Snapshot]) -> list[Delta]:
    return [difference(old, new) for old, new in pairwise(history)]


@given(settings, full_routes, rules, tls_hosts)
def test_every_field_travels(settings: BackendSettings, route: Route, rules: Rules, host: TlsHost) -> None:
    backends, routes, sources = {"a": Backend("a", settings)}, {route.key: route}, ("10.0.0.1:8081", "[fd00::1]:9")
    state = Snapshot(
        "", "r", backends, routes, {rules.name: rules}, b'{"A":1}', {host.host: host}, {"t": "t.k"}, sources
    )
    chunks = [pb.SyncResponse.FromString(chunk.SerializeToString()) for chunk in wire.messages(state)]
    assert wire.update_from(chunks) == state


@given(histories())
def test_each_delta_leads_to_the_next_state(history: list[Snapshot]) -> None:
    for old, new, delta in zip(history, history[1:], chain(history), strict=False):
        assert deltas.apply(old, delta) == new


@given(histories())
def test_a_joined_delta_does_what_the_sequence_does(history: list[Snapshot]) -> None:
    assert deltas.apply(history[0], deltas.join(chain(history))) == history[-1]


@given(histories(), st.data())
def test_joining_in_groups_is_joining_at_once(history: list[Snapshot], data: st.DataObject) -> None:
    steps = chain(history)
    cut = data.draw(st.integers(1, len(steps)))
    groups = [deltas.join(group) for group in (steps[:cut], steps[cut:]) if group]
    assert deltas.join(groups) == deltas.join(steps)


@given(contents(), st.integers(1, 400))
def test_a_complete_state_in_chunks_of_any_size_is_the_state(state: Snapshot, limit: int) -> None:
    state = replace(state, revision="r")
    chunks = wire.messages(state, limit)
    assert [chunk.last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    again = [pb.SyncResponse.FromString(chunk.SerializeToString()) for chunk in chunks]
    assert wire.update_from(again) == state


@given(histories(), st.integers(1, 400))
def test_an_incremental_in_chunks_of_any_size_is_the_delta(history: list[Snapshot], limit: int) -> None:
    joined = replace(deltas.join(chain(history)), observed=12)
    decoded = wire.update_from(wire.messages(joined, limit))
    assert decoded == joined
    assert isinstance(decoded, Delta)
    assert deltas.apply(history[0], decoded) == history[-1]


@given(st.integers(0, 1700))
def test_a_backend_of_many_servers_is_cut_and_put_together(number: int) -> None:
    everyone = {f"t{n:05}": Server(f"t{n:05}", n + 1, "10.0.0.1", 80) for n in range(number)}
    state = Snapshot("", "r", {"a": Backend("a", BackendSettings(("a",)), everyone)}, {})
    chunks = wire.messages(state, 20_000)
    assert all(chunk.ByteSize() < 50_000 for chunk in chunks)
    assert wire.update_from(chunks) == state


@given(contents())
def test_same_state_same_bytes(state: Snapshot) -> None:
    shuffled = replace(
        state,
        backends=dict(reversed(list(state.backends.items()))),
        routes=dict(reversed(list(state.routes.items()))),
        rules=dict(reversed(list(state.rules.items()))),
        tls_hosts=dict(reversed(list(state.tls_hosts.items()))),
        challenges=dict(reversed(list(state.challenges.items()))),
    )
    assert deltas.everything(shuffled) == deltas.everything(state)


@given(histories(), st.data())
def test_any_reader_at_any_pace_ends_with_the_current_state(history: list[Snapshot], data: st.DataObject) -> None:
    """Reads when it likes, refuses when it likes, comes back with what it holds or forgets it."""
    current = [history[0]]
    store = Store(lambda _: current[0], history=3)
    store.put("")
    session = sessions.opened(Hello("", "h"))
    held: Snapshot | None = None
    refused = ""
    for new, delta in zip(history[1:], chain(history), strict=True):
        action = data.draw(st.sampled_from(["read", "wait", "refuse", "reconnect", "forget"]))
        if action == "reconnect":
            session = sessions.opened(Hello("", "h", revision=held.revision if held else ""))
        elif action == "forget":
            session, held = sessions.greeted_again(session, Hello("", "h")), None
        elif action == "refuse" and held is not None:
            session, refused = sessions.refused(session, Nack(held.revision, "no")), held.revision
            held = None
        elif action == "read":
            session, held = read(session, store, held)
        current[0] = new
        store.put("", delta)
    session, held = read(session, store, held)
    assert held == history[-1]
    assert held.revision != refused


def read(
    session: sessions.Session, store: Store, held: Snapshot | None
) -> tuple[sessions.Session, Snapshot | None]:
    """What an extension does with what it gets: it must never get a difference to what it does not hold."""
    update = sessions.next_update(session, store.revision(""), lambda revision: store.since("", revision))
    if update is None:
        return session, held
    if update is sessions.WHOLE:
        whole = store.whole("")
        return sessions.sent(session, whole), whole
    assert held is not None
    return sessions.sent(session, update), deltas.apply(held, update)


texts = st.text(max_size=20)
uints = st.integers(0, 2**63)
plain = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\\"), max_size=20)
reported = st.builds(
    lambda service, label, message, remedy: Problem(service, label, "", message, remedy, fatal=False),
    plain,
    plain,
    plain,
    plain,
)


STATUS = {
    "up": pb.HEALTH_STATUS_UP,
    "down": pb.HEALTH_STATUS_DOWN,
    "maintenance": pb.HEALTH_STATUS_MAINTENANCE,
    "gone": pb.HEALTH_STATUS_GONE,
}
small = st.integers(0, 2**32 - 1)


@given(
    st.one_of(
        st.builds(Hello, texts, texts, texts, texts, texts),
        st.builds(Ack, texts, uints),
        st.builds(Nack, texts, texts),
        st.builds(
            Health,
            st.lists(st.builds(Verdict, texts, texts, st.sampled_from(list(STATUS)), small, small)).map(tuple),
            st.none() | st.builds(Counters, uints, uints, uints, uints),
            st.none() | st.builds(ClusterView, small, small, small, small, small, uints, uints),
        ),
        st.builds(Report, st.lists(reported, max_size=3).map(tuple)),
    )
)
def test_what_extensions_say_is_understood(message: Message) -> None:
    assert wire.message_from(to_request(message)) == message


def to_request(message: Message) -> pb.SyncRequest:
    """As an extension would write it."""
    if isinstance(message, Hello):
        hello = pb.Hello(
            cluster=message.cluster,
            instance=message.instance,
            software=message.software,
            proxy=message.proxy,
            revision=message.revision,
        )
        return pb.SyncRequest(hello=hello)
    if isinstance(message, Ack):
        return pb.SyncRequest(ack=pb.Ack(revision=message.revision, apply_microseconds=message.apply_microseconds))
    if isinstance(message, Nack):
        return pb.SyncRequest(nack=pb.Nack(revision=message.revision, reason=message.reason))
    if isinstance(message, Report):
        problems = [
            pb.Problem(service=each.service, label=each.label, message=each.message, remedy=each.remedy)
            for each in message.problems
        ]
        return pb.SyncRequest(report=pb.Report(problems=problems))
    health = pb.Health(
        servers=[
            pb.ServerHealth(backend=v.backend, task=v.task, status=STATUS[v.status], up=v.up, proxies=v.proxies)
            for v in message.verdicts
        ],
        cluster=None if message.cluster is None else pb.ClusterView(**asdict(message.cluster)),
    )
    if message.counters is not None:
        counters = message.counters
        health.counters.CopyFrom(
            pb.Counters(
                reloads=counters.reloads,
                drift=counters.drift,
                held_requests=counters.held_requests,
                worker_pid=counters.worker_pid,
            )
        )
    return pb.SyncRequest(health=health)
