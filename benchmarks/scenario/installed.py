"""l7 as `l7 install` puts it on a Swarm, with two proxies on ports that Swarm chooses; commands of l7."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.scenario.result import Case
from testbed import app, image, processes
from testbed.swarm import Swarm
from testbed.system import EXTENSION, PORT, PROXY, Options, System, toml

CORE = "l7-core"
NEXT = "l7:next"
"""A second name of the image, to upgrade to."""
Place = tuple[str, int]


class Installed(System):
    """`table`: of `[Extensions.default]`; `more`: further text at the end of the TOML file."""

    def __init__(self, swarm: Swarm, case: Case, poll: float) -> None:
        super().__init__(swarm, Options(haproxy=case.haproxy, watch=case.watch, poll=poll))
        self.table: dict[str, Any] = {
            "ServiceName": EXTENSION,
            "ProxyServiceName": PROXY,
            "ProxyArgs": ["--binary", self.options.binary],
            "ProxyReplicas": 2,
            "ProxyStopGracePeriod": "20s",
            "PublishMode": "host",
            "PublishedPort": 0,
            "PublishedSSLPort": 0,
        }
        self.more = ""

    def load_images(self) -> None:
        self.swarm.load_image(image.build([each for each in [self.options.haproxy] if each != "2.6"]))
        self.swarm.load_image(app.image())
        self.cli("tag", image.TAG, NEXT)

    def l7(self, *words: str) -> None:
        """A command of l7, to its end."""
        self._run_l7(*words, "--docker-url", self.swarm.node(self.manager).url)

    def settings_file(self) -> Path:
        top = {"WatchSource": self.options.watch, "PollInterval": f"{round(self.options.poll * 1000)}ms"}
        file = self.swarm.directory / "settings.toml"
        file.write_text(toml({**top, "Extensions": {"default": self.table}}) + self.more)
        return file

    def install(self) -> None:
        self.l7("install", "--config", str(self.settings_file()))

    def apply(self) -> None:
        self.l7("config", "apply", str(self.settings_file()))

    # -- what there is -------------------------------------------------------------------------------------

    def core_pid(self) -> int:
        return self._pids(CORE)[0]

    def proxy_pid(self, proxy: int = 0) -> int:
        return sorted(self._pids(PROXY))[proxy]

    def parts(self) -> list[str]:
        return [CORE, *super().parts()[1:]]

    def images(self) -> set[str]:
        """Of all tasks of l7 that Swarm wants to run."""
        tasks = [task for name in (CORE, EXTENSION, PROXY) for task in self.tasks(name)]
        return {task["Spec"]["ContainerSpec"]["Image"] for task in tasks}

    def proxy_ids(self) -> set[str]:
        return {task["ID"] for task in self.tasks(PROXY)}

    def reloads(self) -> int:
        """Of all proxies."""
        return sum(self.proxy_status(proxy).reloads for proxy in range(len(self.proxies())))

    def at_rest(self) -> bool:
        """Whether Swarm has made of each part what it wants, and core wants no more."""
        services = self.status()["services"]
        return len(services) == 2 and all(_at_rest(each) for each in services) and len(self.tasks(CORE)) == 1

    def all_gone(self) -> bool:
        """Whether the proxies that Swarm does not want any more have ended."""
        leaving = {task["ID"] for task in self.tasks(PROXY, running=False)} - self.proxy_ids()
        found = (task["Status"]["State"] for task in self.tasks(PROXY, running=False) if task["ID"] in leaving)
        return "running" not in found

    # -- asking --------------------------------------------------------------------------------------------

    def places(self) -> list[Place]:
        """Where the proxies that Swarm wants to run listen for HTTP."""
        return sorted({*places_of(self.swarm, self.proxies())})

    def ask(self, place: Place, host: str) -> tuple[int, set[str]]:
        """Status and names of headers, to a client outside all nodes."""
        assert self.swarm.bridge is not None

        def fetch() -> tuple[int, set[str]]:
            client = http.client.HTTPConnection(*place, timeout=5)
            try:
                client.request("GET", "/", headers={"Host": host, "Connection": "close"})
                answer = client.getresponse()
                return answer.status, {name.lower() for name, _ in answer.getheaders()}
            finally:
                client.close()

        return processes.within(self.swarm.bridge.net, fetch)

    def answered(self, host: str, proxies: int = 2, status: int = 200) -> bool:
        """Whether there are so many proxies, and each answers so."""
        places = self.places()
        return len(places) == proxies and all(self.ask(place, host)[0] == status for place in places)


def _at_rest(service: dict[str, Any]) -> bool:
    return service["update"] in ("", "completed") and service["running"] == service["replicas"]


def places_of(swarm: Swarm, tasks: list[dict[str, Any]]) -> Iterator[Place]:
    """Addresses and ports for HTTP of tasks on node 0 that run, as the Engine API has them; some of them twice."""
    for task in tasks:
        if task["Status"]["State"] == "running":
            for port in (task["Status"].get("PortStatus") or {}).get("Ports") or ():
                if port["TargetPort"] == PORT:
                    yield swarm.node(0).address, port["PublishedPort"]


@contextmanager
def prepared(case: Case, poll: float) -> Iterator[Installed]:
    """A machine with the images, and nothing installed."""
    with Swarm.up() as swarm:
        system = Installed(swarm, case, poll)
        system.load_images()
        with system:
            yield system
