"""The Runtime API client against real HAProxy, of each series."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from haproxy import ops
from haproxy.capabilities import Capabilities, capabilities, parse_version
from haproxy.model import Admin, ServerRow
from haproxy.ops import Op
from haproxy.runtime import Master, Process, Reason, Runtime, StatKind, WorkerChanged, master_url, session, unix_url
from l7.kit.errors import ProtocolError, Rejected, Unavailable

pytestmark = pytest.mark.haproxy

SESSIONS = 8
"""`stats maxconn`: how many clients the Runtime API takes at once."""

CONFIG = """
global
  stats socket {home}/cli.sock mode 600 level admin
  stats socket {home}/user.sock mode 600 level user
  stats socket ipv4@127.0.0.1:{port} level admin
  stats timeout 1h
  stats maxconn {sessions}
  hard-stop-after 2s
  maxconn 100
defaults web
  mode http
  balance roundrobin
  timeout connect 1s
  timeout client 10s
  timeout server 10s
defaults fixed
  mode http
  balance static-rr
  timeout connect 1s
  timeout server 10s
frontend in from web
  bind unix@{home}/in.sock
  http-request set-var(txn.be) path,map_beg({home}/routes.map)
  http-request set-var(txn.be) var(txn.be),map_str({home}/backends.map)
  use_backend %[var(txn.be)]
backend one from web
  server static 127.0.0.1:1
