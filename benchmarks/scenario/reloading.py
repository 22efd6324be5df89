"""The usual way, to compare with: at each change write haproxy.cfg, check it, let the master replace its worker.

As good as that way gets: changes by SwarmKit's Watch, only tasks that run and are to run, and those changes that
come while a reload is under way together with the next one. The configuration is the one that l7 itself would
start with, so that what differs is the way a change gets in.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.scenario.stage import HOST
from haproxy import policy
from haproxy.capabilities import capabilities
from haproxy.model import Backend, Desired, Route, Server
from haproxy.process import version_of
from haproxy.render import CONFIG, render_files
from haproxy.settings import Settings
from l7.model import TaskState
from l7.swarm import swarmkit_pb2 as pb
from testbed import app, haproxy_versions, image
from testbed.swarm import wait_for
from testbed.system import NETWORK, System

PORT = 8081
SERVICE = "reloading"

class Reloading:
    """An HAProxy in the network of a container, and what drives it by reloading; one service, one host."""

    def __init__(self, network_of: int, binary: Path, directory: Path) -> None:
        """`network_of`: a process in the network namespace that HAProxy is to live in."""
        self.reloads = 0
        self.servers: dict[str, str] = {}
        self.service = ""
        self._binary = str(binary)
        self._settings = Settings(run_dir=str(directory), spare_backends=1)
        self._capabilities = capabilities(version_of(self._binary))
        self._enter = ["nsenter", f"--net=/proc/{network_of}/ns/net", "--"]
        self._tasks: dict[str, str] = {}
        self._news = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="reloading")
        self._write({})
        self._master = subprocess.Popen(
            [*self._enter, self._binary, "-W", "-S", self._settings.master_socket, "-f", self._config],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._thread.start()

    @property
    def _config(self) -> str:
        return self._settings.file(CONFIG)

    def told(self, task: pb.Task, removed: bool) -> None:
        """A task changed; called by `Clock` in its own thread."""
        runs = task.status.state == TaskState.RUNNING and task.desired_state == TaskState.RUNNING
        with self._news:
            if runs and not removed and task.service_id == self.service:
                self._tasks[task.id] = _address(task)
            else:
                self._tasks.pop(task.id, None)
            self._news.notify_all()

    def _work(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._stopped or self._tasks != self.servers)
                if self._stopped:
                    return
                wanted = dict(self._tasks)
            self._write(wanted)
            subprocess.run([self._binary, "-c", "-q", "-f", self._config], check=True)
            self._reload()
            with self._news:
                self.servers = wanted
                self.reloads += 1

    def _write(self, tasks: Mapping[str, str]) -> None:
        servers = {task: Server(task, i, tasks[task], app.PORT) for i, task in enumerate(sorted(tasks), 1)}
        backend = Backend("app", ("app",), servers=servers)
        desired = Desired("", {"app": backend}, {(HOST, "/"): Route(HOST, "/", "app")})
        placement = policy.place(self._settings, self._capabilities, desired.backends)
        keywords = policy.server_keywords(self._settings, self._capabilities, backend)
        ready = {policy.server_name(server, keywords) for server in servers.values()}
        files = render_files(self._settings, self._capabilities, desired, placement, ready)
        for name, content in files.items():
            path = Path(self._settings.file(name))
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)

    def _reload(self) -> None:
        """Returns once the master has answered: 2.6 just closes the connection, later ones say how it went."""

        def connected() -> socket.socket | None:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(self._settings.master_socket)
            except OSError:  # the master is starting itself anew
                connection.close()
                return None
            return connection

        with wait_for("HAProxy's master", connected, timeout=10, pause=0.005) as connection:
            connection.sendall(b"reload\n")
            with contextlib.suppress(ConnectionResetError), connection.makefile("rb") as answer:
                answer.read()

    def pids(self) -> list[int]:
        """Master and workers."""
        found = [self._master.pid]
        for pid in found:
            children = Path(f"/proc/{pid}/task/{pid}/children")
            with contextlib.suppress(OSError):
                found += [int(child) for child in children.read_text().split()]
        return found

    def stop(self) -> None:
        with self._news:
            self._stopped = True
            self._news.notify_all()
        self._thread.join()
        self._master.terminate()
        self._master.wait()


def _address(task: pb.Task) -> str:
    on = next(each for each in task.networks if each.network.spec.annotations.name == NETWORK)
    return str(on.addresses[0]).partition("/")[0]


@contextmanager
def reloading(system: System, series: str) -> Iterator[tuple[Reloading, str]]:
    """The baseline on node 0, in a container's network as l7's proxy is, and its URL."""
    publish = f"--publish=mode=host,target=80,published={PORT}"
    system.cli(
        "service", "create", "--detach", "--no-resolve-image", "--name", SERVICE, f"--network={NETWORK}", publish,
        "--entrypoint=sleep", "--constraint=node.role==manager", image.TAG, "infinity",
    )  # fmt: skip
    system.running(SERVICE, 1)
    pid = int(system.tasks(SERVICE)[0]["Status"]["ContainerStatus"]["PID"])
    with tempfile.TemporaryDirectory() as directory:
        baseline = Reloading(pid, haproxy_versions.haproxy(series), Path(directory))
        try:
            yield baseline, f"http://{system.swarm.node(0).address}:{PORT}"
        finally:
            baseline.stop()
            system.remove(SERVICE)

