"""The kit: logs, backoff, tasks, TLS addresses and names, metrics, admin HTTP server."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import logging
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import aiohttp
import pytest
import structlog
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from l7.kit import http, logs, tasks, tls
from l7.kit.backoff import Backoff
from l7.kit.errors import ConfigError, Unavailable
from l7.kit.metrics import Metrics


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


# ------------------------------------------------------------------------------------------- logs


def test_a_line_is_one_json_object_with_event_and_keys(out: io.StringIO) -> None:
    logs.configure(stream=out)
    logs.get("serve.grpc").info("stream opened", cluster="", path=Path("/x"))
    line = json.loads(out.getvalue())
    assert (line["event"], line["part"], line["cluster"], line["path"]) == ("stream opened", "serve.grpc", "", "/x")
    assert line["level"] == "info"
    assert line["time"].endswith("Z")


def test_a_logger_made_before_configure_obeys_it(out: io.StringIO) -> None:
    log = logs.get("early")
    logs.configure(level="warning", stream=out)
    log.info("not said")
    log.warning("said")
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["said"]


def test_bound_context_is_on_every_line_within_and_gone_after(out: io.StringIO) -> None:
    logs.configure(stream=out)
    log = logs.get("x")
    with logs.bound(revision="r1"):
        log.info("in")
    log.info("after")
    inner, after = (json.loads(line) for line in out.getvalue().splitlines())
    assert inner["revision"] == "r1"
    assert "revision" not in after


def test_a_traceback_stays_within_its_line(out: io.StringIO) -> None:
    logs.configure(stream=out)
    try:
        raise Unavailable("gone")
    except Unavailable:
        logs.get("x").error("failed", exc_info=True)
    (line,) = out.getvalue().splitlines()
    assert "Unavailable: gone" in json.loads(line)["exception"]


def test_lines_of_libraries_have_the_same_form(out: io.StringIO) -> None:
    logs.configure(stream=out)
    logging.getLogger("some.library").warning("odd %s", "thing")
    line = json.loads(out.getvalue())
    assert (line["event"], line["part"], line["level"]) == ("odd thing", "some.library", "warning")


def test_text_format_is_for_people(out: io.StringIO) -> None:
    logs.configure(format="text", stream=out)
    logs.get("x").info("stream opened", cluster="blue")
    assert "stream opened" in out.getvalue()
    assert "cluster=blue" in out.getvalue()


@pytest.mark.parametrize(("level", "format"), [("loud", "json"), ("info", "xml")])
def test_unknown_level_or_format_is_refused(level: str, format: str) -> None:
    with pytest.raises(ConfigError):
        logs.configure(level, format)


# ---------------------------------------------------------------------------------------- backoff


def test_delays_grow_to_the_limit() -> None:
    delays = Backoff(first=1, factor=3, limit=10).delays()
    assert list(itertools.islice(delays, 5)) == [1, 3, 9, 10, 10]


@settings(deadline=None)
@given(st.integers(), st.floats(0, 1), st.floats(1, 4))
def test_jitter_only_shortens_and_by_no_more_than_its_share(seed: int, jitter: float, factor: float) -> None:
    backoff = Backoff(first=0.5, factor=factor, limit=4, jitter=jitter)
    pairs = zip(backoff.delays(), backoff.jittered(Random(seed)), strict=False)
    for plain, jittered in itertools.islice(pairs, 20):
        assert plain * (1 - jitter) <= jittered <= plain


# ------------------------------------------------------------------------------------------ tasks


async def test_parts_stop_in_reverse_order() -> None:
    stop, stopped = asyncio.Event(), []

    def part(name: str) -> tasks.Part:
        async def run(own_stop: asyncio.Event) -> None:
            await own_stop.wait()
            stopped.append(name)

        return tasks.Part(name, run)

    stop.set()
    await tasks.run([part("watch"), part("serve"), part("admin")], stop)
    assert stopped == ["admin", "serve", "watch"]


async def test_a_failing_part_ends_the_others_and_is_raised() -> None:
    ended = asyncio.Event()

    async def steady(stop: asyncio.Event) -> None:
        await stop.wait()
        ended.set()

    async def failing(_stop: asyncio.Event) -> None:
        raise Unavailable("no swarm")

    with pytest.raises(Unavailable, match="no swarm"):
        await tasks.run([tasks.Part("steady", steady), tasks.Part("failing", failing)], asyncio.Event())
    assert ended.is_set()


async def test_a_part_that_does_not_stop_is_cancelled() -> None:
    cancelled = asyncio.Event()

    async def stubborn(_stop: asyncio.Event) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    stop = asyncio.Event()
    stop.set()
    await tasks.run([tasks.Part("stubborn", stubborn, grace=0.01)], stop)
    assert cancelled.is_set()


@pytest.mark.parametrize("number", tasks.stop_signals())
async def test_signals_set_stop(number: int) -> None:
    stop = asyncio.Event()
    async with tasks.signals(stop):
        os.kill(os.getpid(), number)
        await stop.wait()


async def test_a_signal_that_came_before_sets_stop_when_it_was_blocked() -> None:
    stop = asyncio.Event()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGQUIT])
    try:
        signal.pthread_kill(threading.get_ident(), signal.SIGQUIT)  # others have it unblocked
        async with tasks.signals(stop):
            await stop.wait()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def test_first_gives_up_work_when_stop_is_set() -> None:
    stop = asyncio.Event()
    assert await tasks.first(stop, asyncio.sleep(0)) is True
    stop.set()
    assert await tasks.first(stop, asyncio.Event().wait()) is False


async def test_first_raises_what_the_work_raised() -> None:
    async def fail() -> None:
        raise Unavailable("x")

    with pytest.raises(Unavailable):
        await tasks.first(asyncio.Event(), fail())


# -------------------------------------------------------------------------------------------- tls


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("127.0.0.1:4000", True),
        ("localhost:4000", True),
        ("[::1]:4000", True),
        ("unix:/run/l7/core.sock", True),
        ("ipv4:127.0.0.1:4000", True),
        ("dns:///localhost:4000", True),
        ("0.0.0.0:4000", False),
        ("[::]:4000", False),
        ("core:4000", False),
        ("dns:///core:4000", False),
        ("127.0.0.1.example.org:4000", False),
        (":4000", False),
        ("", False),
    ],
)
def test_plain_is_private_only_on_loopback_and_unix(address: str, private: bool) -> None:
    assert tls.is_private(address) is private
    if private:
        tls.require_private(address)
    else:
        with pytest.raises(ConfigError):
            tls.require_private(address)


def test_clusters_of_a_peer_come_from_its_uris() -> None:
    names = tls.peer_names({"x509_subject_alternative_name": [b"l7://cluster/blue/proxy", b"core", b"l7://core"]})
    assert tls.CORE_URI in names
    assert tls.peer_clusters(names) == {"blue"}
    assert tls.peer_clusters(frozenset({tls.proxy_uri("")})) == {""}


@pytest.mark.parametrize(
    "name", ["l7://cluster//proxy", "l7://cluster/a/b/proxy", "l7://cluster/a/proxy/", "xl7://cluster/a/proxy"]
)
def test_a_crooked_uri_speaks_for_no_cluster(name: str) -> None:
    assert tls.peer_clusters(frozenset({name})) == frozenset()


def test_unusable_tls_files_are_config_errors(tmp_path: Path) -> None:
    missing = tls.TlsFiles(ca=str(tmp_path / "ca"), identity=str(tmp_path / "id"))
    with pytest.raises(ConfigError, match="cannot be read"):
        tls.server_credentials(lambda: missing)
    (tmp_path / "ca").write_text("x")
    (tmp_path / "id").write_text("x")
    with pytest.raises(ConfigError, match="private key"):
        tls.client_credentials(missing)


# ---------------------------------------------------------------------------------------- metrics


def test_only_the_revision_in_effect_is_exposed() -> None:
    metrics = Metrics("core", "1")
    for revision in ("a", "b", "b"):
        metrics.set_revision("", revision)
    text = metrics.exposition().decode()
    assert 'l7_revision{cluster="",revision="b",role="core"} 1.0' in text
    assert 'revision="a"' not in text


def test_two_processes_of_one_interpreter_do_not_share_metrics() -> None:
    one, two = Metrics("core", "1"), Metrics("sidecar", "1")
    one.drift.inc()
    assert "l7_drift_total 1.0" in one.exposition().decode()
    assert "l7_drift_total 0.0" in two.exposition().decode()


def test_a_solved_problem_leaves_the_exposition() -> None:
    metrics = Metrics("core", "1")
    metrics.set_problems({"com.docker.lb.port": 2})
    metrics.set_problems({})
    assert "com.docker.lb.port" not in metrics.exposition().decode()


def test_the_last_reload_alone_is_exposed() -> None:
    metrics = Metrics("sidecar", "1")
    assert "l7_last_reload_success{" not in metrics.exposition().decode()
    metrics.reloaded("settings", True, 5.0)
    metrics.reloaded("spare-pool", False, 9.5)
    found = [line for line in metrics.exposition().decode().splitlines() if line.startswith("l7_last_reload")]
    assert found == [
        'l7_last_reload_success{reason="spare-pool"} 0.0',
        'l7_last_reload_timestamp_seconds{reason="spare-pool"} 9.5',
    ]


# ------------------------------------------------------------------------------------------- http


async def _get(socket: str, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket)) as session:
        async with session.get(f"http://l7{path}") as answer:
            return answer.status, await answer.text()


async def test_admin_server_says_what_it_is_told(tmp_path: Path) -> None:
    socket, reason = str(tmp_path / "deep" / "admin.sock"), ["no sync yet"]
    admin = http.Admin(Metrics("core", "1"), lambda: reason[0], lambda: {"routes": 3})
    async with http.listening(admin, "", socket):
        assert await _get(socket, "/healthz") == (200, "ok\n")
        assert await _get(socket, "/readyz") == (503, "no sync yet\n")
        reason[0] = ""
        assert (await _get(socket, "/readyz"))[0] == 200
        assert json.loads((await _get(socket, "/status"))[1]) == {"routes": 3}
        assert "l7_ready 0.0" in (await _get(socket, "/metrics"))[1]
        assert os.stat(socket).st_mode & 0o077 == 0


async def test_a_daemon_has_pages_of_its_own(tmp_path: Path) -> None:
    async def page(request: web.Request) -> web.Response:
        return web.Response(text=request.query_string)

    admin = http.Admin(Metrics("sidecar", "1"), lambda: "", dict, {"/metrics/more": page})
    async with http.listening(admin, "", str(tmp_path / "s")):
        assert await _get(str(tmp_path / "s"), "/metrics/more?a=b") == (200, "a=b")
        assert "l7_ready" in (await _get(str(tmp_path / "s"), "/metrics"))[1]


async def test_admin_server_ends_when_told_and_can_be_started_again(tmp_path: Path) -> None:
    admin = http.Admin(Metrics("core", "1"), lambda: "", dict)
    stop = asyncio.Event()
    stop.set()
    await http.serve(admin, "127.0.0.1:0", str(tmp_path / "s"), stop)
    async with http.listening(admin, "", str(tmp_path / "s")):
        assert (await _get(str(tmp_path / "s"), "/healthz"))[0] == 200


async def test_an_address_that_is_taken_is_unavailable() -> None:
    admin = http.Admin(Metrics("core", "1"), lambda: "", dict)
    with pytest.raises(Unavailable, match="cannot listen"):
        async with http.listening(admin, "192.0.2.1:9", ""):
            pytest.fail("bound a foreign address")


async def test_a_socket_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="cannot listen"):
        async with http.listening(
            http.Admin(Metrics("core", "1"), lambda: "", dict), "", str(tmp_path / "file" / "s")
        ):
            pytest.fail("made a socket in a file")


@pytest.mark.parametrize("address", ["4000", "host:http", "host:70000", "host:"])
def test_crooked_admin_addresses_are_refused(address: str) -> None:
    with pytest.raises(ConfigError):
        http.parse_address(address if ":" in address else f"x{address}")


def test_admin_address_without_host_is_loopback() -> None:
    assert http.parse_address(":9000") == ("127.0.0.1", 9000)
    assert http.parse_address("[::1]:9000") == ("::1", 9000)
