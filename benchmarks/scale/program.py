"""A program of the product as a process of its own, read by its log; what it uses, by /proc."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from testbed.namespace import TestbedError

L7 = (sys.executable, "-c", "from l7.cli import main; main()")
PATIENCE = 1800.0
"""Seconds for anything: HAProxy 2.6 alone takes minutes for the largest state, and other work may be going on."""

_LAST_WORDS = 40
_WARNING = b"[WARNING]"
"""How HAProxy begins to tell of servers that go: 10,000 lines of it are nobody's last words."""

_LONGEST_LINE = 1 << 24
_PAGE = os.sysconf("SC_PAGESIZE")

Line = dict[str, Any]
"""A line of the log; `at`: when it was written, Unix time in seconds."""


class Program:
    """A running program. `journal(event)` gives the lines with that name, from the first call on; `latest` has the
    last one of each name, `counts` how many there were."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self.name = name
        self._process = process
        self._queues: dict[str, asyncio.Queue[Line]] = {}
        self._last: deque[str] = deque(maxlen=_LAST_WORDS)
        self.latest: dict[str, Line] = {}
        self.counts: Counter[str] = Counter()
        self._reading = asyncio.create_task(self._read(), name=f"log of {name}")
        self._ended = asyncio.create_task(process.wait(), name=f"end of {name}")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def last_words(self) -> str:
        return "\n".join(self._last)

    def journal(self, event: str) -> asyncio.Queue[Line]:
        return self._queues.setdefault(event, asyncio.Queue())

    async def line(self, event: str, patience: float = PATIENCE, **fields: object) -> Line:
        """The next line with that name and these fields; others with that name are skipped. Raises TestbedError."""
        queue = self.journal(event)
        try:
            async with asyncio.timeout(patience):
                while True:
                    line = await self._next(queue, event)
                    if all(line.get(key) == value for key, value in fields.items()):
                        return line
        except TimeoutError as error:
            what = f"{event!r} {fields} in {patience:g} s"
            raise TestbedError(f"{self.name}: no line {what}: {self.last_words}") from error

    async def _next(self, queue: asyncio.Queue[Line], event: str) -> Line:
        if not queue.empty():
            return queue.get_nowait()
        getting = asyncio.create_task(queue.get())
        try:
            await asyncio.wait((getting, self._ended), return_when=asyncio.FIRST_COMPLETED)
            if getting.done():
                return getting.result()
        finally:
            getting.cancel()
        status = self._process.returncode
        raise TestbedError(f"{self.name} ended with {status} before it said {event!r}: {self.last_words}")

    async def _read(self) -> None:
        stream = self._process.stderr
        assert stream is not None
        while text := await stream.readline():
            if not text.startswith(_WARNING):
                self._last.append(text.decode(errors="replace").rstrip())
            line = _parsed(text)
            event = str(line.get("event", ""))
            self.latest[event] = line
            self.counts[event] += 1
            if event in self._queues:
                line["at"] = datetime.fromisoformat(line["time"]).timestamp()
                self._queues[event].put_nowait(line)

    async def stop(self, grace: float = 15.0) -> None:
        """By SIGTERM; past the grace, it is killed."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.terminate()
        try:
            async with asyncio.timeout(grace):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()
        self._reading.cancel()  # children that live on, as HAProxy does, hold the other end
        await asyncio.gather(self._reading, return_exceptions=True)

    def kill(self) -> None:
        """Its end, at once and without a word."""
        with suppress(ProcessLookupError):
            self._process.kill()


@asynccontextmanager
async def running(name: str, command: Sequence[str]) -> AsyncIterator[Program]:
    """The program within the block. What it says on its standard output is not read."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE, limit=_LONGEST_LINE,
    )  # fmt: skip
    program = Program(process, name)
    try:
        yield program
    finally:
        await program.stop()


def _parsed(text: bytes) -> Line:
    """HAProxy, which writes to its sidecar's log, says no JSON."""
    try:
        line = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return line if isinstance(line, dict) else {}


# ---------------------------------------------------------------- what it uses


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a process: seconds of CPU time so far; resident memory now and at its peak, bytes; open descriptors."""

    cpu: float
    memory: int
    peak: int
    descriptors: int


def usage(pid: int) -> Usage:
    """Raises TestbedError when the process is gone."""
    try:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        memory, peak = (int(status[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))
        return Usage(cpu([pid]), memory, peak, len(os.listdir(f"/proc/{pid}/fd")))
    except (OSError, KeyError) as error:
        raise TestbedError(f"process {pid} is gone") from error


def cpu(pids: Iterable[int]) -> float:
    """Seconds of CPU time of all threads that live. Not those of /proc/PID/stat: they count in 10 ms."""
    total = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with suppress(OSError):
                total += int(thread.read_text().split()[0])
    return total / 1e9


def family(pid: int) -> list[int]:
    """The process and its children, theirs too."""
    found = [pid]
    for each in found:
        with suppress(OSError):
            for thread in Path(f"/proc/{each}/task").iterdir():
                found += map(int, (thread / "children").read_text().split())
    return found
