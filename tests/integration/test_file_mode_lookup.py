"""Where no task that the files name is up, a stock HAProxy finds those that came since by Docker's DNS."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from haproxy import lookup
from haproxy.capabilities import OLDEST, capabilities
from haproxy.file_mode import FileMode
from haproxy.lookup import DNS
from haproxy.model import Backend, Desired, Route, Server, ServerSettings
from haproxy.render import render_config
from haproxy.roll import Roller
from haproxy.settings import Settings
from testbed import processes
from testbed.swarm import wait_for
from tests.integration.dns import GONE, HERE, name_server
from tests.integration.live_haproxy import application as app
from tests.integration.live_haproxy import free_port, request
from tests.integration.test_file_mode import app_of, rendered, stock

pytestmark = pytest.mark.haproxy


@pytest.fixture
def roller(haproxy_binary: Path, tmp_path: Path, stack: ExitStack, names: dict[str, list[str]]) -> Roller:
    for name in ("secrets", "run"):
        (tmp_path / name).mkdir()
    dns = stack.enter_context(name_server(names))
    mode = FileMode(f"{tmp_path}/etc/main.cfg", free_port(), free_port(), str(tmp_path), dns)
    return Roller(mode, tmp_path / "secrets", tmp_path / "run", str(haproxy_binary))


def state(*servers: Server, services: tuple[str, ...] = ("web",), **more: object) -> Desired:
    backend = Backend("web", services, servers={each.task: each for each in servers}, **more)  # type: ignore[arg-type]
    routes = {("a.test", "/"): Route("a.test", "/", "web")}
    return Desired("r", {"web": backend}, routes, config=b'{"ConnectTimeout": 1}')


def gone(port: int, **more: int) -> Server:
    return Server("t1", 1, GONE, port, **more)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_task_that_came_since_is_found(roller: Roller, tmp_path: Path, method: str) -> None:
    with app("new") as port, stock(roller, rendered(roller, state(gone(port))), tmp_path) as address:
        for _ in range(3):
            answer = request(address, "/x", "Host: a.test", method=method, body="hello" if method == "POST" else "")
            assert (answer.status, app_of(answer)) == (200, "new")


def test_nobody_waits_for_checks_to_say_that_a_task_is_gone(roller: Roller, tmp_path: Path) -> None:
    seldom = (ServerSettings(check_interval=60_000),)
    with app("new") as port, socket.create_server((GONE, port)) as task:
        with stock(roller, rendered(roller, state(gone(port), settings=seldom)), tmp_path) as address:
            path = roller.mode.settings.socket
            wait_for("the first check", lambda: ",L4OK," in processes.ask_unix(os.getpid(), path, "show stat"))
            task.close()
            assert request(address, "/", "Host: a.test").status == 200


def test_those_that_the_files_name_go_first(roller: Roller, tmp_path: Path, names: dict[str, list[str]]) -> None:
    names["tasks.web"] = ["127.0.0.2"]
    with app("old") as port:
        files = rendered(roller, state(Server("t1", 1, HERE, port)))
        with stock(roller, files, tmp_path) as address:
            assert {app_of(request(address, "/", "Host: a.test")) for _ in range(20)} == {"old"}


@pytest.mark.parametrize("before", [None, ["127.0.0.8"]])
def test_who_is_not_there_yet_is_waited_for(
    roller: Roller, tmp_path: Path, names: dict[str, list[str]], before: list[str] | None
) -> None:
    """As live: a request waits for a successor, whether DNS knows nobody or somebody who has gone."""
    del names["tasks.web"]
    if before is not None:
        names["tasks.web"] = before
    statuses: list[int] = []
    with app("new") as port, stock(roller, rendered(roller, state(gone(port))), tmp_path) as address:
        thread = threading.Thread(target=lambda: statuses.append(request(address, "/", "Host: a.test").status))
        thread.start()
        thread.join(1.5)
        assert thread.is_alive()
        names["tasks.web"] = [HERE]
        thread.join()
    assert statuses == [200]


def test_the_greater_service_is_asked_first_and_one_without_tasks_is_not(
    roller: Roller, tmp_path: Path, names: dict[str, list[str]]
) -> None:
    names["tasks.canary"] = ["127.0.0.3"]
    with app("new") as port:
        small = replace(gone(port), task="t2", id=2, service=1, weight=1)
        files = rendered(roller, state(small, gone(port, weight=9), services=("web", "canary", "none")))
        text = files.files["haproxy.cfg"].decode()
        assert text.index(f"tasks.web:{port}") < text.index(f"tasks.canary:{port}")
        assert "tasks.none" not in text
        with stock(roller, files, tmp_path) as address:
            assert request(address, "/", "Host: a.test").status == 200


def test_a_service_is_spoken_to_as_its_tasks_are(roller: Roller, tmp_path: Path) -> None:
    settings = (ServerSettings(max_connections=7, max_fails=2),)
    files = rendered(roller, state(gone(80), settings=settings))
    (line,) = [each for each in files.files["haproxy.cfg"].decode().splitlines() if "tasks.web" in each]
    assert line.endswith("init-addr none maxconn 7")


def test_proxies_that_are_driven_look_nobody_up() -> None:
    text = render_config(Settings(), capabilities(OLDEST), state(gone(80)), {"web": "web"}, ())
    assert "resolvers" not in text


@pytest.mark.parametrize(("backends", "pause"), [(1, 1), (199, 1), (1000, 10)])
def test_of_many_names_each_is_asked_for_less_often(backends: int, pause: int) -> None:
    (text,) = lookup.sections(Settings(name_server=DNS), backends)
    assert f"  timeout resolve {pause}000ms\n" in text
