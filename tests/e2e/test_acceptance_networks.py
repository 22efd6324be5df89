"""Networks: acceptance items 39 to 41, and a service that the proxies cannot reach, on a real Swarm."""

from __future__ import annotations

import ipaddress
from typing import Any

import orjson
import pytest

from testbed import app
from tests.e2e.conftest import Create
from tests.e2e.installation import FRONT, Installation

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]


def all_in(l7: Installation, addresses: list[str], network: str) -> bool:
    """Whether these are addresses of that network."""
    client: Any = l7.swarm.docker()
    subnet = ipaddress.ip_network(client.inspect_network(network)["IPAM"]["Config"][0]["Subnet"])
    return bool(addresses) and all(ipaddress.ip_address(each) in subnet for each in addresses)


def shop(network: str, host: str) -> dict[str, Any]:
    """A service of the stack "shop", with the label `network`."""
    labels = {"hosts": host, "port": str(app.PORT), "network": network}
    return {
        "image": app.TAG,
        "networks": ["front", "back"],
        "deploy": {"labels": {f"com.docker.lb.{key}": value for key, value in labels.items()}},
    }


@pytest.mark.acceptance(39)
def test_the_short_name_of_a_stacks_network(l7: Installation) -> None:
    stack = {
        "version": "3.8",
        "services": {"web": shop("front", "shop39.local"), "lost": shop("frunt", "lost39.local")},
        "networks": {"front": {"external": True, "name": FRONT}, "back": {"external": True, "name": "l7"}},
    }
    file = l7.swarm.directory / "shop.json"
    file.write_bytes(orjson.dumps(stack))
    l7.cli("stack", "deploy", "--resolve-image=never", "-c", str(file), "shop")
    try:
        l7.running("shop_web", 1)
        l7.answered("shop39.local")
        assert all_in(l7, l7.addresses("shop_web"), FRONT)
        problem = l7.problem("shop_lost", "network")
        assert problem["value"] == "frunt"
        assert FRONT in problem["remedy"], "the full names are shown"
        l7.refused("lost39.local")
    finally:
        l7.cli("stack", "rm", "shop")


@pytest.mark.acceptance(40)
def test_a_network_that_the_service_is_not_on(l7: Installation, create: Create) -> None:
    create("elsewhere", "elsewhere40.local", labels={"network": FRONT})
    create("right", "right40.local", labels={"network": "l7"})
    problem = l7.problem("elsewhere", "network")
    assert problem["value"] == FRONT
    assert problem["fatal"]
    assert "l7" in problem["remedy"]
    l7.published("right", "right40.local")
    l7.running("elsewhere", 1)
    l7.refused("elsewhere40.local")
    l7.update("elsewhere", "--label-add=com.docker.lb.network=l7")
    l7.answered("elsewhere40.local")


@pytest.mark.acceptance(41)
def test_the_ingress_network_is_never_chosen(l7: Installation, create: Create) -> None:
    create("ingressed", "ingressed41.local", 1, "--publish=18041:8080")
    l7.published("ingressed", "ingressed41.local")
    (task,) = l7.tasks("ingressed")
    assert "ingress" in {each["Network"]["Spec"]["Name"] for each in task["NetworksAttachments"]}
    assert all_in(l7, l7.addresses("ingressed"), "l7")
    l7.update("ingressed", "--label-add=com.docker.lb.network=ingress")
    assert l7.problem("ingressed", "network")["value"] == "ingress"
    assert {each.status for each in l7.answered("ingressed41.local")} == {200}, "the labels of before hold"


def test_a_service_on_none_of_the_proxies_networks(l7: Installation) -> None:
    """It says so; on a network of the proxies it is served."""
    l7.cli("network", "create", "--driver=overlay", "lonely")
    labels = ("--label=com.docker.lb.hosts=lonely.local", f"--label=com.docker.lb.port={app.PORT}")
    options = ("--detach", "--no-resolve-image", "--name=lonely", "--network=lonely", *labels)
    l7.cli("service", "create", *options, app.TAG)
    try:
        problem = l7.problem("lonely", "network")
        assert "lonely" in problem["message"]
        assert FRONT in problem["message"], "where the proxies are"
        assert problem["remedy"]
        l7.running("lonely", 1)
        l7.refused("lonely.local")
        l7.update("lonely", "--network-add=l7")
        l7.solved("lonely")
        l7.answered("lonely.local", timeout=60)
    finally:
        l7.remove("lonely")
    l7.until("the network to be removed", lambda: l7.cli("network", "rm", "lonely"))
