"""What a scenario at scale is run on."""

from __future__ import annotations

from dataclasses import dataclass

SIZES = (1_000, 5_000, 10_000)
"""Services."""

TASKS = 10
"""Of each service."""


@dataclass(frozen=True, slots=True)
class Case:
    """`haproxy`: its series; `services`: the sizes, smallest first; `tasks`: of each service; `short`: fewer
    repetitions, for a look. `watch`: core follows Swarm by SwarmKit's Watch."""

    haproxy: str = "3.4"
    services: tuple[int, ...] = SIZES
    tasks: int = TASKS
    short: bool = False
    watch: str = "swarmkit"

    def __str__(self) -> str:
        sizes = ", ".join(f"{size:,}" for size in self.services)
        return f"haproxy {self.haproxy}, {sizes} services of {self.tasks} tasks{', short' if self.short else ''}"
