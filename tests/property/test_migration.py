"""A migrated service is routed just as it was while its old labels were understood."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from l7.deploy.migration import migration
from l7.labels.parse import parse_labels
from l7.labels.table import PREFIX
from l7.model import PublishedPort, Service, ServiceSpec

MESH = "com.docker.ucp.mesh.http"
PORTS = (PublishedPort(target=8000, published=80),)

names = st.sampled_from(
    [
        "hostname", "domain", "alias_domain.1", "port", "network", "context_root", "context_root_rewrite",
        "ssl_cert", "ssl", "ssl_only", "ip_hash", "balance_algorithm", "health_check",
        "websocket_endpoint.2", "backend_option", "unknown",
    ]
).map("interlock.".__add__)  # fmt: skip
mesh = st.builds(
    "external_route={}://{},internal_port={}{}".format,
    st.sampled_from(["http", "sni", "tcp"]),
    st.sampled_from(["a.x", "b.x", ""]),
    st.sampled_from(["80", "81"]),
    st.sampled_from(["", ",sticky_sessions=S", ",redirect=http://c.x"]),
)
values = st.sampled_from(["a.x", "80", "/app", "true", "", "leastconn", "GET /ok", "x y"])
old_labels = st.builds(
    dict.__or__,
    st.dictionaries(names, values, max_size=8),
    st.dictionaries(st.sampled_from([MESH, MESH + ".1", MESH + ".2"]), mesh, max_size=3),
)
todays = st.dictionaries(st.sampled_from(["hosts", "port", "context_root"]).map(PREFIX.__add__), values, max_size=2)


@given(old_labels, todays, st.booleans())
def test_it_is_routed_as_before(old: dict[str, str], own: dict[str, str], remove_old: bool) -> None:
    labels = old | own
    spec = ServiceSpec(labels=tuple(sorted(labels.items())), ports=PORTS)
    before = parse_labels(labels, PORTS, "web", "id", legacy=True)
    found = migration(Service("id", 1, "web", 0, spec, None), frozenset())
    if found is None:
        assert before == parse_labels(labels, PORTS, "web", "id")
        return
    assert found.blocked == before.fatal
    if not found.blocked:
        after = parse_labels(found.applied({"Labels": labels}, remove_old)["Labels"], PORTS, "web", "id")
        assert after.spec == before.spec
