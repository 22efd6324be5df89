"""Whatever happens in a Swarm, in whatever order: the incremental build equals a fresh one, and its deltas
lead from each state to the next."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from l7 import delta as deltas
from l7.build import Build
from l7.config import AcmeSettings, Cluster, Settings
from l7.host_policy import HostPolicy
from l7.issued import labels_of
from l7.model import (
    Network,
    Node,
    NodeState,
    PublishedPort,
    Service,
    ServiceSpec,
    Snapshot,
    StoredSecret,
    Task,
    TaskState,
)
from l7.swarm.cache import Cache, Event, Kind, Remove, Touched, Upsert, kind_of
from l7.tally import Holder, secrets_of

SETTINGS = Settings(
    clusters={
        "": Cluster(default_certificate="one", default_key="two"),
        "east": Cluster("east", "east"),
        "fixed": Cluster("fixed", "f", ("n1",), b'{"A":1}'),
    },
    acme=AcmeSettings(),
    host_policies=(HostPolicy(("y.example",), services=("a", "b")),),
    legacy_labels=True,
)
NETWORKS = ("n0", "n1", "n2")
SHARED = {"": "n1"}
"""The proxies of the default cluster are always on n1, and join the others; those of "east" stay where they are."""
NODES = ("h0", "h1")
SERVICES = tuple("abcd")
NAMES = {"a": "a", "b": "b", "c": "c", "d": "c"}
"""Two have one name, as when a service is made again: rules and servers of both must not get mixed up."""
PREFIX = "com.docker.lb."

label_values = st.fixed_dictionaries(
    {PREFIX + "hosts": st.sampled_from(["x.example", "y.example", "x.example y.example", "*.example", "x;y", ""])},
    optional={
        PREFIX + "port": st.sampled_from(["80", "81", "abc"]),
        PREFIX + "network": st.sampled_from([*NETWORKS, "n9"]),
        PREFIX + "context_root": st.sampled_from(["/a", "/a/b", "/"]),
        PREFIX + "context_root_rewrite": st.sampled_from(["true", "false"]),
        PREFIX + "service_cluster": st.sampled_from(["", "east", "fixed", "nowhere"]),
        PREFIX + "unheard_of": st.just("x"),
    },
)
# Mostly labels that work and that meet each other: on the same routes, with settings that differ or not.
SETTING = {
    "context_root_rewrite": ["true"],
    "weight": ["0", "10", "90"],
    "canary_header": ["x-a=1", "x-a", "x-b=1"],
    "canary_cookie": ["c=1", "c"],
    "default_backend": ["true"],
    "tcp_port": ["5432", "5433"],
    "redirects": ["x.example,http://y.example", "y.example,http://x.example", "http://z.example,https://z.example"],
    "balance": ["leastconn", "uri"],
    "sticky_session_cookie": ["sid"],
    "retry_on": ["all"],
    "health_check_path": ["/up"],
    "max_connections": ["7"],
    "compression": ["true"],
    "allow": ["10.0.0.0/8", "fd00::/8"],
    "header_request_X-A": ["1", "2"],
    "backend_mode": ["vip"],
}
settings_labels = st.lists(
    st.sampled_from(sorted(SETTING)).flatmap(
        lambda name: st.tuples(st.just(PREFIX + name), st.sampled_from(SETTING[name]))
    ),
    max_size=4,
).map(dict)
sharing_labels = st.builds(
    lambda more, port: {PREFIX + "hosts": "x.example", PREFIX + "context_root": "/a", **more, **port},
    settings_labels,
    st.sampled_from([{PREFIX + "port": "80"}, {PREFIX + "port": "81"}, {PREFIX + "port": "abc"}]),
)
# Redirects that may close circles, and what may answer on the way.
circling_labels = st.sampled_from(
    [
        {"redirects": "p.example,http://q.example"},
        {"redirects": "q.example,http://p.example"},
        {"redirects": "q.example,http://p.example/d"},
        {"hosts": "p.example", "context_root": "/d"},
        {"hosts": "q.example"},
        {"hosts": "p.example", "https_redirect": "true"},
        {"redirects": "https://p.example,http://p.example"},
        {"redirects": "*.example,http://p.example"},
        {"redirects": "p.example,http://other.example", "hosts": "*.example"},
    ]
).map(lambda given: {PREFIX + "port": "80", **{PREFIX + name: value for name, value in given.items()}})
# TLS of a few hosts that meet in every way, with what may be there or not.
TLS = {
    "ssl_cert": ["one", "two"],
    "ssl_key": ["two"],
    "acme": ["true"],
    "ssl_passthrough": ["true"],
    "ssl_only": ["true"],
    "ssl_client_ca": ["one", "two"],
    "ssl_client_verify": ["optional"],
    "ssl_backend": ["true"],
    "ssl_backend_ca": ["two"],
    "ssl_backend_cert": ["one"],
    "basic_auth": ["two"],
    "weight": ["10"],
    "tcp_port": ["5432"],
    "redirects": ["x.example,https://x.example", "http://y.example,https://y.example"],
}
tls_labels = st.builds(
    lambda hosts, more: {PREFIX + "hosts": hosts, PREFIX + "port": "80", **more},
    st.sampled_from(["x.example", "x.example y.example", "*.example", "x.example *.example"]),
    st.lists(
        st.sampled_from(sorted(TLS)).flatmap(
            lambda name: st.tuples(st.just(PREFIX + name), st.sampled_from(TLS[name]))
        ),
        min_size=1,
        max_size=5,
    ).map(dict),
)
bare_labels = settings_labels.map(lambda more: {PREFIX + "port": "80", **more})
host_ports = st.sampled_from([(), (), (PublishedPort(80, 0, "tcp", "host"),)])
old_labels = st.sampled_from([(), (), (("interlock.domain", "example"), ("interlock.hostname", "x"))])
proxy_labels = st.builds(
    lambda kind, cluster: {"type": f"com.docker.interlock.core.{kind}", "com.docker.l7.cluster": cluster},
    st.sampled_from(["proxy", "extension"]),
    st.sampled_from(["", "east"]),
)
specs = st.builds(
    ServiceSpec,
    labels=st.one_of(
        sharing_labels,
        label_values,
        sharing_labels,
        tls_labels,
        tls_labels,
        bare_labels,
        circling_labels,
        st.just({}),
        proxy_labels,
    ).map(lambda given: tuple(sorted(given.items()))),
    networks=st.one_of(st.just(NETWORKS), st.lists(st.sampled_from(NETWORKS), unique=True).map(tuple)),
    replicas=st.sampled_from([None, 0, 1]),
    ports=host_ports,
    endpoint_mode=st.sampled_from(["vip", "vip", "dnsrr"]),
    container_labels=old_labels,
)
GOOD = ServiceSpec(
    ((PREFIX + "context_root", "/a"), (PREFIX + "hosts", "x.example"), (PREFIX + "port", "80")), NETWORKS
)
services = st.builds(
    lambda name, **rest: Service(id=f"s{name}", name=NAMES[name], version=1, **rest),
    st.sampled_from(SERVICES),
    created=st.integers(1, 3),
    spec=specs,
    previous=st.one_of(st.none(), st.just(GOOD), specs),
    vips=st.sampled_from([(), (("n0", "10.9.0.1"),), (("n0", "10.9.0.1"), ("n1", "10.9.1.1"))]),
)
tasks = st.builds(
    Task,
    id=st.sampled_from([f"t{number}" for number in range(12)]),
    version=st.just(1),
    service=st.sampled_from([*(f"s{name}" for name in SERVICES * 2), "sp"]),
    node=st.sampled_from(NODES),
    slot=st.just(1),
    state=st.sampled_from(
        [TaskState.NEW, TaskState.ASSIGNED, TaskState.RUNNING, TaskState.RUNNING, TaskState.FAILED]
    ),
    desired=st.sampled_from([TaskState.READY, TaskState.RUNNING, TaskState.RUNNING, TaskState.SHUTDOWN]),
    created=st.integers(1, 3),
    addresses=st.lists(
        st.tuples(st.sampled_from(NETWORKS), st.sampled_from(["10.0.0.1", "10.0.0.2"])),
        unique_by=lambda pair: pair[0],
    ).map(tuple),
    ports=st.sampled_from([(), (PublishedPort(80, 32768, "tcp", "host"),)]),
)
nodes = st.builds(
    Node,
    st.sampled_from(NODES),
    st.just(1),
    st.just("host"),
    st.sampled_from(NodeState),
    st.sampled_from(["", "192.0.2.1", "192.0.2.2"]),
)
networks = st.builds(
    lambda id_, name, ingress, driver, subnets: Network(id_, 1, name or id_, ingress, driver, subnets=subnets),
    st.sampled_from(NETWORKS),
    st.sampled_from(["", "", "n1"]),
    st.sampled_from([False, False, False, True]),
    st.sampled_from(["overlay", "overlay", "overlay", "macvlan"]),
    st.sampled_from([(), ("10.0.0.0/28",), ("10.0.0.0/29",)]),
)
STORED: dict[str, list[tuple[tuple[str, str], ...]]] = {
    "one": [(), (), (("com.docker.l7", "pki"),)],
    "two": [()],
    **{
        f"l7-acme-{number}": [
            tuple(sorted(labels_of(host, 0, end).items())) for host in ("x.example", "y.example") for end in (5, 6)
        ]
        for number in (1, 2)
    },
}
stored = st.sampled_from(sorted(STORED)).flatmap(
    lambda name: st.builds(
        lambda number, labels, config: StoredSecret(f"{name}{number}{config}", 1, name, config, labels),
        st.sampled_from("ab"),
        st.sampled_from(STORED[name]),
        st.booleans() if name == "two" else st.just(False),
    )
)
upserts = st.one_of(
    services, services, services, tasks, tasks, tasks, tasks, nodes, networks, stored, stored
).map(Upsert)  # fmt: skip
removals = st.one_of(
    st.builds(Remove, st.just(Kind.SERVICE), st.sampled_from([f"s{name}" for name in SERVICES])),
    st.builds(Remove, st.just(Kind.TASK), st.sampled_from([f"t{number}" for number in range(12)])),
    st.builds(Remove, st.just(Kind.NODE), st.sampled_from(NODES)),
    st.builds(Remove, st.just(Kind.NETWORK), st.sampled_from(NETWORKS)),
    st.builds(Remove, st.just(Kind.SECRET), st.sampled_from([f"{name}{n}False" for name in STORED for n in "ab"])),
    st.builds(Remove, st.just(Kind.CONFIG), st.sampled_from(["twoaTrue", "twobTrue"])),
)
events = st.one_of(upserts, upserts, upserts, removals)
PROXY = ServiceSpec((("com.docker.l7.cluster", ""), ("type", "com.docker.interlock.core.proxy")), ("n0", "n1"))


def good_task(number: int) -> Task:
    addresses = tuple((network, f"10.0.{number}.1") for network in NETWORKS)
    owner, node = f"s{SERVICES[number % 4]}", NODES[number % 2]
    return Task(f"t{number}", 1, owner, node, 1, TaskState.RUNNING, TaskState.RUNNING, number, addresses)


START: list[Event] = [
    Upsert(Service("sp", 1, "p", 1, PROXY)),
    *(Upsert(Network(name, 1, name)) for name in NETWORKS),
    *(Upsert(Node(name, 1, "host", NodeState.READY)) for name in NODES),
    *(Upsert(Service(f"s{name}", 1, NAMES[name], 2, GOOD)) for name in SERVICES[:3]),
    *(Upsert(good_task(number)) for number in range(6)),
    Upsert(StoredSecret("oneaFalse", 1, "one")),
]
batches = st.lists(st.lists(events, min_size=1, max_size=4), max_size=25)


def newer(event: Event, version: int) -> Event:
    """Of two secrets with one name, which Swarm never has for long, the same one counts from first to last."""
    if not isinstance(event, Upsert) or isinstance(event.object, StoredSecret):
        return event
    return Upsert(replace(event.object, version=version))


def fresh(cache: Cache) -> Build:
    build = Build(SETTINGS, SHARED)
    build.update(cache, Touched(all=True))
    return build


def outcome(build: Build) -> tuple[object, ...]:
    clusters = build.clusters
    return (
        [build.snapshot(cluster) for cluster in clusters],
        build.problems(),
        [build.required(cluster) for cluster in clusters],
        [build.acme_services(cluster) for cluster in clusters],
        [build.networks_wanted(cluster) for cluster in clusters],
    )


def check_secrets(build: Build, snapshot: Snapshot) -> None:
    """What is required is what is named, and nobody's TLS is somebody else's."""
    settings = (backend.settings for backend in snapshot.backends.values())
    parts: list[Holder] = [*snapshot.tls_hosts.values(), *snapshot.rules.values(), *settings]
    assert build.required(snapshot.cluster) == {secret for each in parts for secret in secrets_of(each)}
    assert all(tls.host == host for host, tls in snapshot.tls_hosts.items())
    for host, _ in snapshot.routes:
        if host.startswith("@") and snapshot.routes[host, "/"].backend:
            assert host[1:] not in snapshot.tls_hosts
            assert snapshot.backends[snapshot.routes[host, "/"].backend].settings.tcp
    wildcards = {host[1:] for host, _ in snapshot.routes if host.startswith("@*.")}
    for host in snapshot.tls_hosts.keys() - {"*"}:
        if f"*.{host.partition('.')[2]}" in wildcards - snapshot.tls_hosts.keys() and host[0] != "*":
            assert not snapshot.routes["@" + host, "/"].backend


def check_sound(snapshot: Snapshot) -> None:
    routes = snapshot.routes.values()
    canaries = [canary for route in routes for canary in route.canaries]
    assert ({route.backend for route in routes} - {""}) | {each.backend for each in canaries} == set(
        snapshot.backends
    )
    assert {route.rules for route in routes} - {""} == set(snapshot.rules)
    assert all(rules.name == name and rules for name, rules in snapshot.rules.items())
    assert all(not snapshot.backends[each.backend].settings.expected for each in canaries)
    assert all(route.key == key for key, route in snapshot.routes.items())
    for name, backend in snapshot.backends.items():
        assert backend.name == name
        assert len({server.id for server in backend.servers.values()}) == len(backend.servers)
        assert all(server.task == task and 1 <= server.id < 1 << 20 for task, server in backend.servers.items())
        assert all(1 <= server.weight <= 256 for server in backend.servers.values())
        assert all(server.service < len(backend.settings.services) for server in backend.servers.values())
        assert len(backend.settings.servers) in (0, len(backend.settings.services))


@given(batches)
def test_incremental_build_equals_a_fresh_one_and_its_deltas_lead_there(sequence: list[list[Event]]) -> None:
    cache, build = Cache(), Build(SETTINGS, SHARED)
    held = {cluster: build.snapshot(cluster) for cluster in build.clusters}
    for number, batch in enumerate([START, *sequence]):
        touched = Touched()
        for event in batch:
            touched |= cache.apply(newer(event, number + 1))
        for cluster, delta in build.update(cache, touched, number).items():
            assert delta.changes
            assert delta.observed == number
            assert (delta.applies_to, delta.results_in) == (
                held[cluster].revision,
                build.snapshot(cluster).revision,
            )
            held[cluster] = deltas.apply(held[cluster], delta)
        for cluster in build.clusters:
            assert held[cluster] == build.snapshot(cluster)
            check_sound(held[cluster])
            check_secrets(build, held[cluster])
        assert outcome(build) == outcome(fresh(cache))


circling_services = st.builds(
    lambda name, labels, created: Upsert(
        Service(f"s{name}", 1, NAMES[name], created, ServiceSpec(tuple(sorted(labels.items())), NETWORKS))
    ),
    st.sampled_from(SERVICES),
    circling_labels,
    st.integers(1, 3),
)
departures = st.sampled_from(SERVICES).map(lambda name: Remove(Kind.SERVICE, f"s{name}"))


@given(st.lists(st.one_of(circling_services, circling_services, departures), min_size=3, max_size=12))
def test_circles_are_found_and_opened_whatever_came_first(sequence: list[Event]) -> None:
    cache, build = Cache(), Build(SETTINGS, SHARED)
    for number, event in enumerate([*START[:6], *sequence]):
        build.update(cache, cache.apply(newer(event, number + 1)))
        assert outcome(build) == outcome(fresh(cache))


securing_services = st.builds(
    lambda name, labels, created, previous: Upsert(
        Service(
            f"s{name}",
            1,
            NAMES[name],
            created,
            ServiceSpec(tuple(sorted(labels.items())), NETWORKS),
            previous and ServiceSpec(tuple(sorted(previous.items())), NETWORKS),
        )
    ),
    st.sampled_from(SERVICES),
    tls_labels,
    st.integers(1, 3),
    st.none() | tls_labels,
)
stored_events = st.one_of(stored.map(Upsert), stored.map(lambda each: Remove(kind_of(each), each.id)))


@given(
    st.lists(
        st.one_of(securing_services, securing_services, circling_services, departures, stored_events),
        min_size=3,
        max_size=15,
    )
)
def test_tls_of_hosts_is_decided_whatever_came_first(sequence: list[Event]) -> None:
    cache, build = Cache(), Build(SETTINGS, SHARED)
    for number, event in enumerate([*START[:6], *sequence]):
        build.update(cache, cache.apply(newer(event, number + 1)))
        assert outcome(build) == outcome(fresh(cache))
        check_sound(build.snapshot(""))
        check_secrets(build, build.snapshot(""))


@given(batches, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_show(sequence: list[list[Event]], random: object) -> None:
    cache = Cache()
    for number, batch in enumerate([START, *sequence]):
        for event in batch:
            cache.apply(newer(event, number + 1))
    objects: list[Service | Task | Node | Network | StoredSecret] = [
        *cache.services.values(),
        *cache.tasks.values(),
        *cache.nodes.values(),
        *cache.networks.values(),
        *cache.secrets.values(),
        *cache.configs.values(),
    ]
    random.shuffle(objects)  # type: ignore[attr-defined]
    other, build = Cache(), Build(SETTINGS, SHARED)
    for each in objects:
        build.update(other, other.apply(Upsert(each)))
    assert outcome(build) == outcome(fresh(cache))


@given(batches, batches)
def test_the_same_revision_is_the_same_content(one: list[list[Event]], two: list[list[Event]]) -> None:
    snapshots = []
    for sequence in (one, two):
        cache = Cache()
        for number, batch in enumerate([START, *sequence]):
            for event in batch:
                cache.apply(newer(event, number + 1))
        snapshots.append(fresh(cache).snapshot(""))
    first, second = snapshots
    assert (first.revision == second.revision) == (first == second)
