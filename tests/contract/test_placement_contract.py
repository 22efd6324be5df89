"""Constraints: Swarm places tasks where `l7.deploy.placement` says that it does."""

from __future__ import annotations

from typing import Any

import pytest

from l7.deploy.placement import eligible
from l7.swarm.from_json import parse_node
from testbed.swarm import Swarm, wait_for

CONSTRAINTS = (
    "node.role==manager",
    "node.role == MANAGER",
    "Node.Role==manager",
    "node.role!=manager",
    "node.role==worker",
    "node.platform.os==Linux",
    "node.platform.os!=linux",
    "node.platform.arch==x86_64",
    "node.platform.arch==amd64",
    "node.labels.Zone==east",
    "Node.Labels.Zone==EAST",
    "node.labels.zone==east",
    "node.labels.zone!=east",
    "node.labels.Zone!=east",
    "node.labels.Zone!=west",
    "engine.labels.nothing!=ssd",
    "engine.labels.nothing==ssd",
    "node.ip==127.0.0.0/8",
    "node.ip!=127.0.0.0/8",
    "node.ip==10.213.0.0/16",
    "node.ip!=nonsense",
    "node.colour!=red",
)


@pytest.mark.swarm
def test_swarm_places_tasks_where_we_say(swarm1: Swarm, app_image: str) -> None:
    """A global service has a task for each node that meets its constraints, and is made with none otherwise."""
    client: Any = swarm1.docker()
    id_ = client.nodes()[0]["ID"]
    swarm1.cli(0, "node", "update", "--label-add=Zone=East", id_)
    fixed = ("service", "create", "--detach", "--quiet", "--no-resolve-image", "--mode=global")
    names = {f"placed{number}": text for number, text in enumerate(CONSTRAINTS)}
    try:
        for name, text in names.items():
            swarm1.cli(0, *fixed, f"--name={name}", f"--constraint={text}", app_image)
        node = parse_node(client.nodes()[0])
        expected = {name for name, text in names.items() if eligible([node], [text])}
        wait_for("the tasks", lambda: placed(client, names) >= expected)
        # The last one made is a witness that Swarm has considered those before it.
        swarm1.cli(0, *fixed, "--name=witness", app_image)
        wait_for("the witness", lambda: placed(client, {"witness"}))
        assert placed(client, names) == expected
    finally:
        made = client.services()
        for each in made:
            if each["Spec"]["Name"] in {*names, "witness"}:
                client.remove_service(each["ID"])
        swarm1.cli(0, "node", "update", "--label-rm=Zone", id_)


def placed(client: Any, names: Any) -> set[str]:
    """Of these services, those that have tasks."""
    by_id = {each["ID"]: each["Spec"]["Name"] for each in client.services()}
    return {name for task in client.tasks() if (name := by_id.get(task["ServiceID"])) in names}
