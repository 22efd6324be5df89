"""The client against a scripted peer on a unix socket: faults that no real HAProxy can be made to show."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from haproxy import ops
from haproxy.runtime import InvalidBatch, Reason, Runtime, WorkerChanged, master_url, session, unix_url
from haproxy.runtime.adapter import IF_WORKER_PID, WORKER_PID, RuntimeAdapter, endpoint
from haproxy.runtime.client import Master
from l7.kit.errors import ProtocolError, Rejected, Unavailable

INFO = "Name: HAProxy\nVersion: 2.6.12-1\nPid: {pid}\nUptime_sec: 5\nStopping: 0\n"
ENABLE = ops.EnableServer("b", "s")

Script = Callable[["Peer", socket.socket], None]


class Peer:
    """Accepts connections one after another; the n-th is handled by the n-th script, later ones by the last."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.scripts: list[Script] = [answer_all()]
        self.received: list[bytes] = []
        self.connections = 0
        self.pid = 41
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(client)
            script = self.scripts[min(self.connections, len(self.scripts) - 1)]
            self.connections += 1
            self._threads.append(threading.Thread(target=script, args=(self, client)))
            self._threads[-1].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        for client in self._open:
            hang_up(client)
        for thread in self._threads[1:]:
            thread.join()


def hang_up(client: socket.socket) -> None:
    """Closes for the peer at once, even while another thread waits on the socket."""
    with contextlib.suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)
    client.close()


def greet(peer: Peer, client: socket.socket) -> None:
    """What HAProxy says when the client turns on the prompt and asks who is there."""
    wanted = b"prompt\nshow info\n"
    seen = b""
    while len(seen) < len(wanted):
        data = client.recv(len(wanted) - len(seen))
        if not data:
            return
        seen += data
    assert seen == wanted
    client.sendall(b"\n> " + INFO.format(pid=peer.pid).encode() + b"\n> ")


def answer_all(reply: bytes = b"\n> ") -> Script:
    """Greets, then answers each write with the same bytes."""

    def script(peer: Peer, client: socket.socket) -> None:
        try:
            greet(peer, client)
            while data := client.recv(65536):
                peer.received.append(data)
                client.sendall(reply)
        except OSError:
            return

    return script


def answer_then_close(reply: bytes) -> Script:
    """Greets, takes one write, sends these bytes and hangs up."""

    def script(peer: Peer, client: socket.socket) -> None:
        greet(peer, client)
        peer.received.append(client.recv(65536))
        client.sendall(reply)
        hang_up(client)

    return script


def close_after_answer(gone: threading.Event) -> Script:
    """Greets, answers one write well, hangs up, and says so."""

    def script(peer: Peer, client: socket.socket) -> None:
        answer_then_close(b"\n> ")(peer, client)
        gone.set()

    return script


@pytest.fixture
def peer() -> Iterator[Peer]:
    with tempfile.TemporaryDirectory(prefix="l7-") as directory:
        made = Peer(Path(directory, "cli.sock"))
        yield made
        made.close()


@pytest.fixture
def runtime(peer: Peer) -> Iterator[Runtime]:
    with Runtime(unix_url(peer.path), timeout=(2.0, 0.2)) as made:
        yield made


def test_one_connection_serves_many_batches(peer: Peer, runtime: Runtime) -> None:
    for _ in range(3):
        assert [result.ok for result in runtime.apply([ENABLE])] == [True]
    assert peer.connections == 1
    assert runtime.pid == 41


def test_silence_is_unavailable_and_drops_the_connection(peer: Peer, runtime: Runtime) -> None:
    peer.scripts = [answer_all(b""), answer_all()]
    with pytest.raises(Unavailable) as caught:
        runtime.apply([ENABLE])
    assert isinstance(caught.value.__cause__, requests.exceptions.ReadTimeout)
    assert runtime.apply([ENABLE])[0].ok
    assert peer.connections == 2
    assert peer.received == [b"set server b/s state ready\n"] * 2


