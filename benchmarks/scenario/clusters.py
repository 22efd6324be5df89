"""Three clusters of one core, each with a proxy on two nodes: HAProxy live, HAProxy and NGINX in file mode."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.scenario.result import Case
from l7.labels.table import PROXY_CLUSTER
from testbed import app, image, processes
from testbed.swarm import Swarm
from testbed.system import HAPROXY_SOCKET
from tests.e2e.fleet import FleetSystem

NODES = (0, 1)
GRACE = 10
"""Seconds that a proxy may take to finish what it has."""
UP = "2"
"""Of srv_op_state in `show servers state`."""
CONFIGURED = 4
"""Of srv_admin_state: the configuration disabled it, whatever came after that."""
_SERVER = re.compile(rf"^\s*server\s(?:\S+\s)??(\d+\.\d+\.\d+\.\d+):{app.PORT}\b(.*)$", re.MULTILINE)
_UNUSED = {"disabled", "down", "backup"}


@dataclass(frozen=True, slots=True)
class Mode:
    """A cluster: its name, what it is called in results, and the port of each node at which its proxies listen for
    HTTP. `program`: the proxy's, as the kernel names its processes."""

    name: str
    title: str
    port: int
    program: str
    live: bool = False

    @property
    def network(self) -> str:
        return f"l7-{self.name}"

    @property
    def proxy(self) -> str:
        """Name of the proxy service."""
        return f"{self.name}-proxy"


LIVE = Mode("live", "HAProxy, live", 80, "haproxy", live=True)
FILES = Mode("files", "HAProxy, file mode", 81, "haproxy")
NGINX = Mode("edge", "NGINX, file mode", 82, "nginx")
MODES = (LIVE, FILES, NGINX)


def table(mode: Mode, binary: str) -> dict[str, Any]:
    """Of `[Extensions.<name>]`. `binary`: HAProxy's in l7's own image."""
    own: Mapping[Mode, dict[str, Any]] = {
        LIVE: {"ProxyArgs": ["--binary", binary]},
        FILES: {"HitlessServiceUpdate": False, "ProxyImage": image.STOCK_HAPROXY_TAG},
        NGINX: {"Image": image.NGINX_TAG, "ProxyImage": image.STOCK_TAG},
    }
    return {
        "ServiceName": f"{mode.name}-extension",
        "ProxyServiceName": mode.proxy,
        "ServiceCluster": mode.name,
        "Constraints": ["node.labels.core==yes"],
        "ProxyConstraints": ["node.labels.proxy==yes"],
        "ProxyReplicas": len(NODES),
        "ProxyStopGracePeriod": f"{GRACE}s",
        "PublishMode": "host",
        "PublishedPort": mode.port,
        "PublishedSSLPort": mode.port + 1000,
        **own[mode],
    }


def listed(text: str) -> set[str]:
    """Addresses of the application's tasks that a configuration file, HAProxy's or NGINX's, sends requests to."""
    return {address for address, rest in _SERVER.findall(text) if not _UNUSED & set(rest.strip("; ").split())}


def in_rotation(states: str) -> set[str]:
    """The same of a running HAProxy, from its `show servers state`."""
    lines = [line.split() for line in states.splitlines() if line]
    names = next(line[1:] for line in lines if line[0] == "#")
    servers = (dict(zip(names, line, strict=True)) for line in lines if len(line) == len(names))
    return {each["srv_addr"] for each in servers if _serves(each)}


def _serves(server: Mapping[str, str]) -> bool:
    enabled = not int(server["srv_admin_state"]) & ~CONFIGURED
    return enabled and server["srv_op_state"] == UP and server["srv_port"] == str(app.PORT)


