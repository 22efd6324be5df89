"""Asks a task itself whether it works, before HAProxy may send it a request.

The sidecar shares HAProxy's network, so what it reaches, HAProxy reaches. HAProxy's own first check would come a
whole interval later, and a server that was enabled unchecked would take requests that it cannot answer. Where the
task has to prove who it is, it proves it here first, and why it can't is told.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from haproxy.accepting import Passed
from haproxy.checks import DEFAULT_HOST, Check
from haproxy.model import HealthCheck, ProxyHeader
from haproxy.verification import Refusal, hung_up, misnamed, refused

FIRST_PAUSE = 0.01
LAST_PAUSE = 0.25
QUICK_TRIES = 20
CONNECT_TIMEOUT = 0.5
OBJECTION = 0.1
SLOW_OBJECTION = 0.5
"""Seconds in which a task may say that it wants a certificate, and that it does not like the one it was shown: with
TLS 1.3 our side of the handshake has ended by then (RFC 8446, section 2)."""
AT_ONCE = 400
"""Probes that have a connection open. All tasks of a cluster are asked when a sidecar starts, and each needs a
descriptor: without a bound 20,000 tasks took every one that there was, and the sidecar ended."""
SILENT = 0.1
"""Seconds of a try from which on a task waits for its next one among others that are as slow: a node that is gone,
with all its tasks, keeps nobody from an answer."""
HEAD_LIMIT = 4096
"""Bytes of an answer within which its first line has to end."""

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r?\n")
_PRINTABLE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Target:
    """What to probe: a server by its HAProxy name, in a logical backend; `service`: whose it is."""

    backend: str
    name: str
    passed: Passed
    """What is known once it accepts."""
    service: str = ""


@dataclass(frozen=True, slots=True)
class Trust:
    """PEM of the CAs that a task's certificate has to be signed by, None for any certificate; and of the
    certificate with key that it is shown, None for none."""

    ca: bytes | None = None
    certificate: bytes | None = field(default=None, repr=False)


BLIND = Trust()
"""As HAProxy's `ssl verify none`: tasks have certificates of their own making."""

_HEADERS = {
    ProxyHeader.NONE: b"",
    ProxyHeader.V1: b"PROXY UNKNOWN\r\n",
    ProxyHeader.V2: b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
}
"""What says that a connection is the proxy's own (PROXY protocol, sections 2.1 and 2.2), as HAProxy's checks do."""


def pauses() -> Iterator[float]:
    """Seconds between tries: tight at first, since most applications listen before Swarm says RUNNING."""
    for _ in range(QUICK_TRIES):
        yield FIRST_PAUSE
    pause = FIRST_PAUSE
    while True:
        pause = min(LAST_PAUSE, pause * 1.5)
        yield pause


class Prober:
    """One task per target; `accepted` is called once for each that accepts. `trust` gives what a check needs, None
    while that is not there. `told`: `refusals` are others than before, by target: who does not prove who it is."""

    def __init__(
        self,
        accepted: Callable[[Target], None],
        trust: Callable[[Check], Trust | None] = lambda check: BLIND,
        told: Callable[[], None] = lambda: None,
    ) -> None:
        self.refusals: dict[Target, Refusal] = {}
        self._accepted = accepted
        self._trust = trust
        self._told = told
        self._probes: dict[str, dict[Target, asyncio.Task[None]]] = {}
        self._quick, self._silent = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(AT_ONCE)

    def want(self, backend: str, targets: set[Target]) -> None:
        """From now on probe exactly `targets` of this backend."""
        running = self._probes.setdefault(backend, {})
        for target in running.keys() - targets:
            running.pop(target).cancel()
            self._note(target, None)
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
        turns = self._quick
        for pause in pauses():
            found, turns = await self._try(target.passed.check, turns)
            if found is True:
                self._note(target, None)
                self._accepted(target)
                return
            if found:
                self._note(target, found)
            await asyncio.sleep(pause)

    async def _try(self, check: Check, turns: asyncio.Semaphore) -> tuple[bool | Refusal, asyncio.Semaphore]:
        """What came of it, and in which line to wait for the next one."""
        async with turns:
            trust, began = self._trust(check), time.monotonic()
            found = False if trust is None else await ask(check, trust)
        return found, self._quick if time.monotonic() - began < SILENT else self._silent

    def _note(self, target: Target, refusal: Refusal | None) -> None:
        if self.refusals.get(target) == refusal:
            return
        if refusal is None:
            del self.refusals[target]
        else:
            self.refusals[target] = refusal
        self._told()


