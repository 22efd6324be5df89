"""The Docker Engine API as a source: events for services, nodes and networks, polls for tasks."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator

from l7.kit.errors import Rejected
from l7.model import Service, Task
from l7.swarm.cache import Event, Kind, Listing, Remove, Upsert
from l7.swarm.engine import Engine, Hint
from l7.swarm.pace import Pace, Poll
from l7.swarm.source import Update


class DockerSource:
    """A `Source`. `poll_interval` (seconds) is how often all tasks are asked for when nothing goes on."""

    name = "docker"

    def __init__(self, engine: Engine, poll_interval: float = 3.0) -> None:
        self._engine = engine
        self._poll_interval = poll_interval

    def available(self) -> bool:
        return True

    async def updates(self, resume: int) -> AsyncGenerator[Update, None]:
        """Docker's memory of events is short and lost with the daemon, so every start is a listing."""
        async with self._engine.events() as events:
            pace = Pace(self._poll_interval)
            started = time.monotonic()
            listing = await self.list()
            pace.polled(Poll(None), listing.tasks or (), started, time.monotonic())
            yield listing
            while True:
                for hint in (hints := await events.wait(pace.delay(time.monotonic()))):
                    _note(pace, hint)
                async for update in self._changed(hints):
                    yield update
                if poll := pace.due(time.monotonic()):
                    yield await self._poll(poll, pace)

    async def list(self) -> Listing:
        return Listing(
            nodes=await self._engine.nodes(),
            networks=await self._engine.networks(),
            services=await self._engine.services(),
            tasks=await self._engine.tasks(),
        )

    async def close(self) -> None:
        """The engine belongs to whoever made it."""

    # ------------------------------------------------------------ inside

    async def _changed(self, hints: frozenset[Hint]) -> AsyncIterator[Update]:
        """What the hints point at, as it is now."""
        kinds = {hint.kind for hint in hints}
        if Kind.NODE in kinds:
            yield Listing(nodes=await self._engine.nodes())
        if Kind.NETWORK in kinds:
            yield Listing(networks=await self._engine.networks())
        if services := {hint.id for hint in hints if hint.kind is Kind.SERVICE}:
            yield _service_events(services, await self._engine.services(services))

    async def _poll(self, poll: Poll, pace: Pace) -> Listing:
        started = time.monotonic()
        poll, tasks = await self._tasks(poll)
        pace.polled(poll, tasks, started, time.monotonic())
        return Listing(tasks=tasks, tasks_of=poll.services)

    async def _tasks(self, poll: Poll) -> tuple[Poll, tuple[Task, ...]]:
        try:
            return poll, await self._engine.tasks(poll.services)
        except Rejected:
            if poll.services is None:
                raise
        # One of the services is gone. Its tasks may still be there, but can't be asked for by its id.
        return Poll(None), await self._engine.tasks()


def _note(pace: Pace, hint: Hint) -> None:
    if hint.kind is Kind.SERVICE:
        pace.hint(hint.id, time.monotonic())
    elif hint.kind is Kind.NODE:
        pace.hint_all(time.monotonic())


def _service_events(asked: set[str], found: tuple[Service, ...]) -> tuple[Event, ...]:
    present = {service.id for service in found}
    return (
        *(Upsert(service) for service in found if service.id in asked),
        *(Remove(Kind.SERVICE, id_) for id_ in sorted(asked - present)),
    )
