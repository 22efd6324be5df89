"""l7 itself on a test Swarm, deployed as its users do it: image, secrets, ``docker stack deploy``.

    with Swarm.up() as swarm, System.up(swarm, Options(haproxy="3.4")) as system:
        system.create("web", hosts="web.example.org", replicas=2)
        system.settled("web", 2)
        system.scale("web", 5)
        swarm.run(None, ["curl", "-H", "Host: web.example.org", system.url()])

What waits, waits for a condition that it names; when it waited in vain, the logs of core and proxies are in
the error.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, TracebackType
from typing import Any, TypeVar

import orjson
from docker.errors import APIError

from testbed import app, image, processes
from testbed.namespace import TestbedError
from testbed.swarm import Swarm, wait_for

T = TypeVar("T")

STACK = "l7"
NETWORK = "l7"
CORE = "l7_core"
PROXY = "l7_proxy"
EXTENSION = "l7_extension"
PORT = 80
TLS_PORT = 443
PROXY_ADMIN_PORT = 9101
HAPROXY_SOCKET = "/run/l7/cli.sock"
CORE_ADMIN_SOCKET = "/run/l7/admin.sock"
LABEL = "com.docker.lb."
REPOSITORY = image.REPOSITORY


@dataclass(frozen=True, slots=True)
class Options:
    """`haproxy`: its series. `watch`: auto, swarmkit or docker; `poll`: seconds between polls of the latter.

    `core_on` and `proxy_on` are the nodes on which core and one proxy each run. `image`: one that is there already
    instead of the testbed's own.
    """

    haproxy: str = "2.6"
    watch: str = "auto"
    poll: float = 0.5
    core_on: int = 0
    proxy_on: tuple[int, ...] = (0,)
    port: int = PORT
    tls_port: int = TLS_PORT
    core_environment: Mapping[str, str] = field(default_factory=dict)
    image: str = image.TAG

    @property
    def binary(self) -> str:
        return "haproxy" if self.haproxy == "2.6" else f"/opt/haproxy/{self.haproxy}/haproxy"


@dataclass(frozen=True, slots=True)
class ProxyStatus:
    """What a proxy's sidecar says of it. `wanted` is the revision it was told, `revision` the one in effect."""

    revision: str
    wanted: str
    worker_pid: int
    reloads: int
    version: str
    drift: int


