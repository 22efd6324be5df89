"""Core on a real Swarm: its secrets, its stack file, and what a stream brings when services change."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner

from l7 import cli
from l7 import delta as deltas
from l7.config import parse_settings
from l7.kit.channel import open_channel
from l7.kit.errors import Unavailable
from l7.model import Delta, ServerState, Snapshot
from l7.serve import wire
from l7.swarm.engine import Address
from l7.v1 import sync_pb2 as pb
from l7.v1 import sync_pb2_grpc as rpc
from testbed import app
from testbed.certificates import TestAuthority
from testbed.namespace import TestbedError
from testbed.swarm import Swarm, wait_for
from tests.e2e.tls_relay import tls_relay

pytestmark = pytest.mark.swarm

STACK = Path(__file__).parents[2] / "deploy" / "stack.yml"
SECRETS = {"l7-ca", "l7-ca-key", "l7-core", "l7-proxy", "l7-extension", "l7-acme-account"}


def secret_names(swarm: Swarm) -> set[str]:
    return {secret["Spec"]["Name"] for secret in swarm.docker(0).secrets()}


def pki_init(swarm: Swarm, *arguments: str) -> Any:
    return CliRunner().invoke(cli.main, ["pki", "init", "--docker-url", swarm.node(0).url, *arguments])


@pytest.fixture
def secrets(swarm1: Swarm) -> Iterator[Swarm]:
    result = pki_init(swarm1)
    assert result.exit_code == 0, result.output
    yield swarm1
    for secret in swarm1.docker(0).secrets():
        swarm1.docker(0).remove_secret(secret["ID"])


def test_pki_init_makes_the_secrets_once(secrets: Swarm) -> None:
    assert secret_names(secrets) == SECRETS
    assert "nothing to do" in pki_init(secrets).output
    assert secret_names(secrets) == SECRETS
    result = pki_init(secrets, "--cluster", "blue")
    assert result.exit_code == 1
    assert "node where core runs" in result.output


def test_the_stack_file_is_what_swarm_and_core_expect(secrets: Swarm, app_image: str) -> None:
    os.environ["L7_IMAGE"] = app_image
    try:
        secrets.cli(0, "stack", "deploy", "--resolve-image", "never", "-c", str(STACK), "l7")
        client = secrets.docker(0)
        template = client.inspect_service("l7_core")["Spec"]["TaskTemplate"]  # type: ignore[no-untyped-call]
        control = client.inspect_network("l7-control")
        assert [each["Target"] for each in template["Networks"]] == [control["Id"]]
        assert template["Placement"]["Constraints"] == ["node.role == manager"]
        container = template["ContainerSpec"]
        assert container["Labels"]["com.docker.l7.role"] == "core"
        assert {each["SecretName"] for each in container["Secrets"]} == SECRETS - {"l7-proxy", "l7-extension"}
        mounts = {each["Target"]: each for each in container["Mounts"]}
        assert mounts["/var/run/docker/swarm"]["ReadOnly"]
        (config,) = client.configs(filters={"id": container["Configs"][0]["ConfigID"]})
        parse_settings(base64.b64decode(config["Spec"]["Data"]).decode())
    finally:
        del os.environ["L7_IMAGE"]
        secrets.cli(0, "stack", "rm", "l7")
        wait_for("stack gone", lambda: not secrets.docker(0).networks(names=["l7-control"]) or None)


class Core:
    """`l7 core` as a process of its own, beside the Swarm."""

    def __init__(self, directory: Path, swarm: Swarm, settings: str = "") -> None:
        """`settings`: the content of its file, if that says where Docker is."""
        self.listen = f"unix:{directory}/core.sock"
        self.socket = directory / "admin.sock"
        self.config = directory / "l7.toml"
        self.config.write_text(settings or '[Extensions.default]\nNetworks = ["core-front"]\n')
        arguments = ["run", "-c", str(self.config), "--listen", self.listen, "--admin-socket", str(self.socket)]
        if not settings:
            arguments += ["--docker-url", swarm.node(0).url, "--control-socket", str(swarm.node(0).control_socket)]
        self.process = subprocess.Popen([str(Path(sys.executable).with_name("l7")), *arguments])

    def status(self) -> dict[str, Any]:
        return cli.fetch_status(str(self.socket), Address(""))

    def look(self) -> dict[str, Any]:
        """The status; nothing while it has none."""
        try:
            return self.status()
        except Unavailable:
            return {}

    def ready(self) -> bool:
        return bool(self.look().get("ready"))

    def write(self, text: str) -> None:
        """Replaces its file, as a whole."""
        new = self.config.with_suffix(".new")
        new.write_text(text)
        new.replace(self.config)


@contextmanager
def running(directory: Path, swarm: Swarm, settings: str = "") -> Iterator[Core]:
    core = Core(directory, swarm, settings)
    try:
        wait_for("core is ready", lambda: core.ready() or None)
        yield core
    finally:
        core.process.send_signal(signal.SIGTERM)
        assert core.process.wait(20) == 0


@pytest.fixture
def core(swarm1: Swarm, tmp_path: Path) -> Iterator[Core]:
    with running(tmp_path, swarm1) as core:
        yield core


@pytest.fixture
def network(swarm1: Swarm) -> Iterator[str]:
    swarm1.cli(0, "network", "create", "-d", "overlay", "core-front")
    yield "core-front"
    for service in swarm1.docker(0).services(filters={"name": "core-web"}):  # type: ignore[no-untyped-call]
        swarm1.docker(0).remove_service(service["ID"])  # type: ignore[no-untyped-call]

    def gone() -> bool:
        """Swarm refuses for as long as a task is on the network."""
        try:
            swarm1.cli(0, "network", "rm", "core-front")
        except TestbedError:
            return False
        return True

    wait_for("network gone", gone)


async def updates(channel: grpc.aio.Channel) -> AsyncIterator[Snapshot]:
    """The state as an extension sees it, after each update."""
    call: Any = rpc.SyncServiceStub(channel).Sync()  # type: ignore[no-untyped-call]
    await call.write(pb.SyncRequest(hello=pb.Hello(instance="test")))
    held: Snapshot | None = None
    while True:
        chunks = [await call.read()]
        while not chunks[-1].last:
            chunks.append(await call.read())
        update = wire.update_from(chunks)
        if isinstance(update, Delta):
            assert held is not None
            held = deltas.apply(held, update)
        else:
            held = update
        await call.write(pb.SyncRequest(ack=pb.Ack(revision=held.revision)))
        yield held


def ready(state: Snapshot) -> int:
    servers = [server for backend in state.backends.values() for server in backend.servers.values()]
    return sum(server.state is ServerState.READY for server in servers)


async def until(states: AsyncIterator[Snapshot], condition: Any) -> Snapshot:
    async for state in states:
        if condition(state):
            return state
    raise AssertionError("the stream ended")


async def test_a_service_comes_scales_and_goes(core: Core, network: str, swarm1: Swarm, app_image: str) -> None:
    def docker(*arguments: str) -> Coroutine[Any, Any, str]:
        return asyncio.to_thread(swarm1.cli, 0, "service", *arguments)

    async with open_channel(core.listen, None) as channel:
        states = updates(channel)
        assert not (await anext(states)).routes
        await docker(
            "create", "--detach", "--no-resolve-image", "--name", "core-web", "--network", network,
            "--label", "com.docker.lb.hosts=Web.Example.org", "--label", "com.docker.lb.port=8000", app_image,
        )  # fmt: skip
        state = await until(states, lambda state: ready(state) == 1)
        assert list(state.routes) == [("web.example.org", "/")]
        await docker("scale", "--detach", "core-web=3")
        state = await until(states, lambda state: ready(state) == 3)
        document = await asyncio.to_thread(core.status)
        assert document["clusters"][0]["revision"] == state.revision
        assert document["clusters"][0]["backends"][0]["states"]["ready"] == 3
        await docker("update", "--detach", "--label-add", "com.docker.lb.port=eighty", "core-web")
        problems = await asyncio.to_thread(wait_for, "problem", lambda: core.status()["problems"] or None)
        assert [problem["label"] for problem in problems] == ["com.docker.lb.port"]
        assert ready(state) == 3, "the previous labels stay in effect"
        await docker("rm", "core-web")
        await until(states, lambda state: not state.routes)


def test_losing_swarm_takes_nothing_away(tmp_path: Path) -> None:
    """The daemon of the only manager goes and comes back: what was routed stays routed throughout."""
    with Swarm.up(nodes=1) as swarm:
        swarm.load_image(app.image())
        swarm.cli(0, "network", "create", "-d", "overlay", "core-front")
        with running(tmp_path, swarm) as core:
            swarm.cli(
                0, "service", "create", "--detach", "--no-resolve-image", "--name=web", "--network=core-front",
                "--label", "com.docker.lb.hosts=web.example.org", "--label", "com.docker.lb.port=8080", app.TAG,
            )  # fmt: skip
            wait_for("one server", lambda: states(core) == {"ready": 1} or None)
            before = core.status()["clusters"]
            swarm.stop_daemon(0, signal.SIGKILL)
            wait_for("the loss to be noticed", lambda: not core.status()["source"]["connected"] or None)
            status = core.status()
            assert status["clusters"] == before
            assert status["ready"]
            swarm.start_daemon(0)
            # Its tasks die with the daemon's restart; the route stays while Swarm starts another.
            seen = []

            def served_again() -> bool:
                document = core.status()
                seen.append(len(document["clusters"][0]["routes"]))
                return bool(document["source"]["connected"]) and states(core) == {"ready": 1}

            wait_for("a new task to be served", lambda: served_again() or None)
            assert set(seen) == {1}


def states(core: Core) -> dict[str, int]:
    """Servers by state of the only backend."""
    backends = core.status()["clusters"][0]["backends"]
    return dict(backends[0]["states"]) if backends else {}


@pytest.mark.acceptance(8)
def test_core_takes_up_what_is_new_in_its_file_and_only_what_is_good(core: Core) -> None:
    def clusters() -> list[str]:
        return [each["name"] for each in core.look().get("clusters", ())]

    def told() -> list[str]:
        return [each["message"] for each in core.look().get("problems", ()) if each["value"] == str(core.config)]

    good = core.config.read_text() + '[Extensions.east]\nServiceCluster = "east"\nNetworks = ["core-front"]\n'
    core.write(good)
    wait_for("two clusters", lambda: clusters() == ["", "east"] or None)
    core.write(good + "ProxyReplicas = -1\n")
    (message,) = wait_for("the problem", lambda: told() or None)
    assert f"{core.config}:6: Extensions.east.ProxyReplicas: must be a number, 0 or more" in message
    assert clusters() == ["", "east"]
    core.write(good)
    wait_for("no problem", lambda: (core.look() and not told()) or None)
    assert clusters() == ["", "east"]
    assert core.process.poll() is None


@pytest.mark.acceptance(14)
def test_docker_over_tcp_with_tls(swarm1: Swarm, tmp_path: Path) -> None:
    authority, other = TestAuthority(), TestAuthority("somebody else")
    client = authority.issue(common_name="core")
    files = {"ca": authority.certificate, "other": other.certificate, "cert": client.certificate, "key": client.key}
    for name, content in files.items():
        (tmp_path / f"{name}.pem").write_bytes(content)
    with tls_relay(tmp_path, authority, swarm1.node(0).socket) as port:

        def settings(ca: str, more: str = "") -> str:
            names = {"TLSCACert": ca, "TLSCert": "cert", "TLSKey": "key"}
            lines = [f'{key} = "{tmp_path}/{name}.pem"\n' for key, name in names.items()]
            return f'DockerURL = "tcp://127.0.0.1:{port}"\nWatchSource = "docker"\n{"".join(lines)}{more}'

        with running(tmp_path, swarm1, settings("ca")) as core:
            assert core.look()["source"]["source"] == "docker"
            core.write(settings("other"))
            wait_for("the reason", lambda: "CERTIFICATE_VERIFY_FAILED" in core.look().get("reason", "") or None)
            assert not core.ready()
            core.write(settings("other", "AllowInsecure = true\n"))
            wait_for("core is ready again", lambda: core.ready() or None)
