"""The networks that proxies join are those that a look at all services, one by one, would name."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from l7.build import Build
from l7.config import Settings
from l7.model import Network, Service, ServiceSpec
from l7.swarm.cache import Cache, Event, Kind, Remove, Upsert

NETWORKS = {
    "n0": Network("n0", 1, "a"),
    "n1": Network("n1", 1, "b"),
    "n2": Network("n2", 1, "c"),
    "n3": Network("n3", 1, "l7"),
    "n4": Network("n4", 1, "ingress", True),
    "n5": Network("n5", 1, "macvlan", driver="macvlan"),
}
SHARED = "l7"
NAMES = [network.name for network in NETWORKS.values()]
attached = st.lists(st.sampled_from(sorted(NETWORKS)), unique=True).map(tuple)
applications = st.builds(
    lambda name, networks, label: Service(
        f"s{name}", 1, name, 1, _spec(networks, {"network": label} if label else {})
    ),
    st.sampled_from("abc"),
    attached,
    st.sampled_from([None, None, *NAMES, "nowhere"]),
)
proxies = st.builds(
    lambda networks: Service(
        "proxy", 1, "proxy", 1, ServiceSpec((("type", "com.docker.interlock.core.proxy"),), networks)
    ),
    attached,
)
events: st.SearchStrategy[Event] = st.one_of(
    applications.map(Upsert),
    applications.map(Upsert),
    proxies.map(Upsert),
    st.sampled_from(["sa", "sb", "proxy"]).map(lambda id_: Remove(Kind.SERVICE, id_)),
)


def _spec(networks: tuple[str, ...], more: dict[str, str]) -> ServiceSpec:
    labels = {"hosts": "x.example", "port": "80", **more}
    return ServiceSpec(tuple(sorted((f"com.docker.lb.{key}", value) for key, value in labels.items())), networks)


def needed(service: Service, order: tuple[str, ...]) -> str | None:
    """The id of the one network that a service needs."""
    own = [each for each in service.spec.networks if not NETWORKS[each].ingress]
    label = dict(service.spec.labels).get("com.docker.lb.network")
    if label is not None:
        return next((each for each in own if NETWORKS[each].name == label and each != "n5"), None)
    for each in (*order, "n3", "n0", "n1", "n2"):
        if each in own:
            return None if each == "n5" else each
    return None


@given(st.lists(events, max_size=12))
def test_what_is_wanted_is_what_each_service_needs(sequence: list[Event]) -> None:
    cache, build = Cache(), Build(Settings(), {"": SHARED})
    for network in NETWORKS.values():
        build.update(cache, cache.apply(Upsert(network)))
    for event in sequence:
        before = build.networks_wanted("")
        build.update(cache, cache.apply(event))
        proxy = cache.services.get("proxy")
        found = {
            needed(each, proxy.spec.networks if proxy else ()) for each in cache.services.values() if each != proxy
        }

        assert build.networks_wanted("") == found - {None, "n3"}
        assert build.networks_wanted("") is before or build.networks_wanted("") != before
