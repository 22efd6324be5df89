"""Table with a real HAProxy: it reads what that shows, and what it says leads to what is wanted."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from l7.fastpath import Table
from l7.v1 import sync_pb2 as pb
from tests.integration.live_haproxy import await_listening, free_port

pytestmark = pytest.mark.haproxy

CONFIG = """
global
  stats socket {home}/cli.sock mode 600 level admin
  maxconn 100
defaults
  mode http
  balance roundrobin
  timeout connect 1s
  timeout client 10s
  timeout server 10s
frontend in
  bind 127.0.0.1:{port}
  default_backend one
backend one
  server hold 127.0.0.1:1 backup
backend two
  server hold 127.0.0.1:1 backup disabled
backend foreign
  server s1 127.0.0.1:1
  server s2 [::1]:1 weight 7
  server s3 unix@{home}/nobody.sock
"""

COLUMNS = ("srv_name", "srv_id", "srv_addr", "srv_port", "srv_uweight", "srv_admin_state", "srv_op_state",
           "srv_check_state")  # fmt: skip
KEYWORDS = b"check inter 10s"
READY, PENDING, LEAVING = pb.SERVER_STATE_READY, pb.SERVER_STATE_PENDING, pb.SERVER_STATE_LEAVING
DONE = {"", "New server registered.", "Server deleted."}


class Proxy:
    """The Runtime API, a connection for each command."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def ask(self, line: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.path))
            connection.sendall(line + b"\n")
            return b"".join(iter(lambda: connection.recv(100), b""))

    def show(self, table: Table, backend: str = "") -> list[tuple[str, int]]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.path))
            connection.sendall(f"show servers state {backend}\n".encode())
            for chunk in iter(lambda: connection.recv(37), b""):
                table.feed(chunk)
        return table.end(backend or None)

    def converge(self, table: Table) -> list[str]:
        """Says all that the table says; what was refused."""
        refused = []
        while lines := table.commands(limit=100):
            for line in lines.splitlines():
                reply = self.ask(line).decode().strip()
                if reply in DONE:
                    table.ack()
                else:
                    refused.append(f"{line.decode()}: {reply}")
                    table.nack()
        return refused


@pytest.fixture
def proxy(haproxy_binary: Path, tmp_path: Path) -> Iterator[Proxy]:
    port = free_port()
    (tmp_path / "haproxy.cfg").write_text(CONFIG.format(home=tmp_path, port=port))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([haproxy_binary, "-db", "-f", tmp_path / "haproxy.cfg"], stdout=log, stderr=log)
    try:
        await_listening(("127.0.0.1", port), str(tmp_path / "cli.sock"), process, tmp_path / "log")
        yield Proxy(tmp_path / "cli.sock")
    finally:
        process.kill()
        process.wait()


def server(task: str, id: int, state: pb.ServerState = READY, **changes: int | str) -> pb.Server:
    fields = {"address": "127.0.0.1", "port": 1, "weight": 64, **changes}
    return pb.Server(task=task, id=id, state=state, **fields)  # type: ignore[arg-type]


def want(table: Table, **backends: list[pb.Server]) -> None:
    changes = pb.Changes(backends=[pb.Backend(name=name, servers=servers) for name, servers in backends.items()])
    table.ingest([pb.SyncResponse(kind=pb.UPDATE_KIND_COMPLETE, changes=changes).SerializeToString()])
    for name in backends:
        table.keywords(name, 0, KEYWORDS)


def test_reads_what_haproxy_shows(proxy: Proxy) -> None:
    table = Table()
    assert proxy.show(table) == [("foreign", 3), ("one", 1), ("two", 1)]
    _, header, *lines = proxy.ask(b"show servers state").decode().split("\n")
    for line in filter(None, lines):
        row = dict(zip(header.removeprefix("# ").split(" "), line.split(" "), strict=True))
        seen = next(each for each in table.rows(row["be_name"]) if each[0] == row["srv_name"])
        assert [str(value) for value in seen] == [row[column] for column in COLUMNS]
    assert proxy.show(table) == []
    assert proxy.show(table, "foreign") == []
    assert table.pending() == []


def test_what_it_says_leads_to_what_is_wanted(proxy: Proxy) -> None:
    table = Table()
    proxy.show(table)
    want(
        table,
        one=[server("t1", 11), server("t2", 12, PENDING), server("t3", 13, address="::1")],
        two=[server("t1", 5)],
    )
    assert proxy.converge(table) == []
    assert all(count == 0 for _, count in proxy.show(table))
    assert table.pending() == []
    want(table, one=[server("t1", 11, LEAVING), server("t2", 12, weight=7), server("t3", 13, port=2)])
    assert proxy.converge(table) == []
    assert all(count == 0 for _, count in proxy.show(table))
    assert table.pending() == []
    assert [(row[0], row[3], row[4], row[5]) for row in table.rows("one") if row[0] != "hold"] == [
        ("t1", 1, 64, 1),
        ("t2", 1, 7, 0),
        ("t3", 2, 64, 0),
    ]
    assert [row[0] for row in table.rows("two")] == ["hold"]
    want(table)
    assert proxy.converge(table) == []
    assert proxy.show(table) == []
    assert {name for backend in ("one", "two") for name, *_ in table.rows(backend)} == {"hold"}


def test_what_haproxy_refuses_stays_and_is_said_again_after_the_next_dump(proxy: Proxy) -> None:
    table = Table()
    proxy.show(table)
    want(table, one=[server("t1", 11), server("t2", 11)])
    refused = proxy.converge(table)
    assert [line.split(" 127")[0] for line in refused if line.startswith("add")] == ["add server one/t2"]
    assert table.commands() == b""
    assert all(count == 0 for _, count in proxy.show(table))
    assert [verb for verb, _, _ in table.pending()] == ["add server", "enable server", "enable health"]
    want(table, one=[server("t1", 11), server("t2", 12)])
    assert proxy.converge(table) == []
    assert table.pending() == []
