"""How far services have got, and why not further: services and tasks as the Engine API has them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from l7.deploy.core_service import container_of

Json = Mapping[str, Any]
_GOING_ON = ("updating", "rollback_started")
_NOT_WANTED = ("shutdown", "remove", "orphaned")


@dataclass(frozen=True, slots=True)
class Progress:
    """Of one service. `running`: tasks of its present specification that serve; `wanted`: how many there shall be.

    `failed`: why it will not get there by itself, "" while it may. `reason`: what Swarm says of tasks that don't
    run, "" for nothing.
    """

    service: str
    running: int
    wanted: int
    going_on: bool = False
    failed: str = ""
    reason: str = ""

    @property
    def done(self) -> bool:
        return not self.going_on and not self.failed and self.running >= self.wanted > 0

    def __str__(self) -> str:
        reason = f" ({self.failed or self.reason})" if self.failed or self.reason else ""
        return f"{self.service}: {self.running} of {self.wanted} tasks{reason}"


def update_began(service: Json) -> str:
    """When its last update or rollback began, as Swarm writes it; "" for never."""
    return str((service.get("UpdateStatus") or {}).get("StartedAt", ""))


def progress(
    service: Json, tasks: Iterable[Json], before: str | None = None, *, rolling_back: bool = False
) -> Progress:
    """`tasks`: of any services; `before`: the beginning of an update whose outcome is no news; `rolling_back`: it
    was told to go back, so that is no failure."""
    own = [task for task in tasks if task.get("ServiceID") == service["ID"]]
    current = container_of(service)
    desired = [task for task in own if task.get("DesiredState") not in _NOT_WANTED]
    running = [task for task in desired if _state(task) == "running" and _container(task) == current]
    status = service.get("UpdateStatus") or {}
    state, message = str(status.get("State", "")), str(status.get("Message", ""))
    # Until an update begins Swarm says nothing about it; it is the tasks that tell.
    news = update_began(service) != before
    back = news and state.startswith("rollback") and not rolling_back
    failed = f"Swarm took the update back: {message}" if back else ""
    failed = failed or (f"Swarm paused the update: {message}" if news and state.endswith("paused") else "")
    return Progress(
        str(service["Spec"]["Name"]),
        len(running),
        _wanted(service, desired),
        state in _GOING_ON,
        failed,
        _reason(desired) or (_reason(own) if not running else "") or _states(desired),
    )


def _wanted(service: Json, desired: Sequence[Json]) -> int:
    """Of a global service, as many as Swarm wants; that there is none yet is no goal."""
    mode = service["Spec"].get("Mode") or {}
    if "Replicated" in mode:
        return int((mode["Replicated"] or {}).get("Replicas") or 0)
    return max(1, len({task.get("NodeID") for task in desired}))


def _reason(tasks: Iterable[Json]) -> str:
    """What is said of the newest task that does not run."""
    told = ((str(task.get("CreatedAt", "")), _error(task)) for task in tasks if _state(task) != "running")
    return max((each for each in told if each[1]), default=("", ""))[1]


def _states(tasks: Iterable[Json]) -> str:
    """What those do that don't run yet."""
    return ", ".join(sorted({_state(task) for task in tasks} - {"running", ""}))


def _error(task: Json) -> str:
    status = task.get("Status") or {}
    return str(status.get("Err") or "")


def _state(task: Json) -> str:
    return str((task.get("Status") or {}).get("State", ""))


def _container(task: Json) -> Json:
    found: Json = (task.get("Spec") or {}).get("ContainerSpec") or {}
    return found