class Clusters(FleetSystem):
    """The installation; applications are made in one cluster at a time."""

    def __init__(self, swarm: Swarm, case: Case) -> None:
        super().__init__(swarm, {}, case.haproxy)
        self.options = replace(self.options, watch=case.watch, poll=case.poll, proxy_on=NODES)
        self.tables = {mode.name: table(mode, self.options.binary) for mode in MODES}

    def prepare(self) -> None:
        super().prepare()
        for archive in (image.nginx(), image.stock_nginx(), image.stock_haproxy(self.options.haproxy)):
            self.swarm.load_image(archive)

    def urls(self, mode: Mode) -> tuple[str, ...]:
        """Where clients find a cluster's proxies, one per node."""
        return tuple(f"http://{self.swarm.node(node).address}:{mode.port}" for node in NODES)

    def create_in(self, mode: Mode, name: str, host: str, replicas: int) -> str:
        """An application in a cluster; the service's id."""
        return self.create(name, host, replicas, labels={"service_cluster": mode.name}, network=mode.network)

    def all_have(self, name: str, variable: str) -> bool:
        """Whether all tasks of an application that Swarm wants to run have this in their environment."""
        return all(variable in task["Spec"]["ContainerSpec"]["Env"] for task in self.tasks(name))

    def known(self, mode: Mode, *applications: str) -> bool:
        """Whether Swarm runs all tasks of these applications that it wants to, and every proxy of their cluster has
        these tasks and no others."""
        tasks = [task for name in applications for task in self.tasks(name)]
        wanted = {_address(task, mode.network) for task in tasks if _runs(task)}
        proxies = self.tasks(mode.proxy)
        return (
            all(map(_runs, [*tasks, *proxies]))
            and len(proxies) == len(NODES)
            and all(self._knows(mode, proxy) == wanted for proxy in proxies)
        )

    def _knows(self, mode: Mode, proxy: Mapping[str, Any]) -> set[str]:
        pid = int(proxy["Status"]["ContainerStatus"]["PID"])
        if mode.live:
            return in_rotation(processes.ask_unix(pid, HAPROXY_SOCKET, "show servers state"))
        return {address for path in _files(proxy) for address in listed(_text(pid, path))}

    def at_rest(self, mode: Mode) -> bool:
        """Whether no roll of the proxies is under way, and those that were replaced have ended."""
        update = self.inspect(mode.proxy).get("UpdateStatus", {}).get("State", "completed")
        running = [task for task in self.tasks(mode.proxy, running=False) if _runs(task)]
        return update in ("completed", "rollback_completed") and len(running) == len(NODES)

    def inspect(self, service: str) -> dict[str, Any]:
        client: Any = self.swarm.docker(self.manager)
        found: dict[str, Any] = client.inspect_service(service)
        return found

    def stored(self, mode: Mode) -> int:
        """Config objects of a cluster that Swarm keeps."""
        client: Any = self.swarm.docker(self.manager)
        labels = [each["Spec"].get("Labels") or {} for each in client.configs()]
        return sum(each.get(PROXY_CLUSTER) == mode.name for each in labels)


def _runs(task: Mapping[str, Any]) -> bool:
    return bool(task["Status"]["State"] == "running")


def _address(task: Mapping[str, Any], network: str) -> str:
    on = next(each for each in task["NetworksAttachments"] if each["Network"]["Spec"]["Name"] == network)
    return str(on["Addresses"][0]).partition("/")[0]


def _files(proxy: Mapping[str, Any]) -> list[str]:
    """Where config objects are mounted."""
    return [str(each["File"]["Name"]) for each in proxy["Spec"]["ContainerSpec"].get("Configs") or ()]


def _text(pid: int, path: str) -> str:
    with open(f"/proc/{pid}/root{path}", encoding="utf-8") as file:
        return file.read()


@contextmanager
def clusters(case: Case) -> Iterator[Clusters]:
    """On a new Swarm, with core and the extension services on its first node."""
    with Swarm.up(nodes=len(NODES)) as swarm:
        system = Clusters(swarm, case)
        system.prepare()
        with system:
            system.settle()
            yield system
