"""l7 with several HAProxy series side by side on one Swarm, so that whatever is asked is asked of each of them.

The proxies are services of one cluster; they differ in HAProxy's binary and in the port of the node.
"""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from l7.deploy.grace import stop_grace
from l7.deploy.names import APPLIED, MANAGED
from testbed import app, image, processes
from testbed.load import Report, load_command
from testbed.namespace import TestbedError
from testbed.sessions import SessionReport, sessions_command
from testbed.swarm import Swarm
from testbed.system import CORE, LABEL, NETWORK, PORT, PROXY, TLS_PORT, Options, System
from tests.e2e.answers import NOTHING, Answer, Request, fetch

V = TypeVar("V")
Create = Callable[..., str]
"""As `System.create`."""

FRONT = "shop_front"
"""Another network of the proxies, named as a stack "shop" would name its network "front"."""

WITNESS = "witness.local"
"""Of a service that no test touches."""

T = 5.0
"""Seconds from "task running" within which docs/acceptance.md expects an answer."""

RUN = "/run/l7"


class Installation(System):
    """Core, and one proxy per series; proxies count through `series`."""

    def __init__(self, swarm: Swarm, series: Sequence[str]) -> None:
        super().__init__(swarm, Options(haproxy=series[0]))
        self.series = list(series[:1])
        self.services = [PROXY]
        self.ports = [80]
        self.tls_ports = [443]

    @classmethod
    def started(cls, swarm: Swarm, series: Sequence[str]) -> Installation:
        """As `System.up`, with a proxy for each series."""
        system = cls(swarm, series)
        swarm.load_image(image.build([name for name in series if name != "2.6"]))
        swarm.load_image(app.image())
        system.cli("network", "create", "--driver=overlay", FRONT)  # NETWORK is made by core
        system._run_l7("pki", "init", "--docker-url", swarm.node(0).url)
        system._mark_nodes()
        system.deploy()
        for number, name in enumerate(series[1:], start=1):
            system.add_proxy(name, 80 + number)
        return system

    def extension(self) -> dict[str, Any]:
        return super().extension() | {"Networks": [NETWORK, FRONT]}

    def _all_ready(self) -> bool:
        revision = self.core_revision()
        applied = [each["applied"] for each in self.status()["extensions"]]
        run = all(self._pids(name) for name in self.services)
        return run and bool(revision) and applied == [revision] * len(self.services)

    def restart_core(self, *options: str) -> None:
        """Waits for the task that takes the place of the old one, with these options of its service."""
        before = self.task_ids(CORE)
        self.update(CORE, "--force", *options)
        self.until("another core", lambda: not self.task_ids(CORE) & before)
        self.running(CORE, 1)
        self.ended(CORE, before)
        self.converged()

    # -- proxies -------------------------------------------------------------------------------------------

    def add_proxy(self, series: str, port: int, mode: str = "host", grace: int = 0) -> str:
        """One more proxy: the stack's own with another binary and port. Its service's name, once it is ready.
        `grace`: milliseconds that it has to stop; 0: as the others."""
        client: Any = self.swarm.docker(self.manager)
        spec = client.inspect_service(PROXY)["Spec"]
        spec["Name"] = f"{PROXY}_{port}"
        # Not core's: it would take a second proxy service of a cluster for one that nobody wants any more.
        for label in (MANAGED, APPLIED):
            del spec["Labels"][label]
        container = spec["TaskTemplate"]["ContainerSpec"]
        arguments = container["Args"]
        arguments[arguments.index("--binary") + 1] = Options(haproxy=series).binary
        if grace:
            container["StopGracePeriod"] = grace * 1_000_000
            others = [each for each in container["Env"] if "STOP_GRACE" not in each]
            container["Env"] = [*others, f"L7_HAPROXY_STOP_GRACE={stop_grace(grace)}"]
        published = {PORT: port, TLS_PORT: port + TLS_PORT - PORT}
        for each in spec["EndpointSpec"]["Ports"]:
            each |= {"PublishedPort": published[each["TargetPort"]], "PublishMode": mode}
        url = f"{client.base_url}/v{client.api_version}/services/create"
        client.post(url, json=spec).raise_for_status()
        self.series.append(series)
        self.services.append(spec["Name"])
        self.ports.append(port)
        self.tls_ports.append(published[TLS_PORT])
        self.until(f"the proxy on port {port} to be ready", self._all_ready)
        return str(spec["Name"])

    def remove_proxy(self, name: str) -> None:
        """Takes one away that was added."""
        at = self.services.index(name)
        del self.series[at], self.services[at], self.ports[at], self.tls_ports[at]
        self.remove(name)
        self.until(f"{name} to be gone", self._all_ready)

    def places(self, proxy: int, tls: bool = False) -> list[tuple[str, int]]:
        """Where clients look for a proxy: its address and port, and those that they turn to where it refuses."""
        return [(self.swarm.node(0).address, (self.tls_ports if tls else self.ports)[proxy])]

    def url(self, proxy: int = 0) -> str:
        ((address, port), *_) = self.places(proxy)
        return f"http://{address}:{port}"

    def proxy_pid(self, proxy: int = 0) -> int:
        return self._pids(self.services[proxy])[0]

    def workers(self) -> list[tuple[int, int]]:
        """Of each proxy: HAProxy's worker and how often it was reloaded."""
        found = (self.proxy_status(proxy) for proxy in range(len(self.services)))
        return [(each.worker_pid, each.reloads) for each in found]

    def file(self, proxy: int, name: str) -> Path:
        """A file of HAProxy's, in the proxy's container."""
        return Path(f"/proc/{self.proxy_pid(proxy)}/root{RUN}/{name}")

    # -- asking --------------------------------------------------------------------------------------------

    def ask(
        self, host: str, path: str = "/", times: int = 1, headers: Mapping[str, str] = NOTHING, source: str = ""
    ) -> list[Answer]:
        """`times` answers of each proxy, each on a connection of its own, to a client outside all nodes.

        `headers` are sent besides; `source`: the client's address, one of those that it has.
        """
        request = Request(host, path, headers, source)
        asked = [(name, self.places(proxy)) for proxy, name in enumerate(self.series) for _ in range(times)]
        return self.outside(lambda: [fetch(name, places, request) for name, places in asked])

    def by_series(self, answers: Iterable[Answer]) -> dict[str, list[Answer]]:
        """Sorted out by the proxy that gave them."""
        found: dict[str, list[Answer]] = {name: [] for name in self.series}
        for each in answers:
            found[each.series].append(each)
        return found

    def outside(self, call: Callable[[], V]) -> V:
        """What `call` gives to a client outside all nodes."""
        assert self.swarm.bridge is not None
        return processes.within(self.swarm.bridge.net, call)

    def answered(self, host: str, path: str = "/", status: int = 200, timeout: float = T) -> list[Answer]:
        """Waits until every proxy answers with this status."""

        def all_answer() -> list[Answer] | None:
            answers = self.ask(host, path)
            last[:] = [(each.series, each.status, each.error) for each in answers]
            return answers if all(each.status == status for each in answers) else None

        last: list[tuple[str, int, str]] = []
        try:
            return self.until(f"{status} of {host}{path}", all_answer, timeout)
        except TestbedError as error:
            error.add_note(f"last answers: {last}")
            raise

    def refused(self, host: str, error: str = "unknown-host", path: str = "/", timeout: float = T) -> None:
        """Waits until every proxy itself answers 503, for this reason."""
        self.until(
            f"{error} of {host}{path}",
            lambda: all((each.status, each.error) == (503, error) for each in self.ask(host, path)),
            timeout,
        )

    def reach(self, host: str, tasks: set[str], path: str = "/", timeout: float = T) -> None:
        """Waits until requests through each proxy reach just these tasks, every one of them."""

        def reached() -> bool:
            answers = self.ask(host, path, times=4 * len(tasks))
            found = {name: {each.instance for each in answers if each.series == name} for name in self.series}
            return all(each == tasks for each in found.values())

        self.until(f"{host} to be answered by {tasks}", reached, timeout)

    def settled_on(self, host: str, tasks: set[str]) -> None:
        """As `reach`, by what proxies are told: Docker's DNS may tell them of tasks before."""
        self.reach(host, tasks)
        self.converged()

    def task_ids(self, name: str) -> set[str]:
        """Of the tasks that Swarm wants to run."""
        return {str(task["ID"]) for task in self.tasks(name)}

    def held(self) -> None:
        """Waits until requests wait at every proxy."""
        proxies = range(len(self.services))
        self.until("requests to wait", lambda: all(self._waiting(proxy) for proxy in proxies))

    def _waiting(self, proxy: int) -> int:
        """Requests that a backend has and none of its servers."""
        return sum(int(row["scur"]) * (1 if row["svname"] == "BACKEND" else -1) for row in self.rows(proxy))

    def rows(self, proxy: int) -> list[dict[str, str]]:
        """HAProxy's statistics of its backends (`svname` BACKEND) and servers."""
        text = self.haproxy("show stat -1 6 -1", proxy).removeprefix("# ")
        return list(csv.DictReader(text.splitlines()))

    def ended(self, name: str, tasks: set[str]) -> None:
        """Waits until these tasks have ended, seconds after Swarm decided it."""
        states = ("running", "ready", "starting")
        self.until(
            f"{tasks} of {name} to end",
            lambda: all(
                task["Status"]["State"] not in states
                for task in self.tasks(name, running=False)
                if task["ID"] in tasks
            ),
        )

    def published(self, name: str, host: str, replicas: int = 1) -> set[str]:
        """Waits until so many tasks run, then at most T until the host is answered; the tasks' ids."""
        self.running(name, replicas)
        self.answered(host)
        return self.task_ids(name)

    def containers(self, name: str) -> list[int]:
        """The processes of a service's containers, on whichever node, whether Swarm calls them running or not."""
        words = ("ps", "--quiet", f"--filter=label=com.docker.swarm.service.name={name}")
        found: list[int] = []
        for node in self.swarm.alive():
            client: Any = self.swarm.docker(node.index)
            ids = self.swarm.cli(node.index, *words).split()
            found += [int(client.inspect_container(each)["State"]["Pid"]) for each in ids]
        return found

    def tell(self, task: str, page: str) -> bytes:
        """Asks a task of the test application itself, in its own container."""
        client: Any = self.swarm.docker(self.manager)
        status = client.inspect_task(task)["Status"]
        return processes.get_tcp(int(status["ContainerStatus"]["PID"]), app.PORT, page)

    def label(self, name: str, **labels: str | None) -> None:
        """Sets labels (without ``com.docker.lb.``) of a service that is there; None removes one."""
        words = [
            f"--label-rm={LABEL}{key}" if value is None else f"--label-add={LABEL}{key}={value}"
            for key, value in labels.items()
        ]
        self.update(name, *words)

    # -- status --------------------------------------------------------------------------------------------

    def problem(self, service: str, label: str = "") -> dict[str, Any]:
        """Waits for a problem of this service, with this label (without ``com.docker.lb.``) if given."""

        def find() -> dict[str, Any] | None:
            found = (each for each in self.status()["problems"] if each["service"] == service)
            return next((each for each in found if each["label"].endswith(label)), None)

        return self.until(f"a problem of {service}", find)

    def solved(self, service: str) -> None:
        """Waits until nothing is wrong with this service."""
        self.until(
            f"{service} to be without problem",
            lambda: all(each["service"] != service for each in self.status()["problems"]),
        )

    def logged(self, *words: str) -> str:
        """Waits for a line of core's log that has all these words."""

        def find() -> str | None:
            lines = self.log_of(CORE).splitlines()
            return next((line for line in lines if all(word in line for word in words)), None)

        return self.until(f"{words} in core's log", find)

    def hosts(self) -> set[str]:
        """Those that core has routes for."""
        return {route["host"] for route in self.cluster()["routes"]}

    def addresses(self, service: str) -> list[str]:
        """Where core sends the requests of a service, once there is anything."""

        def find() -> list[str]:
            backends = [each for each in self.cluster()["backends"] if each["services"] == [service]]
            return [server["address"] for each in backends for server in each["servers"]]

        return self.until(f"servers of {service}", find)

    def until(self, what: str, probe: Callable[[], V | None], timeout: float = 60.0) -> V:
        try:
            return super().until(what, probe, timeout)
        except TestbedError as error:
            error.add_note(self.logs())
            raise

    # -- load ----------------------------------------------------------------------------------------------

    @contextmanager
    def load(self, *hosts: str, rate: float = 40.0, path: str = "/") -> Iterator[list[Report]]:
        """Constant load on each host through each proxy while the block runs; the reports are there after it."""
        commands = [words for host in hosts for words in self._loads(host, rate, path)]
        reports: list[Report] = []
        with self._beside(commands) as written:
            yield reports
        reports += [Report.from_json(each) for each in written]

    def _loads(self, host: str, rate: float, path: str) -> list[list[str]]:
        urls = [self.url(proxy) + path for proxy in range(len(self.services))]
        return [load_command(url, host, rate, "--announce") for url in urls]

    def unharmed(self, reports: Iterable[Report]) -> bool:
        """Whether nothing failed."""
        return nothing_failed(reports)

    @contextmanager
    def sessions(self, host: str, websockets: int, downloads: int = 0) -> Iterator[list[SessionReport]]:
        """Connections through each proxy that stay while the block runs; the reports are there after it."""
        urls = [self.url(proxy) for proxy in range(len(self.services))]
        reports: list[SessionReport] = []
        with self._beside([sessions_command(url, host, websockets, downloads) for url in urls]) as written:
            yield reports
        reports += [SessionReport.from_json(each) for each in written]

    @contextmanager
    def _beside(self, commands: Iterable[list[str]]) -> Iterator[list[bytes]]:
        """Programs outside all nodes that say "ready", and run until the block ends; then what they wrote."""
        pipe = subprocess.PIPE
        running = [self.swarm.run(None, each, stdin=pipe, stdout=pipe, cwd=self.repository) for each in commands]
        written: list[bytes] = []
        try:
            for each in running:
                if each.stdout is None or each.stdout.readline() != b"ready\n":
                    raise TestbedError("the load did not start")
            yield written
        finally:
            written += [each.communicate(timeout=60)[0] for each in running]


def nothing_failed(reports: Iterable[Report]) -> bool:
    """Whether each load was carried without any failure; an assertion shows what was not."""
    for report in reports:
        assert report.sent > 0
        assert (report.failed, report.stale_keepalive) == (0, 0), (report.by_kind, report.failures)
    return True


def carried(reports: Iterable[Report]) -> bool:
    """Whether nothing failed. A reload may close a kept-alive connection on which a request is on its way: HAProxy
    closes those that are idle, and clients know to ask again."""
    for report in reports:
        assert report.sent > 0
        assert report.failed == 0, (report.by_kind, report.failures)
    return True


def creating(system: Installation) -> Iterator[Create]:
    """One way to create services; those left are removed after it."""
    made: list[str] = []

    def create(name: str, *words: object, **more: object) -> str:
        made.append(name)
        return system.create(name, *words, **more)  # type: ignore[arg-type]

    try:
        yield create
    finally:
        there = system.cli("service", "ls", "--format={{.Name}}").split()
        if left := [name for name in made if name in there]:
            system.remove(*left)
