"""A pinned cluster is what the old labels and settings make of the new tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from l7.build import Build
from l7.config import Cluster, Settings
from l7.input_log import InputLog
from l7.inputs import NOTHING, Inputs, Written, from_json, to_json, with_settings
from l7.model import Service, ServiceSpec
from l7.pinning import Pin
from l7.swarm.cache import Cache, Event, Touched, Upsert
from tests.property.test_build import SETTINGS, SHARED, START, batches, newer

CLUSTER = "com.docker.lb.service_cluster"
OTHERS = replace(
    SETTINGS,
    clusters={
        name: replace(each, config=b'{"B":2}', default_certificate="", default_key="", ip_hash=True)
        for name, each in SETTINGS.clusters.items()
    },
)
"""The operator's settings, after the pin."""
READ = ("com.docker.lb.", "interlock.", "com.docker.ucp.mesh.http", "com.docker.stack.namespace")


def named(event: Event) -> Event:
    """Each service has a name of its own, and one cluster in all of its specifications."""
    if not isinstance(event, Upsert) or not isinstance(event.object, Service):
        return event
    service = event.object
    if service.previous is not None:
        cluster = dict(service.spec.labels).get(CLUSTER)
        labels = {key: value for key, value in service.previous.labels if key != CLUSTER}
        labels |= {} if cluster is None else {CLUSTER: cluster}
        service = replace(service, previous=replace(service.previous, labels=tuple(sorted(labels.items()))))
    return Upsert(replace(service, name=service.id))


def run(cache: Cache, events: Iterable[Event], first: int) -> list[Touched]:
    return [cache.apply(newer(named(event), number)) for number, event in enumerate(events, first)]


def built(cache: Cache, settings: Settings = SETTINGS, pins: Mapping[str, Pin] | None = None) -> Build:
    build = Build(settings, SHARED)
    build.pin(pins or {})
    build.update(cache, Touched(all=True))
    return build


def with_old_labels(cache: Cache, old: Mapping[str, Service]) -> Cache:
    """The same Swarm, had nobody touched a label; services that came later say nothing."""
    other = Cache()
    for each in (*cache.nodes.values(), *cache.networks.values(), *cache.secrets.values(), *cache.configs.values()):
        other.apply(Upsert(each))
    for service in cache.services.values():
        before = old.get(service.id)
        spec = relabelled(service.spec, before.spec if before else None)
        previous = None
        if before is not None and before.previous is not None:
            previous = relabelled(service.spec, before.previous)
        other.apply(Upsert(replace(service, spec=spec, previous=previous)))
    for task in cache.tasks.values():
        other.apply(Upsert(task))
    return other


def relabelled(spec: ServiceSpec, old: ServiceSpec | None) -> ServiceSpec:
    """What is read by the build is as it was; all other labels are as they are."""
    ours = [(key, value) for key, value in (old.labels if old else ()) if key.startswith(READ)]
    rest = [(key, value) for key, value in spec.labels if not key.startswith(READ)]
    containers = tuple(each for each in (old.container_labels if old else ()) if each[0].startswith(READ))
    return replace(spec, labels=tuple(sorted((*ours, *rest))), container_labels=containers)


@given(batches, batches, st.sampled_from(sorted(SETTINGS.clusters)), st.booleans())
def test_pinned_is_old_labels_with_new_tasks(
    before: list[list[Event]], after: list[list[Event]], cluster: str, changed: bool
) -> None:
    cache = Cache()
    run(cache, [*START, *(event for batch in before for event in batch)], 2)
    old = dict(cache.services)
    build = built(cache)
    inputs = build.inputs(cluster, build.snapshot(cluster).revision)
    assert inputs is not None
    pins = {cluster: Pin("r", from_json(to_json(inputs)))}
    then = build.snapshot(cluster)
    build.pin(pins)
    build.update(cache, Touched(all=True))
    assert build.snapshot(cluster) == then, "a pin changes nothing by itself"
    for batch in after:
        touched = Touched()
        for each in run(cache, batch, cache.version + 1):
            touched |= each
        build.update(cache, touched)
    settings = OTHERS if changed else SETTINGS
    pinned = built(cache, settings, pins)
    oracle = built(with_old_labels(cache, old), with_old_settings(settings, cluster, inputs))
    assert pinned.snapshot(cluster) == oracle.snapshot(cluster)
    assert pinned.required(cluster) == oracle.required(cluster)
    assert pinned.networks_wanted(cluster) == oracle.networks_wanted(cluster)
    if not changed:
        for each in build.clusters:
            assert build.snapshot(each) == pinned.snapshot(each)
        assert build.problems() == pinned.problems()
    again = build.inputs(cluster, build.snapshot(cluster).revision)
    assert again is not None
    assert {**inputs.services, **again.services} == inputs.services, "what is published while pinned can be pinned"
    build.pin({})
    build.update(cache, Touched(all=True))
    assert build.snapshot(cluster) == built(cache).snapshot(cluster)


def with_old_settings(settings: Settings, cluster: str, inputs: Inputs) -> Settings:
    pinned = with_settings(settings.clusters[cluster], inputs)
    return replace(settings, clusters={**settings.clusters, cluster: pinned})


texts = st.one_of(st.none(), st.builds(Written, st.sampled_from([(), (("a", "1"),), (("a", "2"),)])))
steps = st.lists(st.tuples(st.sampled_from("xyz"), texts, st.booleans()), max_size=40)


@given(steps)
def test_what_a_state_was_compiled_from_is_known_afterwards(
    changes: list[tuple[str, Written | None, bool]],
) -> None:
    log, states = InputLog(), list[dict[str, Written]]()
    for name, text, settled in changes:
        log.put(name, text)
        if settled:
            log.settle(f"r{len(states)}")
            states.append(dict(log.services))
        for number, state in enumerate(states):
            assert log.at(f"r{number}") == state
    assert log.at("never") is None


labels = st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3).map(
    lambda given: tuple(sorted(given.items()))
)
writtens = st.builds(Written, labels, labels, st.one_of(st.none(), st.tuples(labels, labels)))


@given(
    st.builds(
        Inputs, st.sampled_from([b"{}", b'{"A":[1,"x"]}']), st.text(max_size=3), st.text(max_size=3), st.booleans(),
        st.dictionaries(st.text(max_size=3), writtens, max_size=4),
    )
)  # fmt: skip
def test_inputs_survive_being_stored(inputs: Inputs) -> None:
    assert from_json(to_json(inputs)) == inputs
    assert to_json(from_json(to_json(inputs))) == to_json(inputs)


def test_nothing_written_is_nothing() -> None:
    assert Written() == NOTHING
    assert with_settings(Cluster(), Inputs()) == Cluster()
