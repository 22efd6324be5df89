"""The small parent of sidecar and HAProxy: restarts a sidecar that ended, adopts an HAProxy that lost its parent.

It knows nothing of either's work, so that it has no reason to fail. In a container it runs under an init (PID 1),
which passes a stop signal on to it; it passes it on to the sidecar, which lets HAProxy finish.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

from l7.kit import logs
from l7.kit.backoff import Backoff
from l7.kit.tasks import STOP_SIGNALS

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
        self._stopping = False

    def run(self) -> int:
        """The exit status for the process. Blocks."""
        become_subreaper()
        for number in STOP_SIGNALS:
            signal.signal(number, self._stop)
        delays = Backoff(first=0.05, limit=5.0).delays()
        while True:
            since = time.monotonic()
            self._child = subprocess.Popen(self._command)
            if self._stopping:
                os.kill(self._child.pid, signal.SIGTERM)
            status = reap_until(self._child)
            if status == 0 or self._stopping:
                return max(0, status)
            log.error("sidecar ended", status=status)
            if time.monotonic() - since > GOOD_RUN:
                delays = Backoff(first=0.05, limit=5.0).delays()
            time.sleep(next(delays))

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._stopping = True
        if self._child is not None and self._child.returncode is None:
            # Not `send_signal`: that one reaps a child that has just ended, and `reap_until` would miss its end.
            with suppress(ProcessLookupError):
                os.kill(self._child.pid, number)


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
