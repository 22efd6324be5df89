"""The tasks of a service while something goes on: which there were, and what their processes used at the most."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import docker
from docker.errors import APIError

from testbed import processes
from testbed.swarm import Swarm

LOOK = 0.25
"""Seconds between looks."""


@dataclass(slots=True)
class Seen:
    """`tasks`: ids of all that Swarm wanted to run at one time or another. The rest is of one moment, at the most:
    tasks with a process, processes of the program, memory of these and of all that runs in the tasks (PSS, MB)."""

    tasks: set[str] = field(default_factory=set)
    at_once: int = 0
    processes: int = 0
    program_memory: float = 0.0
    memory: float = 0.0

    def add(self, tasks: Iterable[Mapping[str, Any]], program: str) -> None:
        """What there is now. `tasks`: as the Engine API has them, also those that leave."""
        tasks = list(tasks)
        self.tasks |= {str(task["ID"]) for task in tasks if task["DesiredState"] == "running"}
        running = [task for task in tasks if task["Status"]["State"] == "running"]
        pids = [pid for task in running for pid in processes.in_container(_pid(task))]
        used = {pid: processes.shared_memory([pid]) for pid in pids}
        own = [pid for pid in pids if processes.name_of(pid) == program]
        self.at_once = max(self.at_once, len(running))
        self.processes = max(self.processes, len(own))
        self.program_memory = max(self.program_memory, sum(used[pid] for pid in own))
        self.memory = max(self.memory, sum(used.values()))


def _pid(task: Mapping[str, Any]) -> int:
    return int(task["Status"]["ContainerStatus"]["PID"])


@contextmanager
def watched(swarm: Swarm, service: str, program: str) -> Iterator[Seen]:
    """Looks while the block runs, in a thread with its own connection to Docker; raises what ended that early."""
    seen, ended, errors = Seen(), threading.Event(), list[Exception]()
    client: Any = docker.APIClient(base_url=swarm.node(0).url, version="auto", timeout=30)

    def look() -> None:
        try:
            seen.add(client.tasks(filters={"service": service}), program)
            while not ended.wait(LOOK):
                seen.add(client.tasks(filters={"service": service}), program)
        except (OSError, APIError) as error:
            errors.append(error)

    thread = threading.Thread(target=look, name=f"watched {service}")
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()
        client.close()
    if errors:
        raise errors.pop()
