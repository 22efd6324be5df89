"""What a source of Swarm's state is to `watch`: SwarmKit's Watch, the Docker Engine API, or a fake."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol, TypeAlias

from l7.swarm.cache import Event, Listing

Update: TypeAlias = Listing | tuple[Event, ...]


class Source(Protocol):
    """Follows Swarm, and lists it as a whole."""

    @property
    def name(self) -> str:
        """For status: "swarmkit" or "docker"."""

    def available(self) -> bool:
        """Whether it is worth a try now; costs next to nothing."""

    def updates(self, resume: int) -> AsyncGenerator[Update, None]:
        """Follow Swarm until the connection breaks (Unavailable), one transaction or listing at a time.

        The first update comes once the connection stands. With `resume` 0, or when the source can't go on
        from there, it is a complete Listing; else the events since that object version, possibly none.
        """

    async def list(self) -> Listing:
        """Everything, as it is now. Raises Unavailable rather than return less than all."""

    async def close(self) -> None:
        """Release what is held; `updates` must have ended before."""
