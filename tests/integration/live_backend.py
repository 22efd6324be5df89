"""One backend of a real HAProxy, made at run time where possible, and applications that misbehave on order."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from haproxy import features, ops, policy
from haproxy.checks import check_rows
from haproxy.model import Backend, Desired, Route, Server, ServerRow
from haproxy.runtime.client import Runtime
from l7.v1 import sync_pb2 as pb
from tests.integration.live_haproxy import PATIENCE, Answer, LiveHAProxy, request, running

HOST = "host: a.test"


@dataclass
class LiveBackend:
    """The backend `web` behind `a.test`; `physical` is its name in HAProxy."""

    proxy: LiveHAProxy
    runtime: Runtime
    backend: Backend
    physical: str

    def set_rules(self, **values: object) -> None:
        """Rules of the route, for which there were none."""
        rows = features.rules_rows(pb.Rules(name="web", **values), self.proxy.capabilities)  # type: ignore[arg-type]
        for name, content in rows.items():
            self.apply(*(ops.AddMapRow(self.proxy.settings.file(name), *row) for row in content.items()))

    def ask(self, target: str = "/", *headers: str, method: str = "GET", body: str = "") -> Answer:
        return request(self.proxy.address, target, HOST, *headers, method=method, body=body)

    def apply(self, *commands: ops.Op) -> None:
        refused = [result for result in self.runtime.apply(commands) if result.refusal is not None]
        assert not refused, refused

    def add(self, *apps: Application, service: int = 0) -> list[str]:
        """Servers for these, in rotation and checked; their names."""
        return [self.put(Server(app.name, app.id, "127.0.0.1", app.port, service=service)) for app in apps]

    def put(self, server: Server) -> str:
        words = policy.server_keywords(self.proxy.settings, self.proxy.capabilities, self.backend, server.service)
        name = policy.server_name(server, words)
        add = ops.AddServer(self.physical, name, server.address, server.port, server.id, server.weight, words)
        self.apply(add, ops.EnableServer(self.physical, name), ops.EnableHealth(self.physical, name))
        return name

    def row(self, name: str) -> ServerRow:
        return next(row for row in self.runtime.servers_state(self.physical) if row.name == name)

    def is_up(self, name: str) -> bool:
        return self.row(name).up

    def set_rows(self, backend: Backend) -> None:
        """From now on its checks are those of `backend`."""
        old, self.backend = check_rows(self.physical, self.backend), backend
        file = self.proxy.settings.file
        for name, rows in check_rows(self.physical, backend).items():
            for key in old[name]:
                self.apply(ops.DeleteMapRow(file(name), key))
            for key, value in rows.items():
                self.apply(ops.AddMapRow(file(name), key, value))


@contextmanager
def live_backend(binary: Path, directory: Path, backend: Backend, **settings: Any) -> Iterator[LiveBackend]:
    """`backend`, which has the name `web`, without servers as yet; for raw TCP: at the first of `tcp_ports`."""
    host = f":{settings['tcp_ports'][0]}" if backend.tcp else "a.test"
    desired = Desired("r", {"web": backend}, {(host, "/"): Route(host, "/", "web", rules="web")})
    with running(binary, directory, desired, **settings) as proxy, Runtime(proxy.runtime_url) as runtime:
        live = LiveBackend(proxy, runtime, backend, proxy.placement["web"])
        if proxy.capabilities.dynamic_backends:
            _make_at_run_time(live)
        yield live


def _make_at_run_time(live: LiveBackend) -> None:
    """In the place of the configured one."""
    old, live.physical = live.physical, "made"
    file = live.proxy.settings.file
    for name, rows in check_rows(live.physical, live.backend).items():
        live.apply(*(ops.AddMapRow(file(name), key, value) for key, value in rows.items()))
    live.apply(
        ops.AddBackend(live.physical, policy.policy_of(live.backend).name),
        policy.hold_server(live.physical),
        ops.EnableServer(live.physical, "hold"),
        ops.PublishBackend(live.physical),
        ops.SetMapRow(file("backends.map"), "web", live.physical),
        ops.UnpublishBackend(old),
    )


# ---------------------------------------------------------------- applications

Behaviour = Callable[[str, str], int | None]
"""Method and path -> status, or None: close the connection without an answer."""


def well(method: str, path: str) -> int | None:
    return 200


@dataclass
class Application:
    """Answers its name, and what `behaviour` says. `seen`: method and path of all requests, checks included.
    `/wait`: answers when `gate` is open. `/upgrade`: a connection on which nothing is said."""

    name: str
    id: int
    port: int = 0
    behaviour: Behaviour = well
    seen: list[tuple[str, str]] = field(default_factory=list)
    checked: list[tuple[str, str]] = field(default_factory=list)
    """Path and Host of checks alone."""
    bodies: list[bytes] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    def asked(self, method: str, path: str = "/") -> int:
        return self.seen.count((method, path))


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Silent: HAProxy's checks connect and reset. A failing application shows in the answer."""


@contextmanager
def application(name: str, number: int = 1, tls: ssl.SSLContext | None = None) -> Iterator[Application]:
    """A running application on loopback."""
    app = Application(name, number)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            app.bodies.append(self.rfile.read(int(self.headers.get("content-length", 0))))
            app.seen.append((self.command, self.path))
            if self.headers.get("user-agent") == "l7-check":
                app.checked.append((self.path, self.headers.get("host", "")))
            if self.path == "/upgrade":
                return self.upgrade()
            if self.path == "/wait":
                app.gate.wait(PATIENCE)
            status = app.behaviour(self.command, self.path)
            if status is None:
                self.close_connection = True
                return
            self.send_response(status)
            body = b"" if status == 204 else app.name.encode()
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def upgrade(self) -> None:
            """Nothing is said on it."""
            self.send_response(101)
            self.send_header("connection", "upgrade")
            self.send_header("upgrade", "silence")
            self.end_headers()
            self.rfile.read()
            self.close_connection = True

        do_GET = do_POST = do_HEAD = do_OPTIONS = do_PUT = do_DELETE = answer

        def log_message(self, format: str, *args: object) -> None:
            """Silent: tests look at `seen`."""

    server = QuietServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    app.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield app
    finally:
        app.gate.set()
        server.shutdown()
        thread.join()
        with suppress(OSError):
            server.server_close()
