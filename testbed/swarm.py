"""A real Swarm of one or more nodes on this machine, apart from everything else on it.

Each node is a dockerd of its own in its own network, mount and host-name namespaces, with its own data root; the
nodes are joined by a bridge in a namespace of its own. The machine's network, mounts, /run, /etc and Docker
(running or not) are not touched. Several installations may run side by side, with the same addresses.

    with Swarm.up(nodes=3, managers=1) as swarm:
        swarm.docker(0).nodes()
        swarm.cli(0, "service", "create", ...)
        swarm.run(None, ["curl", f"http://{swarm.node(1).address}:8080/"])     # a client outside all nodes

Inside a node, ``/var/run/docker.sock`` and ``/var/run/docker/swarm/control.sock`` are where they are on a real
machine, so a stack file that binds them works unchanged.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import docker
from docker.errors import APIError

from testbed.namespace import (
    PREFIX,
    Namespace,
    TestbedError,
    is_alive,
    marked_environment,
    open_namespace,
    remove,
)

# Only seen inside the installation's own namespaces, so they may be the same in each installation.
NODE_NETWORK = "10.213.0"
BRIDGE_PORT = 254
OVERLAY_POOL = "10.64.0.0/10"  # networks of /16: a /24 is full at 124 services of one replica
OVERLAY_MASK = 16
LOCAL_POOL = "base=172.16.0.0/12,size=18"

_BRIDGE_SCRIPT = f"""
ip link set lo up
echo 0 >/proc/sys/net/ipv4/icmp_ratelimit
ip link add br0 type bridge
ip link set br0 up
ip addr add {NODE_NETWORK}.{BRIDGE_PORT}/24 dev br0
"""

# $1 host name, $2 directory of the node. /run, /etc and /opt become private, so that nothing which Docker,
# containerd or their shims write there is seen or left outside (`mount -n`: nor /run/mount). /run/docker is kept in
# our directory, for its control socket. Docker asks the registry for each task that it starts, even where the image
# is there: it is told that the registry is here, where nobody listens, so that this fails at once. The resolver is
# our own bridge (it may not be loopback, or containers would be given a public one), which refuses every question:
# hence no limit on its refusals (icmp_ratelimit), or most would go unanswered and cost 5 s each.
_NODE_SCRIPT = f"""
hostname "$1"
ip link set lo up
mount -n -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/docker /run/lock
for d in etc opt; do
    mkdir -p /run/private/$d/upper /run/private/$d/work
    mount -n -t overlay -o lowerdir=/$d,upperdir=/run/private/$d/upper,workdir=/run/private/$d/work overlay /$d
