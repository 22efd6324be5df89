"""An installation from one command to nothing left, on a Swarm of its own; the tests go on with what is there."""

from __future__ import annotations

import http.client
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from l7 import cli
from l7.deploy import core_service
from l7.deploy.swarm_api import SwarmApi
from l7.swarm.engine import Address
from testbed import app, image, processes
from testbed.namespace import TestbedError
from testbed.swarm import Swarm, wait_for
from tests.e2e.balanced import Balanced

pytestmark = pytest.mark.swarm

HOST = "web.local"
NEXT = "l7:next"
PORTS = ("--publish-mode", "host", "--http", "0", "--https", "0")
"""Of one node, so that two proxies fit there, and a new one starts before the old one goes."""
LABEL = "com.docker.lb."
MESH = "com.docker.ucp.mesh.http"
KINDS = ("service", "network", "config", "secret")


@pytest.fixture(scope="module")
def swarm() -> Iterator[Swarm]:
    with Swarm.up() as swarm:
        swarm.load_image(image.build())
        swarm.load_image(app.image())
        swarm.cli(0, "tag", image.TAG, NEXT)
        yield swarm


@pytest.fixture
def installed(swarm: Swarm) -> Swarm:
    """With l7 and a service at `HOST`, as the tests before left it or new."""
    result = l7(swarm, "install", *(() if "l7-core" in services(swarm) else PORTS))
    assert result.exit_code == 0, result.output
    if "web" not in services(swarm):
        publish(swarm, "web", f"--label={LABEL}hosts={HOST}", f"--label={LABEL}port={app.PORT}")
    answered(swarm, HOST)
    return swarm


def l7(swarm: Swarm, *words: str) -> Result:
    return CliRunner().invoke(cli.main, [*words, "--docker-url", swarm.node(0).url])


def publish(swarm: Swarm, name: str, *options: str) -> None:
    fixed = ("--detach", "--no-resolve-image", "--env=INSTANCE={{.Task.ID}}", "--restart-delay=0s")
    swarm.cli(0, "service", "create", *fixed, f"--name={name}", "--network=l7", *options, app.TAG)


def services(swarm: Swarm) -> dict[str, dict[str, Any]]:
    client: Any = swarm.docker(0)
    return {each["Spec"]["Name"]: each for each in client.services()}


def versions(swarm: Swarm) -> dict[str, int]:
    return {name: each["Version"]["Index"] for name, each in services(swarm).items()}


def specifications(swarm: Swarm) -> dict[str, Any]:
    return {name: each["Spec"] for name, each in services(swarm).items()}


def images(swarm: Swarm) -> dict[str, str]:
    """Of l7's services."""
    found = services(swarm).items()
    return {name: core_service.container_of(each)["Image"] for name, each in found if name.startswith("l7-")}


def there(swarm: Swarm) -> dict[str, set[str]]:
    """Names of all objects of the Swarm."""
    return {kind: set(swarm.cli(0, kind, "ls", "--format={{.Name}}").split()) for kind in KINDS}


def answered(swarm: Swarm, host: str, timeout: float = 60.0) -> None:
    """Waits until a proxy answers for the host."""
    assert swarm.bridge is not None
    bridge, client = swarm.bridge, Balanced(swarm, host)
    docker_client: Any = swarm.docker(0)

    def ask() -> int:
        client._look(docker_client)
        address, port = client._living[-1]
        connection = http.client.HTTPConnection(address, port, timeout=5)
        try:
            connection.request("GET", "/", headers={"Host": host})
            return connection.getresponse().status
        finally:
            connection.close()

    def ok() -> bool:
        try:
            return processes.within(bridge.net, ask) == 200
        except (OSError, http.client.HTTPException, TestbedError, IndexError):
            return False

    wait_for(f"an answer of {host}", ok, timeout)


def carried(load: Balanced) -> bool:
    print(f"{len(load.failures)} of {load.answered + len(load.failures)} requests failed")
    assert load.failures == []
    return load.answered > 0


# ---------------------------------------------------------------- made