backend two from web
"""


class Proxy:
    """An HAProxy in master-worker mode with its own directory."""

    def __init__(self, binary: Path, home: Path) -> None:
        self.binary = binary
        self.home = home
        self.port = free_port()
        self.routes = f"{home}/routes.map"
        for name in ("routes.map", "backends.map"):
            (home / name).touch()
        self.configure(CONFIG)
        self.start()

    def configure(self, text: str) -> None:
        text = text.format(home=self.home, port=self.port, sessions=SESSIONS)
        (self.home / "haproxy.cfg").write_text(text.lstrip("\n"))

    def start(self) -> None:
        files: list[str | Path] = ["-S", self.home / "master.sock", "-f", self.home / "haproxy.cfg"]
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen([self.binary, "-W", "-db", *files], stdout=log, stderr=log)
        wait_until(self._answers, (self.home / "log").read_text)

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self.home / "log").read_text()
        with contextlib.suppress(Unavailable), self.runtime() as runtime:
            return not runtime.info().stopping and bool(workers(self.master()))
        return False

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def runtime(self, timeout: tuple[float, float] = (2.0, 10.0)) -> Runtime:
        return Runtime(unix_url(f"{self.home}/cli.sock"), timeout)

    def master(self) -> Master:
        return Master(master_url(f"{self.home}/master.sock"), timeout=10.0)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], explain: Callable[[], str] = str) -> None:
    waiting = threading.Event()
    for _ in range(500):
        if condition():
            return
        waiting.wait(0.02)
    raise AssertionError(f"did not come true in 10 s: {explain()}")


@pytest.fixture(scope="module")
def version(haproxy_binary: Path) -> Capabilities:
    shown = subprocess.run([haproxy_binary, "-v"], capture_output=True, text=True, check=True).stdout
    return capabilities(parse_version(shown))


@pytest.fixture
def proxy(haproxy_binary: Path) -> Iterator[Proxy]:
    with tempfile.TemporaryDirectory(prefix="l7-") as home:
        made = Proxy(haproxy_binary, Path(home))
        try:
            yield made
        finally:
            made.stop()


@pytest.fixture
def runtime(proxy: Proxy) -> Iterator[Runtime]:
    with proxy.runtime() as made:
        yield made


def do(runtime: Runtime, *ops: Op) -> None:
    """Applies what has to succeed."""
    refused = [result for result in runtime.apply(ops) if not result.ok]
    assert refused == []


def reasons(runtime: Runtime, *ops: Op) -> list[Reason | None]:
    return [None if result.refusal is None else result.refusal.reason for result in runtime.apply(ops)]


def server(runtime: Runtime, backend: str, name: str) -> ServerRow:
    (row,) = [row for row in runtime.servers_state(backend) if row.name == name]
    return row


# ---------------------------------------------------------------- servers


def test_the_life_of_a_server(runtime: Runtime, version: Capabilities) -> None:
    keywords = ("check", "inter", "30s", *version.server_keywords)
    do(runtime, ops.AddServer("two", "t:1.a-b_c", "127.0.0.2", 81, id=70_000, weight=64, keywords=keywords))
    assert server(runtime, "two", "t:1.a-b_c") == ServerRow(
        "two", "t:1.a-b_c", 70_000, "127.0.0.2", 81, 64, Admin.FORCED_MAINT, up=False, check_enabled=False
    )
    do(runtime, ops.EnableServer("two", "t:1.a-b_c"), ops.EnableHealth("two", "t:1.a-b_c"))
    row = server(runtime, "two", "t:1.a-b_c")
    assert (row.usable, row.check_enabled) == (True, True)
    do(runtime, ops.SetWeight("two", "t:1.a-b_c", 7))
    assert server(runtime, "two", "t:1.a-b_c").weight == 7
    do(runtime, ops.DisableServer("two", "t:1.a-b_c"))
    row = server(runtime, "two", "t:1.a-b_c")
    assert (row.admin, row.usable) == (Admin.FORCED_MAINT, False)
    do(runtime, ops.ShutdownSessions("two", "t:1.a-b_c"), ops.DeleteServer("two", "t:1.a-b_c"))
    assert runtime.servers_state("two") == ()


def test_an_ipv6_server(runtime: Runtime) -> None:
    do(runtime, ops.AddServer("two", "v6", "::1", 81))
    assert server(runtime, "two", "v6").address == "::1"


def test_what_is_refused_and_why(runtime: Runtime) -> None:
    do(runtime, ops.AddServer("two", "s", "127.0.0.1", 81, id=5))
    assert reasons(
        runtime,
        ops.AddServer("two", "s", "127.0.0.1", 81),
        ops.AddServer("two", "other", "127.0.0.1", 81, id=5),
        ops.AddServer("none", "s", "127.0.0.1", 81),
        ops.AddServer("two", "other", "127.0.0.1", 81, keywords=("bogus",)),
        ops.EnableHealth("two", "s"),
        ops.EnableServer("two", "none"),
        ops.DisableServer("none", "s"),
        ops.SetWeight("two", "none", 1),
        ops.ShutdownSessions("two", "none"),
        ops.DeleteServer("two", "none"),
        ops.DeleteServer("one", "static"),
        ops.SetWeight("two", "s", 9),
    ) == [
        Reason.ALREADY_EXISTS,
        Reason.OTHER,
        Reason.NOT_FOUND,
        Reason.OTHER,
        Reason.OTHER,
        Reason.NOT_FOUND,
        Reason.NOT_FOUND,
        Reason.NOT_FOUND,
        Reason.NOT_FOUND,
        Reason.NOT_FOUND,
        Reason.OTHER,
        None,
    ]
    assert [row.name for row in runtime.servers_state()] == ["static", "s"]


def test_a_thousand_servers_in_one_call(runtime: Runtime) -> None:
    names = [f"task{n}" for n in range(1000)]
    adds = [ops.AddServer("two", name, "127.0.0.1", 81, id=n + 1) for n, name in enumerate(names)]
    do(runtime, *adds, *(ops.EnableServer("two", name) for name in names))
    rows = runtime.servers_state("two")
    assert sorted(row.name for row in rows if row.usable) == sorted(names)
    streamed = b"".join(runtime.stream(b"show servers state two\n"))
    assert streamed.count(b"\n") == len(rows) + 2


def test_a_server_with_a_request_under_way_is_busy(proxy: Proxy, runtime: Runtime, version: Capabilities) -> None:
    with socket.create_server(("127.0.0.1", 0)) as origin, socket.socket(socket.AF_UNIX) as client:
        port = origin.getsockname()[1]
        do(
            runtime,
            ops.AddServer("two", "s", "127.0.0.1", port, keywords=version.server_keywords),
            ops.EnableServer("two", "s"),
            ops.AddMapRow(proxy.routes, "/", "web"),
            ops.AddMapRow(f"{proxy.home}/backends.map", "web", "two"),
        )
        client.connect(f"{proxy.home}/in.sock")
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        served, _ = origin.accept()
        with served:
            do(runtime, ops.DisableServer("two", "s"))
            assert reasons(runtime, ops.DeleteServer("two", "s")) == [Reason.BUSY]
            (row,) = runtime.stat("two", StatKind.SERVERS)
            assert (row.server, row.sessions) == ("s", 1)
            do(runtime, ops.ShutdownSessions("two", "s"))
            wait_until(lambda: runtime.apply([ops.DeleteServer("two", "s")])[0].ok)
    assert runtime.servers_state("two") == ()


# ---------------------------------------------------------------- maps


def test_map_rows_with_every_special_character(proxy: Proxy, runtime: Runtime) -> None:
    rows = [
        ("a.test/;x/", "web|;"),
        ("b.test/\\d\\\\/", "back\\slash"),
        ("c.test/", "with a blank "),
        ("d.test/<<", "<<EOF"),
        ("e.test/\"q'/", 'say "it\'s"'),
        ("é.test/ü/", "€"),
        ("*.f.test/%20&=?,|/", "@#!$(x)`y`"),
    ]
    do(runtime, *(ops.AddMapRow(proxy.routes, key, value) for key, value in rows))
    assert sorted(runtime.map_rows(proxy.routes)) == sorted(rows)
    assert [runtime.get_map_row(proxy.routes, key) for key, _ in rows] == [value for _, value in rows]
    do(runtime, *(ops.SetMapRow(proxy.routes, key, f"{value};new") for key, value in rows))
    assert sorted(runtime.map_rows(proxy.routes)) == sorted((key, f"{value};new") for key, value in rows)
    do(runtime, *(ops.DeleteMapRow(proxy.routes, key) for key, _ in rows))
    assert runtime.map_rows(proxy.routes) == ()


def test_a_key_with_a_blank_is_found_exactly(proxy: Proxy, runtime: Runtime) -> None:
    do(runtime, ops.AddMapRow(proxy.routes, "a b/", "v"))
    assert runtime.get_map_row(proxy.routes, "a b/") == "v"
    assert runtime.get_map_row(proxy.routes, "a b/c") is None
    assert runtime.get_map_row(proxy.routes, "zzz") is None


def test_adding_twice_stores_twice(proxy: Proxy, runtime: Runtime, version: Capabilities) -> None:
    row = ops.AddMapRow(proxy.routes, "k/", "v")
    do(runtime, row, row)
    assert runtime.map_rows(proxy.routes) == (("k/", "v"), ("k/", "v"))
    do(runtime, ops.DeleteMapRow(proxy.routes, "k/"))
    if not version.deletes_all_copies:
        assert runtime.map_rows(proxy.routes) == (("k/", "v"),)
        do(runtime, ops.DeleteMapRow(proxy.routes, "k/"))
    assert runtime.map_rows(proxy.routes) == ()
    assert reasons(runtime, ops.DeleteMapRow(proxy.routes, "k/")) == [Reason.NOT_FOUND]
    absent: list[Op] = [ops.SetMapRow(proxy.routes, "k/", "v"), ops.AddMapRow("/no/such.map", "k", "v")]
    assert reasons(runtime, *absent) == [Reason.NOT_FOUND, Reason.NOT_FOUND]


def test_a_map_is_replaced_as_a_whole(proxy: Proxy, runtime: Runtime) -> None:
    do(runtime, ops.AddMapRow(proxy.routes, "old/", "v"))
    rows = [(f"host{n}.test/", f"service{n}|") for n in range(5000)] + [("a b/", "c;d"), ("x/", " lead")]
    runtime.replace_map(proxy.routes, rows)
    shown = runtime.map_rows(proxy.routes)
    assert len(shown) == len(rows)
    assert set(shown) >= set(rows[:5000])
    assert runtime.get_map_row(proxy.routes, "a b/") == "c;d"
    assert runtime.get_map_row(proxy.routes, "x/") == " lead"
    runtime.replace_map(proxy.routes, [])
    assert runtime.map_rows(proxy.routes) == ()


def test_a_map_that_can_not_be_loaded_stays_as_it_was(proxy: Proxy, runtime: Runtime) -> None:
    runtime.replace_map(proxy.routes, [("old/", "v")])
    rows = [(f"host{n}.test/", f"service{n}|") for n in range(1000)]
    with pytest.raises(ProtocolError):
        runtime.replace_map(proxy.routes, [*rows, ("bad\n", "v")])
    with pytest.raises(Rejected, match="Unknown map"):
        runtime.replace_map("/no/such.map", rows)
    assert runtime.map_rows(proxy.routes) == (("old/", "v"),)
    runtime.replace_map(proxy.routes, rows)
    assert len(runtime.map_rows(proxy.routes)) == 1000


# ---------------------------------------------------------------- backends


def test_the_life_of_a_backend(runtime: Runtime, version: Capabilities) -> None:
    if not version.dynamic_backends:
        assert (
            reasons(
                runtime,
                ops.AddBackend("web", "web"),
                ops.PublishBackend("one"),
                ops.UnpublishBackend("one"),
                ops.DeleteBackend("one"),
            )
            == [Reason.UNSUPPORTED] * 4
        )
        assert runtime.backends() == ("one", "two")
        return
    do(
        runtime,
        ops.AddBackend("a:b", "web"),
        ops.AddServer("a:b", "s", "127.0.0.1", 81),
        ops.PublishBackend("a:b"),
        ops.PublishBackend("a:b"),
    )
    assert "a:b" in runtime.backends()
    taken = [ops.AddBackend("a:b", "web"), ops.AddBackend("in", "web"), ops.AddBackend("web", "web")]
    assert reasons(runtime, *taken) == [Reason.ALREADY_EXISTS, Reason.OTHER, Reason.OTHER]
    assert reasons(runtime, ops.AddBackend("c", "nope"), ops.DeleteBackend("a:b")) == [Reason.OTHER, Reason.OTHER]
    do(runtime, ops.UnpublishBackend("a:b"))
    assert reasons(runtime, ops.DeleteBackend("a:b")) == [Reason.BUSY]
    do(runtime, ops.DisableServer("a:b", "s"), ops.DeleteServer("a:b", "s"), ops.DeleteBackend("a:b"))
    assert "a:b" not in runtime.backends()
    assert reasons(runtime, ops.DeleteBackend("a:b")) == [Reason.NOT_FOUND]


def test_a_backend_that_can_not_have_servers_is_refused(runtime: Runtime, version: Capabilities) -> None:
    if not version.dynamic_backends:
        pytest.skip("no dynamic backends in this series")
    (result,) = runtime.apply([ops.AddBackend("c", "fixed")])
    assert result.refusal is not None
    assert "no support for dynamic servers" in result.refusal.text


# ---------------------------------------------------------------- reads


def test_info_and_stat(runtime: Runtime, version: Capabilities) -> None:
    info = runtime.info()
    assert (info.version, info.pid, info.stopping) == (version.version, runtime.pid, False)
    assert runtime.capabilities() == version
    rows = runtime.stat()
    assert [(row.backend, row.server) for row in rows] == [("one", "static"), ("one", ""), ("two", "")]
    (backend,) = runtime.stat("one", StatKind.BACKENDS)
    assert (backend.kind, backend.status, backend.sessions) == (StatKind.BACKENDS, "UP", 0)


def test_shows_of_what_is_not_there_are_rejected(runtime: Runtime) -> None:
    for show in (
        lambda: runtime.servers_state("none"),
        lambda: runtime.map_rows("/no/such.map"),
        lambda: runtime.get_map_row("/no/such.map", "k"),
    ):
        with pytest.raises(Rejected):
            show()


def test_a_socket_without_the_right_is_unsupported(proxy: Proxy) -> None:
    with Runtime(unix_url(f"{proxy.home}/user.sock")) as runtime:
        assert reasons(runtime, ops.EnableServer("one", "static")) == [Reason.UNSUPPORTED]


# ---------------------------------------------------------------- connections


def test_over_loopback_tcp(proxy: Proxy) -> None:
    with Runtime(f"haproxy+tcp://127.0.0.1:{proxy.port}/") as runtime:
        do(runtime, ops.AddServer("two", "s", "127.0.0.1", 81))
        assert server(runtime, "two", "s").port == 81


def test_one_post_is_one_batch(proxy: Proxy, version: Capabilities) -> None:
    with session() as http:
        response = http.post(
            unix_url(f"{proxy.home}/cli.sock"), data="show version\nset server one/static weight 2\n", timeout=5
        )
    shown, weight = response.text.split("\n> ")
    assert parse_version(shown) == version.version
    assert weight == ""


def test_when_all_sessions_are_taken_the_client_does_not_hang(proxy: Proxy) -> None:
    with contextlib.ExitStack() as others:
        for _ in range(SESSIONS):
            taken = others.enter_context(socket.socket(socket.AF_UNIX))
            taken.settimeout(5)
            taken.connect(f"{proxy.home}/cli.sock")
            taken.sendall(b"prompt\n")
            assert taken.recv(10)
        with proxy.runtime(timeout=(0.3, 5.0)) as runtime, pytest.raises(Unavailable) as caught:
            runtime.info()
        assert isinstance(caught.value.__cause__, requests.exceptions.ConnectTimeout)
    with proxy.runtime() as runtime:
        assert runtime.info().pid


def test_after_a_reload_the_old_worker_is_known_for_what_it_is(
    proxy: Proxy, runtime: Runtime, version: Capabilities
) -> None:
    do(runtime, ops.AddServer("two", "s", "127.0.0.1", 81))
    old = runtime.info().pid
    master = proxy.master()
    assert master.reload() is version.reload_result
    wait_until(lambda: connected_to(proxy) not in (None, old))
    assert runtime.pid == old
    wait_until(lambda: runtime.info().stopping)
    wait_until(lambda: len(workers(master)) > 0)
    (new,) = [worker for worker in workers(master) if not worker.old]
    runtime.reopen()
    assert (runtime.info().pid, runtime.info().stopping) == (new.pid, False)
    assert runtime.servers_state("two") == ()
    do(runtime, ops.AddServer("two", "s", "127.0.0.1", 81))
    master.close()


def workers(master: Master) -> tuple[Process, ...]:
    with contextlib.suppress(Unavailable):  # the master executes itself anew, and its socket with it
        return master.workers()
    return ()


def connected_to(proxy: Proxy) -> int | None:
    with contextlib.suppress(Unavailable), proxy.runtime() as fresh:
        return fresh.info().pid
    return None


def test_a_reload_of_a_broken_configuration_keeps_the_worker(proxy: Proxy, version: Capabilities) -> None:
    master = proxy.master()
    (before,) = master.workers()
    proxy.configure(CONFIG + "  nonsense\n")
    if version.reload_result:
        with pytest.raises(Rejected, match="nonsense"):
            master.reload()
    else:
        assert master.reload() is False
    wait_until(lambda: connected_to(proxy) == before.pid)
    wait_until(lambda: [worker.pid for worker in workers(master)] == [before.pid])
    with proxy.runtime() as runtime:
        assert not runtime.info().stopping
    master.close()


def test_after_a_restart_nothing_goes_to_the_new_worker_before_reopen(proxy: Proxy, runtime: Runtime) -> None:
    do(runtime, ops.AddServer("two", "s", "127.0.0.1", 81))
    proxy.stop()
    with pytest.raises(Unavailable):
        runtime.apply([ops.EnableServer("two", "s")])
    proxy.start()
    with pytest.raises(Unavailable) as caught:
        runtime.apply([ops.AddServer("two", "s", "127.0.0.1", 81)])
    assert isinstance(caught.value.__cause__, WorkerChanged)
    runtime.reopen()
    assert runtime.servers_state("two") == ()
