"""Docker Engine API objects (JSON) → `l7.model`. Pure.

Field names: Docker Engine API reference, definitions Service, Task, Node, Network. Go leaves out what is
empty, so nearly everything is optional. An object without an id or version is a ProtocolError.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TypeAlias

import msgspec
import orjson

from l7.kit.errors import ProtocolError
from l7.model import (
    Network,
    Node,
    NodeState,
    PublishedPort,
    Service,
    ServiceSpec,
    StoredSecret,
    Task,
    TaskState,
)

Json: TypeAlias = Mapping[str, Any]

PREDEFINED = "com.docker.swarm.predefined"
"""Label of SwarmKit's stand-ins for the networks "host" and "bridge", which Docker's own listing hides."""

CONTAINER_PREFIX = "interlock."
"""Of the labels of a service's containers, only these are kept: Interlock 1 read them there."""

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")
_NODE_STATES = {state.name.lower(): state for state in NodeState}
_TASK_STATES = {state.name.lower(): state for state in TaskState}


class _Version(msgspec.Struct, gc=False):
    Index: int


class _Head(msgspec.Struct, gc=False):
    ID: str
    Version: _Version


_heads = msgspec.json.Decoder(_Head)
_lists = msgspec.json.Decoder(list[msgspec.Raw])


def split(text: bytes) -> list[msgspec.Raw]:
    """The elements of a list, none of them read. Raises msgspec.DecodeError for what is no list in JSON."""
    return _lists.decode(text)


def head(raw: msgspec.Raw) -> tuple[str, int]:
    """Id and version of an element, for `known`. Objects of Python are made of nothing else of it."""
    try:
        found = _heads.decode(raw)
    except msgspec.DecodeError as error:
        raise ProtocolError(f"an object without an ID or version: {error}") from error
    return found.ID, found.Version.Index


def load(raw: msgspec.Raw) -> Json:
    """All of an element."""
    loaded: Json = orjson.loads(memoryview(raw))
    return loaded


def parse_service(raw: Json) -> Service:
    """An element of GET /services."""
    spec = raw.get("Spec") or {}
    previous = raw.get("PreviousSpec")
    vips = (raw.get("Endpoint") or {}).get("VirtualIPs") or ()
    return Service(
        id=_id(raw),
        version=_version(raw),
        name=str(spec.get("Name", "")),
        created=parse_time(raw.get("CreatedAt", "")),
        spec=_spec(spec),
        previous=_spec(previous) if previous else None,
        vips=tuple((str(vip.get("NetworkID", "")), bare_address(vip.get("Addr", ""))) for vip in vips),
    )


def parse_task(raw: Json) -> Task:
    """An element of GET /tasks; `service` is "" for the attachment of a plain container."""
    status = raw.get("Status") or {}
    return Task(
        id=_id(raw),
        version=_version(raw),
        service=str(raw.get("ServiceID", "")),
        node=str(raw.get("NodeID", "")),
        slot=int(raw.get("Slot", 0)),
        state=_state(status.get("State", "new")),
        desired=_state(raw.get("DesiredState", "new")),
        created=parse_time(raw.get("CreatedAt", "")),
        addresses=_addresses(raw.get("NetworksAttachments") or ()),
        ports=unique_ports(_ports((status.get("PortStatus") or {}).get("Ports") or ())),
    )


def parse_node(raw: Json) -> Node:
    """An element of GET /nodes."""
    status = raw.get("Status") or {}
    state = _NODE_STATES.get(str(status.get("State", "unknown")))
    if state is None:
        raise ProtocolError(f"node {raw.get('ID')}: unknown state {status.get('State')!r}")
    spec, description = raw.get("Spec") or {}, raw.get("Description") or {}
    platform = description.get("Platform") or {}
    return Node(
        id=_id(raw),
        version=_version(raw),
        hostname=str(description.get("Hostname", "")),
        state=state,
        address=str(status.get("Addr", "")),
        manager=spec.get("Role") == "manager",
        availability=str(spec.get("Availability") or "active"),
        os=str(platform.get("OS", "")),
        arch=str(platform.get("Architecture", "")),
        labels=_labels(spec.get("Labels")),
        engine_labels=_labels((description.get("Engine") or {}).get("Labels")),
    )