@pytest.mark.parametrize("reply", [b"", b"No such ser", b"No such server.\n", b"\n> No such", b"\n> \n>"])
def test_an_end_amid_the_replies_is_unavailable_and_nothing_is_sent_again(
    peer: Peer, runtime: Runtime, reply: bytes
) -> None:
    peer.scripts = [answer_then_close(reply)]
    with pytest.raises(Unavailable) as caught:
        runtime.apply([ENABLE, ENABLE])
    assert isinstance(caught.value.__cause__, requests.exceptions.ConnectionError)
    assert peer.connections == 1
    assert len(peer.received) == 1


@pytest.mark.parametrize("reply", [b"\n> surprise", b"\xff\xfe\n> ", b"\n> \n> "])
def test_what_can_not_be_read_is_a_protocol_error(peer: Peer, runtime: Runtime, reply: bytes) -> None:
    peer.scripts = [answer_all(reply), answer_all()]
    with pytest.raises(ProtocolError):
        runtime.apply([ENABLE])


def test_after_a_protocol_error_the_connection_is_not_used_again(peer: Peer, runtime: Runtime) -> None:
    peer.scripts = [answer_all(b"\n> surprise"), answer_all()]
    with pytest.raises(ProtocolError):
        runtime.apply([ENABLE])
    assert runtime.apply([ENABLE])[0].ok
    assert peer.connections == 2


def test_a_connection_closed_while_idle_is_replaced_without_a_word(peer: Peer, runtime: Runtime) -> None:
    gone = threading.Event()
    peer.scripts = [close_after_answer(gone), answer_all()]
    assert runtime.apply([ENABLE])[0].ok
    assert gone.wait(5)
    assert runtime.apply([ENABLE])[0].ok
    assert peer.connections == 2
    assert len(peer.received) == 2


def test_of_connections_that_end_their_batch_at_once_one_is_kept_and_the_others_are_closed(peer: Peer) -> None:
    """Two threads may be between taking and keeping: here the second comes while the first closes what was kept."""
    adapter = RuntimeAdapter()
    first, second, third = _Closable(), _Closable(), _Closable()
    adapter._keep(peer.path, first)  # type: ignore[arg-type]
    first.on_close = lambda: adapter._keep(peer.path, third)  # type: ignore[arg-type]
    adapter._keep(peer.path, second)  # type: ignore[arg-type]
    adapter.close()
    assert (first.closed, second.closed, third.closed) == (1, 1, 1)


class _Closable:
    """A connection that counts how often it was closed."""

    def __init__(self) -> None:
        self.closed = 0
        self.on_close: Callable[[], None] = lambda: None

    def close(self) -> None:
        self.closed += 1
        self.on_close()


def test_another_worker_behind_a_new_connection_gets_nothing(peer: Peer, runtime: Runtime) -> None:
    gone = threading.Event()
    peer.scripts = [close_after_answer(gone), answer_all()]
    runtime.apply([ENABLE])
    assert gone.wait(5)
    peer.pid = 42
    with pytest.raises(Unavailable) as caught:
        runtime.apply([ENABLE])
    assert isinstance(caught.value.__cause__, WorkerChanged)
    assert len(peer.received) == 1
    runtime.reopen()
    assert runtime.apply([ENABLE])[0].ok
    assert runtime.pid == 42


def test_bytes_on_an_idle_connection_are_never_taken_for_a_reply(peer: Peer, runtime: Runtime) -> None:
    late = threading.Event()

    def script(peer: Peer, client: socket.socket) -> None:
        greet(peer, client)
        peer.received.append(client.recv(65536))
        client.sendall(b"\n> ")
        assert late.wait(5)
        client.sendall(b"No such server.\n> ")
        late.clear()

    peer.scripts = [script, answer_all()]
    assert runtime.apply([ENABLE])[0].ok
    late.set()
    wait_until(lambda: not late.is_set())
    assert runtime.apply([ENABLE])[0].ok
    assert peer.connections == 2


