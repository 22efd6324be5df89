"""HAProxy's Runtime API as a transport of `requests`: the only place with a socket.

One POST is one batch of commands, one per line; the body of the response is their replies, with a prompt
(`\\n> `) between each two. A single command's body is just its reply, and streams: `iter_content` hands a dump
on as it arrives. Timeouts are those of `requests`: (connect, read), the second for each wait; errors are its
`ConnectionError`, `ConnectTimeout`, `ReadTimeout`, and `ContentDecodingError` for what can't be paired up.

A connection is kept, in interactive mode, and dropped after any error. A batch of which a byte was sent is never
sent again; only a connection that turns out closed before that is replaced without a word.

A connection outlives a reload and goes on talking to the old worker. Therefore each response says whose it is in
`Worker-Pid`, and `If-Worker-Pid` on a request refuses any other worker before a byte is sent.
"""

from __future__ import annotations

import io
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import IO, cast
from urllib.parse import unquote, urlsplit

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from haproxy.runtime.codec import count_commands
from haproxy.runtime.framing import PromptScanner
from l7.kit.errors import ProtocolError

SCHEMES = ("haproxy+unix://", "haproxy+tcp://")
MASTER_SCHEME = "haproxy-master+unix://"

WORKER_PID = "Worker-Pid"
IF_WORKER_PID = "If-Worker-Pid"

Timeout = float | tuple[float | None, float | None] | None
Endpoint = str | tuple[str, int]

CHUNK = 256 * 1024
"""Bytes to ask `iter_content` for, when there is no reason for another number."""

_PID = re.compile(rb"^Pid: (\d{1,10})$", re.MULTILINE)
_GREETING = b"prompt\nshow info\n"


class InvalidBatch(requests.exceptions.RequestException, ValueError):
    """The body is not a batch of commands, or the method is not POST; nothing was sent."""


class WorkerChanged(requests.exceptions.ConnectionError):
    """Another worker answers than the one that was asked for; nothing was sent."""


def session() -> requests.Session:
    """A session that speaks to HAProxy and nothing else, and takes no settings from the environment."""
    made = requests.Session()
    made.trust_env = False
    made.adapters.clear()
    for scheme in SCHEMES:
        made.mount(scheme, RuntimeAdapter())
    made.mount(MASTER_SCHEME, MasterAdapter())
    return made


def endpoint(url: str) -> Endpoint:
    """What to connect to: a socket's path, as `//%2Frun%2Fcli.sock/` or `///run/cli.sock`, or a loopback port.

    TCP is for loopback only: the Runtime API has no protection of its own, and TLS keywords on a
    `stats socket` line are ignored without a warning.
    """
    parts = urlsplit(url)
    if parts.scheme.endswith("+unix"):
        path = unquote(parts.netloc) or unquote(parts.path)
        if not path.startswith("/"):
            raise requests.exceptions.InvalidURL(f"{url}: no absolute path of a socket")
        return path
    try:
        host, port = parts.hostname or "", parts.port
        local = ip_address(host).is_loopback
    except ValueError as error:
        raise requests.exceptions.InvalidURL(f"{url}: no IP address and port") from error
    if not local or not port:
        raise requests.exceptions.InvalidURL(f"{url}: needs a loopback address and a port")
    return host, port


