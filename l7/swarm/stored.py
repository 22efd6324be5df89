"""Secrets and configs as a source: what there is, by Docker's events and lists, never with its content.

SwarmKit's Watch has them, too, but with their content; so this is how they are followed beside either source of
everything else. Docker's events come within milliseconds, as SwarmKit's do.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable

from l7.model import StoredSecret
from l7.swarm.cache import Event, Kind, Listing, Remove, Upsert
from l7.swarm.engine import Engine, Hint
from l7.swarm.source import Update

KINDS = (Kind.SECRET, Kind.CONFIG)
_MANY = 1000
"""Ids that one request still names; for more, listing all is cheaper."""
_LONG = 3600.0


class StoredSource:
    """A `Source` that speaks of secrets and configs alone. The engine is its own to close."""

    name = "secrets"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def available(self) -> bool:
        return True

    async def updates(self, resume: int) -> AsyncGenerator[Update, None]:
        """As with all events of Docker, every start is a listing."""
        async with self._engine.events(KINDS) as events:
            yield await self.list()
            while True:
                if hints := await events.wait(_LONG):
                    yield await self._changed(hints)

    async def list(self) -> Listing:
        return Listing(secrets=await self._engine.secrets(), configs=await self._engine.configs())

    async def close(self) -> None:
        await self._engine.close()

    # ------------------------------------------------------------ inside

    async def _changed(self, hints: Collection[Hint]) -> tuple[Event, ...]:
        """What the hints point at, as it is now."""
        return (
            *await _events(Kind.SECRET, hints, self._engine.secrets),
            *await _events(Kind.CONFIG, hints, self._engine.configs),
        )


async def _events(
    kind: Kind,
    hints: Iterable[Hint],
    listed: Callable[[Iterable[str] | None], Awaitable[tuple[StoredSecret, ...]]],
) -> tuple[Event, ...]:
    asked = {hint.id for hint in hints if hint.kind is kind}
    if not asked:
        return ()
    found = [each for each in await listed(asked if len(asked) <= _MANY else None) if each.id in asked]
    gone = asked - {each.id for each in found}
    # A name that passed to another secret is gone before it comes.
    return (*(Remove(kind, id_) for id_ in sorted(gone)), *(Upsert(each) for each in found))
