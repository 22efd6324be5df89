"""What `l7 uninstall` takes away, and what it does not."""

from __future__ import annotations

from typing import Any

import pytest

from l7.deploy.removal import Everything, removal

Json = dict[str, Any]
MANAGED, STACK = "com.docker.l7.managed", "com.docker.stack.namespace"


def service(name: str, labels: Json, *networks: str, role: str = "", configs: tuple[str, ...] = ()) -> Json:
    container: Json = {"Configs": [{"ConfigID": each} for each in configs]}
    if role:
        container["Labels"] = {"com.docker.l7.role": role}
    template = {"ContainerSpec": container, "Networks": [{"Target": each} for each in networks]}
    return {"ID": f"id-{name}", "Spec": {"Name": name, "Labels": labels, "TaskTemplate": template}}


def stored(name: str, labels: Json) -> Json:
    return {"ID": f"id-{name}", "Spec": {"Name": name, "Labels": labels}}


def network(name: str, labels: Json) -> Json:
    return {"Id": f"id-{name}", "Name": name, "Labels": labels}


CORE = service("l7-core", {MANAGED: "core"}, "id-l7-control", role="core", configs=("id-conf-1",))
PROXY = service("l7-proxy", {MANAGED: "fleet"}, "id-l7-control", "id-l7")
WEB = service("web", {"com.docker.lb.hosts": "web"}, "id-l7", configs=("id-web",))
OTHERS_PROXY = service("ucp-interlock-proxy", {"type": "com.docker.interlock.core.proxy"})
NETWORKS = (
    network("l7-control", {MANAGED: "core"}),
    network("l7", {MANAGED: "fleet"}),
    network("ingress", {}),
    network("front", {STACK: "web"}),
)
CONFIGS = (stored("conf-1", {MANAGED: "core"}), stored("rendered", {MANAGED: "fleet"}), stored("web", {}))
SECRETS = (
    stored("l7-ca", {"com.docker.l7": "pki"}),
    stored("l7-acme-web", {"com.docker.l7": "acme"}),
    stored("web.pem", {}),
    stored("other", {"com.docker.l7": "what"}),
)


def test_all_that_is_ours_in_order() -> None:
    found = removal(Everything((PROXY, OTHERS_PROXY, CORE), NETWORKS, CONFIGS, SECRETS))
    assert [str(each) for each in found.all] == [
        "service l7-core",
        "service l7-proxy",
        "config conf-1",
        "config rendered",
        "secret l7-acme-web",
        "secret l7-ca",
        "network l7-control",
        "network l7",
    ]
    assert found.kept == ()


def test_a_network_that_applications_are_on_is_kept() -> None:
    found = removal(Everything((CORE, PROXY, WEB), NETWORKS))
    assert found.kept == (("l7", ("web",)),)
    assert "network l7-control" in map(str, found.rest)


def test_a_network_by_its_name() -> None:
    web = service("web", {}, "l7")
    assert removal(Everything((web,), NETWORKS)).kept == (("l7", ("web",)),)


def test_what_a_stack_has_deployed() -> None:
    stack = {STACK: "l7"}
    core = service("l7_core", stack, "id-control", role="core", configs=("id-l7_settings",))
    typed = {"type": "com.docker.interlock.core.extension", "com.docker.l7.cluster": ""}
    extension = service("l7_extension", stack | typed, "id-control")
    neighbour = service("l7_neighbour", stack, "id-own", configs=("id-neighbour",))
    networks = (network("control", stack), network("own", stack), network("external", {}))
    configs = (stored("l7_settings", stack), stored("neighbour", stack))
    found = removal(Everything((core, extension, neighbour), networks, configs))
    assert [str(each) for each in found.all] == [
        "service l7_core",
        "service l7_extension",
        "config l7_settings",
        "network control",
    ]


@pytest.mark.parametrize(
    "found", [Everything(), Everything((OTHERS_PROXY, WEB), NETWORKS[2:], CONFIGS[2:], SECRETS[2:])]
)
def test_nothing_of_ours(found: Everything) -> None:
    assert removal(found).all == ()
    assert removal(found).kept == ()
