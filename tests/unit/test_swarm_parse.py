"""Reading what Docker and SwarmKit say, where the two differ or are odd."""

from __future__ import annotations

import pytest

from l7.kit.errors import ProtocolError
from l7.model import Network, Node, NodeState, PublishedPort, Task, TaskState
from l7.swarm import from_json, from_proto
from l7.swarm import swarmkit_pb2 as pb
from l7.swarm.cache import Kind, Remove


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("2026-11-20T14:34:25.123456789Z", 1795185265123456789),
        ("2026-11-20T14:34:25Z", 1795185265000000000),
        ("2026-11-20T16:34:25.5+02:00", 1795185265500000000),
        ("0001-01-01T00:00:00Z", 0),
        ("", 0),
    ],
)
def test_times_are_exact(text: str, nanoseconds: int) -> None:
    assert from_json.parse_time(text) == nanoseconds


@pytest.mark.parametrize("text", ["yesterday", "2026-11-20", "2026-11-20T14:34:25.Z", "2026-11-20T14:34:25"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        from_json.parse_time(text)


def test_a_task_from_json() -> None:
    port = {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "host"}
    raw = {
        "ID": "t1", "Version": {"Index": 7}, "ServiceID": "s1", "NodeID": "n1", "Slot": 2,
        "DesiredState": "running",
        "CreatedAt": "1970-01-01T00:00:01.000000002Z",
        "Status": {"State": "starting", "PortStatus": {"Ports": [port, dict(port)]}},
        "NetworksAttachments": [{"Network": {"ID": "net1"}, "Addresses": ["10.0.1.3/24", "fd00::3/64"]}],
    }  # fmt: skip
    assert from_json.parse_task(raw) == Task(
        "t1", 7, "s1", "n1", 2, TaskState.STARTING, TaskState.RUNNING, 1_000_000_002,
        (("net1", "10.0.1.3"), ("net1", "fd00::3")), (PublishedPort(80, 8080, "tcp", "host"),),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "replicas"),
    [({"Replicated": {"Replicas": 3}}, 3), ({"Replicated": {}}, 0), ({"Global": {}}, None), ({"GlobalJob": {}}, 0)],
)
def test_replicas_by_mode(mode: dict[str, object], replicas: int | None) -> None:
    raw = {"ID": "s1", "Version": {"Index": 1}, "Spec": {"Name": "web", "Mode": mode}}
    assert from_json.parse_service(raw).spec.replicas == replicas


def test_networks_where_old_clients_put_them() -> None:
    raw = {"ID": "s1", "Version": {"Index": 1}, "Spec": {"Networks": [{"Target": "net1"}]}}
    assert from_json.parse_service(raw).spec.networks == ("net1",)
    old = pb.Service(id="s1", spec=pb.ServiceSpec(networks=[pb.NetworkAttachmentConfig(target="net1")]))
    assert from_proto.parse_service(old).spec.networks == ("net1",)


def test_of_the_containers_labels_only_those_of_interlock_1_are_kept() -> None:
    given = {"interlock.port": "80", "interlock.hostname": "x", "com.docker.lb.port": "1", "secret": "s"}
    kept = (("interlock.hostname", "x"), ("interlock.port", "80"))
    template = {"ContainerSpec": {"Labels": given}}
    raw = {"ID": "s1", "Version": {"Index": 1}, "Spec": {"TaskTemplate": template}, "PreviousSpec": {"Name": "x"}}
    service = from_json.parse_service(raw)
    assert service.spec.container_labels == kept
    assert service.previous is not None
    assert service.previous.container_labels == ()
    task = pb.TaskSpec(container=pb.ContainerSpec(labels=given))
    assert from_proto.parse_service(pb.Service(id="s1", spec=pb.ServiceSpec(task=task))).spec == service.spec
    assert from_json.parse_service({**raw, "Spec": {"TaskTemplate": {}}}).spec.container_labels == ()


def test_a_node_of_unknown_state_is_unknown_and_a_word_we_do_not_know_is_refused() -> None:
    raw = {"ID": "n1", "Version": {"Index": 1}, "Status": {"State": "unknown"}}
    assert from_json.parse_node(raw).state is NodeState.UNKNOWN
    with pytest.raises(ProtocolError):
        from_json.parse_node({**raw, "Status": {"State": "sleepy"}})


def test_a_node_as_a_place_for_tasks() -> None:
    raw = {
        "ID": "n1", "Version": {"Index": 1},
        "Spec": {"Role": "manager", "Availability": "drain", "Labels": {"zone": "east", "a": "1"}},
        "Description": {
            "Hostname": "host", "Platform": {"Architecture": "x86_64", "OS": "linux"},
            "Engine": {"EngineVersion": "20.10", "Labels": {"disk": "ssd"}},
        },
        "Status": {"State": "ready", "Addr": "10.0.0.1"},
    }  # fmt: skip
    node = Node(
        "n1", 1, "host", NodeState.READY, "10.0.0.1", True, "drain", "linux", "x86_64",
        (("a", "1"), ("zone", "east")), (("disk", "ssd"),),
    )  # fmt: skip
    assert from_json.parse_node(raw) == node
    pushed = pb.Node(
        id="n1",
        meta=pb.Meta(version=pb.Version(index=1)),
        spec=pb.NodeSpec(
            annotations=pb.Annotations(labels={"zone": "east", "a": "1"}), desired_role=1, availability=2
        ),
        description=pb.NodeDescription(
            hostname="host",
            platform=pb.Platform(architecture="x86_64", os="linux"),
            engine=pb.EngineDescription(labels={"disk": "ssd"}),
        ),
        status=pb.NodeStatus(state=2, addr="10.0.0.1"),
    )
    assert from_proto.parse_node(pushed) == node


@pytest.mark.parametrize("raw", [{}, {"ID": ""}, {"ID": "x"}, {"ID": "x", "Version": {}}])
def test_an_object_without_id_or_version_is_refused(raw: dict[str, object]) -> None:
    for parse in (from_json.parse_task, from_json.parse_service, from_json.parse_node):
        with pytest.raises(ProtocolError):
            parse(raw)


def test_a_network_and_its_addresses() -> None:
    raw = {
        "Id": "net1", "Name": "front", "Driver": "overlay", "Scope": "swarm", "Attachable": True, "Internal": True,
        "IPAM": {"Config": [{"Subnet": "10.1.0.0/16", "IPRange": "10.1.1.0/24"}, {"Subnet": "10.2.0.0/28"}]},
        "Options": {"com.docker.network.driver.overlay.vxlanid_list": "4097", "encrypted": ""},
    }  # fmt: skip
    network = Network("net1", 0, "front", False, "overlay", True, True, True, ("10.1.1.0/24", "10.2.0.0/28"))
    assert from_json.parse_network(raw) == network
    spec = pb.NetworkSpec(annotations=pb.Annotations(name="front"), internal=True, attachable=True)
    pools = [pb.IPAMConfig(subnet="10.1.0.0/16", range="10.1.1.0/24"), pb.IPAMConfig(subnet="10.2.0.0/28")]
    driver = pb.Driver(name="overlay", options={"encrypted": ""})
    pushed = pb.Network(id="net1", spec=spec, driver_state=driver, ipam=pb.IPAMOptions(configs=pools))
    assert from_proto.parse_network(pushed) == network
    bare = Network("net1", 0, "front")
    assert from_json.parse_network({"Id": "net1", "Name": "front", "Driver": "overlay"}) == bare
    spec = pb.NetworkSpec(annotations=spec.annotations)
    assert from_proto.parse_network(pb.Network(id="net1", spec=spec)) == bare


def test_messages_skip_what_we_do_not_know_and_swarms_stand_ins_for_local_networks() -> None:
    stand_in = pb.Network(id="host")
    stand_in.spec.annotations.labels[from_json.PREDEFINED] = "true"
    event = pb.WatchMessage.Event
    message = pb.WatchMessage(
        events=[
            event(action=1, object=pb.Object()),
            event(action=1, object=pb.Object(network=stand_in)),
            event(action=4, object=pb.Object(task=pb.Task(id="t1", service_id="s1"))),
        ]
    )
    assert from_proto.parse_message(message) == (Remove(Kind.TASK, "t1"),)
    assert from_proto.parse_networks([stand_in, pb.Network(id="net1")])[0].id == "net1"