def parse_network(raw: Json) -> Network:
    """An element of GET /networks, which says no version (0): a swarm network with addresses never changes."""
    pools = (raw.get("IPAM") or {}).get("Config") or ()
    return Network(
        id=str(raw.get("Id", "")),
        version=0,
        name=str(raw.get("Name", "")),
        ingress=bool(raw.get("Ingress")),
        driver=str(raw.get("Driver") or "overlay"),
        attachable=bool(raw.get("Attachable")),
        internal=bool(raw.get("Internal")),
        encrypted="encrypted" in (raw.get("Options") or {}),
        subnets=tuple(str(taken) for pool in pools if (taken := pool.get("IPRange") or pool.get("Subnet"))),
    )


def parse_secret(raw: Json) -> StoredSecret:
    """An element of GET /secrets."""
    return _stored(raw, config=False)


def parse_config(raw: Json) -> StoredSecret:
    """An element of GET /configs, without the content that comes along."""
    return _stored(raw, config=True)


def _stored(raw: Json, config: bool) -> StoredSecret:
    spec = raw.get("Spec") or {}
    return StoredSecret(_id(raw), _version(raw), str(spec.get("Name", "")), config, _labels(spec.get("Labels")))


def parse_time(text: str) -> int:
    """RFC 3339 with up to nine digits of fraction → nanoseconds of Unix time, exactly; 0 for Go's zero time.

    datetime keeps microseconds only, so the fraction is read apart from the rest.
    """
    if not text or text.startswith("0001-01-01"):
        return 0
    match = _TIME.fullmatch(text)
    if match is None:
        raise ProtocolError(f"not a time: {text!r}")
    seconds, fraction, zone = match.groups(default="")
    whole = int(datetime.fromisoformat(seconds + zone).timestamp())
    return whole * 1_000_000_000 + int(fraction.ljust(9, "0"))


def bare_address(cidr: str) -> str:
    """An address without its prefix length."""
    return cidr.partition("/")[0]


def unique_ports(ports: Iterable[PublishedPort]) -> tuple[PublishedPort, ...]:
    """Sorted, each once: a task's status lists a host port for IPv4 and again for IPv6."""
    return tuple(sorted(set(ports), key=lambda p: (p.target, p.published, p.protocol, p.mode)))


def container_labels(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Those that l7 may want to read, sorted."""
    return tuple(sorted((key, value) for key, value in labels.items() if key.startswith(CONTAINER_PREFIX)))


def _id(raw: Json) -> str:
    id_ = raw.get("ID")
    if not isinstance(id_, str) or not id_:
        raise ProtocolError("an object without an ID")
    return id_


def _version(raw: Json) -> int:
    version = (raw.get("Version") or {}).get("Index")
    if not isinstance(version, int):
        raise ProtocolError(f"object {raw.get('ID')} has no version")
    return version


def _state(name: str) -> TaskState:
    state = _TASK_STATES.get(name)
    if state is None:
        raise ProtocolError(f"unknown task state {name!r}")
    return state


def _labels(raw: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((raw or {}).items()))


def _spec(raw: Json) -> ServiceSpec:
    endpoint = raw.get("EndpointSpec") or {}
    template = raw.get("TaskTemplate") or {}
    # Before API 1.25 the networks were a field of the service's own.
    networks = template.get("Networks") or raw.get("Networks") or ()
    container = template.get("ContainerSpec") or {}
    return ServiceSpec(
        labels=_labels(raw.get("Labels")),
        networks=tuple(str(network.get("Target", "")) for network in networks),
        replicas=_replicas(raw.get("Mode") or {}),
        ports=_ports(endpoint.get("Ports") or ()),
        endpoint_mode=str(endpoint.get("Mode") or "vip"),
        container_labels=container_labels(container.get("Labels") or {}),
    )


def _replicas(mode: Json) -> int | None:
    if "Global" in mode:
        return None
    # A job's tasks end by themselves: it has no replicas that anyone could wait for.
    return int((mode.get("Replicated") or {}).get("Replicas") or 0)


def _ports(raw: Iterable[Json]) -> tuple[PublishedPort, ...]:
    return tuple(
        PublishedPort(
            target=int(port.get("TargetPort", 0)),
            published=int(port.get("PublishedPort", 0)),
            protocol=str(port.get("Protocol") or "tcp"),
            mode=str(port.get("PublishMode") or "ingress"),
        )
        for port in raw
    )


def _addresses(attachments: Iterable[Json]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (str((attachment.get("Network") or {}).get("ID", "")), bare_address(address))
        for attachment in attachments
        for address in attachment.get("Addresses") or ()
    )
