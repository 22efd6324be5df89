"""File mode on a real Swarm: NGINX and HAProxy, each as a cluster of stock images that one core keeps."""

from __future__ import annotations

import pytest

from testbed import image
from tests.e2e.file_mode import FILES, FILES_PORT
from tests.e2e.fleet import FleetSystem
from tests.e2e.installation import WITNESS

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]


def test_stock_images_with_files_and_nothing_else(file_mode_fleet: FleetSystem) -> None:
    container = file_mode_fleet.spec("edge-proxy")["TaskTemplate"]["ContainerSpec"]
    assert container["Image"].partition("@")[0] == image.STOCK_TAG
    assert not container.get("Secrets")
    assert "Env" not in container
    targets = {each["File"]["Name"] for each in container["Configs"]}
    assert targets == {"/etc/nginx/nginx.conf", "/etc/nginx/l7-servers-1.conf"}


@pytest.mark.parametrize(("node", "port", "host"), [(0, 80, WITNESS), (1, 80, WITNESS), (0, FILES_PORT, FILES)])
def test_what_nobody_publishes_is_told_apart(
    file_mode_fleet: FleetSystem, node: int, port: int, host: str
) -> None:
    status, headers, _ = file_mode_fleet.get(node, "unknown.local", port)
    assert (status, headers["x-l7-error"]) == (503, "unknown-host")
    assert file_mode_fleet.get(node, host, port)[0] == 200