@pytest.mark.acceptance(1, 2)
def test_from_one_command_to_the_first_answer(swarm: Swarm) -> None:
    before = there(swarm)
    refused = l7(swarm, "install", "--publish-mode", "host", "--http", "8000")
    assert refused.exit_code == 1
    assert "--replicas 1" in refused.output
    dry = l7(swarm, "install", *PORTS, "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "would make the service l7-core" in dry.output
    assert max(map(len, dry.output.splitlines())) <= 80
    assert there(swarm) == before

    began = time.monotonic()
    result = l7(swarm, "install", *PORTS)
    assert result.exit_code == 0, result.output
    publish(swarm, "web", f"--label={LABEL}hosts={HOST}", f"--label={LABEL}port={app.PORT}")
    answered(swarm, HOST)
    print(f"first routed request {time.monotonic() - began:.1f} s after the command began")
    assert time.monotonic() - began < 60
    assert {"l7-core", "l7-extension", "l7-proxy"} < services(swarm).keys()
    assert {"l7", "l7-control"} < there(swarm)["network"]
    assert "\x1b" not in result.output


@pytest.mark.acceptance(2)
def test_installed_again_nothing_changes(installed: Swarm) -> None:
    before, held = versions(installed), there(installed)
    for words in ((), PORTS, ("--replicas", "2")):
        result = l7(installed, "install", *words)
        assert result.exit_code == 0, result.output
        assert "nothing to do" in result.output
    assert (versions(installed), there(installed)) == (before, held)


# ---------------------------------------------------------------- settings


def bad_settings(swarm: Swarm, name: str, text: str) -> None:
    """Given to core by hand, past every check of ours."""
    command = ["docker", "--host", swarm.node(0).url, "config", "create", name, "-"]
    subprocess.run(command, input=text.encode(), check=True, capture_output=True)
    used = core_service.config_in_use(services(swarm)["l7-core"])
    assert used is not None
    add = f"source={name},target=/config.toml"
    swarm.cli(0, "service", "update", "--detach", "--config-rm", used.name, "--config-add", add, "l7-core")


def update_ends(swarm: Swarm) -> str:
    def state() -> str:
        found = str((services(swarm)["l7-core"].get("UpdateStatus") or {}).get("State", ""))
        return found if found in ("completed", "rollback_completed") else ""

    return wait_for("core's update to end", state, 120)


@pytest.mark.acceptance(8)
def test_bad_settings_are_rolled_back_while_everything_goes_on(installed: Swarm, tmp_path: Path) -> None:
    before = core_service.config_in_use(services(installed)["l7-core"])
    with Balanced(installed, HOST).running() as load:
        for number, (text, words) in enumerate(
            [("[Extensions.default\n", "1"), ('[Extensions.default]\nProxyReplicas = "two"\n', "ProxyReplicas")]
        ):
            file = tmp_path / "l7.toml"
            file.write_text(text)
            refused = l7(installed, "config", "apply", str(file))
            assert refused.exit_code == 1
            assert f"{file}:" in refused.output
            assert words in refused.output
            bad_settings(installed, f"bad-{number}", text)
            assert update_ends(installed) == "rollback_completed"
            said = SwarmApi.at(Address(installed.node(0).url)).last_words("l7-core")
            assert "/config.toml:" in said
            assert words in said
            assert core_service.config_in_use(services(installed)["l7-core"]) == before
        good = tmp_path / "good.toml"
        good.write_text(before_text(installed) + "\n[Extensions.default.Config]\n\n[NoSuchTable]\nKey = 1\n")
        applied = l7(installed, "config", "apply", str(good))
        assert applied.exit_code == 0, applied.output
        assert "NoSuchTable" in applied.output
        assert core_service.config_in_use(services(installed)["l7-core"]) != before
    assert carried(load)


def before_text(swarm: Swarm) -> str:
    client: Any = swarm.docker(0)
    used = core_service.config_in_use(services(swarm)["l7-core"])
    assert used is not None
    return core_service.settings_of(client.inspect_config(used.id)).text


# ---------------------------------------------------------------- another image, and back


@pytest.mark.timeout(300)
@pytest.mark.acceptance(97)
def test_another_image_and_back_without_a_failed_request(installed: Swarm) -> None:
    everything = {"l7-core", "l7-extension", "l7-proxy"}
    with Balanced(installed, HOST).running() as load:
        missing = l7(installed, "upgrade", "--image", "l7:none")
        assert missing.exit_code == 1
        assert "docker load" in missing.output
        result = l7(installed, "upgrade", "--image", NEXT)
        assert result.exit_code == 0, result.output
        assert images(installed) == dict.fromkeys(everything, NEXT)
        installed.cli(0, "service", "rollback", "--detach", "l7-core")
        wait_for("all parts to be back", lambda: images(installed) == dict.fromkeys(everything, image.TAG), 120)
        result = l7(installed, "install")
        assert result.exit_code == 0, result.output
    assert carried(load)
    assert len(load.ports) >= 6


# ---------------------------------------------------------------- old labels


@pytest.mark.acceptance(100)
def test_services_with_old_labels_are_migrated(installed: Swarm) -> None:
    route = f"external_route=http://mesh.local,internal_port={app.PORT},sticky_sessions=SID"
    publish(installed, "mesh", f"--label={MESH}.1={route}")
    one = {"hostname": "one", "domain": "local", "port": str(app.PORT), "context_root": "/app"}
    publish(installed, "one", *(f"--container-label=interlock.{key}={value}" for key, value in one.items()))
    publish(installed, "bad", "--label=interlock.hostname=a;b", f"--label=interlock.port={app.PORT}")
    before = specifications(installed)
    dry = l7(installed, "migrate")
    assert dry.exit_code == 1
    assert f"--label-add {LABEL}hosts=mesh.local" in dry.output
    assert specifications(installed) == before
    client: Any = installed.docker(0)
    tasks = {each["ID"] for each in client.tasks(filters={"service": "one"})}
    applied = l7(installed, "migrate", "--apply", "--remove-old")
    assert "left as they are: bad" in applied.output
    answered(installed, "mesh.local")
    labels = services(installed)["mesh"]["Spec"]["Labels"]
    assert labels == {
        f"{LABEL}hosts": "mesh.local",
        f"{LABEL}port": str(app.PORT),
        f"{LABEL}sticky_session_cookie": "SID",
    }
    assert services(installed)["one"]["Spec"]["Labels"][f"{LABEL}context_root"] == "/app"
    assert {each["ID"] for each in client.tasks(filters={"service": "one"})} == tasks
    assert specifications(installed)["bad"] == before["bad"]
    installed.cli(0, "service", "rm", "mesh", "one", "bad")


# ---------------------------------------------------------------- nothing left


@pytest.mark.acceptance(16)
def test_nothing_is_left(installed: Swarm) -> None:
    dry = l7(installed, "uninstall", "--dry-run")
    assert dry.exit_code == 0
    assert "would keep network l7: web on it" in dry.output
    kept = l7(installed, "uninstall", "--yes")
    assert kept.exit_code == 1
    assert "network l7: web on it" in kept.output
    assert services(installed).keys() == {"web"}
    installed.cli(0, "service", "rm", "web")
    again = l7(installed, "uninstall", "--yes")
    assert again.exit_code == 0, again.output
    left = there(installed)
    made_by_hand = {name for name in left["config"] if name.startswith("bad-")}
    assert left == {
        "service": set(),
        "network": {"bridge", "docker_gwbridge", "host", "ingress", "none"},
        "config": made_by_hand,
        "secret": set(),
    }
    assert "nothing to do" in l7(installed, "uninstall", "--yes").output


@pytest.mark.acceptance(6)
def test_what_a_stack_has_installed(swarm: Swarm, tmp_path: Path) -> None:
    before = there(swarm)
    settings = tmp_path / "l7.toml"
    settings.write_text('[Extensions.default]\nPublishMode = "host"\nPublishedPort = 0\nPublishedSSLPort = 0\n')
    override = tmp_path / "stack.json"
    override.write_bytes(orjson.dumps({"version": "3.8", "configs": {"config": {"file": str(settings)}}}))
    assert l7(swarm, "pki", "init").exit_code == 0
    files = ("-c", str(image.REPOSITORY / "deploy/stack.yml"), "-c", str(override))
    swarm.cli(0, "stack", "deploy", "--resolve-image", "never", *files, "l7")
    wait_for("the stack's proxies", lambda: "l7-proxy" in services(swarm), 60)
    assert specifications(swarm)["l7-proxy"]["Mode"] == {"Replicated": {"Replicas": 2}}
    refused = l7(swarm, "install", *PORTS)
    assert "l7_core that a stack deployed" in refused.output
    settings.write_text(settings.read_text() + 'ProxyLabels = {"org.example.team" = "edge"}\n')
    applied = l7(swarm, "config", "apply", str(settings))
    assert applied.exit_code == 0, applied.output
    wait_for("the label", lambda: "org.example.team" in services(swarm)["l7-proxy"]["Spec"]["Labels"], 60)
    removed = l7(swarm, "uninstall", "--yes")
    assert removed.exit_code == 0, removed.output
    assert there(swarm) == before


@pytest.mark.acceptance(4)
def test_a_core_on_a_worker_says_so_and_makes_nothing() -> None:
    with Swarm.up(nodes=2, managers=1) as swarm:
        swarm.load_image(image.build(), [1])
        mount = "type=bind,source=/var/run/docker.sock,target=/var/run/docker.sock"
        swarm.cli(
            0, "service", "create", "--detach", "--no-resolve-image", "--name=l7-core", "--user=0:0",
            "--constraint=node.role==worker", f"--mount={mount}", "--env=L7_SERVICE={{.Service.Name}}",
            image.TAG, "core", "--listen", "127.0.0.1:8080",
        )  # fmt: skip
        words = ("ps", "--all", "--quiet", "--filter=label=com.docker.swarm.service.name=l7-core")

        def told() -> int:
            started = swarm.cli(1, *words).split()
            command = ["docker", "--host", swarm.node(1).url, "logs", started[0]] if started else ["true"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # it may be gone by now
            return (done.stdout + done.stderr).count("Please run this command on a manager node")

        wait_for("core to say so more than once", lambda: told() > 4)
        assert len(swarm.cli(1, *words).split()) == 1
        assert services(swarm).keys() == {"l7-core"}
        assert there(swarm)["config"] == there(swarm)["secret"] == set()
