"""l7 on a Swarm as an operator describes it in core's TOML: changed, and followed until all of it is as asked."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import orjson

from l7.deploy.names import MANAGED
from testbed import app, image, processes
from testbed.load import Report, load_command
from testbed.namespace import TestbedError
from testbed.swarm import Swarm
from testbed.system import CORE, LABEL, Options, System, toml


class FleetSystem(System):
    """`tables`: of `[Extensions.<name>]`, by name; `top`: core's own keys. `settle` brings Swarm to them."""

    def __init__(self, swarm: Swarm, tables: Mapping[str, Mapping[str, Any]], haproxy: str = "3.4") -> None:
        super().__init__(swarm, Options(haproxy=haproxy))
        self.tables = {name: dict(table) for name, table in tables.items()}
        self.top: dict[str, Any] = {}

    def prepare(self) -> None:
        """Images on all nodes, and the PKI."""
        self.swarm.load_image(image.build([self.options.haproxy]))
        self.swarm.load_image(app.image())
        self._run_l7("pki", "init", "--docker-url", self.swarm.node(0).url)
        self._mark_nodes()

    def settings(self) -> dict[str, Any]:
        return {**self.top, "Extensions": self.tables}

    def settle(self, timeout: float = 120.0) -> None:
        """Core with the settings of now, and then nothing more to do."""
        self.deploy()
        self.quiet(timeout)

    def _all_ready(self) -> bool:
        """Once core has looked (`deploy` waits for this)."""
        return bool(self.status()["services"])

    def quiet(self, timeout: float = 120.0) -> None:
        """Waits until core keeps what the settings ask for and nothing is under way."""
        try:
            self.until("the services to be as the settings want them", self._is_quiet, timeout)
        except TestbedError as error:
            document = self.status()
            error.add_note(f"{document['services']}\n{document['problems']}\n{self.logs()}")
            raise

    def _is_quiet(self) -> bool:
        document = self.status()
        kept = {each["name"]: each for each in document["services"]}
        wanted = {table.get(key) for table in self.tables.values() for key in ("ServiceName", "ProxyServiceName")}
        done = all(each["update"] not in _UNDER_WAY and _runs(each) for each in kept.values())
        return done and wanted - {None} <= kept.keys() and self._has_settings()

    def _has_settings(self) -> bool:
        """Whether the core that answers is the one that was deployed last, alone, and for good: Swarm takes a task
        that dies within the time in which an update is watched for the update's failure, and takes it back."""
        client: Any = self.swarm.docker(self.manager)
        update = client.inspect_service(CORE).get("UpdateStatus", {}).get("State", "completed")
        return update == "completed" and len(self.tasks(CORE)) == 1 and self.text in self.core_config()

    @property
    def text(self) -> str:
        return toml(self.settings())

    def core_config(self) -> str:
        root = f"/proc/{self.core_pid()}/root/config.toml"
        with open(root, encoding="utf-8") as file:
            return file.read()

    def spec(self, name: str) -> dict[str, Any]:
        client: Any = self.swarm.docker(self.manager)
        found: dict[str, Any] = client.inspect_service(name)["Spec"]
        return found

    def version(self, name: str) -> int:
        client: Any = self.swarm.docker(self.manager)
        return int(client.inspect_service(name)["Version"]["Index"])

    def managed(self) -> set[str]:
        """Names of the services that core made."""
        client: Any = self.swarm.docker(self.manager)
        return {each["Spec"]["Name"] for each in client.services(filters={"label": f"{MANAGED}=fleet"})}

    def task_ids(self, name: str) -> set[str]:
        return {str(task["ID"]) for task in self.tasks(name)}

    # -- asking and breaking -------------------------------------------------------------------------------

    def create_on(self, network: str, name: str, host: str, labels: Mapping[str, str]) -> None:
        """A service of the test application with two tasks, on this network alone."""
        labels = {"hosts": host, "port": str(app.PORT), **labels}
        words = [f"--label={LABEL}{key}={value}" for key, value in labels.items()]
        fixed = ("--detach", "--no-resolve-image", "--restart-delay=0s", "--replicas=2")
        instance = "--env=INSTANCE={{.Task.ID}}"
        self.cli(
            "service", "create", *fixed, f"--name={name}", f"--network={network}", instance, *words, app.TAG
        )

    def replace_spec(self, name: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Changes a service as somebody does who speaks the Engine API."""
        client: Any = self.swarm.docker(self.manager)
        raw = client.inspect_service(name)
        change(raw["Spec"])
        url = f"{client.base_url}/v{client.api_version}/services/{raw['ID']}/update"
        client.post(url, json=raw["Spec"], params={"version": raw["Version"]["Index"]}).raise_for_status()

    def kill(self, service: str) -> None:
        """SIGKILL for what a service's task consists of, below its init."""
        _, process, *_ = processes.in_container(self._pids(service)[0])
        os.kill(process, signal.SIGKILL)

    def client_seen(self, node: int, host: str) -> str:
        """The client's address as the application is told it."""
        headers = orjson.loads(self.get(node, host, path="/echo")[2])["headers"]
        return str({name.lower(): value for name, value in headers}["x-forwarded-for"])

    def get(self, node: int, host: str, port: int = 80, path: str = "/") -> tuple[int, dict[str, str], str]:
        """Status, headers and body of an answer at a node, to a client outside all nodes."""
        assert self.swarm.bridge is not None

        def ask() -> tuple[int, dict[str, str], str]:
            client = http.client.HTTPConnection(self.swarm.node(node).address, port, timeout=5)
            try:
                client.request("GET", path, headers={"Host": host})
                answer = client.getresponse()
                headers = {name.lower(): value for name, value in answer.getheaders()}
                return answer.status, headers, answer.read().decode()
            finally:
                client.close()

        return processes.within(self.swarm.bridge.net, ask)

    def answers(self, node: int, host: str, status: int = 200, port: int = 80, timeout: float = 60.0) -> None:
        """Waits until a node answers so."""
        self.until(f"{status} of {host} at node {node}", lambda: self.get(node, host, port)[0] == status, timeout)


def _runs(service: Mapping[str, Any]) -> bool:
    return bool(service["running"] == service["replicas"] or (service["replicas"] is None and service["running"]))


@contextmanager
def load(
    system: System, host: str, nodes: Sequence[int], rate: float = 60.0, port: int = 80
) -> Iterator[list[Report]]:
    """Constant load on the proxies of these nodes while the block runs; a client whose connection one of them
    refuses turns to the next. What fails is told at once; the report is there after the block."""
    urls = [f"http://{system.swarm.node(node).address}:{port}" for node in nodes]
    more = [word for url in urls[1:] for word in ("--also", url)]
    command = load_command(urls[0], host, rate, "--announce", "--tell", *more)
    pipe = subprocess.PIPE
    running = system.swarm.run(None, command, stdin=pipe, stdout=pipe, cwd=System.repository)
    reports: list[Report] = []
    try:
        if running.stdout is None or running.stdout.readline() != b"ready\n":
            raise TestbedError("the load did not start")
        yield reports
    finally:
        reports.append(Report.from_json(running.communicate(timeout=60)[0]))


_UNDER_WAY = ("updating", "rollback_started")
