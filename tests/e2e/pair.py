"""An NGINX and a HAProxy cluster of one core, on the same two nodes and on ports of their own.

Clients know both proxies of a cluster, and turn to the other where a connection is refused.
"""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l7.deploy.published import Version, newest, versions
from l7.swarm import from_json
from testbed import app, image, processes
from testbed.archive import write_image, write_layer
from testbed.swarm import Swarm
from testbed.system import CORE, LABEL, toml
from tests.e2e.answers import NOTHING
from tests.e2e.fleet import FleetSystem

NODES = (0, 1)
GRACE = "20s"
BROKEN = "l7-broken:dev"
"""An image whose program isn't there: whatever is rolled to it is taken back by Swarm."""


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One cluster. `program`: a word of the extension service's command line; `table`: of its TOML, beside what
    both have; `usual`: seconds within which a new host is answered by both proxies; `in_files`: each change
    replaces these.

    `line`: key of Config and a line with a place for seconds, for a change that does no harm; `refused`: one that
    the proxy refuses.
    """

    name: str
    port: int
    tls_port: int
    program: str
    table: Mapping[str, Any]
    usual: float
    in_files: bool
    line: tuple[str, str]
    refused: tuple[str, str]

    @property
    def proxies(self) -> str:
        return f"{self.name}-proxy"

    @property
    def extension(self) -> str:
        return f"{self.name}-extension"

    @property
    def network(self) -> str:
        return f"l7-{self.name}"

    @property
    def witness(self) -> str:
        """A service that is under load, and changed."""
        return f"{self.name}-witness"

    @property
    def still(self) -> str:
        """One that is under load and left alone, but for its certificate."""
        return f"{self.name}-still"

    def whole_table(self) -> dict[str, Any]:
        return {
            "ServiceName": self.extension,
            "ProxyServiceName": self.proxies,
            "ServiceCluster": self.name,
            "ProxyReplicas": len(NODES),
            "ProxyConstraints": ["node.platform.os==linux"],
            "ProxyStopGracePeriod": GRACE,
            "PublishMode": "host",
            "PublishedPort": self.port,
            "PublishedSSLPort": self.tls_port,
            **self.table,
        }


NGINX = Side(
    "edge", 80, 443, "nginx.service", {"Image": image.NGINX_TAG, "ProxyImage": image.STOCK_TAG}, 120.0, True,
    ("HTTPOptions", "client_header_timeout {}s;"), ("HTTPOptions", "no_such_directive on;"),
)  # fmt: skip
HAPROXY = Side(
    "live", 8080, 8443, "haproxy.service", {"ProxyArgs": ["--binary", "/opt/haproxy/3.4/haproxy"]}, 60.0, False,
    ("DefaultOptions", "timeout http-request {}s"), ("GlobalOptions", "no-such-keyword 1"),
)  # fmt: skip
SIDES = (NGINX, HAPROXY)
WATCHED = {CORE: "core", **{side.extension: side.program for side in SIDES}, HAPROXY.proxies: "sidecar"}
"""Services whose processes must not grow, and a word of these processes' command lines."""


def other(side: Side) -> Side:
    return HAPROXY if side is NGINX else NGINX


