"""The operator's keys, those for NGINX among them, have their effect on a real HAProxy."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from haproxy.config import configured
from haproxy.model import Backend, Desired, Route, Server
from haproxy.settings import Settings
from l7.cli import main
from l7.v1 import sync_pb2 as pb
from tests.integration.live_haproxy import LiveHAProxy, application, receive, request, running, send

pytestmark = [pytest.mark.haproxy, pytest.mark.acceptance(100)]

BACKEND = "web"


@contextmanager
def proxy(binary: Path, directory: Path, **table: object) -> Iterator[LiveHAProxy]:
    """`a.test` without rules, `b.test` with a limit of its own, `c.test` with other rules, `d.test` with a path."""
    settings, complaints = configured(Settings(), json.dumps(table).encode())
    assert complaints == ()
    changed = {
        name: getattr(settings, name)
        for name in settings.__dataclass_fields__
        if getattr(settings, name) != getattr(Settings(), name)
    }
    with application(BACKEND, threading.Event()) as port:
        backend = Backend(BACKEND, servers={"t": Server("t", 1, "127.0.0.1", port)})
        routes = {
            ("a.test", "/"): Route("a.test", "/", BACKEND),
            ("b.test", "/"): Route("b.test", "/", BACKEND, rules="limited"),
            ("c.test", "/"): Route("c.test", "/", BACKEND, rules="hsts"),
            ("d.test", "/app"): Route("d.test", "/app", BACKEND, strip_path=True),
        }
        rules = {
            "limited": pb.Rules(name="limited", max_body_bytes=30_000),
            "hsts": pb.Rules(name="hsts", hsts="max-age=1"),
        }
        with running(binary, directory, Desired("r", {BACKEND: backend}, routes, rules), **changed) as live:
            yield live


def info(live: LiveHAProxy) -> dict[str, str]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(live.settings.socket)
        connection.sendall(b"show info\n")
        text = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


def test_a_body_above_the_limit_is_413(haproxy_binary: Path, tmp_path: Path) -> None:
    with proxy(haproxy_binary, tmp_path, ClientMaxBodySize="20k") as live:

        def post(host: str, length: int, *headers: str, target: str = "/") -> int:
            return request(live.address, target, f"host: {host}", *headers, method="POST", body="x" * length).status

        assert [post("a.test", length) for length in (20_480, 20_481)] == [200, 413]
        assert [post("c.test", length) for length in (20_480, 20_481)] == [200, 413]
        assert [post("d.test", length, target="/app/x") for length in (20_480, 20_481)] == [200, 413]
        assert [post("b.test", length) for length in (20_481, 30_000, 30_001)] == [200, 200, 413]
        with socket.create_connection(live.address, 10) as connection:
            head = b"POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
            connection.sendall(head + (b"200\r\n" + b"x" * 0x200 + b"\r\n") * 80 + b"0\r\n\r\n")
            assert receive(connection).status == 200


def test_a_task_that_takes_too_long_is_504(haproxy_binary: Path, tmp_path: Path) -> None:
    with proxy(haproxy_binary, tmp_path, ReadTimeout=1, SendTimeout=600) as live:
        began = time.monotonic()
        answer = request(live.address, "/wait", "host: a.test")
        assert (answer.status, answer.error) == (504, "timeout")
        assert 0.9 < time.monotonic() - began < 8


def test_a_body_that_does_not_come_is_408(haproxy_binary: Path, tmp_path: Path) -> None:
    with proxy(haproxy_binary, tmp_path, ClientBodyTimeout="1s", ReadTimeout=600) as live:
        with socket.create_connection(live.address, 10) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 100\r\n\r\nonly this")
            assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")
        # A task may take longer than its client may be silent.
        with socket.create_connection(live.address, 1.5) as connection:
            send(connection, "/wait", "host: a.test")
            with pytest.raises(TimeoutError):
                connection.recv(1)


def test_an_idle_connection_ends_in_time(haproxy_binary: Path, tmp_path: Path) -> None:
    with (
        proxy(haproxy_binary, tmp_path, KeepaliveTimeout="1s 60s") as live,
        socket.create_connection(live.address, 10) as connection,
    ):
        connection.sendall(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n")
        began = time.monotonic()
        assert receive(connection).status == 200
        assert 0.9 < time.monotonic() - began < 8


@pytest.mark.parametrize("kept", [True, False])
def test_underscores_in_headers(haproxy_binary: Path, tmp_path: Path, kept: bool) -> None:
    with proxy(haproxy_binary, tmp_path, UnderscoresInHeaders=kept) as live:
        seen = request(live.address, "/", "host: a.test", "x_team: red", "x-team: blue").seen["headers"]
        assert isinstance(seen, dict)
        assert (seen.get("x_team"), seen["x-team"]) == ("red" if kept else None, "blue")


def test_large_headers_need_large_buffers(haproxy_binary: Path, tmp_path: Path) -> None:
    cookies = [f"x-large-{n}: {'x' * 10_000}" for n in range(4)]
    with proxy(haproxy_binary, tmp_path) as live:
        assert request(live.address, "/", "host: a.test", *cookies).status in (400, 431)
    with proxy(haproxy_binary, tmp_path, LargeClientHeaderBuffers="4 16k") as live:
        assert request(live.address, "/", "host: a.test", *cookies).status == 200


def test_threads_files_and_log(haproxy_binary: Path, tmp_path: Path) -> None:
    table = {"WorkerProcesses": "2", "RLimitNoFile": 5000, "AccessLogPath": "off"}
    with proxy(haproxy_binary, tmp_path, **table) as live:
        found = info(live)
        assert (found["Nbthread"], found["Ulimit-n"]) == ("2", "5000")
        assert request(live.address, "/", "host: a.test").status == 200
        assert request(live.address, "/", "host: b.test").status == 200
    assert "request_id" not in (tmp_path / "log").read_text()


def test_lines_of_haproxys_own(haproxy_binary: Path, tmp_path: Path) -> None:
    lines = {"GlobalOptions": ["# why", "description two words"], "DefaultOptions": ["timeout http-request 700ms"]}
    with proxy(haproxy_binary, tmp_path, **lines) as live:
        assert info(live)["description"] == "two words"
        assert request(live.address, "/", "host: a.test").status == 200
        with socket.create_connection(live.address, 5) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n")
            assert receive(connection).status == 408


def test_a_file_is_checked_by_the_haproxy_that_is_named(haproxy_binary: Path, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    for line, code in (("tune.ssl.lifetime 600", 0), ("no.such.word 1", 1)):
        file.write_text(f"[Extensions.a.Config]\nMaxConnections = 500\nGlobalOptions = ['{line}']\n")
        command = ["config", "check", "--quiet", "--haproxy", str(haproxy_binary), str(file)]
        result = CliRunner().invoke(main, command)
        assert result.exit_code == code, result.output
        where = f"error: {file}:3: Extensions.a.Config.GlobalOptions, DefaultOptions: is refused by HAProxy"
        assert (where in result.output and "no.such.word" in result.output) is bool(code)
