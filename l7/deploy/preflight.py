"""What an installation needs that is not there, before anything is made. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from l7.config import Cluster
from l7.deploy import core_service, names
from l7.deploy.placement import place_extension, place_proxies
from l7.deploy.ports import Publisher, Publishers, grant_ports, wish_of
from l7.labels.table import PROXY_CLUSTER, PROXY_TYPE
from l7.model import Node, Problem, Service, Task, TaskState

Json = Mapping[str, Any]
API = (1, 41)
"""Docker 20.10: the first whose services can drop capabilities."""


@dataclass(frozen=True, slots=True)
class Objection:
    """Something that is not as it has to be, and what helps."""

    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}\n  {self.remedy}"


@dataclass(frozen=True, slots=True)
class Found:
    """What is there. `ip_vs` None: it can't be told from here."""

    image: bool
    ip_vs: bool | None
    nodes: tuple[Node, ...] = ()
    services: tuple[Service, ...] = ()
    tasks: tuple[Task, ...] = ()


def daemon_objection(info: Json, api_version: str) -> Objection | None:
    """Why this daemon is none to install on; `info` as in GET /info."""
    swarm = info.get("Swarm") or {}
    if swarm.get("LocalNodeState") != "active":
        return Objection(
            "this node is in no Swarm", "docker swarm init makes one; docker swarm join takes it into one"
        )
    if not swarm.get("ControlAvailable"):
        return Objection(
            "this node is a worker", "run this on a manager, or docker node promote this node from one"
        )
    if tuple(int(part) for part in api_version.split(".")) < API:
        old = f"its API is {api_version}, and {'.'.join(map(str, API))} is needed"
        return Objection(f"Docker {info.get('ServerVersion', '')} is too old: {old}", "update it to 20.10 or newer")
    return None


def objections(found: Found, clusters: Sequence[Cluster], image: str, flags: bool) -> tuple[Objection, ...]:
    """Why an installation with these settings would not come up; `flags`: they come from options of the command."""
    told = [*_image(found, image)]
    for cluster in clusters:
        told += _cluster(cluster, found, flags)
    return (*told, *_ports(found, clusters, flags))


_HOST = 'PublishMode = "host"'


def core_objections(services: Iterable[Json]) -> Iterator[Objection]:
    """Why there can't be a core of `l7 install` beside these services, as the Engine API has them."""
    for raw in services:
        if raw["Spec"]["Name"] == core_service.SERVICE and not core_service.is_installed(raw):
            yield Objection(
                f"there is a service {core_service.SERVICE} that l7 did not make, so it is left alone",
                f"docker service rm {core_service.SERVICE}, and create it under another name",
            )
        elif core_service.is_core(raw) and not core_service.is_installed(raw):
            name = raw["Spec"]["Name"]
            yield Objection(
                f"core runs already, as the service {name} that a stack deployed",
                "go on with the stack, or `l7 uninstall` first",
            )


def _image(found: Found, image: str) -> Iterator[Objection]:
    if not found.image:
        yield Objection(
            f"the image {image} is not on this node",
            "docker load it on each node (`make image` builds it), or docker pull it; another one: --image NAME",
        )


def _cluster(cluster: Cluster, found: Found, flags: bool) -> Iterator[Objection]:
    options = cluster.proxy_options
    if options.publish_mode == "ingress" and found.ip_vs is False:
        yield Objection(
            f"PublishMode ingress{_of(cluster)} needs Swarm's routing mesh, and this kernel has no IP_VS",
            f"publish the ports on the proxies' own nodes: {'--publish-mode host' if flags else _HOST}",
        )
    proxies, extension = place_proxies(cluster, found.nodes), place_extension(cluster, found.nodes)
    for problem in (*extension.problems, *proxies.problems):
        too_few = problem.label.endswith(".ProxyReplicas")
        fitting = f"--replicas {max(proxies.replicas or 1, 1)}, or one on each node: --mode global"
        yield _objection(problem, fitting if too_few and flags else problem.remedy)


def _ports(found: Found, clusters: Iterable[Cluster], flags: bool) -> Iterator[Objection]:
    wishes = []
    for cluster in clusters:
        nodes = (node.id for node in place_proxies(cluster, found.nodes).nodes)
        wishes.append(wish_of(cluster, nodes, _own_proxies(found, cluster)))
    for grant in grant_ports(wishes, _publishers(found)).values():
        for problem in grant.problems:
            flag = "--https" if problem.label.endswith("SSLPort") else "--http"
            yield _objection(problem, f"choose another port: {flag} PORT; or free it" if flags else problem.remedy)


def _own_proxies(found: Found, cluster: Cluster) -> list[str]:
    """Ids of the cluster's proxy services that are there already."""
    wanted = {PROXY_TYPE, (names.MANAGED, names.FLEET), (PROXY_CLUSTER, cluster.name)}
    return [each.id for each in found.services if wanted <= set(each.spec.labels)]


def _publishers(found: Found) -> Publishers:
    return Publishers(
        {
            service.id: Publisher(service.name, service.spec.ports, _nodes_of(service.id, found.tasks))
            for service in found.services
            if service.spec.ports
        }
    )


def _nodes_of(service: str, tasks: Iterable[Task]) -> frozenset[str]:
    return frozenset(
        task.node for task in tasks if task.service == service and task.node and task.state <= TaskState.RUNNING
    )


def _objection(problem: Problem, remedy: str) -> Objection:
    key = problem.label.rpartition(".")[2]
    return Objection(f"{key} = {problem.value}: {problem.message}", remedy)


def _of(cluster: Cluster) -> str:
    return f" of service cluster {cluster.name}" if cluster.name else ""