class System:
    """l7 on a Swarm. `manager` is the node that is asked and told; another one may be set while 0 is down."""

    repository = REPOSITORY
    network = NETWORK
    labels: Mapping[str, str] = MappingProxyType({})
    """Of all services of the test application, without ``com.docker.lb.``."""
    pause = 0.05
    """Seconds between two looks at what is waited for."""

    def __init__(self, swarm: Swarm, options: Options) -> None:
        self.swarm = swarm
        self.options = options
        self.manager = 0

    @classmethod
    def up(cls, swarm: Swarm, options: Options | None = None) -> System:
        """Deploys everything and waits until all proxies are ready. About 10 s."""
        system = cls(swarm, options or Options())
        series = [] if system.options.haproxy == "2.6" else [system.options.haproxy]
        if system.options.image == image.TAG:
            swarm.load_image(image.build(series))
        swarm.load_image(app.image())
        system._run_l7("pki", "init", "--docker-url", swarm.node(0).url)
        system._mark_nodes()
        system.deploy()
        return system

    def __enter__(self) -> System:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leaves l7 where it is: it goes with the Swarm. What was waited for in vain is explained by the logs."""
        if isinstance(error, TestbedError):
            error.add_note(self.logs())

    # -- l7 ------------------------------------------------------------------------------------------------

    def deploy(self) -> None:
        """``docker stack deploy`` of the repository's own stack file with this system's options on top; then core
        creates the rest."""
        override = self.swarm.directory / "stack.json"
        override.write_bytes(orjson.dumps(self._override()))
        files = ["-c", str(REPOSITORY / "deploy/stack.yml"), "-c", str(override)]
        self.cli("stack", "deploy", "--resolve-image", "never", *files, STACK)
        self.until("proxies to be ready", self._all_ready)

    def _mark_nodes(self) -> None:
        """The label by which the stack is told where to run: one value per node."""
        for node in self.swarm.nodes:
            roles = [
                f"--label-add={name}=yes"
                for name, wanted in (("core", [self.options.core_on]), ("proxy", self.options.proxy_on))
                if node.index in wanted
            ]
            self.cli("node", "update", *roles, node.name)

    def _override(self) -> dict[str, Any]:
        options = self.options
        core = {"L7_WATCH_SOURCE": options.watch, "L7_POLL_INTERVAL": f"{round(options.poll * 1000)}ms"}
        text = toml(self.settings())
        file = self.swarm.directory / "l7.toml"
        file.write_text(text)
        name = f"l7-conf-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        return {
            "version": "3.8",
            "services": {
                "core": {
                    "image": options.image,
                    "environment": core | dict(options.core_environment),
                    "deploy": {"placement": {"constraints": ["node.labels.core==yes"]}},
                },
            },
            "configs": {"config": {"name": name, "file": str(file)}},
        }

    def settings(self) -> dict[str, Any]:
        """Core's TOML."""
        return {"Extensions": {"default": self.extension()}}

    def extension(self) -> dict[str, Any]:
        """The table of the default cluster, for core's TOML."""
        options = self.options
        return {
            "ServiceName": EXTENSION,
            "Constraints": ["node.labels.core==yes"],
            "ProxyServiceName": PROXY,
            "ProxyArgs": ["--binary", options.binary],
            "ProxyConstraints": ["node.labels.proxy==yes"],
            "ProxyReplicas": len(options.proxy_on),
            "ProxyStopGracePeriod": "40s",
            "PublishMode": "host",
            "PublishedPort": options.port,
            "PublishedSSLPort": options.tls_port,
        }

    def _run_l7(self, *words: str) -> None:
        run_l7(*words)

    def _all_ready(self) -> bool:
        wanted = len(self.options.proxy_on)
        revision = self.core_revision()
        applied = [each["applied"] for each in self.status()["extensions"]] if revision else []
        return applied == [revision] * wanted and len(self.proxies()) == wanted

    # -- services ------------------------------------------------------------------------------------------

    def cli(self, *words: str) -> str:
        """``docker`` on the manager."""
        return self.swarm.cli(self.manager, *words)

    def create(
        self,
        name: str,
        hosts: str = "",
        replicas: int | None = 1,
        *options: str,
        labels: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        network: str = "",
    ) -> str:
        """Creates a service of the test application, which names its task in each answer; the service's id.

        `hosts` and `labels` (without ``com.docker.lb.``) are what l7 routes by; `options` are of
        ``docker service create``. `replicas` None: one on each node.
        """
        routed = {"hosts": hosts, "port": str(app.PORT)} if hosts else {}
        environment = {"INSTANCE": "{{.Task.ID}}"} | dict(environment or {})
        given = {**self.labels, **routed, **(labels or {})}
        words = [f"--label={LABEL}{key}={value}" for key, value in given.items()]
        words += [f"--env={key}={value}" for key, value in environment.items()]
        mode = "--mode=global" if replicas is None else f"--replicas={replicas}"
        fixed = ("--detach", "--no-resolve-image", "--restart-delay=0s", "--update-monitor=500ms")
        return self.cli(
            "service", "create", *fixed, f"--name={name}", f"--network={network or self.network}", mode,
            *words, *options, app.TAG,
        ).strip()  # fmt: skip

    def scale(self, name: str, replicas: int) -> None:
        self.cli("service", "scale", "--detach", f"{name}={replicas}")

    def update(self, name: str, *options: str) -> None:
        """``docker service update``; does not wait (`updated` does)."""
        self.cli("service", "update", "--detach", "--no-resolve-image", *options, name)

    def remove(self, *names: str) -> None:
        self.cli("service", "rm", *names)

    def tasks(self, name: str, running: bool = True) -> list[dict[str, Any]]:
        """The tasks of a service as the Engine API has them; `running`: only those that Swarm wants to run."""
        filters = {"service": name} | ({"desired-state": "running"} if running else {})
        client: Any = self.swarm.docker(self.manager)
        found: list[dict[str, Any]] = client.tasks(filters=filters)
        return found

    def running(self, name: str, replicas: int) -> None:
        """Waits until exactly so many tasks run."""

        def all_run() -> bool:
            return [task["Status"]["State"] for task in self.tasks(name)] == ["running"] * replicas

        self.until(f"{replicas} tasks of {name} to run", all_run)

    def updated(self, name: str, version: str, timeout: float = 120.0) -> None:
        """Waits until Swarm has completed the update after which tasks have VERSION=`version`; tasks of the
        test application only."""

        def done() -> bool:
            client: Any = self.swarm.docker(self.manager)
            service = client.inspect_service(name)
            wanted = [f"VERSION={version}"]
            current = [_version(task) for task in self.tasks(name)]
            completed = service.get("UpdateStatus", {}).get("State") == "completed"
            return completed and bool(current) and all(found == wanted for found in current)

        self.until(f"the update of {name}", done, timeout)

    def settled(self, name: str, replicas: int, timeout: float = 60.0) -> None:
        """Waits until so many tasks run, and core and all proxies have that and no more."""
        self.running(name, replicas)
        what = f"{name} to be settled with {replicas} servers"
        self.until(what, lambda: self._is_settled(name, replicas), timeout)

    def converged(self, timeout: float = 60.0) -> None:
        """Waits until every proxy has applied what core knows."""
        self.until("proxies to have core's revision", self._all_ready, timeout)

    def _is_settled(self, name: str, replicas: int) -> bool:
        backends = [each for each in self.cluster()["backends"] if name in each["services"]]
        states = [each["states"] for each in backends]
        wanted = {"ready": replicas} if replicas else {}
        return bool(states) and all(found == wanted for found in states) and self._all_ready()

    # -- seen from outside ---------------------------------------------------------------------------------

    def url(self, proxy: int = 0) -> str:
        """Where a client in a namespace of the Swarm (`Swarm.run`) reaches a proxy; counts through `proxy_on`."""
        return f"http://{self.swarm.node(self.options.proxy_on[proxy]).address}:{PORT}"

    def status(self) -> dict[str, Any]:
        """Core's /status, over its admin socket."""
        body = processes.get_unix(self.core_pid(), CORE_ADMIN_SOCKET, "/status")
        found: dict[str, Any] = orjson.loads(body)
        return found

    def cluster(self, name: str = "") -> dict[str, Any]:
        """What core wants of a service cluster: revision, routes, backends."""
        found: list[dict[str, Any]] = [each for each in self.status()["clusters"] if each["name"] == name]
        if not found:
            raise TestbedError(f"core has no state of cluster {name!r} yet")
        return found[0]

    def core_revision(self) -> str:
        return next((str(each["revision"]) for each in self.status()["clusters"]), "")

    def proxy_status(self, proxy: int = 0) -> ProxyStatus:
        document = orjson.loads(processes.get_tcp(self.proxy_pid(proxy), PROXY_ADMIN_PORT, "/status"))
        haproxy = document["haproxy"]
        return ProxyStatus(
            revision=document["revision"],
            wanted=document["wanted"],
            worker_pid=haproxy["worker_pid"] or 0,
            reloads=haproxy["reloads"],
            version=haproxy["version"],
            drift=document["drift"],
        )

    def proxy_metrics(self, proxy: int = 0, page: str = "/metrics") -> dict[str, float]:
        """The metrics of a page of the sidecar's admin port, by name with labels."""
        text = processes.get_tcp(self.proxy_pid(proxy), PROXY_ADMIN_PORT, page).decode()
        lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}

    def core_pid(self) -> int:
        """The process that core's container began with, as seen from this machine."""
        return self._pids(CORE)[0]

    def proxy_pid(self, proxy: int = 0) -> int:
        """The process that a proxy's container began with; `proxy` counts through the options' `proxy_on`."""
        node = self._node_id(self.options.proxy_on[proxy])
        return next(_pid(task) for task in self.proxies() if task["NodeID"] == node)

    def proxies(self) -> list[dict[str, Any]]:
        """The proxies' tasks that run."""
        return [task for task in self.tasks(PROXY) if task["Status"]["State"] == "running"]

    def _pids(self, service: str) -> list[int]:
        tasks = [task for task in self.tasks(service) if task["Status"]["State"] == "running"]
        if not tasks:
            raise TestbedError(f"{service} does not run")
        return [_pid(task) for task in tasks]

    def _node_id(self, node: int) -> str:
        return str(self.swarm.docker(self.manager).inspect_node(self.swarm.node(node).name)["ID"])

    def haproxy(self, command: str, proxy: int = 0) -> str:
        """HAProxy's own answer to a Runtime API command."""
        return processes.ask_unix(self.proxy_pid(proxy), HAPROXY_SOCKET, command)

    def certificate(self, host: str, proxy: int = 0) -> str:
        """SHA-256 of the certificate that a proxy shows for a host, "" when it refuses the handshake."""
        return processes.certificate(self.proxy_pid(proxy), TLS_PORT, host)

    def is_routed(self, host: str, wanted: bool = True) -> bool:
        """Whether core wants a host to be routed, or not to be."""
        return wanted == any(route["host"] == host for route in self.cluster()["routes"])

    # -- processes -----------------------------------------------------------------------------------------

    def core_process(self) -> int:
        """Core's own process (below the container's init)."""
        return self._one("core", processes.in_container(self.core_pid()), "core")

    def sidecar_process(self, proxy: int = 0) -> int:
        return self._one("sidecar", processes.in_container(self.proxy_pid(proxy)), "sidecar")

    def extension_process(self) -> int:
        """The extension service's own process."""
        pids = processes.in_container(self._pids(EXTENSION)[0])
        found = [pid for pid in pids if "haproxy.service" in processes.command_of(pid)[:4]]
        if not found:
            raise TestbedError("the extension service does not run")
        return found[-1]

    def haproxy_processes(self, proxy: int = 0) -> list[int]:
        """Master first, then its workers."""
        pids = processes.in_container(self.proxy_pid(proxy))
        return [pid for pid in pids if _is_haproxy(processes.command_of(pid))]

    def _one(self, what: str, pids: list[int], word: str) -> int:
        found = [pid for pid in pids if _is_l7(processes.command_of(pid), word)]
        if not found:
            raise TestbedError(f"{what} does not run")
        return found[-1]

    def usage(self, proxy: int = 0) -> dict[str, processes.Usage]:
        """What core, a sidecar and its HAProxy use."""
        return {
            "core": processes.usage([self.core_process()]),
            "sidecar": processes.usage([self.sidecar_process(proxy)]),
            "haproxy": processes.usage(self.haproxy_processes(proxy), children=True),
        }

    # -- waiting -------------------------------------------------------------------------------------------

    def until(self, what: str, probe: Callable[[], T | None], timeout: float = 60.0) -> T:
        """`wait_for` of something that may not be there to be asked for a while."""

        def ask() -> T | None:
            try:
                return probe()
            except (TestbedError, OSError, APIError, http.client.HTTPException) as error:
                last.append(error)
                return None

        last: list[Exception] = []
        try:
            return wait_for(what, ask, timeout, self.pause)
        except TestbedError as error:
            if last:
                raise TestbedError(f"{error} (last error: {last[-1]})") from last[-1]
            raise

    def logs(self, lines: int = 40) -> str:
        """The last lines of core and proxies, and what became of their tasks."""
        text = []
        for service in self.parts():
            text += [f"--- {service}", self.cli("service", "ps", "--no-trunc", service)]
            text.append(self.log_of(service, lines))
        return "\n".join(text)

    def parts(self) -> list[str]:
        """Names of the services that l7 consists of."""
        words = ("service", "ls", "--format={{.Name}}", "--filter=label=com.docker.l7.managed")
        return [CORE, *self.cli(*words).split()]

    def log_of(self, service: str, lines: int = 1_000_000) -> str:
        """The last lines of each of its containers, those that ended first. Not `docker service logs`: that waits
        in vain for tasks whose containers were removed."""
        text = []
        for node in self.swarm.alive():
            words = ("ps", "--all", "--quiet", f"--filter=label=com.docker.swarm.service.name={service}")
            for container in reversed(self.swarm.cli(node.index, *words).split()):
                command = ["docker", "--host", node.url, "logs", f"--tail={lines}", container]
                done = subprocess.run(
                    command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=30
                )
                text.append(done.stdout)
        return "".join(text)