def wait_until(condition: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(500):
        if condition():
            return
        waiting.wait(0.01)
    raise AssertionError("did not come true in 5 s")


@pytest.mark.parametrize(
    "greeting", [b"SSH-2.0-OpenSSH\n> x\n> ", b"\n> Name: HAProxy\nPid: many\n> ", b"\n> a\n> b\n> "]
)
def test_a_peer_that_is_no_haproxy_is_a_protocol_error(peer: Peer, runtime: Runtime, greeting: bytes) -> None:
    peer.scripts = [lambda _, client: client.sendall(greeting)]
    with pytest.raises(ProtocolError):
        runtime.info()


def test_a_peer_that_never_shows_a_prompt_is_unavailable(peer: Peer) -> None:
    peer.scripts = [lambda _, client: client.sendall(b"\n")]
    with Runtime(unix_url(peer.path), timeout=(0.2, 5.0)) as runtime, pytest.raises(Unavailable) as caught:
        runtime.info()
    assert isinstance(caught.value.__cause__, requests.exceptions.ConnectTimeout)


def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    with Runtime(unix_url(str(tmp_path / "none.sock"))) as runtime, pytest.raises(Unavailable):
        runtime.info()
    with Runtime("haproxy+tcp://127.0.0.1:1/") as runtime, pytest.raises(Unavailable):
        runtime.info()


def test_an_op_that_can_not_be_said_stops_all_before_the_first_byte(peer: Peer, runtime: Runtime) -> None:
    with pytest.raises(ProtocolError):
        runtime.apply([ENABLE, ops.EnableServer("b", "s;quit")])
    assert peer.connections == 0


def test_commands_are_counted(peer: Peer) -> None:
    seen: list[tuple[str, str]] = []
    peer.scripts = [answer_all(b"\n> No such server.\n\n> "), answer_then_close(b"")]

    def count(verb: str, result: str, seconds: float) -> None:
        assert seconds >= 0
        seen.append((verb, result))

    with Runtime(unix_url(peer.path), on_command=count) as runtime:
        results = runtime.apply([ENABLE, ops.DeleteServer("b", "s")])
        assert results[1].refusal is not None
        assert results[1].refusal.reason is Reason.NOT_FOUND
        runtime.reopen()
        with pytest.raises(Unavailable):
            runtime.apply([ENABLE])
    assert seen == [
        ("set server state ready", "ok"),
        ("del server", "not found"),
        ("set server state ready", "error"),
    ]


# ---------------------------------------------------------------- the transport alone


def test_as_a_transport_of_requests(peer: Peer) -> None:
    peer.scripts = [answer_all(b"one\n\n> two\n\n> ")]
    with session() as http:
        response = http.post(unix_url(peer.path), data="a\nb\n", timeout=1)
        assert (response.status_code, response.text) == (200, "one\n\n> two\n")
        assert response.headers[WORKER_PID] == "41"
        assert http.post(f"haproxy+unix://{peer.path}", data=b"a\nb\n", timeout=(1, None)).ok
    assert peer.connections == 1


def test_a_body_streams_and_may_be_left_unread(peer: Peer) -> None:
    dump = b"".join(b"row %d\n" % n for n in range(20_000))
    peer.scripts = [answer_all(dump + b"\n> ")]
    with session() as http:
        with http.post(unix_url(peer.path), data=b"a\n", timeout=5, stream=True) as response:
            assert next(response.iter_content(100)) == dump[:100]
        with http.post(unix_url(peer.path), data=b"a\n", timeout=5, stream=True) as response:
            assert b"".join(response.iter_content(1000)) == dump
        assert http.post(unix_url(peer.path), data=b"a\n", timeout=5).content == dump
    assert peer.connections == 2


def test_two_responses_at_once_have_a_connection_each(peer: Peer) -> None:
    peer.scripts = [answer_all(b"text\n> ")]
    with session() as http:
        with http.post(unix_url(peer.path), data=b"a\n", timeout=5, stream=True) as first:
            assert http.post(unix_url(peer.path), data=b"b\n", timeout=5).content == b"text"
            assert first.content == b"text"
    assert peer.connections == 2


def test_what_is_no_batch_is_not_sent(peer: Peer) -> None:
    with session() as http:
        for body in (b"", b"a", b"a;b\n", b"\n"):
            with pytest.raises(InvalidBatch):
                http.post(unix_url(peer.path), data=body, timeout=1)
        with pytest.raises(InvalidBatch):
            http.get(unix_url(peer.path), timeout=1)
        with pytest.raises(WorkerChanged):
            http.post(unix_url(peer.path), data=b"a\n", headers={IF_WORKER_PID: "7"}, timeout=1)
        with pytest.raises(requests.exceptions.InvalidSchema):
            http.post("http://127.0.0.1:1/", data=b"a\n", timeout=1)
    assert peer.received == []


@pytest.mark.parametrize(
    ("url", "to"),
    [
        ("haproxy+unix://%2Frun%2Fl7%2Fcli.sock/", "/run/l7/cli.sock"),
        ("haproxy+unix:///run/l7/cli.sock", "/run/l7/cli.sock"),
        ("haproxy+unix://%2Frun%2Fa%20b/", "/run/a b"),
        ("haproxy-master+unix://%2Frun%2Fmaster.sock/", "/run/master.sock"),
        ("haproxy+tcp://127.0.0.1:9999/", ("127.0.0.1", 9999)),
        ("haproxy+tcp://[::1]:9999", ("::1", 9999)),
    ],
)
def test_urls(url: str, to: object) -> None:
    assert endpoint(url) == to


@pytest.mark.parametrize(
    "url",
    [
        "haproxy+tcp://10.0.0.1:9999/",
        "haproxy+tcp://0.0.0.0:9999/",
        "haproxy+tcp://example.org:9999/",
        "haproxy+tcp://127.0.0.1/",
        "haproxy+tcp://127.0.0.1:99999/",
        "haproxy+unix://relative.sock/",
        "haproxy+unix://",
    ],
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(requests.exceptions.InvalidURL):
        endpoint(url)


# ---------------------------------------------------------------- the master


def master_says(text: bytes) -> Script:
    def script(peer: Peer, client: socket.socket) -> None:
        peer.received.append(client.recv(100))
        client.sendall(text)
        hang_up(client)

    return script


def test_reload_results_of_each_version(peer: Peer) -> None:
    master = Master(master_url(peer.path), timeout=1)
    alert = b"[ALERT]    (9) : config : Fatal errors found in configuration.\n"
    peer.scripts = [
        master_says(b"Success=1\n--\n[NOTICE]   (9) : Loading success.\n"),
        master_says(b""),
        master_says(b"Success=0\n--\n[NOTICE]   (9) : haproxy version is 3.4.7\n" + alert),
        master_says(b"Permission denied\n"),
    ]
    assert master.reload() is True
    assert master.reload() is False
    with pytest.raises(Rejected) as caught:
        master.reload()
    assert caught.value.reply == alert.decode().strip()
    with pytest.raises(Rejected, match="Permission denied"):
        master.reload()
    assert peer.received == [b"reload;quit\n"] * 4
    master.close()


def test_a_silent_master_is_unavailable(peer: Peer) -> None:
    peer.scripts = [lambda _, client: client.sendall(b"#<PID>")]
    with pytest.raises(Unavailable):
        Master(master_url(peer.path), timeout=0.2).workers()


def test_reads_are_counted_too(peer: Peer) -> None:
    seen: list[tuple[str, str]] = []
    replies = [b"# name\nb1\n\n> ", b"Can't find backend.\n\n> "]

    def script(peer: Peer, client: socket.socket) -> None:
        greet(peer, client)
        for reply in replies:
            client.recv(65536)
            client.sendall(reply)
        client.recv(65536)
        hang_up(client)

    peer.scripts = [script]
    with Runtime(unix_url(peer.path), on_command=lambda verb, result, _: seen.append((verb, result))) as runtime:
        assert runtime.backends() == ("b1",)
        with pytest.raises(Rejected, match="find backend"):
            runtime.servers_state("none")
        with pytest.raises(Unavailable):
            runtime.stat()
    assert seen == [("show backend", "ok"), ("show servers state", "not found"), ("show stat", "error")]
