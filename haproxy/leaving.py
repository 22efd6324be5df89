"""How a proxy leaves: nobody new is let in, what is under way finishes, and then HAProxy ends.

A client of a connection that stays open hears with its next answer that it was the last one
(`option idle-close-on-response`). One that asks for nothing is not waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from haproxy.apply import RuntimeThread
from haproxy.listeners import let_nobody_in
from haproxy.names import HOP, HTTP, TCP, TERMINATE, TLS
from haproxy.process import Process
from haproxy.runtime.dumps import StatKind, StatRow
from haproxy.settings import Settings
from l7.kit import logs
from l7.kit.errors import ProtocolError, Rejected, Unavailable

log = logs.get("leaving")

HANDSHAKES = 0.2
"""Seconds for connections that have begun, and are not there yet: what a round trip may take."""
IDLE = 2.0
"""Seconds in which nobody asks for anything, after which those who are still connected are not waited for."""
POLL = 0.1


@dataclass(frozen=True, slots=True)
class Activity:
    """`clients`: connections of clients, the idle ones, too; `busy`: requests and other connections to tasks that
    are under way; `begun`: how many of these there were."""

    clients: int
    busy: int
    begun: int


def activity(rows: Iterable[StatRow]) -> Activity:
    """From the rows of frontends and backends. A connection over TLS, and a compressed request, pass HAProxy twice:
    the second time by a backend that leads into itself."""
    rows = list(rows)
    tasks = [row for row in rows if row.kind is StatKind.BACKENDS and row.backend not in (TERMINATE, HOP)]
    fronts = [row for row in rows if row.kind is StatKind.FRONTENDS and row.backend in (HTTP, TCP, TLS)]
    return Activity(
        clients=sum(row.sessions for row in fronts),
        busy=sum(row.sessions for row in tasks),
        begun=sum(row.sessions_total for row in tasks),
    )


async def leave(process: Process, thread: RuntimeThread, settings: Settings, grace: float) -> None:
    """Ends HAProxy, within `grace` seconds and a moment. Nothing where none runs, ours or a former sidecar's."""
    if not (process.alive() or process.adopt()):
        return
    loop = asyncio.get_running_loop()
    end = loop.time() + grace
    with suppress(Unavailable, Rejected, ProtocolError):
        await _look(thread)  # over a connection that stays: HAProxy is about to take no other
    try:
        number = await asyncio.to_thread(let_nobody_in, settings.socket)
        log.info("nobody is let in any more", listeners=number)
        await asyncio.sleep(min(HANDSHAKES, grace / 2))
    except OSError as error:  # it has just ended, or starts
        log.warning("listeners are closed at once", error=str(error))
    await process.stop(max(0.0, end - loop.time()), lambda: _until_idle(process, thread))


async def _until_idle(process: Process, thread: RuntimeThread) -> None:
    """Returns when no client is connected, or none has asked for anything for a while. The worker that stops still
    talks on a connection that it has; it can't end before that is closed, either."""
    loop = asyncio.get_running_loop()
    since, begun = loop.time(), -1
    try:
        while True:
            now = await _look(thread)
            if not now.clients:
                return
            if now.busy or now.begun != begun:
                since, begun = loop.time(), now.begun
            elif loop.time() - since > IDLE:
                return
            await asyncio.sleep(POLL)
    except (Unavailable, Rejected, ProtocolError):
        await thread.call(thread.runtime.close)
        await process.ended()


async def _look(thread: RuntimeThread) -> Activity:
    kinds = StatKind.FRONTENDS | StatKind.BACKENDS
    return activity(await thread.call(thread.runtime.stat, None, kinds))