class RuntimeAdapter(BaseAdapter):
    """A worker's Runtime API (`stats socket ... level admin`)."""

    def __init__(self) -> None:
        super().__init__()
        self._idle: dict[Endpoint, _Connection] = {}
        self._lock = threading.Lock()

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Timeout | Mapping[str, float] = None,
        verify: object = True,
        cert: object = None,
        proxies: object = None,
    ) -> requests.Response:
        batch = _batch(request)
        try:
            scanner = PromptScanner(count_commands(batch))
        except ProtocolError as error:
            raise InvalidBatch(str(error), request=request) from error
        to, waits = endpoint(request.url or ""), _timeouts(timeout)
        connection = self._deliver(request, batch, to, waits)
        body = _Body(connection, scanner, request, lambda: self._keep(to, connection))
        return _response(request, body, connection.pid)

    def close(self) -> None:
        """Closes the connections that are kept. Those of unread responses close with their response."""
        while self._idle:
            self._idle.popitem()[1].close()

    def _deliver(
        self,
        request: requests.PreparedRequest,
        batch: bytes,
        to: Endpoint,
        waits: tuple[float | None, float | None],
    ) -> _Connection:
        """Sends the batch on the kept connection or, where that proves closed before a byte was sent, a new one."""
        kept = self._idle.pop(to, None)
        if kept is not None:
            try:
                if kept.quiet() and _is_wanted(request, kept.pid):
                    kept.write(batch, waits[1], request)
                    return kept
            except _NothingSent:
                pass
            kept.close()
        fresh = _Connection.open(to, waits[0], request)
        if not _is_wanted(request, fresh.pid):
            fresh.close()
            wanted = request.headers[IF_WORKER_PID]
            raise WorkerChanged(f"worker {fresh.pid} answers, not {wanted}", request=request)
        fresh.write(batch, waits[1], request)
        return fresh

    def _keep(self, to: Endpoint, connection: _Connection) -> None:
        """In one step: a session may be used by several threads, and each connection has one who closes it."""
        with self._lock:
            other = self._idle.get(to)
            self._idle[to] = connection
        if other is not None:
            other.close()


class MasterAdapter(BaseAdapter):
    """The master's socket (`-S`): one command per connection, the reply ends where the connection does.

    Its interactive mode has a prompt of its own, which changes with the state of the last reload.
    """

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Timeout | Mapping[str, float] = None,
        verify: object = True,
        cert: object = None,
        proxies: object = None,
    ) -> requests.Response:
        command = _batch(request)
        if command.count(b"\n") != 1 or not command.endswith(b"\n"):
            raise InvalidBatch("the master takes one line", request=request)
        connect, read = _timeouts(timeout)
        connection = _Connection(_connect(endpoint(request.url or ""), connect, request), 0)
        # `quit` closes after the reply; after `reload` the old master is gone, and so is the rest of the line.
        connection.write(command[:-1] + b";quit\n", read, request, fresh=True)
        return _response(request, _Body(connection, None, request, connection.close), None)

    def close(self) -> None:
        """Nothing is kept."""


# ---------------------------------------------------------------- requests and responses


def _batch(request: requests.PreparedRequest) -> bytes:
    if request.method != "POST":
        raise InvalidBatch(f"commands are sent by POST, not {request.method}", request=request)
    body = request.body or b""
    if isinstance(body, str):
        body = body.encode()
    if not isinstance(body, bytes):
        raise InvalidBatch("the body must be bytes or text, not a stream", request=request)
    return body


def _timeouts(timeout: Timeout | Mapping[str, float]) -> tuple[float | None, float | None]:
    if isinstance(timeout, tuple):
        return timeout
    if timeout is None or isinstance(timeout, (int, float)):
        return timeout, timeout
    raise ValueError(f"a timeout is seconds or (connect, read), not {timeout!r}")


def _is_wanted(request: requests.PreparedRequest, pid: int) -> bool:
    return request.headers.get(IF_WORKER_PID, str(pid)) == str(pid)


def _response(request: requests.PreparedRequest, body: _Body, pid: int | None) -> requests.Response:
    response = requests.Response()
    response.status_code = 200
    response.reason = "OK"
    response.url = request.url or ""
    response.request = request
    response.encoding = "utf-8"
    response.headers = CaseInsensitiveDict({"Content-Type": "text/plain; charset=utf-8"})
    if pid is not None:
        response.headers[WORKER_PID] = str(pid)
    response.raw = cast(IO[bytes], body)
    return response


class _Body(io.RawIOBase):
    """Reads replies off a connection. `scanner` None: up to its end. `done` is called once, after the last byte."""

    def __init__(
        self,
        connection: _Connection,
        scanner: PromptScanner | None,
        request: requests.PreparedRequest,
        done: Callable[[], None],
    ) -> None:
        super().__init__()
        self._connection = connection
        self._scanner = scanner
        self._request = request
        self._done = done
        self._finished = False
        self._ready = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        """At most `size` bytes, b"" at the end. Raises ReadTimeout, ConnectionError, ContentDecodingError."""
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(CHUNK), b""))
        while not self._ready and not self._finished and size:
            self._ready = self._receive(min(size, CHUNK))
        data, self._ready = self._ready[:size], self._ready[size:]
        return data

    def close(self) -> None:
        """Drops the connection unless all was read: the rest would be taken for the next reply."""
        if not self._finished:
            self._finished = True
            self._connection.close()
        super().close()

    def _receive(self, size: int) -> bytes:
        try:
            data = self._connection.read(size, self._request)
            if self._scanner is None:
                return data if data else self._finish()
            if not data:
                raise requests.exceptions.ConnectionError("closed amid the replies", request=self._request)
            text = self._scanner.feed(data)
        except ProtocolError as error:
            self.close()
            raise requests.exceptions.ContentDecodingError(str(error), request=self._request) from error
        except requests.exceptions.RequestException:
            self.close()
            raise
        if self._scanner.done:
            self._finish()
        return text

    def _finish(self) -> bytes:
        self._finished = True
        self._done()
        return b""


