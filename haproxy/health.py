"""What HAProxy's own checks say about the servers, as changes worth telling core. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from haproxy.mirror import name_of
from haproxy.model import HOLD, Backend, ServerRow, ServerState
from haproxy.policy import task_of
from l7.v1 import sync_pb2 as pb

Verdicts = dict[tuple[str, str], pb.HealthStatus]
"""(core's name of the backend, task id) -> verdict."""


def verdict(row: ServerRow, runs: bool) -> pb.HealthStatus:
    """A task that runs and is out of rotation has not passed a first check yet."""
    if not row.enabled:
        return pb.HEALTH_STATUS_DOWN if runs else pb.HEALTH_STATUS_MAINTENANCE
    return pb.HEALTH_STATUS_UP if row.up else pb.HEALTH_STATUS_DOWN


def verdicts(
    placement: Mapping[str, str], servers: Mapping[str, Mapping[str, ServerRow]], wanted: Mapping[str, Backend]
) -> Verdicts:
    """Of all tasks; the better one counts (UP is the smallest) where a task has two generations, or its backend two
    keys while its policy changes. `wanted`: logical backends as they should be."""
    found: Verdicts = {}
    for logical, physical in placement.items():
        tasks = wanted[logical].servers if logical in wanted else {}
        for name, row in servers.get(physical, {}).items():
            if name != HOLD:
                task = task_of(name)
                runs = task in tasks and tasks[task].state is ServerState.READY
                key = (name_of(logical), task)
                found[key] = min(found.get(key, pb.HEALTH_STATUS_GONE), verdict(row, runs))
    return found


def changed(before: Verdicts, now: Verdicts) -> list[pb.ServerHealth]:
    """Verdicts that differ, and GONE for those that are no more."""
    different = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    return [
        pb.ServerHealth(backend=key[0], task=key[1], status=now.get(key, pb.HEALTH_STATUS_GONE))
        for key in different
    ]


def counts(verdicts: Verdicts) -> dict[str, int]:
    """How many servers there are of each state."""
    names = {pb.HEALTH_STATUS_UP: "up", pb.HEALTH_STATUS_DOWN: "down", pb.HEALTH_STATUS_MAINTENANCE: "maint"}
    return {name: sum(verdict == status for verdict in verdicts.values()) for status, name in names.items()}
