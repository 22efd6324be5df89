"""The sockets of a node behind relays, for tests that run blocking calls beside them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fakes.relay import Relay


class Loop:
    """An event loop in a thread of its own, for relays beside tests that block."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def __enter__(self) -> Loop:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@contextmanager
def behind_relay(loop: Loop, socket: Path) -> Iterator[Relay]:
    """A socket behind a relay at its own path, that can take it away from whoever is connected."""
    real = socket.with_name(f"real-{socket.name}")
    socket.rename(real)
    try:
        with relay_at(loop, socket, real) as relay:
            yield relay
    finally:
        real.rename(socket)


@contextmanager
def relay_at(loop: Loop, path: Path, target: Path) -> Iterator[Relay]:
    """A relay at a path of its own."""
    relay = Relay(path, target)
    loop.run(relay.up())
    try:
        yield relay
    finally:
        loop.run(relay.down())
