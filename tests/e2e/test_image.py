"""The image as users build it, without network, and what runs from it where no registry is asked."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from scripts import wheelhouse
from testbed import image
from testbed.swarm import Swarm
from testbed.system import Options, System

pytestmark = [pytest.mark.swarm, pytest.mark.soak]

BUILT = "l7:built"
SERIES = "3.4"


@pytest.fixture(scope="module")
def swarm() -> Iterator[Swarm]:
    """A Swarm that has an image that was built on one of its nodes, which has no way to the internet."""
    wheelhouse.main([SERIES])
    with Swarm.up(offline=True) as swarm:
        swarm.load_image(image.debian())
        words = ("--network=none", "--file=deploy/Dockerfile", f"--build-arg=HAPROXY={SERIES}", f"--tag={BUILT}")
        command = ["docker", "--host", swarm.node().url, "build", *words, "."]
        done = subprocess.run(
            command, cwd=image.REPOSITORY, capture_output=True, text=True, check=False, timeout=600,
            env={"DOCKER_BUILDKIT": "0", "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        yield swarm


def test_it_is_what_the_tests_have(swarm: Swarm) -> None:
    client: Any = swarm.docker()
    found = client.inspect_image(BUILT)
    for key, value in image.CONFIG.items():
        assert found["Config"][key] == value, key
    assert found["Config"]["Labels"]["org.opencontainers.image.title"] == "l7"
    assert found["Size"] < 300e6
    version = swarm.cli(0, "run", "--rm", "--network=none", "--entrypoint=haproxy", BUILT, "-v")
    assert f"HAProxy version {SERIES}" in version


@pytest.mark.acceptance(97)
def test_it_serves_and_no_registry_is_asked(swarm: Swarm) -> None:
    with System.up(swarm, Options(image=BUILT)) as system:
        system.create("web", "web.local", 2)
        system.settled("web", 2)
        assert system.proxy_status().version.startswith(SERIES)
        curl = ["curl", "-sf", "-H", "Host: web.local", system.url()]
        assert swarm.run(None, curl, stdout=subprocess.PIPE, text=True).communicate()[0].startswith("instance=")
        spec = swarm.docker().inspect_service("l7_proxy")["Spec"]
        assert spec["TaskTemplate"]["ContainerSpec"]["Image"] == BUILT, "core gives its own image to all"
    log = swarm.node().log.read_text()
    assert not [line for line in log.splitlines() if "pull" in line or "registry" in line]
