"""How the client programs of the testbed are told to end, and what else they are told meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from collections.abc import Callable


class Lines:
    """Cuts what comes in pieces into lines."""

    def __init__(self, told: Callable[[str], None]) -> None:
        self._told = told
        self._rest = b""

    def take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._told(line.decode())


def stop_event(told: Callable[[str], None] = lambda line: None) -> asyncio.Event:
    """Set by SIGINT, SIGTERM, or the end of standard input if that is a pipe; `told` is called with its lines."""
    stopped, lines = asyncio.Event(), Lines(told)
    loop = asyncio.get_running_loop()

    def read_input() -> None:
        if data := os.read(0, 4096):
            lines.take(data)
            return
        loop.remove_reader(0)
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        loop.add_reader(0, read_input)
    return stopped
