"""Asks a task itself whether it works, before HAProxy may send it a request.

The sidecar shares HAProxy's network, so what it reaches, HAProxy reaches. HAProxy's own first check would come a
whole interval later, and a server that was enabled unchecked would take requests that it cannot answer.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from haproxy.accepting import Passed
from haproxy.checks import DEFAULT_HOST, Check
from haproxy.model import HealthCheck

FIRST_PAUSE = 0.01
LAST_PAUSE = 0.25
QUICK_TRIES = 20
CONNECT_TIMEOUT = 0.5
HEAD_LIMIT = 4096
"""Bytes of an answer within which its first line has to end."""

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r?\n")
_PRINTABLE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Target:
    """What to probe: a server by its HAProxy name, in a logical backend."""

    backend: str
    name: str
    passed: Passed
    """What is known once it accepts."""


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
            if await passes(target.passed.check):
                self._accepted(target)
                return
            await asyncio.sleep(pause)


async def passes(check: Check) -> bool:
    """Whether the check succeeds now, by one connection, which is closed.

    What is no address at all never does; that it is none is said where HAProxy is to be told of it. A bare socket:
    this stands between "the task runs" and its first answer, and streams would take half a millisecond more.
    """
    family = socket.AF_INET6 if ":" in check.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as connection:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await asyncio.get_running_loop().sock_connect(connection, (check.address, check.port))
            if not check.tls and check.http is None:
                return True
            async with asyncio.timeout(check.patience / 1000):
                return await _answers(check, connection)
        except ssl.SSLError as error:
            # Offered was HTTP/1.1, to ask in; a server that speaks HTTP/2 only is left to HAProxy's checks.
            return error.reason is not None and "NO_APPLICATION_PROTOCOL" in error.reason
        except (OSError, ValueError, OverflowError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return False


async def _answers(check: Check, connection: socket.socket) -> bool:
    """A handshake, and the status of one request, as far as the check has them."""
    offered = ("h2", "http/1.1") if check.http is None else ("http/1.1",)
    tls, name = (_tls(offered), check.name) if check.tls else (None, None)
    reader, writer = await asyncio.open_connection(sock=connection, limit=HEAD_LIMIT, ssl=tls, server_hostname=name)
    try:
        if check.http is None:
            return True
        writer.write(_request(check.http))
        return _accepted(check.http, await reader.readuntil(b"\n"))
    finally:
        writer.transport.abort()


def _request(check: HealthCheck) -> bytes:
    """The same as HAProxy's. Raises ValueError when path or host would not stay what they are."""
    host = check.host or DEFAULT_HOST
    if not (_PRINTABLE.fullmatch(check.path) and _PRINTABLE.fullmatch(host)):
        raise ValueError("not printable")
    lines = (f"GET {check.path} HTTP/1.1", f"host: {host}", "user-agent: l7-check", "connection: close", "", "")
    return "\r\n".join(lines).encode("ascii")


def _accepted(check: HealthCheck, line: bytes) -> bool:
    found = _STATUS_LINE.fullmatch(line)
    if found is None:
        return False
    status = int(found[1])
    return status in check.statuses if check.statuses else 200 <= status < 400


@cache
def _tls(protocols: tuple[str, ...]) -> ssl.SSLContext:
    """As HAProxy's `ssl verify none`: tasks have certificates of their own making."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(list(protocols))
    return context