class Pair(FleetSystem):
    """Core has its settings as a file, and takes up each change of it by itself."""

    def __init__(self, swarm: Swarm) -> None:
        super().__init__(swarm, {side.name: side.whole_table() for side in SIDES})
        self.file = swarm.directory / "settings/l7.toml"
        self.file.parent.mkdir()

    @classmethod
    @contextmanager
    def started(cls) -> Iterator[Pair]:
        """Both clusters answer for their services."""
        with Swarm.up(nodes=len(NODES)) as swarm:
            pair = cls(swarm)
            pair.prepare()
            for archive in (image.nginx(), image.stock_nginx(), _broken(swarm.directory)):
                swarm.load_image(archive)
            with pair:
                pair.write()
                pair.settle()
                for side in SIDES:
                    pair.create_witnesses(side)
                yield pair

    def create_witnesses(self, side: Side) -> None:
        for name in (side.witness, side.still):
            self.create_at(side, name, replicas=2)
        for name in (side.witness, side.still):
            self.answered(side, f"{name}.local")

    # -- settings ------------------------------------------------------------------------------------------

    def _override(self) -> dict[str, Any]:
        override = super()._override()
        core = override["services"]["core"]
        core["environment"]["L7_CONFIG"] = "/settings/l7.toml"
        bound = {"type": "bind", "source": str(self.file.parent), "target": "/settings", "read_only": True}
        core["volumes"] = [bound]
        return override

    def write(self) -> None:
        """The settings of now, for core to find."""
        new = self.file.with_suffix(".new")
        new.write_text(toml(self.settings()))
        new.rename(self.file)

    def core_config(self) -> str:
        return self.file.read_text()

    # -- services ------------------------------------------------------------------------------------------

    def create_at(self, side: Side, name: str, replicas: int = 1, labels: Mapping[str, str] = NOTHING) -> None:
        """A service of the test application at `<name>.local` of this cluster."""
        given = {"hosts": f"{name}.local", "port": str(app.PORT), "service_cluster": side.name} | dict(labels)
        words = [f"--label={LABEL}{key}={value}" for key, value in given.items()]
        fixed = ("--detach", "--no-resolve-image", "--restart-delay=0s", "--update-monitor=500ms")
        self.cli(
            "service", "create", *fixed, f"--name={name}", f"--network={side.network}", f"--replicas={replicas}",
            "--env=INSTANCE={{.Task.ID}}", *words, app.TAG,
        )  # fmt: skip

    def label(self, name: str, **labels: str) -> None:
        self.update(name, *(f"--label-add={LABEL}{key}={value}" for key, value in labels.items()))

    def scale_to(self, name: str, replicas: int) -> None:
        """Again where core changes the service in the same moment."""

        def scaled() -> bool:
            self.scale(name, replicas)
            return True

        self.until(f"{name} to be scaled", scaled)

    # -- processes -----------------------------------------------------------------------------------------

    def kill_container(self, service: str, node: int | None = None) -> None:
        """SIGKILL for all that one task consists of, on this node if given."""
        for each in self.swarm.nodes if node is None else [self.swarm.node(node)]:
            words = ("ps", "--quiet", f"--filter=label=com.docker.swarm.service.name={service}")
            for container in self.swarm.cli(each.index, *words).split()[:1]:
                self.swarm.cli(each.index, "kill", container)
                return

    def another_task(self, service: str, before: set[str]) -> None:
        """Waits until none of these tasks is there any more, and others run."""

        def done() -> bool:
            tasks = self.tasks(service)
            new = all(each["Status"]["State"] == "running" and each["ID"] not in before for each in tasks)
            return bool(tasks) and new

        self.until(f"another task of {service}", done)

    @contextmanager
    def frozen(self, service: str) -> Iterator[None]:
        """Its tasks stand still while the block runs."""
        pids = [pid for each in self._pids(service) for pid in processes.in_container(each)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def watched(self) -> dict[str, int]:
        """The processes that must not grow, by name: those that are there at the moment."""
        found = {}
        for service, word in WATCHED.items():
            tasks = [each for each in self.tasks(service) if each["Status"]["State"] == "running"]
            for number, task in enumerate(sorted(tasks, key=lambda each: str(each["NodeID"]))):
                for pid in _running(int(task["Status"]["ContainerStatus"]["PID"]), word):
                    found[f"{service}.{number}"] = pid
        return found

    # -- seen from outside ---------------------------------------------------------------------------------

    def answered(self, side: Side, host: str, path: str = "/", status: int = 200, timeout: float = 60.0) -> None:
        """Waits until both proxies answer so."""
        for node in NODES:
            what = f"{status} of {host}{path} at {side.name} on node {node}"
            self.until(what, lambda n=node: self.get(n, host, side.port, path)[0] == status, timeout)  # type: ignore[misc]

    def fingerprint(self, side: Side, node: int, host: str) -> str:
        """SHA-256 of the certificate that is shown, hexadecimal."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

        def shake() -> bytes:
            with socket.create_connection((self.swarm.node(node).address, side.tls_port), 5) as connection:
                with context.wrap_socket(connection, server_hostname=host) as secured:
                    return secured.getpeercert(binary_form=True) or b""

        assert self.swarm.bridge is not None
        return hashlib.sha256(processes.within(self.swarm.bridge.net, shake)).hexdigest()

    # -- status --------------------------------------------------------------------------------------------

    def problems(self, side: Side) -> list[dict[str, Any]]:
        """Of this cluster and its services."""
        found = self.status()["problems"]
        return [each for each in found if each["cluster"] == side.name or each["service"].startswith(side.name)]

    def configure(self, side: Side, **table: Any) -> None:
        """Gives core other settings of this cluster, instead of those that were given the last time."""
        self.tables[side.name] = side.whole_table() | table
        self.write()

    def takes(self, side: Side, line: str) -> None:
        """Waits until core has a configuration with this line."""
        self.until(f"core to take up {line}", lambda: line in str(self.cluster(side.name)["config"]))

    def versions(self, side: Side) -> tuple[Version, ...]:
        """The configurations that are stored, the newest first."""
        client: Any = self.swarm.docker(self.manager)
        return versions(map(from_json.parse_config, client.configs()), side.name)

    def at_rest(self, side: Side, timeout: float = 120.0) -> None:
        """Waits until all proxies are there, and have what core knows."""
        self.until(f"proxies of {side.name} to have what core knows", lambda: self._has_all(side), timeout)

    def _has_all(self, side: Side) -> bool:
        document, revision = self.status(), str(self.cluster(side.name)["revision"])
        kind = "extension_services" if side.in_files else "extensions"
        applied = [each["applied"] for each in document[kind] if each["cluster"] == side.name]
        wanted = [revision] * (1 if side.in_files else len(NODES))
        return applied == wanted and self._run_from_newest(side)

    def _run_from_newest(self, side: Side) -> bool:
        tasks = self.tasks(side.proxies)
        running = [each["Status"]["State"] for each in tasks] == ["running"] * len(NODES)
        if not running or not side.in_files:
            return running
        client: Any = self.swarm.docker(self.manager)
        update = client.inspect_service(side.proxies).get("UpdateStatus", {}).get("State", "completed")
        found = newest(self.versions(side))
        wanted = {config.id for _, config in found.files} if found is not None else set()
        return update in _ENDED and all(wanted <= _configs(each) for each in tasks)


_ENDED = ("completed", "rollback_completed")
"""States of an update: one that was taken back leaves what is wanted where it was wanted before."""


def _configs(task: dict[str, Any]) -> set[str]:
    return {str(each["ConfigID"]) for each in task["Spec"]["ContainerSpec"].get("Configs", [])}


def _running(container: int, word: str) -> list[int]:
    """The last process of a container that runs l7 with this word."""
    commands = ((pid, processes.command_of(pid)) for pid in processes.in_container(container))
    return [pid for pid, command in commands if word in command and "python" in Path(command[0]).name][-1:]


def _broken(directory: Path) -> Path:
    """The archive of `BROKEN`."""
    layer, archive = directory / "broken-layer.tar", directory / "broken.tar"
    write_layer(layer, [(app.executable(), "app")])
    write_image(archive, BROKEN, [layer], {"Entrypoint": ["/nothing"]})
    return archive
