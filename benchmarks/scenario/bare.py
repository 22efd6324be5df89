"""HAProxy alone with what the sidecar would render for it; its CPU time and memory; clients that cost little."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from haproxy import policy
from haproxy.model import Desired
from haproxy.render import CONFIG, render_files
from haproxy.runtime.client import Runtime, unix_url
from haproxy.settings import Settings
from testbed.haproxy_versions import haproxy
from testbed.namespace import TestbedError
from tests.integration.live_haproxy import capabilities_of, free_port, server_names

CLIENTS = 16
"""Connections, each with one request under way: HAProxy batches nothing that it would not batch for users."""

PATIENCE = 60.0

ORIGIN = """\
global
  nbthread 1
defaults
  mode http
  timeout client 60s
  timeout connect 5s
  timeout server 60s
frontend origin
  bind 127.0.0.1:{port}
  http-request return status 200 content-type text/plain string "ok"
"""


@dataclass
class Bare:
    """A running HAProxy. `port` is that of its HTTP listener."""

    process: subprocess.Popen[bytes]
    port: int
    settings: Settings

    @property
    def cpu(self) -> float:
        """Seconds of CPU time so far, of all threads. Not the times of /proc/PID/stat: those count in 10 ms."""
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9

    @property
    def memory(self) -> int:
        """Resident bytes."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @contextmanager
    def runtime(self) -> Iterator[Runtime]:
        """Its Runtime API."""
        runtime = Runtime(unix_url(self.settings.socket))
        try:
            yield runtime
        finally:
            runtime.close()


@contextmanager
def bare(series: str, desired: Desired, **changes: int) -> Iterator[Bare]:
    """HAProxy on one thread with `desired`, all servers enabled; `changes` are settings."""
    binary = haproxy(series)
    able = capabilities_of(binary)
    with TemporaryDirectory(prefix="l7-bench-") as directory:
        settings = replace(
            Settings(run_dir=directory, bind=(f"127.0.0.1:{free_port()}",), threads=1, max_connections=1000),
            **changes,  # type: ignore[arg-type]
        )
        placement = policy.place(settings, able, desired.backends)
        for name, content in render_files(
            settings, able, desired, placement, server_names(settings, able, desired)
        ).items():
            Path(directory, name).parent.mkdir(exist_ok=True)
            Path(directory, name).write_bytes(content)
        port = int(settings.bind[0].rpartition(":")[2])
        with running([str(binary), "-db", "-f", f"{directory}/{CONFIG}"], port) as process:
            yield Bare(process, port, settings)


@contextmanager
def origin(series: str) -> Iterator[int]:
    """What answers behind the proxy: an HAProxy, the cheapest there is; its port."""
    with TemporaryDirectory(prefix="l7-bench-") as directory:
        port, config = free_port(), Path(directory, "origin.cfg")
        config.write_text(ORIGIN.format(port=port))
        with running([str(haproxy(series)), "-db", "-f", str(config)], port):
            yield port


@contextmanager
def running(command: Sequence[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The process, from when it listens at `port` until the block ends. What it logs costs it no file."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        await_listening(process, port)
        yield process
    finally:
        process.kill()
        process.wait()


def await_listening(process: subprocess.Popen[bytes], port: int) -> None:
    """Raises TestbedError with what the process said when it ends or takes too long."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if process.poll() is not None:
            assert process.stderr is not None
            raise TestbedError(process.stderr.read().decode())
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)  # of another process
    raise TestbedError(f"nothing listens on port {port}")


def exchange(port: int, requests: Sequence[bytes], status: bytes = b"200") -> None:
    """Sends all requests over kept-alive connections. Raises TestbedError for an answer with another status.

    A turn is one request per connection.
    """
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(CLIENTS)]
        for start in range(0, len(requests), CLIENTS):
            turn = list(zip(clients, requests[start : start + CLIENTS], strict=False))
            for client, request in turn:
                client.sendall(request)
            for client, request in turn:
                answer = client.recv(65536)
                if answer[9:12] != status:
                    raise TestbedError(f"{request!r} was answered {answer[:200]!r}")


def request(host: str, path: str, headers: Mapping[str, str]) -> bytes:
    lines = (f"GET {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers.items()))
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