done
rm -f /etc/resolv.conf
echo "nameserver {NODE_NETWORK}.{BRIDGE_PORT}" > /etc/resolv.conf
rm -f /etc/hosts
printf "127.0.0.1 localhost $1 docker.io index.docker.io registry-1.docker.io\\n::1 localhost\\n" > /etc/hosts
echo "hosts: files dns" > /etc/nsswitch.conf
echo "{{}}" > /run/daemon.json
mount -n --bind "$2/exec" /run/docker
"""

_TRIES = 5
T = TypeVar("T")


def wait_for(what: str, probe: Callable[[], T | None], timeout: float = 60.0, pause: float = 0.05) -> T:
    """The first true value that `probe` gives; TestbedError naming `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (value := probe()):
        if time.monotonic() > deadline:
            raise TestbedError(f"waited {timeout:.0f} s in vain for {what}")
        time.sleep(pause)
    return value


@dataclass(frozen=True, slots=True)
class Node:
    """One node: where its parts are to be found from outside its namespaces."""

    index: int
    name: str
    directory: Path
    namespace: Namespace

    @property
    def socket(self) -> Path:
        return self.directory / "docker.sock"

    @property
    def url(self) -> str:
        """``DOCKER_HOST`` of the node."""
        return f"unix://{self.socket}"

    @property
    def control_socket(self) -> Path:
        """SwarmKit's own API; exists only while the node is a manager."""
        return self.directory / "exec/swarm/control.sock"

    @property
    def netns(self) -> Path:
        return self.namespace.net

    @property
    def address(self) -> str:
        """The node's address on the bridge: host-mode ports are reached there from all namespaces."""
        return f"{NODE_NETWORK}.{self.index + 1}"

    @property
    def log(self) -> Path:
        return self.directory / "dockerd.log"


class Swarm:
    """A running installation; use `Swarm.up`, and `down` or the context manager. Nodes count from 0; node 0 is
    always a manager. Nodes come and go in one thread; several may use those that are there."""

    def __init__(self, directory: Path, offline: bool = False) -> None:
        self.directory = directory
        self.offline = offline
        self.nodes: list[Node] = []
        self.bridge: Namespace | None = None
        self._daemons: dict[int, subprocess.Popen[bytes]] = {}
        self._clients: dict[tuple[int, int], docker.APIClient] = {}
        self._reaper = subprocess.Popen(
            [sys.executable, "-m", "testbed.reaper", str(directory)],
            cwd=Path(__file__).resolve().parents[1],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    @classmethod
    def up(cls, nodes: int = 1, managers: int = 1, *, swarm_mode: bool = True, offline: bool = False) -> Swarm:
        """Starts `nodes` daemons and joins them (the first `managers` as managers). Takes 2 to 15 s.

        `offline`: they ask no registry for an image that is there."""
        _check_machine()
        base = Path(os.environ.get("L7_TESTBED_DIR", "/tmp"))
        swarm = cls(Path(tempfile.mkdtemp(prefix=PREFIX, dir=base)), offline)
        try:
            swarm._start(nodes)
            if swarm_mode:
                swarm._join(managers)
        except BaseException:
            swarm.down()
            raise
        return swarm

    def __enter__(self) -> Swarm:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def down(self) -> None:
        """Removes everything, at once; raises TestbedError if something is left. Calling it again does nothing."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        try:
            if self.directory.exists():
                remove(self.directory)
        finally:
            for daemon in self._daemons.values():
                daemon.wait()
            self._daemons.clear()
            self._release_reaper()

    def _release_reaper(self) -> None:
        if self._reaper.stdin is not None:
            self._reaper.stdin.close()
        self._reaper.wait()

    # -- nodes ---------------------------------------------------------------------------------------------

    def node(self, i: int = 0) -> Node:
        if not 0 <= i < len(self.nodes):
            raise TestbedError(f"there is no node {i}: this Swarm has nodes 0 to {len(self.nodes) - 1}")
        return self.nodes[i]

    def docker(self, i: int = 0) -> docker.APIClient:
        """The low-level SDK client of node i, shared by all callers of a thread and closed by `down`."""
        key = i, threading.get_ident()
        if key not in self._clients:
            self._clients[key] = docker.APIClient(base_url=self.node(i).url, version="auto", timeout=60)
        return self._clients[key]

    def cli(self, i: int, *args: str, timeout: float = 120.0) -> str:
        """Runs ``docker <args>`` on node i; its standard output, or TestbedError with its error text. Again when
        Swarm itself has changed a service since the command read it."""
        command = ["docker", "--host", self.node(i).url, *args]
        for _ in range(_TRIES):
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
            if "update out of sequence" not in done.stderr:
                break
        if done.returncode:
            raise TestbedError(f"docker {' '.join(args)}: {done.stderr.strip()}")
        return done.stdout

    def run(self, i: int | None, argv: list[str], **popen: Any) -> subprocess.Popen[Any]:
        """Starts `argv` in node i's network namespace (None: the bridge's, a client outside all nodes); takes the
        arguments of Popen. The file system and everything else stay the caller's."""
        namespace = self.bridge if i is None else self.node(i).namespace
        if namespace is None:
            raise TestbedError("this Swarm is not up")
        return subprocess.Popen(namespace.command(argv), **popen)

    def load_image(self, tar: Path, nodes: Iterable[int] | None = None) -> None:
        """Loads an archive of ``docker save`` form into the given nodes (default: all)."""
        for i in range(len(self.nodes)) if nodes is None else nodes:
            self.cli(i, "load", "--quiet", "--input", str(tar), timeout=300)

    # -- nodes that come and go ----------------------------------------------------------------------------

    def join(self) -> Node:
        """One more node, a worker; it is ready."""
        node = self._add_node(len(self.nodes))
        self.nodes.append(node)
        self._launch(node)
        self._wait_ready(node, timeout=60)
        self._join_as(node, "Worker", self.docker(0).inspect_swarm()["JoinTokens"])
        wait_for(f"{node.name} to be ready", lambda: self._state(node) == "ready")
        return node

    def power_off(self, i: int) -> None:
        """Node i is cut off from all others at once, then its daemon ends. It does not come back."""
        assert self.bridge is not None
        self._ip(self.bridge, f"link set port{i} down")
        for container in self.cli(i, "ps", "--quiet").split():
            self.cli(i, "kill", container)
        self.stop_daemon(i, signal.SIGKILL)

    def forget(self, i: int) -> None:
        """Takes a node that is no manager out of the Swarm, with all that ran on it."""
        if self.node(i) in self.alive():
            self.power_off(i)
        self.cli(0, "node", "rm", "--force", self.node(i).name)

    def alive(self) -> list[Node]:
        """The nodes whose daemons run."""
        return [node for node in self.nodes if node.index in self._daemons]

    def _state(self, node: Node) -> str:
        return str(self.docker(0).inspect_node(node.name)["Status"]["State"])

    # -- daemons -------------------------------------------------------------------------------------------

    def stop_daemon(self, i: int, sig: signal.Signals = signal.SIGTERM, timeout: float = 60.0) -> None:
        """Ends node i's dockerd (its containers live on after SIGKILL, with their containerd) and waits for it."""
        daemon = self._daemons.pop(self.node(i).index)
        daemon.send_signal(sig)
        try:
            daemon.wait(timeout)
        except subprocess.TimeoutExpired as error:
            self._daemons[i] = daemon
            raise TestbedError(f"dockerd of node {i} ignored {sig.name} for {timeout:.0f} s") from error

    def start_daemon(self, i: int, timeout: float = 60.0) -> None:
        """Starts node i's dockerd again and waits until it answers; Swarm may take longer (it needs a leader)."""
        node = self.node(i)
        _forget_dead_containerd(node)
        self._launch(node)
        self._wait_ready(node, timeout)

    def daemon_pid(self, i: int = 0) -> int:
        """dockerd's process id, for signals and for its CPU time."""
        return self._daemons[self.node(i).index].pid

    def _start(self, count: int) -> None:
        self.bridge = open_namespace(self.directory, _BRIDGE_SCRIPT, [])
        for i in range(count):
            node = self._add_node(i)
            self.nodes.append(node)
            self._launch(node)
        for node in self.nodes:
            self._wait_ready(node, timeout=60)

    def _add_node(self, i: int) -> Node:
        directory = self.directory / str(i)
        (directory / "exec").mkdir(parents=True)
        name = f"node{i}"
        node = Node(i, name, directory, open_namespace(self.directory, _NODE_SCRIPT, [name, str(directory)]))
        assert self.bridge is not None
        port = f"port{i}"
        self._ip(self.bridge, f"link add {port} type veth peer name eth0 netns {node.namespace.pid}")
        self._ip(self.bridge, f"link set {port} master br0 up")
        self._ip(node.namespace, f"addr add {node.address}/24 dev eth0")
        self._ip(node.namespace, "link set eth0 up")
        return node

    @staticmethod
    def _ip(namespace: Namespace, words: str) -> None:
        command = namespace.command(["ip", *words.split()])
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise TestbedError(f"ip {words}: {done.stderr.strip()}; the kernel needs veth and bridge")

    def _launch(self, node: Node) -> None:
        options = {
            "--data-root": str(node.directory / "data"),
            "--exec-root": "/run/docker",
            "--pidfile": "/run/dockerd.pid",
            "--config-file": "/run/daemon.json",  # not the machine's
            "--default-address-pool": LOCAL_POOL,
            "--exec-opt": "native.cgroupdriver=cgroupfs",  # the parent below is a path, not a systemd slice
            "--cgroup-parent": f"/{self.directory.name}",
        }
        hosts = ["-H", node.url, "-H", "unix:///run/docker.sock"]
        command = ["dockerd", *(f"{key}={value}" for key, value in options.items()), *hosts]
        environment = marked_environment(self.directory, node.directory)
        if self.offline:
            environment["DOCKER_SERVICE_PREFER_OFFLINE_IMAGE"] = "1"
        with node.log.open("ab") as log:
            self._daemons[node.index] = subprocess.Popen(
                node.namespace.command_inside(command),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait_ready(self, node: Node, timeout: float) -> None:
        def answers() -> bool:
            if self._daemons[node.index].poll() is not None:
                tail = "\n".join(node.log.read_text(errors="replace").splitlines()[-5:])
                raise TestbedError(f"dockerd of node {node.index} ended at its start:\n{tail}")
            return _answers_ping(node.socket)

        wait_for(f"dockerd of node {node.index} (its log: {node.log})", answers, timeout)

    def _join(self, managers: int) -> None:
        first = self.node(0)
        client = self.docker(0)
        client.init_swarm(
            advertise_addr=first.address,
            listen_addr=f"{first.address}:2377",
            default_addr_pool=[OVERLAY_POOL],
            subnet_size=OVERLAY_MASK,
        )
        tokens = client.inspect_swarm()["JoinTokens"]
        for node in self.nodes[1:]:
            self._join_as(node, "Manager" if node.index < managers else "Worker", tokens)
        wait_for("all nodes to be ready", self._all_ready)

    def _join_as(self, node: Node, role: str, tokens: Mapping[str, str]) -> None:
        self.docker(node.index).join_swarm(
            remote_addrs=[f"{self.node(0).address}:2377"],
            join_token=tokens[role],
            advertise_addr=node.address,
            listen_addr=f"{node.address}:2377",
        )

    def _all_ready(self) -> bool:
        try:
            states = [node["Status"]["State"] for node in self.docker(0).nodes()]
        except APIError:  # no leader for a moment while a manager joins
            return False
        return states == ["ready"] * len(self.nodes)


def _answers_ping(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        try:
            client.connect(str(path))
            client.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in client.recv(64)
        except OSError:  # not listening yet
            return False


def _forget_dead_containerd(node: Node) -> None:
    """containerd dies with a killed dockerd, but its zombie stays until process 1 looks after it; dockerd would
    take the process number in this file for a living containerd, and wait for it in vain."""
    file = node.directory / "exec/containerd/containerd.pid"
    if file.exists() and not is_alive(int(file.read_text())):
        file.unlink()


def _check_machine() -> None:
    if os.geteuid():
        raise TestbedError("a test Swarm needs root: run this as root (sudo make ...)")
    tools = ("dockerd", "docker", "containerd", "runc", "iptables", "ip", "unshare", "nsenter")
    if missing := [name for name in tools if not shutil.which(name)]:
        raise TestbedError(f"{', '.join(missing)} not found: run `make setup`")
