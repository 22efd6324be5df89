"""The fake SwarmKit says what the model says: what `from_proto` reads of its messages is what was put in."""

from __future__ import annotations

import pytest

from l7.model import Network, Node, NodeState, PublishedPort, Service, ServiceSpec, Task, TaskState
from l7.swarm import from_proto
from l7.swarm import swarmkit_pb2 as pb
from l7.swarm.cache import Kind, Object, Remove, Upsert
from tests.fakes.swarm_messages import object_of, removal_of

PORTS = (PublishedPort(80, 8080, "tcp", "host"), PublishedPort(53, 53, "udp", "ingress"))
SPEC = ServiceSpec(
    (("a", "1"), ("b", "2")), ("n1", "n2"), 3, PORTS, endpoint_mode="dnsrr",
    container_labels=(("interlock.port", "80"),),
)  # fmt: skip
OBJECTS: list[Object] = [
    Node("n1", 7, "host", NodeState.DISCONNECTED, "10.0.0.1", True, "drain", "linux", "x86_64", (("l", "v"),),
         (("e", "w"),)),
    Network("n1", 8, "front", False, "overlay", True, True, True, ("10.0.0.0/24",)),
    Service("s1", 9, "web", 1_700_000_000_000_000_001, SPEC, None, (("n1", "10.0.0.2"),)),
    Service("s2", 9, "web", 1_000_000_001, ServiceSpec((), (), None), ServiceSpec((("a", "0"),), (), 0), ()),
    Task("t1", 10, "s1", "n1", 2, TaskState.RUNNING, TaskState.SHUTDOWN, 5_000_000_000, (("n1", "10.0.0.3"),),
         PORTS[:1]),
]  # fmt: skip


@pytest.mark.parametrize("object_", OBJECTS, ids=lambda each: type(each).__name__)
def test_an_object_comes_back_from_its_message(object_: Object) -> None:
    event = pb.WatchMessage.Event(action=2, object=object_of(object_))
    assert from_proto.parse_message(pb.WatchMessage(events=[event])) == (Upsert(object_),)


@pytest.mark.parametrize("kind", [Kind.NODE, Kind.NETWORK, Kind.SERVICE, Kind.TASK])
def test_a_removal_names_what_is_gone(kind: Kind) -> None:
    event = pb.WatchMessage.Event(action=4, object=removal_of(kind, "x"))
    assert from_proto.parse_message(pb.WatchMessage(events=[event])) == (Remove(kind, "x"),)
