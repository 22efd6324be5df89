"""What real HAProxy shows, straight from its Runtime API into the fast path, against the reader of whole dumps."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from haproxy.model import ServerRow
from haproxy.runtime import Runtime, StatKind, session, unix_url
from l7 import _fastpath
from l7.fastpath_pure import health as plain
from l7.fastpath_pure.health_rows import DOWN, MAINTENANCE, UP
from tests.integration.live_haproxy import application, await_listening, await_true, free_port, request

pytestmark = pytest.mark.haproxy

Health: TypeAlias = plain.Health | _fastpath.Health
SERVERS = 300
"""Of a backend: more than HAProxy puts into one of its buffers, and than comes in one piece."""

CONFIG = """
global
  stats socket {home}/cli.sock mode 600 level admin
  stats timeout 1h
defaults
  mode http
  timeout connect 1s
  timeout client 10s
  timeout server 10s
frontend in
  bind 127.0.0.1:{port}
  default_backend web
backend web
  server app 127.0.0.1:{app} check inter 100 rise 1 fall 1
  server drained 127.0.0.1:{app} disabled
  server backup 127.0.0.1:{app} backup
backend many
  server-template s 1-{servers} 127.0.0.1:1 weight 10 disabled
backend checked
  mode tcp
  option tcp-check
  tcp-check expect string "a,""b" comment "never, ever"
  server quoted 127.0.0.1:{app} check inter 100 fall 1
"""


@pytest.fixture
def socket(haproxy_binary: Path, tmp_path: Path) -> Iterator[str]:
    """The Runtime API of an HAProxy that has answered three requests, and whose one check has failed."""
    port, api = free_port(), f"{tmp_path}/cli.sock"
    with application("app") as app, (tmp_path / "log").open("wb") as log:
        text = CONFIG.format(home=tmp_path, port=port, app=app, servers=SERVERS)
        (tmp_path / "haproxy.cfg").write_text(text.lstrip("\n"))
        process = subprocess.Popen([haproxy_binary, "-db", "-f", tmp_path / "haproxy.cfg"], stdout=log, stderr=log)
        try:
            await_listening(("127.0.0.1", port), api, process, tmp_path / "log")
            for _ in range(3):
                assert request(("127.0.0.1", port), "/").status == 200
            with Runtime(unix_url(api)) as runtime:
                await_true(lambda: "a,b" in last_check(runtime), "a check whose result needs quotes")
            yield api
        finally:
            process.kill()
            process.wait()


def last_check(runtime: Runtime) -> str:
    (row,) = runtime.stat("checked", StatKind.SERVERS)
    return row.last_check


@pytest.mark.parametrize("kind", [plain.Health, _fastpath.Health], ids=["plain", "compiled"])
@pytest.mark.parametrize("size", [1, 1000, 256 * 1024])
def test_the_same_as_of_whole_dumps(socket: str, kind: type[Health], size: int) -> None:
    health = kind()
    health.begin()
    with session() as reads:
        for command in ("show servers state\n", "show stat\n"):
            with reads.post(unix_url(socket), data=command, stream=True, timeout=5) as response:
                for chunk in response.iter_content(size):
                    health.feed(0, chunk)
    changes = health.end()
    with Runtime(unix_url(socket)) as runtime:
        rows, counters = runtime.servers_state(), runtime.stat()
    assert health.unknown() == 0
    assert changes == sorted((row.backend, row.name, 0, verdict(row)) for row in rows)
    assert {(row.backend, row.server): row.sessions_total for row in counters if row.server} == {
        (backend, server): health.server(backend, server)["total"] for backend, server, _, _ in changes
    }
    assert {row.backend: row.sessions_total for row in counters if not row.server} == {
        backend: totals["own_total"] for backend, totals in health.backends().items()
    }
    assert health.backends()["web"]["own_total"] == 3
    assert [now for _, server, _, now in changes if server == "quoted"] == [DOWN]


def verdict(row: ServerRow) -> int:
    if not row.enabled:
        return MAINTENANCE
    return UP if row.up else DOWN
