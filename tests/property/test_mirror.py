"""The sidecar's copy of the desired state: however an update is cut into chunks, it is the same update."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from haproxy.mirror import Mirror, Touched, key_of, name_of
from haproxy.wire import changes_from
from l7.v1 import sync_pb2 as pb

K = TypeVar("K")
NAMES, TASKS = st.sampled_from("abc"), st.sampled_from(("t1", "t2", "t3"))
HOSTS, PATHS = st.sampled_from(("x", "y")), st.sampled_from(("/", "/p"))

servers = st.builds(
    pb.Server, task=TASKS, id=st.integers(1, 3), address=st.just("10.0.0.1"), port=st.sampled_from((80, 81)),
    weight=st.just(64), state=st.sampled_from((1, 2, 3)),
)  # fmt: skip
secrets = st.builds(pb.Secret, id=st.sampled_from(("i1", "i2")), name=st.just("n"), config=st.booleans())
pairs = st.builds(pb.KeyPair, certificate=secrets, key=st.none() | secrets)
tls = st.builds(
    pb.ServerSettings, tls_ca=st.none() | secrets, tls_name=st.sampled_from(("", "x")),
    tls_certificate=st.none() | pairs, proxy_header=st.sampled_from((0, 2)),
)  # fmt: skip
backends = st.builds(
    pb.Backend,
    name=NAMES,
    settings=st.builds(
        pb.BackendSettings, services=st.just(["s"]), expected=st.booleans(), balance=st.sampled_from((0, 1)),
        retry_on=st.sampled_from((0, 1)), server_settings=st.lists(tls, max_size=1),
    ),
    servers=st.lists(servers, max_size=3, unique_by=lambda server: server.task),
    removed_servers=st.lists(TASKS, max_size=2, unique=True),
)
canaries = st.builds(pb.Canary, backend=NAMES, header=st.just("x"))
routes = st.builds(
    pb.Route, host=HOSTS, path=PATHS, backend=NAMES | st.just(""), strip_path=st.booleans(),
    canaries=st.lists(canaries, max_size=1),
)
rules = st.builds(pb.Rules, name=NAMES, max_body_bytes=st.integers(1, 2))
tls_hosts = st.builds(
    pb.TlsHost, host=HOSTS, service=NAMES, certificate=pairs, client_certificate=st.sampled_from((0, 1, 2)),
    client_ca=st.none() | secrets,
)  # fmt: skip
challenges = st.builds(pb.Challenge, token=NAMES, key_authorization=st.sampled_from(("k1", "k2")))
sources = st.builds(pb.SecretSources, addresses=st.lists(st.sampled_from(("a:1", "b:1")), max_size=2))
route_keys = st.builds(pb.RouteKey, host=HOSTS, path=PATHS)
changes = st.builds(
    pb.Changes,
    backends=st.lists(backends, max_size=3, unique_by=lambda backend: backend.name),
    removed_backends=st.lists(NAMES, max_size=2, unique=True),
    routes=st.lists(routes, max_size=4, unique_by=lambda route: (route.host, route.path)),
    removed_routes=st.lists(route_keys, max_size=2),
    rules=st.lists(rules, max_size=2, unique_by=lambda rules: rules.name),
    removed_rules=st.lists(NAMES, max_size=2, unique=True),
    config=st.none() | st.builds(pb.Config, json=st.sampled_from((b"{}", b'{"a":1}'))),
    tls_hosts=st.lists(tls_hosts, max_size=2, unique_by=lambda host: host.host),
    removed_tls_hosts=st.lists(HOSTS, max_size=1),
    challenges=st.lists(challenges, max_size=2, unique_by=lambda challenge: challenge.token),
    removed_challenges=st.lists(NAMES, max_size=1),
    secret_sources=st.none() | sources,
)
histories = st.lists(st.tuples(st.sampled_from((pb.UPDATE_KIND_COMPLETE, pb.UPDATE_KIND_INCREMENTAL)), changes))


def atoms(whole: pb.Changes) -> list[pb.Changes]:
    """The smallest chunks there can be: one server, one removal, one route each."""
    parts = [pb.Changes(removed_backends=[name]) for name in whole.removed_backends]
    parts += [pb.Changes(routes=[route]) for route in whole.routes]
    parts += [pb.Changes(removed_routes=[key]) for key in whole.removed_routes]
    parts += [pb.Changes(rules=[rules]) for rules in whole.rules]
    parts += [pb.Changes(removed_rules=[name]) for name in whole.removed_rules]
    parts += [pb.Changes(config=whole.config)] if whole.HasField("config") else []
    parts += [pb.Changes(tls_hosts=[host]) for host in whole.tls_hosts]
    parts += [pb.Changes(removed_tls_hosts=[host]) for host in whole.removed_tls_hosts]
    parts += [pb.Changes(challenges=[challenge]) for challenge in whole.challenges]
    parts += [pb.Changes(removed_challenges=[token]) for token in whole.removed_challenges]
    parts += [pb.Changes(secret_sources=whole.secret_sources)] if whole.HasField("secret_sources") else []
    for backend in whole.backends:
        parts.append(pb.Changes(backends=[pb.Backend(name=backend.name, settings=backend.settings)]))
        parts += [
            pb.Changes(backends=[pb.Backend(name=backend.name, servers=[server])]) for server in backend.servers
        ]
        parts += [
            pb.Changes(backends=[pb.Backend(name=backend.name, removed_servers=[task])])
            for task in backend.removed_servers
        ]
    return parts or [pb.Changes()]


def update(mirror: Mirror, kind: pb.UpdateKind, revision: str, chunks: list[pb.Changes]) -> Touched | None:
    start = mirror.revision if kind == pb.UPDATE_KIND_INCREMENTAL else ""
    touched = None
    for number, chunk in enumerate(chunks, 1):
        last = number == len(chunks)
        assert touched is None
        touched = mirror.apply(
            pb.SyncResponse(kind=kind, applies_to=start, results_in=revision, last=last, changes=chunk)
        )
    return touched


@given(history=histories, random=st.randoms(use_true_random=False))
@settings(deadline=None)
def test_any_split_into_chunks_in_any_order_is_the_whole(
    history: list[tuple[pb.UpdateKind, pb.Changes]], random: st.DataObject
) -> None:
    whole, split = Mirror(), Mirror()
    for number, (kind, content) in enumerate(history):
        chunks = atoms(content)
        random.shuffle(chunks)  # type: ignore[attr-defined]
        before, ruled, config = whole.keyed, dict(whole.rules), whole.config
        before = replace(
            before, backends=dict(before.backends), tls_hosts=dict(before.tls_hosts),
            challenges=dict(before.challenges),
        )  # fmt: skip
        touched = update(whole, kind, f"r{number}", [content])
        assert update(split, kind, f"r{number}", chunks) == touched
        assert split == whole
        assert touched is not None
        now = whole.keyed
        exact = Touched(
            frozenset(different(before.backends, now.backends)),
            frozenset(key[0] for key in different(before.routes, now.routes)),
            frozenset(different(ruled, whole.rules)),
            config != whole.config,
            frozenset(different(before.tls_hosts, now.tls_hosts)),
            frozenset(different(before.challenges, now.challenges)),
            before.secret_sources != now.secret_sources,
        )
        assert touched.backends >= exact.backends
        assert touched.hosts >= exact.hosts
        assert touched.rules >= exact.rules
        assert touched.tls_hosts >= exact.tls_hosts
        assert touched.challenges >= exact.challenges
        assert (touched.config, touched.sources) == (exact.config, exact.sources)
        if kind == pb.UPDATE_KIND_COMPLETE:
            assert touched == exact


def different(old: Mapping[K, object], new: Mapping[K, object]) -> set[K]:
    return {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}


@given(history=histories)
@settings(deadline=None)
def test_hosts_are_the_routes_by_host_and_the_kept_state_is_the_state(
    history: list[tuple[pb.UpdateKind, pb.Changes]],
) -> None:
    mirror = Mirror()
    for number, (kind, content) in enumerate(history):
        update(mirror, kind, f"r{number}", [content])
        assert mirror.keyed.routes.keys() == mirror.routes.keys()
        assert all(mirror.hosts.values())
        for key, route in mirror.keyed.routes.items():
            named = mirror.routes[key]
            pairs = [(route.backend, named.backend)]
            pairs += [(c.backend, n.backend) for c, n in zip(route.canaries, named.canaries, strict=True)]
            assert all(c == (key_of(mirror.named[n]) if n in mirror.named else n) for c, n in pairs)
        assert {name_of(key) for key in mirror.backends} == mirror.named.keys()
        kept = Mirror()
        kept.load(mirror.revision, changes_from(mirror.desired))
        assert kept == mirror