# ---------------------------------------------------------------- the connection


class _NothingSent(Exception):
    """A kept connection was closed by the peer, before the first byte of this batch."""


class _Connection:
    """A socket and, unless it is a master's, the pid of the worker behind it. Interactive mode is on."""

    def __init__(self, sock: socket.socket, pid: int) -> None:
        self._socket = sock
        self.pid = pid

    @classmethod
    def open(cls, to: Endpoint, timeout: float | None, request: requests.PreparedRequest) -> _Connection:
        """Connects, and learns who answers. All of it has to be done within `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        connection = cls(_connect(to, timeout, request), 0)
        try:
            connection.pid = connection._greet(deadline, request)
        except requests.exceptions.ReadTimeout as error:
            # HAProxy lets a client wait, silently, while `stats maxconn` others are connected.
            connection.close()
            raise requests.exceptions.ConnectTimeout("connected, but no prompt", request=request) from error
        except requests.exceptions.RequestException:
            connection.close()
            raise
        return connection

    def _greet(self, deadline: float | None, request: requests.PreparedRequest) -> int:
        self.write(_GREETING, _left(deadline), request, fresh=True)
        scanner, info = PromptScanner(2), b""
        while not scanner.done:
            self._socket.settimeout(_left(deadline))
            data = self.read(CHUNK, request)
            if not data:
                raise requests.exceptions.ConnectionError("closed before the first prompt", request=request)
            try:
                info += scanner.feed(data)
            except ProtocolError as error:
                raise requests.exceptions.ContentDecodingError(str(error), request=request) from error
        found = _PID.search(info)
        if found is None:
            raise requests.exceptions.ContentDecodingError(f"no pid in {info[:80]!r}", request=request)
        return int(found[1])

    def quiet(self) -> bool:
        """Open, and with nothing to read: a byte now would be no answer to anything."""
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        return not poller.poll(0)

    def write(
        self, data: bytes, timeout: float | None, request: requests.PreparedRequest, fresh: bool = False
    ) -> None:
        """Sends all. `timeout` holds for each wait, and for the reads that follow."""
        self._socket.settimeout(timeout)
        sent = 0
        try:
            while sent < len(data):
                sent += self._socket.send(data[sent:] if sent else data)
        except OSError as error:
            self.close()
            if sent == 0 and not fresh and isinstance(error, (BrokenPipeError, ConnectionResetError)):
                raise _NothingSent from error
            raise requests.exceptions.ConnectionError(
                f"sent {sent} bytes, then: {error}", request=request
            ) from error

    def read(self, size: int, request: requests.PreparedRequest) -> bytes:
        try:
            return self._socket.recv(size)
        except TimeoutError as error:
            raise requests.exceptions.ReadTimeout("no answer in time", request=request) from error
        except OSError as error:
            raise requests.exceptions.ConnectionError(str(error), request=request) from error

    def close(self) -> None:
        self._socket.close()


def _left(deadline: float | None) -> float | None:
    """Seconds until then, never 0: a socket would take that for non-blocking."""
    return None if deadline is None else max(0.001, deadline - time.monotonic())


def _connect(to: Endpoint, timeout: float | None, request: requests.PreparedRequest) -> socket.socket:
    family = socket.AF_UNIX if isinstance(to, str) else socket.AF_INET6 if ":" in to[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(to)
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except TimeoutError as error:
        sock.close()
        raise requests.exceptions.ConnectTimeout(f"{to}: {error}", request=request) from error
    except OSError as error:
        sock.close()
        raise requests.exceptions.ConnectionError(f"{to}: {error}", request=request) from error
    return sock