async def passes(check: Check, trust: Trust = BLIND) -> bool:
    """Whether the check succeeds now."""
    return await ask(check, trust) is True


async def ask(check: Check, trust: Trust) -> bool | Refusal:
    """Whether the check succeeds now, by one connection, which is closed; or that no TLS is spoken, and why.

    What is no address at all never does; that it is none is said where HAProxy is to be told of it. A bare socket:
    this stands between "the task runs" and its first answer, and streams would take half a millisecond more.
    """
    family = socket.AF_INET6 if ":" in check.address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as connection:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await asyncio.get_running_loop().sock_connect(connection, (check.address, check.port))
            if not check.tls and check.http is None:
                return True
            async with asyncio.timeout(check.patience / 1000):
                return await _answers(check, trust, connection)
    except ssl.SSLError as error:
        if check.http is None or "NO_APPLICATION_PROTOCOL" not in (error.reason or ""):
            return refused(check, error) or False
    except (OSError, ValueError, OverflowError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return False  # no descriptor is left, perhaps
    # Offered was HTTP/1.1, to ask in; the answers of a server that speaks HTTP/2 only are left to HAProxy's checks.
    return await ask(replace(check, http=None), trust)


async def _answers(check: Check, trust: Trust, connection: socket.socket) -> bool | Refusal:
    """A handshake, and the status of one request, as far as the check has them."""
    if header := _HEADERS[check.header]:
        await asyncio.get_running_loop().sock_sendall(connection, header)
    offered = ("h2", "http/1.1") if check.http is None else ("http/1.1",)
    tls, name = (_tls(offered, trust), check.name) if check.tls else (None, None)
    reader, writer = await asyncio.open_connection(sock=connection, limit=HEAD_LIMIT, ssl=tls, server_hostname=name)
    try:
        if trust.ca is not None and (other := misnamed(check, _shown(writer))):
            return other
        if check.http is None:
            patience = OBJECTION if trust.certificate is None else SLOW_OBJECTION
            return True if trust == BLIND or not await _hangs_up(reader, patience) else hung_up(check)
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


def _shown(writer: asyncio.StreamWriter) -> Mapping[str, Any]:
    """The certificate that was verified."""
    shown: Mapping[str, Any] = writer.get_extra_info("peercert") or {}
    return shown


async def _hangs_up(reader: asyncio.StreamReader, patience: float) -> bool:
    """Whether the other end does, within so many seconds. Raises SSLError when it says why."""
    try:
        async with asyncio.timeout(patience):
            return not await reader.read(1)
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def _tls(protocols: tuple[str, ...], trust: Trust) -> ssl.SSLContext:
    """Nothing that holds a key is kept."""
    if trust == BLIND:
        return _blind(protocols)
    context = _context(protocols)
    if trust.ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=trust.ca.decode("ascii"))
    if trust.certificate is not None:
        _show(context, trust.certificate)
    return context


@cache
def _blind(protocols: tuple[str, ...]) -> ssl.SSLContext:
    return _context(protocols)


def _context(protocols: tuple[str, ...]) -> ssl.SSLContext:
    """Names are compared apart, as HAProxy does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(list(protocols))
    return context


def _show(context: ssl.SSLContext, pem: bytes) -> None:
    """Certificate and key are read from a file only: it is one in memory, without a name."""
    descriptor = os.memfd_create("identity")
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
