"""A real HAProxy on loopback with a rendered configuration, small applications behind it, and a raw client."""

from __future__ import annotations

import json
import random
import select
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from haproxy import policy
from haproxy.capabilities import Capabilities, capabilities, parse_version
from haproxy.model import Desired
from haproxy.render import CONFIG, render_files
from haproxy.runtime.client import unix_url
from haproxy.settings import Settings
from haproxy.targets import targets_of
from haproxy.tls import NO_STORES, Stores

PATIENCE = 40.0
"""Seconds after which a test gives up on a condition; nothing is slower than this unless it is broken."""


@dataclass
class LiveHAProxy:
    """A running HAProxy. `address` is where its frontend listens."""

    settings: Settings
    capabilities: Capabilities
    placement: Mapping[str, str]
    address: tuple[str, int]
    process: subprocess.Popen[bytes]

    @property
    def runtime_url(self) -> str:
        return unix_url(self.settings.socket)


@contextmanager
def running(
    binary: Path,
    directory: Path,
    desired: Desired,
    ready: frozenset[str] | None = None,
    stores: Stores = NO_STORES,
    **changes: Any,
) -> Iterator[LiveHAProxy]:
    """HAProxy with `desired` rendered and all servers (or those in `ready`) enabled; `changes` are settings."""
    able = capabilities_of(binary)
    port = free_port()
    settings = replace(
        Settings(run_dir=str(directory), bind=(f"127.0.0.1:{port}",), max_connections=500, spare_backends=20),
        **changes,
    )
    placement = policy.place(settings, able, desired.backends)
    names = server_names(settings, able, desired) if ready is None else ready
    write_files(directory, render_files(settings, able, desired, placement, names, stores))
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([binary, "-db", "-f", directory / CONFIG], stdout=log, stderr=log)
    try:
        await_listening(("127.0.0.1", port), settings.socket, process, directory / "log")
        yield LiveHAProxy(settings, able, placement, ("127.0.0.1", port), process)
    finally:
        process.kill()
        process.wait()


def write_files(directory: Path, files: Mapping[str, bytes]) -> None:
    """What was rendered, some of it in directories."""
    for name, content in files.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_bytes(content)


def capabilities_of(binary: Path) -> Capabilities:
    return capabilities(parse_version(subprocess.check_output([binary, "-v"], text=True)))


def server_names(settings: Settings, able: Capabilities, desired: Desired) -> frozenset[str]:
    backends = desired.backends.values()
    return frozenset(name for backend in backends for name in targets_of(backend, settings, able))


def await_true(condition: Callable[[], bool], what: str) -> None:
    """Until `condition` holds. Raises AssertionError with `what` when it does not in time."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, f"not in {PATIENCE} s: {what}"
        select.select([], [], [], 0.01)


_random = random.SystemRandom()  # Hypothesis sets the seed of the other one
_given: set[int] = set()


def free_port() -> int:
    """A port on which nobody listens, given to nobody else in this process.

    Below those that the kernel takes for outgoing connections (32768 and up): one of these may have a free port of
    theirs by the time that the test listens on it.
    """
    while True:
        port = _random.randint(10_000, 32_000)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def await_listening(address: tuple[str, int], api: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until `address` and the unix socket `api` accept. Raises RuntimeError with the log when they never do."""
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        if _accepts(socket.AF_UNIX, api) and _accepts(socket.AF_INET, address):
            return
        select.select([], [], [], 0.01)
    raise RuntimeError(log.read_text())


def _accepts(family: socket.AddressFamily, address: str | tuple[str, int]) -> bool:
    with socket.socket(family) as connection:
        return connection.connect_ex(address) == 0


# ---------------------------------------------------------------- applications


class _Echo(BaseHTTPRequestHandler):
    """Answers with what it saw, as JSON. In the path: `/fail`, its own 503 with a forged header; `/wait`, the
    answer comes when the gate opens. A request header `x-answer-<name>` becomes one of the answer."""

    protocol_version = "HTTP/1.1"
    application = ""
    gate = threading.Event()

    def answer(self) -> None:
        if "/wait" in self.path:
            self.gate.wait(PATIENCE)
        chunked = "chunked" in self.headers.get("transfer-encoding", "")
        length = int(self.headers.get("content-length", 0))
        body = (self.chunks() if chunked else self.rfile.read(length)).decode()
        target = self.requestline.split()[1]  # `self.path` has its leading slashes merged
        seen = {"app": self.application, "method": self.command, "target": target, "body": body}
        pairs = [(name.lower(), value) for name, value in self.headers.items()]
        text = json.dumps({**seen, "headers": dict(pairs), "pairs": pairs}).encode()
        failing = "/fail" in self.path
        self.send_response(503 if failing else 200)
        if failing:
            self.send_header("x-l7-error", "forged")
        for name, value in self.headers.items():
            if name.lower().startswith("x-answer-"):
                self.send_header(name[len("x-answer-") :], value)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def chunks(self) -> bytes:
        """A chunked body."""
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    do_GET = do_POST = do_PUT = do_HEAD = do_OPTIONS = do_DELETE = answer

    def log_message(self, format: str, *args: object) -> None:
        """Silent: what a test needs is in the answer."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Silent: HAProxy's checks connect and reset. A failing application shows in the answer."""


@contextmanager
def application(
    name: str, gate: threading.Event | None = None, tls: ssl.SSLContext | None = None, port: int = 0
) -> Iterator[int]:
    """An echo server of this name on loopback; its port. `gate`: what requests to `/wait` wait for."""
    handler = type("Echo", (_Echo,), {"application": name, "gate": gate or threading.Event()})
    server = _Server(("127.0.0.1", port), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# ---------------------------------------------------------------- client


@dataclass(frozen=True)
class Answer:
    """Status, headers (lower case, last one wins; `pairs` has all) and body of a response; status 0: none came."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    pairs: tuple[tuple[str, str], ...] = ()

    @property
    def seen(self) -> dict[str, object]:
        """What the application saw."""
        value: dict[str, object] = json.loads(self.body)
        return value

    @property
    def error(self) -> str | None:
        return self.headers.get("x-l7-error")


def request(address: tuple[str, int], target: str, *headers: str, method: str = "GET", body: str = "") -> Answer:
    """One request on a connection of its own, written as it is given."""
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        send(connection, target, *headers, method=method, body=body)
        return parse(_to_end(connection))


def send(connection: socket.socket, target: str, *headers: str, method: str = "GET", body: str = "") -> None:
    length = (f"content-length: {len(body)}",) if body else ()
    head = "\r\n".join((f"{method} {target} HTTP/1.1", *headers, *length, "connection: close", "", body))
    connection.sendall(head.encode("latin-1"))


def receive(connection: socket.socket) -> Answer:
    """The answer to a request sent with `send`, to its end."""
    return parse(_to_end(connection))


def parse(data: bytes) -> Answer:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    if not first:
        return Answer(0)
    parts = (line.partition(":") for line in lines)
    pairs = tuple((name.lower(), value.strip()) for name, _, value in parts)
    return Answer(int(first.split()[1]), dict(pairs), body, pairs)


def _to_end(connection: socket.socket) -> bytes:
    data = b""
    while chunk := connection.recv(65536):
        data += chunk
    return data
