"""Running the parts of a daemon together: start in order, stop in reverse order, end on a stop signal.

A part is a coroutine function that gets `stop`, an event, and returns soon after it is set. A part that
raises ends the whole program with its exception: a daemon with half of its parts is worse than a restart.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NoReturn

from l7.kit import logs

_log = logs.get("kit.tasks")


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a daemon. `grace` is how many seconds it may take to return after `stop` was set."""

    name: str
    run: Callable[[asyncio.Event], Awaitable[None]]
    grace: float = 5.0


def stop_signals() -> tuple[int, ...]:
    """What a container's stop signal may be set to, and all of it means the same: a graceful end. Of a terminal
    SIGWINCH only says that its size has changed."""
    names = (
        signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPWR,
        *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
    )  # fmt: skip
    return names if os.isatty(0) else (*names, signal.SIGWINCH)


@asynccontextmanager
async def signals(stop: asyncio.Event) -> AsyncIterator[None]:
    """Within the block, stop signals set `stop` instead of ending the process; so do those that came before it, if
    they were blocked till then."""
    loop = asyncio.get_running_loop()
    numbers = stop_signals()
    for number in numbers:
        loop.add_signal_handler(number, _stop, stop, number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def leave(status: int) -> NoReturn:
    """Ends the process. Python would first take everything apart: half a second on a busy machine, which whoever is
    told to stop may not have."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


async def run(parts: Sequence[Part], stop: asyncio.Event) -> None:
    """Runs all parts until `stop` is set or one of them ends, then stops them, last one first.

    A part that does not return within its grace is cancelled. Raises what the first failed part raised.
    """
    running = [_start(part) for part in parts]
    try:
        await _until_first_end([each.task for each in running], stop)
    finally:
        stop.set()
        await _stop_all(running)
    _raise_first([each.task for each in running])


async def first(stop: asyncio.Event, work: Awaitable[object]) -> bool:
    """Awaits `work` unless `stop` is set first; then `work` is cancelled. True when it was done."""
    task = asyncio.ensure_future(work)
    await race(task, stop.wait())
    return not task.cancelled()


async def race(*work: Awaitable[object]) -> None:
    """Runs all until the first one ends, and cancels the others. Raises what the first failed one raised."""
    running = [asyncio.ensure_future(each) for each in work]
    try:
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    for each in running:
        if not each.cancelled():
            each.result()


@dataclass(frozen=True, slots=True)
class _Running:
    part: Part
    stop: asyncio.Event
    task: asyncio.Task[None]


def _stop(stop: asyncio.Event, number: int) -> None:
    _log.info("stopping", signal=signal.strsignal(number))
    stop.set()


def _start(part: Part) -> _Running:
    stop = asyncio.Event()

    async def body() -> None:
        await part.run(stop)

    return _Running(part, stop, asyncio.create_task(body(), name=part.name))


async def _until_first_end(tasks: Sequence[asyncio.Task[None]], stop: asyncio.Event) -> None:
    waiter = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait((*tasks, waiter), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiter.cancel()


async def _stop_all(running: Sequence[_Running]) -> None:
    for each in reversed(running):
        each.stop.set()
        _done, late = await asyncio.wait((each.task,), timeout=each.part.grace)
        if late:
            _log.warning("part cancelled", part_name=each.part.name, grace=each.part.grace)
            each.task.cancel()
            await asyncio.wait((each.task,))


def _raise_first(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
