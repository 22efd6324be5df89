"""The small parent of sidecar and HAProxy: restarts a sidecar that ended, adopts an HAProxy that lost its parent.

It knows nothing of either's work, so that it has no reason to fail. In a container it runs under an init (PID 1),
which passes the stop signal on to it, whichever that is; to the sidecar it is SIGTERM, and it lets HAProxy finish.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

from l7.kit import logs, tasks
from l7.kit.backoff import Backoff

log = logs.get("supervise")

PR_SET_CHILD_SUBREAPER = 36
"""prctl(2): orphans below this process become its children."""

GOOD_RUN = 10.0
"""Seconds after which an end counts as a new trouble, retried quickly again."""


class Supervisor:
    """Runs `command` until it ends with status 0, or until told to stop."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()

    def run(self) -> int:
        """The exit status for the process. Blocks."""
        become_subreaper()
        for number in tasks.stop_signals():
            signal.signal(number, self._stop)
        delays = Backoff(first=0.05, limit=5.0).delays()
        while True:
            since = time.monotonic()
            stopping = self._stopping.is_set()
            status = reap_until(self._start())
            if status == 0 or stopping:
                return max(0, status)
            log.error("sidecar ended", status=status)
            if time.monotonic() - since > GOOD_RUN:
                delays = Backoff(first=0.05, limit=5.0).delays()
            self._stopping.wait(next(delays))  # and then once more: its HAProxy may run, and hear of nobody else

    def _start(self) -> subprocess.Popen[bytes]:
        """It has the signals blocked until it listens to them (`l7.kit.tasks.signals`): one that came before would
        just end it, and HAProxy never hear of it."""
        numbers = tasks.stop_signals()
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
        try:
            self._child = subprocess.Popen(self._command)
            if self._stopping.is_set():
                self._tell()
            return self._child
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._stopping.set()
        self._tell()

    def _tell(self) -> None:
        if self._child is not None and self._child.returncode is None:
            # Not `send_signal`: that one reaps a child that has just ended, and `reap_until` would miss its end.
            with suppress(ProcessLookupError):
                os.kill(self._child.pid, signal.SIGTERM)


def become_subreaper() -> None:
    """Raises OSError when the kernel refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def reap_until(child: subprocess.Popen[bytes]) -> int:
    """Wait for any child, HAProxy among them, until `child` is done; its status, negative for a signal."""
    while True:
        pid, status = os.wait()
        if pid == child.pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode
        log.info("child reaped", pid=pid, status=os.waitstatus_to_exitcode(status))
