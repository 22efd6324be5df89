"""HAProxy's checks of tasks: what they ask, what they accept, and how often, on a real HAProxy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from haproxy.checks import check_of
from haproxy.model import Backend, HealthCheck, Protocol, Server, ServerSettings
from haproxy.probe import passes
from haproxy.runtime.client import Runtime
from testbed.certificates import self_signed
from tests.integration.live_backend import Application, LiveBackend, application, live_backend
from tests.integration.live_haproxy import await_true

pytestmark = pytest.mark.haproxy

Start = Callable[..., LiveBackend]
HTTP = HealthCheck("/health?full=1")


@pytest.fixture
def start(haproxy_binary: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts an HAProxy with the backend `web`, whose checks are quick; its fields are arguments."""
    with ExitStack() as stack:

        def start(own: ServerSettings | None = None, **fields: Any) -> LiveBackend:
            own = own or ServerSettings()
            backend = Backend("web", ("web",), settings=(replace(own, check_interval=50),), **fields)
            return stack.enter_context(live_backend(haproxy_binary, tmp_path, backend))

        yield start


@pytest.fixture
def app() -> Iterator[Application]:
    with application("one") as one:
        yield one


def sick(method: str, path: str) -> int | None:
    return 503


def well(method: str, path: str) -> int | None:
    return 200


def await_state(live: LiveBackend, name: str, up: bool) -> None:
    await_true(lambda: live.is_up(name) is up, f"{name} is {'up' if up else 'down'}")


def await_checks(app: Application, number: int = 3) -> None:
    """So many more have been answered."""
    until = len(app.checked) + number
    await_true(lambda: len(app.checked) >= until, "checks")


def test_what_is_asked(start: Start, app: Application) -> None:
    live = start(check=HealthCheck("/health?full=1", "check.test"))
    (name,) = live.add(app)
    await_checks(app)
    assert set(app.checked) == {("/health?full=1", "check.test")}
    assert live.is_up(name)


def test_a_host_of_our_choice(start: Start, app: Application) -> None:
    start(check=HTTP).add(app)
    await_checks(app)
    assert set(app.checked) == {("/health?full=1", "localhost")}


def test_without_a_path_only_connections_are_made(start: Start, app: Application) -> None:
    live = start()
    app.behaviour = sick
    (name,) = live.add(app)
    other = live.put(Server("gone", 9, "127.0.0.1", 1))
    await_state(live, other, False)
    assert live.is_up(name)
    assert app.seen == []


@pytest.mark.parametrize(
    ("statuses", "status", "up"),
    [
        ((), 200, True), ((), 204, True), ((), 302, True), ((), 399, True), ((), 400, False), ((), 500, False),
        ((418,), 418, True), ((418,), 200, False), ((200, 204), 204, True), ((200, 204), 201, False),
    ],
)  # fmt: skip
def test_which_statuses_are_accepted(
    start: Start, app: Application, statuses: tuple[int, ...], status: int, up: bool
) -> None:
    live = start(check=HealthCheck("/", "", statuses))
    app.behaviour = lambda method, path: status
    (name,) = live.add(app)
    await_checks(app)
    await_state(live, name, up)
    check = check_of(live.backend, Server("one", 1, "127.0.0.1", app.port))
    assert asyncio.run(passes(check)) is up


def test_path_host_and_statuses_change_while_it_runs(start: Start, app: Application) -> None:
    live = start(check=HTTP)
    app.behaviour = lambda method, path: 200 if path == "/health?full=1" else 418
    (name,) = live.add(app)
    await_checks(app)
    live.set_rows(replace(live.backend, check=HealthCheck("/other")))
    await_state(live, name, False)
    live.set_rows(replace(live.backend, check=HealthCheck("/other", "b.test", (418,))))
    await_state(live, name, True)
    await_checks(app)
    assert app.checked[-1] == ("/other", "b.test")
    live.set_rows(replace(live.backend, check=HTTP))
    await_checks(app)
    assert app.checked[-1] == ("/health?full=1", "localhost")
    assert live.is_up(name)


def test_it_is_taken_out_when_it_fails_and_back_when_it_is_well(start: Start, app: Application) -> None:
    live = start(check=HTTP)
    (name,) = live.add(app)
    app.behaviour = sick
    await_state(live, name, False)
    app.behaviour = well
    await_state(live, name, True)
    assert live.ask().status == 200


def test_how_many_checks_take_it_out_and_back(start: Start, app: Application) -> None:
    slowly = 1000  # an interval is a check's timeout, too: none may run out, on a busy machine
    live = start(ServerSettings(check_fall=4, check_rise=3, check_interval=slowly), check=HTTP)
    (name,) = live.add(app)
    await_checks(app)
    answers: list[tuple[int, bool]] = []

    def note(status: int) -> Callable[[str, str], int]:
        return lambda method, path: (answers.append((status, live_up())), status)[1]

    def live_up() -> bool:
        """In the application's thread, and so by a client of its own."""
        with Runtime(live.proxy.runtime_url) as runtime:
            return next(row for row in runtime.servers_state(live.physical) if row.name == name).up

    app.behaviour = note(503)
    await_state(live, name, False)
    app.behaviour = note(200)
    await_state(live, name, True)
    assert [up for status, up in answers if status == 503][:4] == [True] * 4
    assert [up for status, up in answers if status == 200][:3] == [False] * 3


def test_a_port_of_its_own(start: Start, app: Application) -> None:
    with application("admin") as admin:
        live = start(ServerSettings(check_port=admin.port), check=HTTP)
        (name,) = live.add(app)
        await_checks(admin)
        assert app.checked == []
        admin.behaviour = sick
        await_state(live, name, False)


# ---------------------------------------------------------------- protocols


@pytest.mark.parametrize("check", [None, HTTP])
@pytest.mark.parametrize("own_port", [False, True])
def test_checks_of_a_task_that_speaks_tls(
    start: Start, tmp_path: Path, check: HealthCheck | None, own_port: bool
) -> None:
    tls = self_signed(tmp_path, "http/1.1")
    with application("one", tls=tls) as app, application("admin", tls=tls) as admin:
        live = start(ServerSettings(protocol=Protocol.HTTPS, check_port=admin.port if own_port else 0), check=check)
        (name,) = live.add(app)
        if check:
            await_checks(admin if own_port else app)
        assert live.ask().body == b"one"
        assert live.is_up(name)
        server = Server("one", 1, "127.0.0.1", app.port)
        assert asyncio.run(passes(check_of(live.backend, server)))


def test_a_task_without_tls_fails_such_a_check(start: Start, app: Application) -> None:
    live = start(ServerSettings(protocol=Protocol.HTTPS))
    (name,) = live.add(app)
    await_state(live, name, False)
    check = check_of(live.backend, Server("one", 1, "127.0.0.1", app.port))
    assert not asyncio.run(passes(replace(check, patience=200)))