def run_l7(*words: str) -> None:
    """The `l7` command of this repository; TestbedError when it fails."""
    command = [sys.executable, "-c", "from l7.cli import main; main()", *words]
    environment = {key: value for key, value in os.environ.items() if not key.endswith("_CA_BUNDLE")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY, env=environment)
    if done.returncode:
        raise TestbedError(f"l7 {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")


def toml(table: Mapping[str, Any], prefix: str = "") -> str:
    """A TOML file of tables, whose other values JSON writes as TOML does."""
    plain = {key: value for key, value in table.items() if not isinstance(value, dict)}
    lines = [f"{key} = {orjson.dumps(value).decode()}" for key, value in plain.items()]
    for key, value in table.items():
        if isinstance(value, dict):
            lines += [f"[{prefix}{key}]", toml(value, f"{prefix}{key}.")]
    return "\n".join(lines)


def _pid(task: dict[str, Any]) -> int:
    return int(task["Status"]["ContainerStatus"]["PID"])


def _version(task: dict[str, Any]) -> list[str]:
    return [each for each in task["Spec"]["ContainerSpec"].get("Env", []) if each.startswith("VERSION=")]


def _is_l7(command: list[str], word: str) -> bool:
    return "/usr/local/bin/l7" in command and word in command


def _is_haproxy(command: list[str]) -> bool:
    return any(os.path.basename(word) == "haproxy" for word in command[:4]) and "/usr/local/bin/l7" not in command
