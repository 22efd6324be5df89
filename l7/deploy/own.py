"""What core finds out about itself: its service, image and networks, and where extensions reach it."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from l7.deploy import names
from l7.kit.errors import Rejected

Json = Mapping[str, Any]
SERVICE_LABEL = "com.docker.swarm.service.name"
"""Container label that Swarm sets."""


class Asking(Protocol):
    """What is needed of `l7.swarm.engine.Engine`; raises as it does."""

    async def ask(
        self, method: str, path: str, params: Mapping[str, str] | None = None, body: object = None
    ) -> Any: ...


@dataclass(frozen=True, slots=True)
class Own:
    """Core's own service. `networks`: ids; `endpoint`: "" when extensions can't reach it."""

    service: str = ""
    image: str = ""
    networks: tuple[str, ...] = ()
    endpoint: str = ""


NOBODY = Own()


async def fetch_own_service(api: Asking) -> str:
    """Name of the service that this process is a task of, "" when it is none, as far as this daemon knows."""
    try:
        container = await api.ask("GET", f"/containers/{socket.gethostname()}/json")
    except Rejected:
        return ""
    labels = container["Config"].get("Labels") or {}
    return str(labels.get(SERVICE_LABEL, ""))


async def fetch_spec(api: Asking, service: str) -> Json:
    """The specification of a service, by name. Raises Rejected when there is none."""
    found: Json = (await api.ask("GET", f"/services/{service}"))["Spec"]
    return found


def own(spec: Json, port: int, managers: Iterable[str], override: str) -> Own:
    """Pure. `port`: where core listens; `managers`: addresses of the nodes that core may run on; `override`: the
    endpoint that the settings say, "" for none."""
    name = str(spec["Name"])
    template = spec["TaskTemplate"]
    networks = tuple(str(each["Target"]) for each in template.get("Networks") or spec.get("Networks") or ())
    endpoint = override
    if not endpoint and networks:
        # `tasks.`: straight to the task, also where a virtual address does not work for want of IP_VS.
        endpoint = f"tasks.{name}:{port}"
    elif not endpoint:
        endpoint = _on_nodes(spec, port, managers)
    return Own(name, names.plain_image(str(template["ContainerSpec"]["Image"])), networks, endpoint)


def _on_nodes(spec: Json, port: int, managers: Iterable[str]) -> str:
    """At which ports of the managers core is, wherever Swarm starts it; "" when it publishes none."""
    for each in (spec.get("EndpointSpec") or {}).get("Ports") or ():
        if each.get("PublishMode") == "host" and each.get("TargetPort") == port and each.get("PublishedPort"):
            addresses = sorted(f"{_bracketed(address)}:{each['PublishedPort']}" for address in managers if address)
            # One name of gRPC's for several addresses of the same server (its naming document).
            return f"ipv4:{','.join(addresses)}" if addresses else ""
    return ""


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
