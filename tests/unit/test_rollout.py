"""How far a service has got, by what Swarm says of it and its tasks."""

from __future__ import annotations

from typing import Any

import pytest

from l7.deploy import names
from l7.deploy.rollout import progress, update_began

Json = dict[str, Any]


def service(replicas: int | None = 2, update: str = "", image: str = "l7:2") -> Json:
    mode = {"Global": {}} if replicas is None else {"Replicated": {"Replicas": replicas}}
    spec = {"Name": "l7-proxy", "Mode": mode, "TaskTemplate": {"ContainerSpec": {"Image": image}}}
    return {"ID": "s", "Spec": spec, "UpdateStatus": {"State": update, "Message": "why"} if update else None}


def task(state: str, desired: str = "running", image: str = "l7:2", node: str = "n", **more: Any) -> Json:
    status = {"State": state, "Err": more.pop("error", "")}
    spec = {"ContainerSpec": {"Image": image}}
    return {"ServiceID": "s", "NodeID": node, "Status": status, "DesiredState": desired, "Spec": spec} | more


RUNNING = task("running")


@pytest.mark.parametrize(
    ("given", "tasks", "running", "wanted", "done"),
    [
        (service(), [RUNNING, RUNNING], 2, 2, True),
        (service(), [RUNNING], 1, 2, False),
        (service(), [RUNNING, task("starting")], 1, 2, False),
        (service(), [RUNNING, task("running", image="l7:1")], 1, 2, False),
        (service(), [RUNNING, task("running", "shutdown")], 1, 2, False),
        (service(), [RUNNING, RUNNING | {"ServiceID": "other"}], 1, 2, False),
        (service(update="updating"), [RUNNING, RUNNING], 2, 2, False),
        (service(update="completed"), [RUNNING, RUNNING], 2, 2, True),
        (service(None), [RUNNING, task("running", node="m")], 2, 2, True),
        (service(None), [RUNNING, task("pending", node="m")], 1, 2, False),
        (service(None), [], 0, 1, False),
        (service(0), [], 0, 0, False),
    ],
)
def test_what_serves(given: Json, tasks: list[Json], running: int, wanted: int, done: bool) -> None:
    found = progress(given, tasks)
    assert (found.running, found.wanted, found.done) == (running, wanted, done)


@pytest.mark.parametrize("state", ["rollback_started", "rollback_completed", "rollback_paused", "paused"])
def test_what_swarm_took_back_is_not_waited_for(state: str) -> None:
    found = progress(service(update=state), [RUNNING, RUNNING])
    assert "why" in found.failed
    assert not found.done


def test_what_was_taken_back_before_is_no_news() -> None:
    given = service(update="rollback_completed")
    given["UpdateStatus"]["StartedAt"] = "yesterday"
    assert progress(given, [RUNNING] * 2, update_began(given)).done
    assert progress(given, [RUNNING] * 2, update_began(service())).failed


def test_who_was_told_to_go_back_has_not_failed() -> None:
    assert not progress(service(update="rollback_started"), [RUNNING] * 2, rolling_back=True).done
    assert progress(service(update="rollback_completed"), [RUNNING] * 2, rolling_back=True).done
    assert progress(service(update="rollback_paused"), [RUNNING] * 2, rolling_back=True).failed


def test_what_is_in_the_way_is_said() -> None:
    old = task("failed", "shutdown", error="exit 1", CreatedAt="2026-01-01T00:00:00Z")
    older = task("rejected", "shutdown", error="no such image", CreatedAt="2025-01-01T00:00:00Z")
    assert progress(service(), [older, old]).reason == "exit 1"
    assert progress(service(), [old, RUNNING]).reason == ""
    assert progress(service(), [task("starting"), RUNNING]).reason == "starting"
    waits = task("pending", error="no suitable node")
    assert str(progress(service(), [old, RUNNING, waits])) == "l7-proxy: 1 of 2 tasks (no suitable node)"


def test_a_digest_is_no_part_of_an_images_name() -> None:
    assert names.plain_image("l7:2@sha256:abc") == names.plain_image("l7:2") == "l7:2"
