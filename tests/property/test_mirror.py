"""The sidecar's copy of the desired state: however an update is cut into chunks, it is the same update."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from haproxy.mirror import Mirror, Touched
from haproxy.wire import changes_from
from l7.v1 import sync_pb2 as pb

NAMES, TASKS = st.sampled_from("abc"), st.sampled_from(("t1", "t2", "t3"))
HOSTS, PATHS = st.sampled_from(("x", "y")), st.sampled_from(("/", "/p"))

servers = st.builds(
    pb.Server, task=TASKS, id=st.integers(1, 3), address=st.just("10.0.0.1"), port=st.sampled_from((80, 81)),
    weight=st.just(64), state=st.sampled_from((1, 2, 3)),
)  # fmt: skip
backends = st.builds(
    pb.Backend,
    name=NAMES,
    settings=st.builds(pb.BackendSettings, services=st.just(["s"]), expected=st.booleans()),
    servers=st.lists(servers, max_size=3, unique_by=lambda server: server.task),
    removed_servers=st.lists(TASKS, max_size=2, unique=True),
)
routes = st.builds(pb.Route, host=HOSTS, path=PATHS, backend=NAMES, strip_path=st.booleans())
route_keys = st.builds(pb.RouteKey, host=HOSTS, path=PATHS)
changes = st.builds(
    pb.Changes,
    backends=st.lists(backends, max_size=3, unique_by=lambda backend: backend.name),
    removed_backends=st.lists(NAMES, max_size=2, unique=True),
    routes=st.lists(routes, max_size=4, unique_by=lambda route: (route.host, route.path)),
    removed_routes=st.lists(route_keys, max_size=2),
)
histories = st.lists(st.tuples(st.sampled_from((pb.UPDATE_KIND_COMPLETE, pb.UPDATE_KIND_INCREMENTAL)), changes))


def atoms(whole: pb.Changes) -> list[pb.Changes]:
    """The smallest chunks there can be: one server, one removal, one route each."""
    parts = [pb.Changes(removed_backends=[name]) for name in whole.removed_backends]
    parts += [pb.Changes(routes=[route]) for route in whole.routes]
    parts += [pb.Changes(removed_routes=[key]) for key in whole.removed_routes]
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
        before = whole.desired.backends.copy(), whole.desired.routes.copy()  # type: ignore[attr-defined]
        touched = update(whole, kind, f"r{number}", [content])
        assert update(split, kind, f"r{number}", chunks) == touched
        assert split == whole
        assert touched is not None
        different = {
            name for name in before[0].keys() | whole.backends if before[0].get(name) != whole.backends.get(name)
        }
        hosts = {key[0] for key in before[1].keys() | whole.routes if before[1].get(key) != whole.routes.get(key)}
        assert touched.backends >= different
        assert touched.hosts >= hosts
        if kind == pb.UPDATE_KIND_COMPLETE:
            assert touched == Touched(frozenset(different), frozenset(hosts))


@given(history=histories)
@settings(deadline=None)
def test_hosts_are_the_routes_by_host_and_the_kept_state_is_the_state(
    history: list[tuple[pb.UpdateKind, pb.Changes]],
) -> None:
    mirror = Mirror()
    for number, (kind, content) in enumerate(history):
        update(mirror, kind, f"r{number}", [content])
        assert {key: route for of_host in mirror.hosts.values() for key, route in of_host.items()} == mirror.routes
        assert all(mirror.hosts.values())
        kept = Mirror()
        kept.load(mirror.revision, changes_from(mirror.desired))
        assert kept.desired == mirror.desired
