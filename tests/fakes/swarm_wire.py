"""Lists of services and tasks as a manager sends them: SwarmKit's messages, and Docker's JSON.

Only what l7 reads is said, and something beside it, as much as real ones have.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from l7.model import Service, Task
from l7.swarm import swarmkit_pb2 as pb

_UNREAD_FIELD = b"\x1a"
"""Key of a Task's specification (field 3), of which we read nothing."""
_UNREAD = {"ContainerSpec": {"Image": "nginx:1", "Env": ["A=b"] * 5}, "Resources": {}, "Placement": {}}


def task_message(task: Task, unread: int = 0) -> bytes:
    """A task with a specification of so many bytes."""
    message = pb.Task(
        id=task.id, service_id=task.service, node_id=task.node, slot=task.slot, desired_state=task.desired
    )
    message.meta.version.index = task.version
    message.meta.created_at.FromNanoseconds(task.created)
    message.status.state = task.state
    for network, address in task.addresses:
        message.networks.add(network=pb.Network(id=network), addresses=[f"{address}/16"])
    return message.SerializeToString() + (_field(_UNREAD_FIELD, b"x" * unread) if unread else b"")


def service_message(service: Service) -> bytes:
    spec = pb.ServiceSpec(
        annotations=pb.Annotations(name=service.name, labels=dict(service.spec.labels)),
        task=pb.TaskSpec(networks=[pb.NetworkAttachmentConfig(target=each) for each in service.spec.networks]),
        replicated=pb.ServiceSpec.Replicated(replicas=service.spec.replicas or 0),
    )
    message = pb.Service(id=service.id, spec=spec)
    message.meta.version.index = service.version
    message.meta.created_at.FromNanoseconds(service.created)
    return message.SerializeToString()


def listed(messages: Iterable[bytes]) -> bytes:
    """The answer of ListTasks or ListServices."""
    return b"".join(_field(b"\x0a", each) for each in messages)


def tasks_json(tasks: Iterable[Task]) -> bytes:
    """The answer of GET /tasks."""
    return orjson.dumps([_task_json(each) for each in tasks])


def services_json(services: Iterable[Service]) -> bytes:
    """The answer of GET /services."""
    return orjson.dumps([_service_json(each) for each in services])


def _task_json(task: Task) -> dict[str, Any]:
    networks: list[dict[str, Any]] = [
        {"Network": {"ID": network, "Spec": {"Name": "front"}}, "Addresses": [f"{address}/16"]}
        for network, address in task.addresses
    ]
    return {
        "ID": task.id, "Version": {"Index": task.version}, "CreatedAt": _time(task.created), "Spec": _UNREAD,
        "ServiceID": task.service, "Slot": task.slot, "NodeID": task.node,
        "DesiredState": task.desired.name.lower(),
        "Status": {"State": task.state.name.lower(), "Message": "started", "PortStatus": {}},
        "NetworksAttachments": networks, "Volumes": None,
    }  # fmt: skip


def _service_json(service: Service) -> dict[str, Any]:
    networks = [{"Target": each} for each in service.spec.networks]
    return {
        "ID": service.id, "Version": {"Index": service.version}, "CreatedAt": _time(service.created),
        "Spec": {
            "Name": service.name, "Labels": dict(service.spec.labels),
            "TaskTemplate": {"Networks": networks, "ContainerSpec": {"Image": "nginx:1"}},
            "Mode": {"Replicated": {"Replicas": service.spec.replicas or 0}},
        },
    }  # fmt: skip


def _time(nanoseconds: int) -> str:
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    day, hour = divmod(hours, 24)
    return f"1970-01-{day + 1:02}T{hour:02}:{minute:02}:{second:02}.{fraction:09}Z"


def _field(key: bytes, content: bytes) -> bytes:
    """A length-delimited field (protobuf's encoding)."""
    length, size = b"", len(content)
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return key + length + bytes([size]) + content
