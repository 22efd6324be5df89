"""Who reaches what from the network that all share, and what the parts say of themselves, on a real Swarm."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from l7.deploy import healthcheck
from testbed import image, processes
from testbed.namespace import TestbedError
from testbed.system import CORE, CORE_ADMIN_SOCKET, EXTENSION, NETWORK, PROXY, PROXY_ADMIN_PORT
from tests.e2e import call_core
from tests.e2e.conftest import WITNESS, Create
from tests.e2e.installation import Installation

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]

SECRETS = "root/run/secrets"
CONTROL = "l7-control"
PROXY_WITHOUT_CORE = ("haproxy", "run", "--core", "127.0.0.1:1")
CORE_WITHOUT_SWARM = ("core", "--listen", "127.0.0.1:8080", "--docker-url", "unix:///nowhere.sock")

Ask = Callable[..., str]


def address_of(l7: Installation, service: str, network: str = NETWORK) -> str:
    """A task's address on a network, usually the one that applications are on."""
    (task,) = l7.tasks(service)
    found = (each for each in task["NetworksAttachments"] if each["Network"]["Spec"]["Name"] == network)
    return str(next(found)["Addresses"][0]).partition("/")[0]


def container_of(l7: Installation, service: str) -> str:
    (task,) = l7.tasks(service)
    return str(task["Status"]["ContainerStatus"]["ContainerID"])


def netns(pid: int) -> Path:
    return Path(f"/proc/{pid}/ns/net")


@pytest.fixture
def neighbour(l7: Installation, create: Create) -> int:
    """The process of an application's container, on the same network as core and proxies."""
    create("neighbour", "neighbour.local")
    l7.published("neighbour", "neighbour.local")
    return l7._pids("neighbour")[0]


