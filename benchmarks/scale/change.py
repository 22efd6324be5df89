"""What happens in a Swarm, transaction by transaction, as its orchestrator does it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from l7.model import Service, Task, TaskState
from tests.fakes.swarm import FakeSwarm

LEAVES, PLACED, RUNS, ENDED = "leaves", "placed", "runs", "ended"


def applications(swarm: FakeSwarm) -> list[Service]:
    """All services but the proxies'."""
    return [each for each in swarm.services.values() if each.name != "proxy"]


def replacements(swarm: FakeSwarm, number: int, seed: int = 0) -> Iterator[tuple[str, Task]]:
    """Tasks chosen by chance are replaced one after the other, stop first: kind of the event, and the task as it is
    then."""
    choice = Random(seed)
    services = applications(swarm)
    for _ in range(number):
        alive = [task for task in swarm.tasks_of(choice.choice(services).id) if task.desired is TaskState.RUNNING]
        yield from _replaced(swarm, choice.choice(alive))


def _replaced(swarm: FakeSwarm, old: Task) -> Iterator[tuple[str, Task]]:
    new = swarm.successor(old)
    yield LEAVES, _leaving(old)
    yield PLACED, replace(new, state=TaskState.ASSIGNED)
    yield RUNS, new
    yield ENDED, _ended(old)


def renewed(swarm: FakeSwarm, service: Service) -> Iterator[tuple[Task, ...]]:
    """All tasks of a service are replaced, start first, as fast as Swarm can: one transaction after the other."""
    old = [task for task in swarm.tasks_of(service.id) if task.desired is TaskState.RUNNING]
    new = [swarm.successor(task) for task in old]
    yield tuple(replace(task, state=TaskState.ASSIGNED) for task in new)
    yield tuple(new)
    yield tuple(map(_leaving, old))
    yield tuple(map(_ended, old))


def forget_ended(swarm: FakeSwarm) -> None:
    """Swarm keeps five ended tasks of a slot, and forgets the others: here all, in one transaction."""
    ended = [task for task in swarm.tasks.values() if task.state > TaskState.RUNNING]
    if ended:
        swarm.remove(*ended)


def _leaving(task: Task) -> Task:
    return replace(task, desired=TaskState.SHUTDOWN)


def _ended(task: Task) -> Task:
    return replace(task, desired=TaskState.SHUTDOWN, state=TaskState.SHUTDOWN)
