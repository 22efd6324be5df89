"""The parts of the status document: what is routed where, and how the proxies see it."""

from __future__ import annotations

import json

from l7.fragment import wanted_id
from l7.model import TaskState
from l7.status import Extension, Extensions, cluster_document, extension_document, servers_by_state
from tests.fakes.swarm_state import RUNNING, SHUTDOWN, World, labels, service, spec, task


def world() -> World:
    result = World()
    result.put(service("web", spec(labels(hosts="b.example a.example", port="80", context_root="/app"))))
    result.put(task("t1", "web"), task("t2", "web", TaskState.STARTING), task("t3", "web", RUNNING, SHUTDOWN))
    return result


def test_a_cluster_says_what_is_routed_where() -> None:
    snapshot = world().snapshot()
    document = json.loads(json.dumps(cluster_document(snapshot)))
    assert (document["name"], document["revision"]) == ("", snapshot.revision)
    assert [(route["host"], route["path"], route["backend"]) for route in document["routes"]] == [
        ("a.example", "/app", "web"),
        ("b.example", "/app", "web"),
    ]
    [backend] = document["backends"]
    assert (backend["services"], backend["expected"]) == (["web"], True)
    assert backend["states"] == {"ready": 1, "pending": 1, "leaving": 1}
    assert backend["servers"][0] == {
        "task": "t1", "id": wanted_id("t1"), "address": "10.0.0.9", "port": 80, "weight": 64,
        "state": "ready", "stop_in": 0, "service": 0,
    }  # fmt: skip


def test_servers_are_counted_by_state_and_every_state_is_named() -> None:
    assert servers_by_state(world().snapshot()) == {"ready": 1, "pending": 1, "leaving": 1}
    assert servers_by_state(World().snapshot()) == {"ready": 0, "pending": 0, "leaving": 0}


def test_extensions_are_listed_while_they_are_connected() -> None:
    extensions = Extensions()
    with extensions.connected(Extension("", "b")), extensions.connected(Extension("", "a")) as number:
        extensions.update(number, applied="r1", unhealthy={("web", "t1"): "down"})
        assert [each.instance for each in extensions] == ["a", "b"]
        document = json.loads(json.dumps(extension_document(extensions[number])))
        assert document["applied"] == "r1"
        assert document["unhealthy"] == [{"backend": "web", "task": "t1", "status": "down"}]
        assert extensions.count("") == 2
    assert list(extensions) == []
