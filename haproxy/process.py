"""The HAProxy process of this task: started, found again, watched, reloaded, ended.

HAProxy runs in master-worker mode, in a session of its own. When the sidecar dies it becomes a child of the
supervisor (`haproxy.supervise`) and goes on; the next sidecar finds it by its pid file. A pidfd tells of its end,
whoever its parent is.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from haproxy.capabilities import Version, parse_version
from haproxy.settings import Settings
from l7.kit import logs, tasks
from l7.kit.backoff import Backoff
from l7.kit.errors import ConfigError, Rejected, Unavailable

log = logs.get("process")

CONFIG = "haproxy.cfg"
START_TIMEOUT = 30.0
"""Seconds: HAProxy 2.6 takes 0.5 s for 10,000 servers, and 20 s for 50,000."""

KILL_AFTER = 2.0
AGAIN = Backoff(first=0.25, limit=5.0)
POLL = 0.005


def version_of(binary: str) -> Version:
    """Asks the program itself. Raises ConfigError when it cannot be run."""
    try:
        done = subprocess.run([binary, "-v"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError("haproxy binary", f"{binary} cannot be run: {error}") from error
    return parse_version(done.stdout)


class Process:
    """One HAProxy with its files in `settings.run_dir`."""

    def __init__(self, settings: Settings, binary: str) -> None:
        self.settings = settings
        self.binary = binary
        self.master = 0
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid_file(self) -> Path:
        return Path(self.settings.file("haproxy.pid"))

    def adopt(self) -> bool:
        """Find the HAProxy that an earlier sidecar left running."""
        try:
            pid = int(self.pid_file.read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return False  # never started
        if not self._is_ours(pid) or _is_zombie(pid):
            return False
        self.master = pid
        log.info("haproxy adopted", pid=pid)
        return True

    async def check(self) -> None:
        """Let HAProxy judge its files (`-c`). Raises Rejected with its words."""
        process = await asyncio.create_subprocess_exec(
            self.binary, "-c", "-f", self.settings.file(CONFIG),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
        if process.returncode != 0:
            raise Rejected("haproxy -c", alerts(output.decode(errors="replace")))

    async def start(self) -> None:
        """Check, start, and wait until the worker's socket accepts. Raises Rejected or Unavailable."""
        await self.check()
        Path(self.settings.socket).unlink(missing_ok=True)
        # Popen and not asyncio's: that one kills its child when a failing sidecar's event loop is closed.
        self._child = subprocess.Popen(  # noqa: ASYNC220 - returns at once
            [self.binary, "-W", "-S", f"{self.settings.master_socket},mode,600", "-p", str(self.pid_file),
             "-f", self.settings.file(CONFIG)],
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self.master = self._child.pid
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await self._until_up()
        except TimeoutError as error:
            raise Unavailable("haproxy did not come up; its own messages are in the log") from error
        log.info("haproxy started", pid=self.master)

    async def _until_up(self) -> None:
        while not await _accepts(self.settings.socket):
            if not self.alive():
                raise Unavailable("haproxy ended while it started; its own messages are in the log")
            await asyncio.sleep(POLL)

    def alive(self) -> bool:
        """Whether the master runs; a child of ours that ended is reaped on the way."""
        if self._child is not None and self._child.poll() is not None:
            self._child = None
        return self.master > 0 and Path(f"/proc/{self.master}").exists() and not _is_zombie(self.master)

    async def ended(self) -> None:
        """Returns when the master process is gone."""
        try:
            descriptor = os.pidfd_open(self.master)
        except ProcessLookupError:
            return
        loop, gone = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(descriptor, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    async def stop(self, grace: float, quiet: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
        """Stop accepting, let connections finish for up to `grace` seconds, then end. SIGUSR1: soft stop of all
        workers (management guide, section 4, "Stopping and restarting HAProxy").

        `quiet` returns when nothing is under way any more: idle connections are not worth waiting for.
        """
        steps = (signal.SIGUSR1, grace), (signal.SIGTERM, KILL_AFTER), (signal.SIGKILL, KILL_AFTER)
        for number, patience in steps:
            if not self.alive():
                return
            log.info("stopping haproxy", pid=self.master, signal=number.name, patience=patience)
            ending = [self._insist(number)]
            if quiet is not None and number is signal.SIGUSR1:
                ending.append(quiet())
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await tasks.race(*ending)

    async def _insist(self, number: signal.Signals) -> None:
        """Until the master ends. A master that has just started or reloads executes itself anew, and that of 2.6
        then loses the signal for its worker, which would serve on (seen on 2.6.12). One too many does no harm."""
        for pause in AGAIN.delays():
            _signal(self.master, number)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    return await self.ended()

    async def buried(self, worker: int) -> None:
        """After the master's end: no worker may live on beside the next one, they would share the port."""
        deadline = asyncio.get_running_loop().time() + KILL_AFTER
        killed = False
        while worker and self._is_ours(worker) and not _is_zombie(worker):
            if not killed and asyncio.get_running_loop().time() > deadline:
                log.warning("killing a worker without master", pid=worker)
                _signal(worker, signal.SIGKILL)
                killed = True
            await asyncio.sleep(POLL)

    def _is_ours(self, pid: int) -> bool:
        """Whether that process runs with our configuration: the number alone may be somebody else's by now."""
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return self.settings.file(CONFIG).encode() in command


def fitting_connections(wanted: int, descriptors: int, tls: bool = False) -> int:
    """How many connections of clients fit: two descriptors each, two more over the compressor's hop, and two more
    from the listener for TLS to that for HTTP; a quarter is left to checks and listeners. HAProxy refuses to start
    when its limit of open files does not do ("strict-limits", configuration manual, section 3.1)."""
    return max(100, min(wanted, descriptors * 3 // 4 // (6 if tls else 4)))


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it was faster
        os.kill(pid, number)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False


async def _accepts(path: str) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    return True


def alerts(output: str) -> str:
    """What HAProxy refuses, out of all that it says. (`-q` would leave out this, too.)"""
    lines = output.strip().splitlines()
    return "; ".join(line.partition(" : ")[2] for line in lines if line.startswith("[ALERT]")) or output.strip()
