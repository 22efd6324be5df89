"""File mode on one Swarm, for all its tests: two NGINX, one on each node, an HAProxy on other ports, and one core.

What is asked of NGINX is what is asked of HAProxy: `Edge` is an `Installation`, and tests of that run on it. Each
change is a roll of the proxies here, so it takes seconds where an `Installation` takes milliseconds. They are
rolled one after the other, stop-first as their ports are the nodes' own; clients know both, and turn to the other
one where a connection is refused.
"""

from __future__ import annotations

import math
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import orjson

from l7.deploy.published import newest, versions
from l7.swarm import from_json
from testbed import image
from testbed.load import Report, load_command
from testbed.namespace import TestbedError
from testbed.swarm import Swarm
from tests.e2e.fleet import FleetSystem
from tests.e2e.installation import WITNESS, Installation, carried

NODES = (0, 1)
"""With an NGINX each."""
CLUSTER = "edge"
PROXY = "edge-proxy"
FILES, FILES_PORT = "files.local", 81
"""A host of the HAProxy, and its port, on node 0."""
GRACE = 10
"""Seconds that connections live in a proxy that leaves."""
ROLL = 90.0
"""Seconds for a change to be there, at the most, on a busy machine: it may have to wait for a roll under way."""
QUIT, KILL = "3", "9"
NOTICED = 1.0
"""Seconds within which a client notices that a proxy has gone, on a busy machine."""
GATHERED = 2.5
"""Seconds; see nginx.follow.SETTLE, and what rendering and storing take."""
V = TypeVar("V")


def cluster(name: str, **more: object) -> dict[str, object]:
    """The table of a cluster of proxies on ports of their nodes."""
    names = {"ServiceName": f"{name}-extension", "ProxyServiceName": f"{name}-proxy", "ServiceCluster": name}
    return {**names, "PublishMode": "host", "ProxyStopGracePeriod": f"{GRACE}s", **more}


TABLES = {
    CLUSTER: cluster(
        CLUSTER,
        ProxyReplicas=len(NODES),
        ProxyConstraints=["node.platform.os==linux"],  # managers as well as workers
        Image=image.NGINX_TAG,
        ProxyImage=image.STOCK_TAG,
    ),
    "files": cluster(
        "files",
        ProxyReplicas=1,
        ProxyConstraints=["node.hostname==node0"],
        PublishedPort=FILES_PORT,
        PublishedSSLPort=444,
        HitlessServiceUpdate=False,
    ),
}


@contextmanager
def started() -> Iterator[FleetSystem]:
    """Both clusters, with a service that no test touches on each, at `WITNESS` and `FILES`."""
    with Swarm.up(nodes=len(NODES)) as swarm:
        fleet = FleetSystem(swarm, TABLES)
        fleet.prepare()
        swarm.load_image(image.nginx())
        swarm.load_image(image.stock_nginx())
        with fleet, _recorded(swarm):
            fleet.deploy()
            edge = Edge(fleet)
            edge.create("witness", WITNESS)
            fleet.create_on("l7-files", "files-web", FILES, {"service_cluster": "files"})
            edge.converged()
            for node in NODES:
                fleet.answers(node, WITNESS)
            fleet.answers(0, FILES, port=FILES_PORT)
            yield fleet


@contextmanager
def _recorded(swarm: Swarm) -> Iterator[None]:
    """Writes down what Docker does to proxies, as it happens: it remembers the last 256 events, of everything."""
    filters = ("--filter=type=container", f"--filter=label=com.docker.swarm.service.name={PROXY}")
    with ExitStack() as stack:
        for node in NODES:
            file = stack.enter_context(_record(swarm, node).open("wb"))
            command = ["docker", "--host", swarm.node(node).url, "events", *filters, "--format={{json .}}"]
            process = stack.enter_context(subprocess.Popen(command, stdout=file))
            stack.callback(process.terminate)
        yield


def _record(swarm: Swarm, node: int) -> Path:
    return swarm.directory / f"proxies-{node}.events"


