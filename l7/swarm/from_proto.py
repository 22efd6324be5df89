"""SwarmKit's messages → `l7.model` and cache events. Pure; gives what `from_json` gives for the same object."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp

from l7.kit.errors import ProtocolError
from l7.model import Network, Node, NodeState, PublishedPort, Service, ServiceSpec, Task, TaskState
from l7.swarm import swarmkit_pb2 as pb
from l7.swarm.cache import Event, Kind, Object, Remove, Upsert
from l7.swarm.from_json import PREDEFINED, bare_address, container_labels, unique_ports

_REMOVED = 4
_PROTOCOLS = {0: "tcp", 1: "udp", 2: "sctp"}
_MODES = {0: "ingress", 1: "host"}
_AVAILABILITIES = {0: "active", 1: "pause", 2: "drain"}


def parse_message(message: pb.WatchMessage) -> tuple[Event, ...]:
    """The changes of one transaction, in order; kinds that we don't know are skipped."""
    return tuple(event for raw in message.events if (event := _event(raw)) is not None)


def head(raw: pb.Service | pb.Task) -> tuple[str, int]:
    """Id and version, for `known`."""
    return raw.id, raw.meta.version.index


def parse_service(raw: pb.Service) -> Service:
    return Service(
        id=raw.id,
        version=raw.meta.version.index,
        name=raw.spec.annotations.name,
        created=_time(raw.meta.created_at),
        spec=_spec(raw.spec),
        previous=_spec(raw.previous_spec) if raw.HasField("previous_spec") else None,
        vips=tuple((vip.network_id, bare_address(vip.addr)) for vip in raw.endpoint.virtual_ips),
    )


def parse_task(raw: pb.Task) -> Task:
    return Task(
        id=raw.id,
        version=raw.meta.version.index,
        service=raw.service_id,
        node=raw.node_id,
        slot=raw.slot,
        state=_state(raw.status.state),
        desired=_state(raw.desired_state),
        created=_time(raw.meta.created_at),
        addresses=tuple((a.network.id, bare_address(address)) for a in raw.networks for address in a.addresses),
        ports=unique_ports(_ports(raw.status.port_status.ports)),
    )


def parse_node(raw: pb.Node) -> Node:
    try:
        state = NodeState(raw.status.state)
    except ValueError as error:
        raise ProtocolError(f"node {raw.id}: {error}") from error
    return Node(
        id=raw.id,
        version=raw.meta.version.index,
        hostname=raw.description.hostname,
        state=state,
        address=raw.status.addr,
        manager=raw.spec.desired_role == 1,
        availability=_AVAILABILITIES.get(raw.spec.availability, str(raw.spec.availability)),
        os=raw.description.platform.os,
        arch=raw.description.platform.architecture,
        labels=tuple(sorted(raw.spec.annotations.labels.items())),
        engine_labels=tuple(sorted(raw.description.engine.labels.items())),
    )


def parse_network(raw: pb.Network) -> Network:
    return Network(
        id=raw.id,
        version=raw.meta.version.index,
        name=raw.spec.annotations.name,
        ingress=raw.spec.ingress,
        driver=raw.driver_state.name or "overlay",
        attachable=raw.spec.attachable,
        internal=raw.spec.internal,
        encrypted="encrypted" in raw.driver_state.options,
        subnets=tuple(taken for pool in raw.ipam.configs if (taken := pool.range or pool.subnet)),
    )


def parse_networks(raws: Iterable[pb.Network]) -> tuple[Network, ...]:
    """All but the stand-ins for "host" and "bridge"."""
    return tuple(parse_network(raw) for raw in raws if not _predefined(raw))


def _event(raw: pb.WatchMessage.Event) -> Event | None:
    kind = raw.object.WhichOneof("Object")
    if kind is None:
        return None
    if raw.action == _REMOVED:
        return Remove(Kind(kind), getattr(raw.object, kind).id)
    object_ = _object(raw.object)
    return None if object_ is None else Upsert(object_)


def _object(raw: pb.Object) -> Object | None:
    match raw.WhichOneof("Object"):
        case "task":
            return parse_task(raw.task)
        case "service":
            return parse_service(raw.service)
        case "node":
            return parse_node(raw.node)
        case "network" if not _predefined(raw.network):
            return parse_network(raw.network)
    return None


def _predefined(raw: pb.Network) -> bool:
    return PREDEFINED in raw.spec.annotations.labels


def _spec(raw: pb.ServiceSpec) -> ServiceSpec:
    return ServiceSpec(
        labels=tuple(sorted(raw.annotations.labels.items())),
        networks=tuple(network.target for network in raw.task.networks or raw.networks),
        replicas=None if raw.HasField("global") else raw.replicated.replicas,
        ports=_ports(raw.endpoint.ports),
        endpoint_mode="dnsrr" if raw.endpoint.mode == 1 else "vip",
        container_labels=container_labels(raw.task.container.labels),
    )


def _ports(raw: Iterable[pb.PortConfig]) -> tuple[PublishedPort, ...]:
    return tuple(
        PublishedPort(
            target=port.target_port,
            published=port.published_port,
            protocol=_PROTOCOLS.get(port.protocol, str(port.protocol)),
            mode=_MODES.get(port.publish_mode, str(port.publish_mode)),
        )
        for port in raw
    )


def _state(number: int) -> TaskState:
    try:
        return TaskState(number)
    except ValueError as error:
        raise ProtocolError(f"unknown task state {number}") from error


def _time(raw: Timestamp) -> int:
    return raw.seconds * 1_000_000_000 + raw.nanos if raw.seconds > 0 else 0
