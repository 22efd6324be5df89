"""Asks a task itself whether it accepts connections, before HAProxy may send it a request.

The sidecar shares HAProxy's network, so what it reaches, HAProxy reaches. HAProxy's own first check would come a
whole interval later, and a server that was enabled unchecked would take requests that it cannot answer.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

FIRST_PAUSE = 0.01
LAST_PAUSE = 0.25
QUICK_TRIES = 20
CONNECT_TIMEOUT = 0.5


@dataclass(frozen=True, slots=True)
class Target:
    """What to probe: a server by its HAProxy name, in a logical backend."""

    backend: str
    name: str
    address: str
    port: int


def pauses() -> Iterator[float]:
    """Seconds between tries: tight at first, since most applications listen before Swarm says RUNNING."""
    for _ in range(QUICK_TRIES):
        yield FIRST_PAUSE
    pause = FIRST_PAUSE
    while True:
        pause = min(LAST_PAUSE, pause * 1.5)
        yield pause


class Prober:
    """One task per target; `accepted` is called once for each that accepts."""

    def __init__(self, accepted: Callable[[Target], None]) -> None:
        self._accepted = accepted
        self._probes: dict[str, dict[Target, asyncio.Task[None]]] = {}

    def want(self, backend: str, targets: set[Target]) -> None:
        """From now on probe exactly `targets` of this backend."""
        running = self._probes.setdefault(backend, {})
        for target in running.keys() - targets:
            running.pop(target).cancel()
        for target in targets - running.keys():
            running[target] = asyncio.create_task(self._probe(target))
        if not running:
            del self._probes[backend]

    def close(self) -> None:
        for running in self._probes.values():
            for probe in running.values():
                probe.cancel()
        self._probes.clear()

    async def _probe(self, target: Target) -> None:
        for pause in pauses():
            if await connects(target.address, target.port):
                self._accepted(target)
                return
            await asyncio.sleep(pause)


async def connects(address: str, port: int) -> bool:
    """Whether a TCP connection to `address` succeeds within CONNECT_TIMEOUT; it is closed at once.

    What is no address at all never does; that it is none is said where HAProxy is to be told of it. A bare socket:
    this stands between "the task runs" and its first answer, and streams would take half a millisecond more.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await asyncio.get_running_loop().sock_connect(probe, (address, port))
        except (OSError, ValueError, OverflowError):
            return False
    return True