@pytest.fixture
def ask_core(l7: Installation) -> Ask:
    """Calls Sync of core from a proxy's place: nobody else is on core's network."""
    address = f"{address_of(l7, CORE, CONTROL)}:8080"

    def ask(cluster: str, *files: str) -> str:
        enter = ["nsenter", f"--net={netns(l7.proxy_pid())}", "--"]
        command = [*enter, sys.executable, call_core.__file__, address, cluster, *files]
        environment = os.environ | {"PYTHONPATH": str(l7.repository), "GRPC_VERBOSITY": "NONE"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return ask


def test_core_speaks_only_to_holders_of_a_certificate(l7: Installation, ask_core: Ask) -> None:
    """The last two show that nothing but the certificate is missing before."""
    secrets = f"/proc/{l7.proxy_pid()}/{SECRETS}"
    ca, identity = f"{secrets}/l7-ca", f"{secrets}/l7-proxy"
    assert ask_core("") == "UNAVAILABLE", "plain"
    assert ask_core("", ca) == "UNAVAILABLE", "TLS without a certificate"
    assert ask_core("", ca, identity) == "UPDATE_KIND_COMPLETE"
    assert ask_core("another", ca, identity) == "PERMISSION_DENIED", "the certificate is for the default cluster"
    l7.converged()


def test_an_application_is_on_no_network_with_core(l7: Installation, neighbour: int) -> None:
    (task,) = l7.tasks("neighbour")
    assert [each["Network"]["Spec"]["Name"] for each in task["NetworksAttachments"]] == [NETWORK]
    (core,) = l7.tasks(CORE)
    assert [each["Network"]["Spec"]["Name"] for each in core["NetworksAttachments"]] == [CONTROL]
    assert not reached(neighbour, address_of(l7, CORE, CONTROL), 8080)


def test_an_application_has_none_of_the_secrets(l7: Installation, neighbour: int) -> None:
    assert not Path(f"/proc/{neighbour}/{SECRETS}").exists()
    for proxy in range(len(l7.services)):
        assert {each.name for each in Path(f"/proc/{l7.proxy_pid(proxy)}/{SECRETS}").iterdir()} == {
            "l7-ca",
            "l7-proxy",
        }


def reached(pid: int, address: str, port: int) -> bool:
    """Whether anything accepts connections there, seen from a process's container."""

    def connect() -> bool:
        try:
            socket.create_connection((address, port), 5).close()
        except (ConnectionRefusedError, TimeoutError):
            return False
        except OSError as error:
            if error.errno not in (errno.EHOSTUNREACH, errno.ENETUNREACH):
                raise
            return False
        return True

    return processes.within(netns(pid), lambda: [connect()])[0]


def listening(pid: int) -> set[int]:
    """TCP ports that others than the container itself can reach."""
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            address, _, port = local.rpartition(":")
            if state == "0A" and not (table == "tcp" and address.endswith("7F")):
                ports.add(int(port, 16))
    return ports


def test_an_application_reaches_none_of_the_private_interfaces(l7: Installation, neighbour: int) -> None:
    for proxy, name in enumerate(l7.services):
        address = address_of(l7, name)
        assert reached(neighbour, address, 80), "where requests go"
        assert not reached(neighbour, address, PROXY_ADMIN_PORT)
        assert reached(l7.proxy_pid(proxy), "127.0.0.1", PROXY_ADMIN_PORT), "it is there"
        assert listening(l7.proxy_pid(proxy)) == {80, 443}, "the Runtime API is a file"
        assert l7.file(proxy, "cli.sock").is_socket()
    assert listening(l7.core_pid()) == {8080}


def capabilities(status: str) -> set[str]:
    lines = dict(line.split(":", 1) for line in status.splitlines())
    return {lines[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}


def test_no_part_can_do_more_than_it_has_to(l7: Installation) -> None:
    """No capability, nothing to write to but a tmpfs; and root is core alone, whose sockets ask for that."""
    everybody = {CORE: 0, EXTENSION: 1000, **dict.fromkeys(l7.services, 1000)}
    for service, user in everybody.items():
        (pid,) = l7._pids(service)
        for each in processes.in_container(pid):
            directory = Path(f"/proc/{each}")
            assert directory.stat().st_uid == user, (service, processes.command_of(each))
            assert capabilities((directory / "status").read_text()) == {"0" * 16}
        mounts = [line.split() for line in Path(f"/proc/{pid}/mounts").read_text().splitlines()]
        assert next(options for _, where, _, options, *_ in mounts if where == "/").split(",")[0] == "ro"
        assert [kind for _, where, kind, *_ in mounts if where == "/run/l7"] == ["tmpfs"]


@pytest.mark.acceptance(3)
def test_only_core_has_dockers_sockets(l7: Installation) -> None:
    """Nobody else is given one, whether as it is or with a directory that it is in."""
    client: Any = l7.swarm.docker()
    for service in (CORE, EXTENSION, *l7.services):
        spec = client.inspect_service(service)["Spec"]["TaskTemplate"]["ContainerSpec"]
        bound = {each["Target"] for each in spec["Mounts"] if each["Type"] != "tmpfs"}
        assert bound == ({"/var/run/docker.sock", "/var/run/docker/swarm"} if service == CORE else set())
        (pid,) = l7._pids(service)
        there = any(Path(f"/proc/{pid}/root{path}").exists() for path in ("/run/docker.sock", "/run/docker"))
        assert there == (service == CORE)


def test_secrets_are_for_their_task_alone(l7: Installation) -> None:
    for service in (EXTENSION, *l7.services):
        (pid,) = l7._pids(service)
        found = [path.stat() for path in Path(f"/proc/{pid}/{SECRETS}").iterdir() if path.is_file()]
        assert {(each.st_uid, each.st_mode & 0o777) for each in found} == {(1000, 0o400)}


# -- health ------------------------------------------------------------------------------------------------------


def test_ready_after_the_first_complete_state(l7: Installation) -> None:
    assert processes.get_unix(l7.core_pid(), CORE_ADMIN_SOCKET, "/readyz") == b"ready\n"
    for proxy in range(len(l7.services)):
        assert processes.get_tcp(l7.proxy_pid(proxy), PROXY_ADMIN_PORT, "/readyz") == b"ready\n"
        assert processes.get_tcp(l7.proxy_pid(proxy), PROXY_ADMIN_PORT, "/healthz") == b"ok\n"


def test_what_swarm_asks_for_health_is_what_core_will_say_in_its_own_services(l7: Installation) -> None:
    client: Any = l7.swarm.docker()
    wanted = {CORE: healthcheck.CORE, PROXY: healthcheck.PROXY, EXTENSION: healthcheck.EXTENSION}
    for service, check in wanted.items():
        spec = client.inspect_service(service)["Spec"]["TaskTemplate"]["ContainerSpec"]
        assert spec["Healthcheck"] == dict(check)


@pytest.fixture
def run_alone(l7: Installation) -> Iterator[Callable[..., int]]:
    """Starts a container of l7's image, outside of Swarm; its process."""
    made: list[str] = []

    def run(*command: str) -> int:
        made.append(
            l7.cli("run", "--detach", "--init", "--pull=never", "--network=none", image.TAG, *command).strip()
        )
        client: Any = l7.swarm.docker()
        return int(client.inspect_container(made[-1])["State"]["Pid"])

    yield run
    for each in made:
        l7.cli("rm", "--force", each)


def test_a_proxy_without_core_is_healthy_but_not_ready(l7: Installation, run_alone: Callable[..., int]) -> None:
    pid = run_alone(*PROXY_WITHOUT_CORE)
    get = processes.get_tcp
    assert l7.until("the sidecar", lambda: get(pid, PROXY_ADMIN_PORT, "/healthz")) == b"ok\n"
    with pytest.raises(TestbedError, match="503 no complete state"):
        get(pid, PROXY_ADMIN_PORT, "/readyz")


def test_a_core_without_swarm_is_healthy_but_not_ready(l7: Installation, run_alone: Callable[..., int]) -> None:
    pid = run_alone(*CORE_WITHOUT_SWARM)
    get = processes.get_unix
    assert l7.until("core", lambda: get(pid, CORE_ADMIN_SOCKET, "/healthz")) == b"ok\n"
    with pytest.raises(TestbedError, match="503 Swarm was not seen yet"):
        get(pid, CORE_ADMIN_SOCKET, "/readyz")


# -- l7 status ---------------------------------------------------------------------------------------------------


@pytest.fixture
def told(l7: Installation, create: Create) -> None:
    """A service that is routed, and one that is not."""
    create("shown", "shown.local", 2, labels={"context_root": "/here"})
    create("wrong", "wrong.local", labels={"port": "abc"})
    l7.settled("shown", 2)
    l7.problem("wrong")


def in_core(l7: Installation, *words: str) -> str:
    return l7.cli("exec", "--env=COLUMNS=220", container_of(l7, CORE), "l7", *words)


def rows_with(table: str, word: str) -> list[list[str]]:
    return [line.split() for line in table.splitlines() if word in line]


@pytest.mark.usefixtures("told")
def test_the_table_says_what_is_routed_where_and_what_is_not(l7: Installation) -> None:
    shown = [["shown.local", "/here", "shown", "2", "0", "0"]]
    # A task that has just come is unhealthy until the proxies' next look.
    l7.until("a row without a remark", lambda: rows_with(in_core(l7, "status"), "shown.local") == shown)
    table = in_core(l7, "status")
    revision = l7.core_revision()[:12]
    assert f"at revision {revision}" in table
    versions = [l7.proxy_status(proxy).version for proxy in range(len(l7.services))]
    proxies = [row for row in rows_with(table, "haproxy/") if row[3] == revision]
    assert sorted(row[2] for row in proxies) == sorted(f"haproxy/{version}" for version in versions)
    (problem,) = rows_with(table, "com.docker.lb.port")
    assert problem[:3] == ["wrong", "com.docker.lb.port", "abc"]
    assert "write a whole number from 1 to 65535" in table
    assert "wrong.local" not in table


@pytest.mark.usefixtures("told")
def test_the_same_as_json(l7: Installation) -> None:
    document = orjson.loads(in_core(l7, "status", "--output", "json"))
    assert document == l7.status() | {"source": document["source"]}
    (cluster,) = document["clusters"]
    paths = {route["host"]: route["path"] for route in cluster["routes"]}
    assert (paths["shown.local"], paths[WITNESS]) == ("/here", "/")
    assert "wrong.local" not in paths
    (problem,) = [each for each in document["problems"] if each["service"] == "wrong"]
    assert (problem["label"], problem["value"], problem["fatal"]) == ("com.docker.lb.port", "abc", True)
    assert [each["applied"] for each in document["extensions"]] == [cluster["revision"]] * len(l7.services)


@pytest.mark.usefixtures("told")
def test_it_is_found_from_the_node(l7: Installation) -> None:
    options = ["--output=json", "--admin-socket=/nowhere.sock", f"--docker-url={l7.swarm.node(0).url}"]
    command = [sys.executable, "-c", "from l7.cli import main; main()", "status", *options]
    done = subprocess.run(command, capture_output=True, check=False, cwd=l7.repository, timeout=60)
    assert done.returncode == 0, done.stderr
    assert orjson.loads(done.stdout)["clusters"] == l7.status()["clusters"]
