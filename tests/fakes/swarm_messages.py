"""`l7.model` → SwarmKit's messages, as far as l7 reads them: the inverse of `l7.swarm.from_proto`."""

from __future__ import annotations

from typing import Any

from l7.model import Network, Node, PublishedPort, Service, ServiceSpec, Task
from l7.swarm import swarmkit_pb2 as pb
from l7.swarm.cache import Kind, Object, kind_of

_PROTOCOLS = {"tcp": 0, "udp": 1, "sctp": 2}
_MODES = {"ingress": 0, "host": 1}
_AVAILABILITIES = {"active": 0, "pause": 1, "drain": 2}
_PREFIX = 16
"""Bits of an overlay's prefix, which every address has behind it."""

Message = pb.Node | pb.Network | pb.Service | pb.Task


def message_of(object_: Object) -> Message:
    """The message of a node, network, service or task; TypeError for what SwarmKit is never asked for."""
    match object_:
        case Node():
            return _node(object_)
        case Network():
            return _network(object_)
        case Service():
            return _service(object_)
        case Task():
            return _task(object_)
    raise TypeError(f"{kind_of(object_)} is none of what l7 watches")


def object_of(object_: Object) -> pb.Object:
    message: dict[str, Any] = {kind_of(object_).value: message_of(object_)}
    return pb.Object(**message)


def removal_of(kind: Kind, id_: str) -> pb.Object:
    """What an event says of an object that is gone, as far as it matters: its id."""
    types = {Kind.NODE: pb.Node, Kind.NETWORK: pb.Network, Kind.SERVICE: pb.Service, Kind.TASK: pb.Task}
    message: dict[str, Any] = {kind.value: types[kind](id=id_)}
    return pb.Object(**message)


def _meta(version: int, created: int = 0) -> pb.Meta:
    meta = pb.Meta(version=pb.Version(index=version))
    if created:
        meta.created_at.seconds, meta.created_at.nanos = divmod(created, 1_000_000_000)
    return meta


def _node(node: Node) -> pb.Node:
    message = pb.Node(id=node.id, meta=_meta(node.version))
    message.spec.annotations.labels.update(node.labels)
    message.spec.desired_role = int(node.manager)
    message.spec.availability = _AVAILABILITIES[node.availability]
    message.description.hostname = node.hostname
    message.description.platform.os, message.description.platform.architecture = node.os, node.arch
    message.description.engine.labels.update(node.engine_labels)
    message.status.state, message.status.addr = node.state.value, node.address
    return message


def _network(network: Network) -> pb.Network:
    message = pb.Network(id=network.id, meta=_meta(network.version))
    message.spec.annotations.name = network.name
    message.spec.internal, message.spec.attachable = network.internal, network.attachable
    message.spec.ingress = network.ingress
    message.driver_state.name = network.driver
    if network.encrypted:
        message.driver_state.options["encrypted"] = ""
    message.ipam.configs.extend(pb.IPAMConfig(subnet=subnet) for subnet in network.subnets)
    return message


def _service(service: Service) -> pb.Service:
    message = pb.Service(id=service.id, meta=_meta(service.version, service.created))
    message.spec.CopyFrom(_spec(service.name, service.spec))
    if service.previous is not None:
        message.previous_spec.CopyFrom(_spec(service.name, service.previous))
    for network, address in service.vips:
        message.endpoint.virtual_ips.add(network_id=network, addr=f"{address}/{_PREFIX}")
    return message


def _spec(name: str, spec: ServiceSpec) -> pb.ServiceSpec:
    message = pb.ServiceSpec(annotations=pb.Annotations(name=name, labels=dict(spec.labels)))
    message.task.container.labels.update(spec.container_labels)
    message.task.networks.extend(pb.NetworkAttachmentConfig(target=each) for each in spec.networks)
    message.endpoint.mode = int(spec.endpoint_mode == "dnsrr")
    message.endpoint.ports.extend(map(_port, spec.ports))
    if spec.replicas is None:
        getattr(message, "global").SetInParent()
    else:
        message.replicated.replicas = spec.replicas
    return message


def _task(task: Task) -> pb.Task:
    message = pb.Task(id=task.id, meta=_meta(task.version, task.created), service_id=task.service)
    message.slot, message.node_id = task.slot, task.node
    message.desired_state, message.status.state = task.desired.value, task.state.value
    message.status.port_status.ports.extend(map(_port, task.ports))
    for network, address in task.addresses:
        message.networks.add(network=pb.Network(id=network), addresses=[f"{address}/{_PREFIX}"])
    return message


def _port(port: PublishedPort) -> pb.PortConfig:
    return pb.PortConfig(
        protocol=_PROTOCOLS[port.protocol],
        target_port=port.target,
        published_port=port.published,
        publish_mode=_MODES[port.mode],
    )