class Edge(Installation):
    """The cluster of NGINX as tests of an `Installation` see it. One for each thread."""

    network = f"l7-{CLUSTER}"
    labels: Mapping[str, str] = MappingProxyType({"service_cluster": CLUSTER})
    pause = 0.3

    def __init__(self, fleet: FleetSystem) -> None:
        super().__init__(fleet.swarm, [f"NGINX of node {node}" for node in NODES])
        self.fleet = fleet
        self.series = [f"NGINX of node {node}" for node in NODES]
        self.services = [PROXY for _ in NODES]
        self.ports = [80 for _ in NODES]
        self.tls_ports = [443 for _ in NODES]

    def places(self, proxy: int, tls: bool = False) -> list[tuple[str, int]]:
        port = (self.tls_ports if tls else self.ports)[proxy]
        return [(self.swarm.node(node).address, port) for node in (*NODES[proxy:], *NODES[:proxy])]

    def proxy_pid(self, proxy: int = 0) -> int:
        running = (each for each in self.tasks(PROXY) if each["Status"]["State"] == "running")
        for each in running:
            if each["NodeID"] == self._node_id(NODES[proxy]):
                return int(each["Status"]["ContainerStatus"]["PID"])
        raise TestbedError(f"no proxy runs on node {NODES[proxy]}")

    def until(self, what: str, probe: Callable[[], V | None], timeout: float = ROLL) -> V:
        """Waits for a roll, where an `Installation` waits for a command."""
        return super().until(what, probe, max(timeout, ROLL))

    # -- load ----------------------------------------------------------------------------------------------

    def _loads(self, host: str, rate: float, path: str) -> list[list[str]]:
        """One for both proxies, as clients know both. What the kernel took in the moment in which a proxy stops,
        and NGINX never saw, they ask the other one for (`unharmed`)."""
        first, *others = (self.url(proxy) for proxy in range(len(NODES)))
        more = [word for url in others for word in ("--also", url)]
        return [load_command(first + path, host, rate, "--announce", "--again", *more)]

    def unharmed(self, reports: Iterable[Report]) -> bool:
        """A proxy that leaves closes kept-alive connections that are idle, and resets what it has not taken from
        the kernel: only that, and only then. What is wrong is shown with what Docker did meanwhile."""
        reports = list(reports)
        since = min(each.started for each in reports)
        events = [self._events(node, since - GRACE) for node in NODES]
        leaving = [each for found in events for each in _leaving(found)]
        try:
            for when in (when for each in reports for when in each.again):
                assert any(told < when < gone for told, gone in leaving), f"{when:.3f}: reset by a proxy that stays"
            return carried(reports)
        except AssertionError as error:
            error.add_note("\n".join(_told(each) for found in events for each in found))
            raise

    # -- rolls ---------------------------------------------------------------------------------------------

    def cluster(self, name: str = CLUSTER) -> dict[str, Any]:
        return super().cluster(name)

    def core_revision(self) -> str:
        return str(self.cluster()["revision"])

    def settled_on(self, host: str, tasks: set[str]) -> None:
        """Waits until each proxy is run from a file that has just these tasks, and reaches them."""
        proxies = range(len(NODES))
        self.until(f"files that know of {tasks}", lambda: all(self._knows(proxy, tasks) for proxy in proxies))
        self.reach(host, tasks)

    def _knows(self, proxy: int, tasks: set[str]) -> bool:
        wanted = {address for task in tasks for address in self._addresses(task)}
        upstreams = (set(_SERVER.findall(each)) for each in self.configuration(proxy).split("upstream "))
        return [each for each in upstreams if each & wanted] == [wanted]

    def _addresses(self, task: str) -> list[str]:
        client: Any = self.swarm.docker(self.manager)
        attached = client.inspect_task(task)["NetworksAttachments"]
        found = (each["Addresses"] for each in attached if each["Network"]["Spec"]["Name"] == self.network)
        return [each.partition("/")[0] for addresses in found for each in addresses]

    def converged(self, timeout: float = 3 * ROLL) -> None:
        """Waits until all proxies are run from what core knows: a change that changes no file is known by nothing
        having followed for longer than changes are gathered."""
        since: list[float] = []

        def still() -> bool:
            if not self._is_applied() or not self.rolled():
                since.clear()
                return False
            since.append(time.monotonic())
            return since[-1] - since[0] > GATHERED

        self.until("proxies to be run from what core knows", still, timeout)

    def _is_applied(self) -> bool:
        found = [each for each in self.status()["extension_services"] if each["cluster"] == CLUSTER]
        return [each["applied"] for each in found] == [self.core_revision()]

    def rolled(self) -> bool:
        """Whether all proxies are run from the newest configuration there is, and Swarm is done with them."""
        client: Any = self.swarm.docker(self.manager)
        found = newest(versions(map(from_json.parse_config, client.configs()), CLUSTER))
        service = client.inspect_service(PROXY)
        wanted = {config.id for _, config in found.files} if found is not None else set()
        tasks = self.tasks(PROXY)
        new = [wanted <= _configs(each) and each["Status"]["State"] == "running" for each in tasks]
        state = service.get("UpdateStatus", {}).get("State", "completed")
        return state == "completed" and new == [True] * len(NODES)

    def configuration(self, proxy: int = 0) -> str:
        """The text that a proxy was started with."""
        root = f"/proc/{self.proxy_pid(proxy)}/root/etc/nginx"
        texts = []
        for name in ("nginx.conf", "l7-servers-1.conf"):
            with open(f"{root}/{name}", encoding="utf-8") as file:
                texts.append(file.read())
        return "".join(texts)

    def signals(self, proxy: int, since: float) -> list[tuple[str, float]]:
        """Those that Docker has sent to proxies of a node since then, with their times in unix seconds."""
        events = self._events(NODES[proxy], since)
        found = [(each["Actor"]["Attributes"].get("signal"), each["timeNano"] / 1e9) for each in events]
        return [(signal, when) for signal, when in found if signal]

    def _events(self, node: int, since: float) -> list[dict[str, Any]]:
        """What Docker has done to containers of proxies on a node."""
        lines = _record(self.swarm, node).read_bytes().splitlines(keepends=True)
        events = [orjson.loads(each) for each in lines if each.endswith(b"\n")]
        return [each for each in events if each["timeNano"] / 1e9 >= since]


def _leaving(events: Iterable[dict[str, Any]]) -> Iterator[tuple[float, float]]:
    """When a proxy was told to leave, and when its clients know that it has gone."""
    told: dict[str, float] = {}
    for event in events:
        container, when = event["Actor"]["ID"], event["timeNano"] / 1e9
        if event["Actor"]["Attributes"].get("signal") == QUIT:
            told[container] = when
        if event["Action"] == "die" and container in told:
            yield told.pop(container), when + NOTICED
    yield from ((when, math.inf) for when in told.values())


def _told(event: dict[str, Any]) -> str:
    signal = event["Actor"]["Attributes"].get("signal", "")
    return f"{event['timeNano'] / 1e9:.3f} {event['Action']} {signal} {event['Actor']['ID'][:12]}"


_SERVER = re.compile(r"^\s*server ([0-9.]+):", re.MULTILINE)


def _configs(task: dict[str, Any]) -> set[str]:
    return {str(each["ConfigID"]) for each in task["Spec"]["ContainerSpec"].get("Configs", [])}
