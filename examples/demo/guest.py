"""The Swarm whose manager this machine is, as far as the demo needs it (``--use-swarm``).

Made on it, and removed at the end: all of l7 (by ``l7 uninstall``), the services of the story, the images
``l7:dev`` and ``l7-app:dev``, and the labels ``core`` and ``proxy`` of this node. Everything runs on this node,
because only it has the images.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

import docker
from docker.errors import DockerException

from examples.demo.story import BLOG, SHOP
from l7.deploy import stored
from testbed import app, image
from testbed.namespace import Namespace, TestbedError
from testbed.swarm import Node, Swarm, wait_for
from testbed.system import NETWORK, STACK, run_l7

SECRETS = (
    stored.CA, stored.CA_KEY, stored.CORE, stored.PROXY, stored.EXTENSION, stored.ACME_ACCOUNT
)  # fmt: skip
IMAGES = (image.TAG, app.TAG)
URL = "unix:///var/run/docker.sock"


class _ThisNode(Node):
    """`name` is the node's id, `namespace` that of this process."""

    @property
    def socket(self) -> Path:
        return Path("/var/run/docker.sock")

    @property
    def control_socket(self) -> Path:
        return Path("/var/run/docker/swarm/control.sock")


class Guest(Swarm):
    """Stands for a Swarm of our own; `down` removes what the demo made and nothing else."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.bridge = None
        self._clients = {}
        self._clients[0] = _connect()
        self._client: Any = self._clients[0]
        info = self._client.info()["Swarm"]
        if not info.get("ControlAvailable"):
            raise TestbedError(
                "--use-swarm: this machine is no manager of a Swarm (docker swarm init makes it one)"
            )
        self.nodes = [_ThisNode(0, info["NodeID"], directory, Namespace(os.getpid()))]
        self._refuse_what_is_there()

    @property
    def constraints(self) -> tuple[str, ...]:
        """Options of ``docker service create``: only this node has the images."""
        return (f"--constraint=node.id=={self.nodes[0].name}",)

    def run(self, i: int | None, argv: list[str], **popen: Any) -> subprocess.Popen[Any]:
        del i
        return subprocess.Popen(argv, **popen)

    def _refuse_what_is_there(self) -> None:
        """Nothing of somebody else is changed or, later, removed."""
        services = [each["Spec"]["Name"] for each in self._client.services()]
        there = [f"service {name}" for name in services if name in (BLOG, SHOP) or name.startswith(f"{STACK}_")]
        there += [f"network {each['Name']}" for each in self._client.networks() if each["Name"] == NETWORK]
        there += [
            f"secret {name}" for each in self._client.secrets() if (name := each["Spec"]["Name"]) in SECRETS
        ]
        there += [
            f"image {tag}" for each in self._client.images() for tag in each["RepoTags"] or () if tag in IMAGES
        ]
        if there:
            raise TestbedError(
                f"--use-swarm: {', '.join(there)} exist already; the demo would replace and remove them"
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def down(self) -> None:
        """Removes all that the demo may have made, in whatever state; raises TestbedError if something stays."""
        for words in (
            ("service", "rm", BLOG, SHOP),
            ("node", "update", "--label-rm=core", "--label-rm=proxy", self.nodes[0].name),
        ):
            with contextlib.suppress(TestbedError):  # not made yet
                self.cli(0, *words)
        run_l7("uninstall", "--yes", "--docker-url", URL)
        wait_for("the demo's network, secrets and images to go", self._gone, timeout=90, pause=0.5)
        self._client.close()

    def _gone(self) -> bool:
        for words in (("network", "rm", NETWORK), ("secret", "rm", *SECRETS), ("image", "rm", *IMAGES)):
            with contextlib.suppress(TestbedError):  # in use for a moment more, or gone
                self.cli(0, *words)
        try:
            self._refuse_what_is_there()
        except TestbedError:
            return False
        return True


def _connect() -> docker.APIClient:
    try:
        client = docker.APIClient(base_url=URL, version="auto", timeout=60)
        client.ping()
    except DockerException as error:
        raise TestbedError(f"--use-swarm: no Docker Engine answers at {URL}: {error}") from error
    return client
