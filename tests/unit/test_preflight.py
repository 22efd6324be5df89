"""What is said before anything is made, and how the kernel is asked for IP_VS."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from l7.config import Cluster, parse_settings
from l7.deploy import kernel
from l7.deploy.preflight import Found, core_objections, daemon_objection, objections
from l7.model import Node, NodeState, PublishedPort, Service, ServiceSpec, Task, TaskState

MANAGER = Node("m", 1, "m", NodeState.READY, "10.0.0.1", manager=True, os="linux")
WORKERS = tuple(Node(f"w{i}", 1, f"w{i}", NodeState.READY, f"10.0.1.{i}", os="linux") for i in range(2))
READY = Found(image=True, ip_vs=True, nodes=(MANAGER, *WORKERS))


def clusters(text: str) -> tuple[Cluster, ...]:
    return tuple(parse_settings(text).clusters.values())


INGRESS = clusters("")
HOST = clusters('[Extensions.default]\nPublishMode = "host"\nProxyReplicas = 2\n')


def told(found: Found, of: tuple[Cluster, ...] = INGRESS, flags: bool = True) -> list[str]:
    return [str(each) for each in objections(found, of, "l7:dev", flags)]


def service(name: str, port: int, mode: str = "ingress", **labels: str) -> Service:
    spec = ServiceSpec(
        labels=tuple(sorted({key.replace("__", "."): value for key, value in labels.items()}.items())),
        ports=(PublishedPort(80, port, "tcp", mode),),
    )
    return Service(f"id-{name}", 1, name, 0, spec, None)


def raw(name: str, managed: str = "", role: str = "") -> dict[str, Any]:
    container = {"Labels": {"com.docker.l7.role": role}} if role else {}
    labels = {"com.docker.l7.managed": managed} if managed else {}
    return {"Spec": {"Name": name, "Labels": labels, "TaskTemplate": {"ContainerSpec": container}}}


def test_nothing_to_object_to() -> None:
    assert told(READY) == told(READY, HOST) == []


@pytest.mark.parametrize(
    ("info", "version", "words"),
    [
        ({"Swarm": {"LocalNodeState": "inactive"}}, "1.41", "docker swarm init"),
        ({"Swarm": {"LocalNodeState": "active", "ControlAvailable": False}}, "1.41", "on a manager"),
        ({"Swarm": {"LocalNodeState": "active", "ControlAvailable": True}}, "1.40", "20.10"),
    ],
)
def test_a_daemon_that_will_not_do(info: dict[str, Any], version: str, words: str) -> None:
    assert words in str(daemon_objection(info, version))


def test_a_manager_will_do() -> None:
    assert daemon_objection({"Swarm": {"LocalNodeState": "active", "ControlAvailable": True}}, "1.43") is None


def test_a_kernel_without_ip_vs_names_the_flag() -> None:
    found = Found(image=True, ip_vs=False, nodes=READY.nodes)
    [text] = told(found)
    assert "--publish-mode host" in text
    assert 'PublishMode = "host"' in told(found, flags=False)[0]
    assert told(found, HOST) == told(Found(True, None, READY.nodes)) == []


def test_too_few_nodes_for_the_ports_names_the_flags() -> None:
    found = Found(image=True, ip_vs=False, nodes=(MANAGER, WORKERS[0]))
    [text] = told(found, HOST)
    assert "--replicas 1" in text
    assert "--mode global" in text
    everywhere = clusters('[Extensions.default]\nPublishMode = "host"\nProxyMode = "global"\n')
    assert told(found, everywhere) == []


def test_an_image_that_is_not_here() -> None:
    [text] = told(Found(image=False, ip_vs=True, nodes=READY.nodes))
    assert "l7:dev is not on this node" in text
    assert "docker load" in text


@pytest.mark.parametrize(
    ("held", "flag"),
    [(service("web", 80), "--http PORT"), (service("web", 443), "--https PORT"), (service("web", 8080), "")],
)
def test_a_port_that_somebody_has(held: Service, flag: str) -> None:
    text = "\n".join(told(Found(True, True, READY.nodes, (held,))))
    assert (flag in text and "service web" in text) if flag else not text


def test_a_port_of_the_nodes_is_in_the_way_only_where_all_have_it() -> None:
    held = service("web", 80, "host")
    tasks = tuple(
        Task(f"t{node.id}", 1, held.id, node.id, 1, TaskState.RUNNING, TaskState.RUNNING, 0, (), ())
        for node in WORKERS
    )
    one = clusters('[Extensions.default]\nPublishMode = "host"\nProxyReplicas = 1\n')
    assert told(Found(True, True, READY.nodes, (held,), tasks[:1]), one) == []
    assert "web" in told(Found(True, True, READY.nodes, (held,), tasks), one)[0]


def test_our_own_proxies_are_not_in_our_way() -> None:
    labels = {"type": "com.docker.interlock.core.proxy", "com__docker__l7__managed": "fleet"}
    own = service("l7-proxy", 80, "ingress", com__docker__l7__cluster="", **labels)
    assert told(Found(True, True, READY.nodes, (own,))) == []


def test_a_core_that_is_not_ours_is_left_alone() -> None:
    def of(service: dict[str, Any]) -> list[str]:
        return [str(each) for each in core_objections([service])]

    assert "did not make" in of(raw("l7-core"))[0]
    assert "l7_core that a stack deployed" in of(raw("l7_core", role="core"))[0]
    assert of(raw("l7-core", managed="core", role="core")) == of(raw("other")) == []


# ---------------------------------------------------------------- the kernel


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))  # no modprobe
    (tmp_path / "lib/modules" / os.uname().release).mkdir(parents=True)
    return tmp_path


def test_ip_vs_that_is_loaded_built_in_or_a_module(root: Path) -> None:
    assert kernel.has_ip_vs(root) is False
    modules = root / "lib/modules" / os.uname().release
    (modules / "modules.dep").write_text("kernel/net/netfilter/ipvs/ip_vs_rr.ko.xz: kernel/x.ko\n")
    assert kernel.has_ip_vs(root) is False
    for name in ("modules.dep", "modules.builtin"):
        (modules / name).write_text("kernel/net/netfilter/ipvs/ip_vs.ko.xz: kernel/lib/libcrc32c.ko\n")
        assert kernel.has_ip_vs(root) is True
        (modules / name).unlink()
    (root / "proc/net").mkdir(parents=True)
    (root / "proc/net/ip_vs").touch()
    assert kernel.has_ip_vs(root) is True


def test_what_the_kernel_was_built_with(root: Path) -> None:
    (root / "proc").mkdir()
    (root / ".dockerenv").touch()
    (root / "lib/modules" / os.uname().release).rmdir()
    for text, found in (("CONFIG_IP_VS=m\n", None), ("# CONFIG_IP_VS is not set\nCONFIG_IP_VS_IPV6=y\n", False)):
        (root / "proc/config.gz").write_bytes(gzip.compress(text.encode()))
        assert kernel.has_ip_vs(root) is found


def test_in_a_container_it_cannot_be_told(root: Path) -> None:
    (root / "lib/modules" / os.uname().release).rmdir()
    assert kernel.has_ip_vs(root) is False
    (root / ".dockerenv").touch()
    assert kernel.has_ip_vs(root) is None


@pytest.mark.parametrize(("code", "found"), [(0, True), (1, False)])
def test_modprobe_is_asked_last(root: Path, code: int, found: bool) -> None:
    (root / "bin").mkdir()
    (root / "bin/modprobe").write_text(f"#!/bin/sh\nexit {code}\n")
    (root / "bin/modprobe").chmod(0o755)
    assert kernel.has_ip_vs(root) is found
