"""Processes and places that the demo is made of, and their end at any moment."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import orjson

from examples.demo.board import Board
from examples.demo.story import HOST, PATHS
from testbed import namespace
from testbed.namespace import TestbedError
from testbed.swarm import Swarm
from testbed.system import System

REPOSITORY = Path(__file__).resolve().parents[2]
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 20.0
"""Seconds that a child gets to clean up after itself."""


class Signals:
    """SIGINT, SIGTERM and SIGHUP end the demo wherever it is, by KeyboardInterrupt; not its cleaning up."""

    def __init__(self) -> None:
        self.cleaning = False
        for number in STOP_SIGNALS:
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if not self.cleaning:
            raise KeyboardInterrupt


@contextmanager
def workspace(signals: Signals) -> Iterator[Path]:
    """A directory for all that the demo makes, and its removal, whatever moment the end comes at."""
    directory = Path(tempfile.mkdtemp(prefix="l7-demo-", dir=os.environ.get("L7_TESTBED_DIR")))
    try:
        yield directory
    finally:
        signals.cleaning = True
        for swarm in directory.glob(f"{namespace.PREFIX}*"):
            namespace.remove(swarm)
        shutil.rmtree(directory)


def run_child(command: list[str], directory: Path) -> str:
    """Runs a program in a session of its own and gives its output. Interrupted, it is told to end, and waited for
    with all of its children: some of them (mmdebstrap) clean up."""
    child = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=os.environ | {"TMPDIR": str(directory)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = child.communicate()
    except BaseException:
        end_group(child)
        raise
    if child.returncode:
        raise TestbedError(errors.strip())
    return output


def end_group(leader: subprocess.Popen[str]) -> None:
    """SIGTERM to the process group, SIGKILL after `PATIENCE` seconds; returns when it is empty."""
    number, deadline = signal.SIGTERM, time.monotonic() + PATIENCE
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, number)
        while True:
            leader.poll()  # a zombie of ours would stay in the group
            if time.monotonic() > deadline:
                number = signal.SIGKILL
                os.killpg(leader.pid, number)
            os.killpg(leader.pid, 0)
            time.sleep(0.05)


def check_machine(port: int, use_swarm: bool) -> socket.socket | None:
    """The socket that curl will reach (None: HAProxy's own); raises TestbedError with what to do."""
    if sys.platform != "linux":
        raise TestbedError("the demo needs Linux: Debian 12, or a virtual machine with it")
    if os.geteuid():
        raise TestbedError("the demo runs a Docker daemon of its own and needs root: sudo make demo")
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        other = f"make demo ARGS='--port {port + 1}'"
        raise TestbedError(f"127.0.0.1:{port}: {error.strerror}; take another port: {other}") from error
    if use_swarm:
        listener.close()
        return None
    listener.listen(128)
    return listener


@contextmanager
def clients(swarm: Swarm, url: str, rate: float, board: Board) -> Iterator[subprocess.Popen[str]]:
    """The clients, whose accounts go to the board; closing their standard input ends them."""
    paths = [f"--path={path}" for path in PATHS]
    command = [sys.executable, "-m", "examples.demo.traffic", "--url", url, "--host", HOST, "--rate", str(rate)]
    process = swarm.run(
        None,
        [*command, *paths],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            board.take(orjson.loads(line), time.monotonic())
        board.end()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        reader.join()


@contextmanager
def forwarder(swarm: Swarm, listener: socket.socket, url: str) -> Iterator[None]:
    """`listener` leads to the proxy within the block."""
    address, _, port = url.removeprefix("http://").partition(":")
    command = [sys.executable, "-m", "examples.demo.forward", str(listener.fileno()), address, port]
    process = swarm.run(None, command, cwd=REPOSITORY, pass_fds=[listener.fileno()], start_new_session=True)
    listener.close()
    try:
        yield
    finally:
        process.kill()
        process.wait()


def worker(system: System) -> int:
    """The process id of HAProxy's worker on this machine, as the kernel has it."""
    return system.haproxy_processes()[-1]
