"""File mode on a real Swarm: NGINX and HAProxy, each as a cluster of stock images that one core keeps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testbed import image
from testbed.swarm import Swarm
from tests.e2e.fleet import FleetSystem

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]

NGINX, HAPROXY = 0, 1
"""Nodes."""
EDGE, FILES = "edge.local", "files.local"


def cluster(name: str, node: int, **more: object) -> dict[str, object]:
    """The table of a cluster with one proxy, on one node."""
    return {
        "ServiceName": f"{name}-extension",
        "ProxyServiceName": f"{name}-proxy",
        "ServiceCluster": name,
        "ProxyReplicas": 1,
        "ProxyConstraints": [f"node.hostname==node{node}"],
        "PublishMode": "host",
        **more,
    }


@pytest.fixture(scope="module")
def system() -> Iterator[FleetSystem]:
    with Swarm.up(nodes=2) as swarm:
        tables = {
            "edge": cluster("edge", NGINX, Image=image.NGINX_TAG, ProxyImage=image.STOCK_TAG),
            "files": cluster("files", HAPROXY, HitlessServiceUpdate=False),
        }
        fleet = FleetSystem(swarm, tables)
        fleet.prepare()
        swarm.load_image(image.nginx())
        swarm.load_image(image.stock_nginx())
        with fleet:
            fleet.deploy()
            for name, host in (("edge", EDGE), ("files", FILES)):
                fleet.create_on(f"l7-{name}", f"{name}-web", host, {"service_cluster": name})
            fleet.answers(NGINX, EDGE)
            fleet.answers(HAPROXY, FILES)
            yield fleet


def test_stock_images_with_files_and_nothing_else(system: FleetSystem) -> None:
    container = system.spec("edge-proxy")["TaskTemplate"]["ContainerSpec"]
    assert container["Image"].partition("@")[0] == image.STOCK_TAG
    assert not container.get("Secrets")
    assert "Env" not in container
    targets = {each["File"]["Name"] for each in container["Configs"]}
    assert targets == {"/etc/nginx/nginx.conf", "/etc/nginx/l7-servers-1.conf"}


@pytest.mark.parametrize(("node", "host"), [(NGINX, EDGE), (HAPROXY, FILES)])
def test_what_nobody_publishes_is_told_apart(system: FleetSystem, node: int, host: str) -> None:
    status, headers, _ = system.get(node, "unknown.local")
    assert (status, headers["x-l7-error"]) == (503, "unknown-host")
    assert system.get(node, host)[0] == 200
