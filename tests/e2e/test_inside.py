"""What containers can reach of l7: an application's the public ports, and nothing else; whoever gets on the network
of core, what asks for an identity."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest

from l7.deploy import pki
from l7.kit.tls import CORE_NAME, extension_name
from testbed import processes
from testbed.system import CORE, EXTENSION, PORT, PROXY, TLS_PORT
from tests.e2e.conftest import WITNESS, Create
from tests.e2e.installation import Installation

pytestmark = pytest.mark.swarm

CORE_PORT, EXTENSION_PORT, PROXY_ADMIN = 8080, 8081, 9101
PUBLIC = {PORT, TLS_PORT}
LISTEN = "0A"
"""State of a listening socket in /proc/net/tcp (proc(5))."""


@pytest.fixture
def inside(l7: Installation, create: Create) -> Path:
    """The network namespace of an application's container on the same overlay."""
    create("inside", "inside.local")
    l7.answered("inside.local")
    return net_of(l7.containers("inside")[0])


def net_of(pid: int) -> Path:
    return Path(f"/proc/{pid}/ns/net")


def listening(pid: int) -> set[int]:
    """All TCP ports that somebody listens on in the namespace of a process, on whichever address."""
    lines = [line.split() for name in ("tcp", "tcp6") for line in _table(pid, name)]
    return {int(fields[1].rpartition(":")[2], 16) for fields in lines if fields[3] == LISTEN}


def _table(pid: int, name: str) -> list[str]:
    return Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]


def addresses(pid: int) -> list[str]:
    """All IPv4 addresses of a container but loopback."""
    command = ["nsenter", f"--net={net_of(pid)}", "ip", "-json", "-4", "address"]
    found = orjson.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return [each["local"] for link in found if link["ifname"] != "lo" for each in link["addr_info"]]


def connects(net: Path, address: str, port: int) -> bool:
    """Whether somebody accepts a connection."""

    def connect() -> bool:
        try:
            with socket.create_connection((address, port), 2):
                return True
        except OSError:
            return False

    return processes.within(net, connect)


def open_ports(l7: Installation, net: Path, service: str) -> tuple[set[int], set[int]]:
    """(ports that are listened on in the containers of a service, those of them that accept from `net`)."""
    pids = l7.containers(service)
    assert pids
    tried = [(ip, port) for pid in pids for port in listening(pid) for ip in addresses(pid)]
    with ThreadPoolExecutor(len(tried)) as pool:  # where nothing answers, each takes its whole time
        accepts = list(pool.map(lambda each: connects(net, *each), tried))
    accepted = {port for (_, port), accepted in zip(tried, accepts, strict=True) if accepted}
    return {port for _, port in tried}, accepted


@pytest.fixture
def beside(l7: Installation, create: Create) -> Path:
    """The same of a container that somebody put on the network of core and the extension service."""
    create("beside", "", 1, "--network=l7-control")
    l7.running("beside", 1)
    return net_of(l7.containers("beside")[0])


def test_only_public_ports_accept_connections(l7: Installation, inside: Path) -> None:
    """All ports that anything listens on in any container of l7, on whichever address, are tried. Core and the
    extension service are on no network of the applications."""
    for service, port in ((CORE, CORE_PORT), (EXTENSION, EXTENSION_PORT)):
        there, accepted = open_ports(l7, inside, service)
        assert port in there
        assert accepted == set()
    for proxy in l7.services:
        there, accepted = open_ports(l7, inside, proxy)
        assert {PROXY_ADMIN, *PUBLIC} <= there
        assert accepted == PUBLIC, "HAProxy's Runtime API and the metrics are not among them"


@pytest.mark.parametrize("service", [CORE, EXTENSION])
def test_grpc_refuses_whoever_has_no_identity(l7: Installation, beside: Path, service: str, tmp_path: Path) -> None:
    """And beside them, only what speaks mutual TLS accepts connections."""
    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(pki.proxy_identity(pki.new_authority(), ""))
    pid = l7.containers(service)[0]
    ca = tmp_path / "ca.pem"
    ca.write_bytes(Path(f"/proc/{pid}/root/run/secrets/l7-ca").read_bytes())
    name, port = (CORE_NAME, CORE_PORT) if service == CORE else (extension_name(""), EXTENSION_PORT)
    assert open_ports(l7, beside, service)[1] == {port}
    reachable = [each for each in addresses(pid) if connects(beside, each, port)]
    assert reachable
    for address in reachable:
        answers = call_inside(l7, beside, f"{address}:{port}", name, str(ca), str(stranger))
        assert len(answers) == 15
        assert set(answers.values()) == {"UNAVAILABLE"}, answers


def test_the_same_calls_with_an_identity_are_understood(l7: Installation, tmp_path: Path) -> None:
    """So that it is the lack of an identity that is refused above: with the proxies' own, core and the extension
    service answer."""
    pid, proxy = l7.containers(CORE)[0], l7.containers(PROXY)[0]
    secrets = Path(f"/proc/{proxy}/root/run/secrets")
    for name in ("l7-ca", "l7-proxy"):
        (tmp_path / name).write_bytes((secrets / name).read_bytes())
    files = [str(tmp_path / name) for name in ("l7-ca", "l7-proxy")]
    inside, (address, *_) = net_of(proxy), addresses(pid)
    core = call_inside(l7, inside, f"{address}:{CORE_PORT}", CORE_NAME, *files)
    assert (core["identity sync"], core["identity health"]) == ("OK", "OK")
    address, *_ = addresses(l7.containers(EXTENSION)[0])
    extension = call_inside(l7, inside, f"{address}:{EXTENSION_PORT}", extension_name(""), *files)
    assert (extension["identity fetch"], extension["identity health"]) == ("OK", "OK")


def call_inside(l7: Installation, net: Path, *words: str) -> Mapping[str, Any]:
    command = ["nsenter", f"--net={net}", sys.executable, "-m", "tests.e2e.call_inside", *words]
    done = subprocess.run(command, capture_output=True, check=False, cwd=l7.repository, timeout=200)
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, Any] = orjson.loads(done.stdout)
    return found


def test_the_public_ports_are_as_open_as_to_anybody(l7: Installation, inside: Path) -> None:
    pid = l7.containers(PROXY)[0]

    def ask() -> int:
        client = http.client.HTTPConnection(address, PORT, timeout=10)
        try:
            client.request("GET", "/", headers={"Host": WITNESS})
            return client.getresponse().status
        finally:
            client.close()

    address = next(each for each in addresses(pid) if connects(inside, each, PORT))
    assert processes.within(inside, ask) == 200
