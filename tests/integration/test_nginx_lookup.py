"""Requests that reach no task which the files name, on a real NGINX: Docker's DNS knows those that came since."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from l7.v1 import sync_pb2 as pb
from tests.integration.dns import GONE, HERE, name_server
from tests.integration.live_haproxy import application, request
from tests.integration.live_nginx import World

pytestmark = pytest.mark.nginx

HOLE = "127.0.0.8"
BODY = {"GET": "", "POST": "hello"}


@pytest.fixture
def world(tmp_path: Path, stack: ExitStack, names: dict[str, list[str]]) -> World:
    """`a.test` leads to tasks that have gone; one named `new` has come on the same port."""
    world = World(tmp_path, resolver=stack.enter_context(name_server(names)))
    world.backend("web", stack.enter_context(application("new")), address=GONE)
    world.route("a.test", "/", "web", rules="web")
    return world


@contextmanager
def hanging_up(address: str = GONE) -> Iterator[tuple[int, list[bytes]]]:
    """A task that reads a request and ends the connection; its port, and what it has read."""
    seen: list[bytes] = []
    with socket.create_server((address, 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    seen.append(connection.recv(65536))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1], seen
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_task_that_came_since_is_found(world: World, method: str) -> None:
    with world.running():
        for _ in range(3):
            answer = request(world.address, "/x%2Fy?q=1", "host: a.test", method=method, body=BODY[method])
            assert (answer.status, answer.seen["app"]) == (200, "new")
            assert (answer.seen["method"], answer.seen["target"]) == (method, "/x%2Fy?q=1")
            assert answer.seen["body"] == BODY[method]
            assert not answer.error
            assert answer.headers["x-upstream-addr"].startswith(GONE)


def test_rules_hold_for_it_too(world: World) -> None:
    """And count once: a rate is for requests, not for tasks they are sent to."""
    sets = pb.HEADER_ACTION_SET
    world.state.rules["web"] = pb.Rules(
        name="web",
        request_headers=[pb.HeaderChange(action=sets, name="X-In", value="in")],
        response_headers=[pb.HeaderChange(action=sets, name="X-Out", value="out")],
        rate_limit=pb.RateLimit(requests=3, period_milliseconds=3_600_000),
    )
    world.route("a.test", "/app", "web", strip_path=True, rules="web")
    with world.running():
        answers = [request(world.address, "/app/deep?q=1", "host: a.test") for _ in range(4)]
        assert [each.status for each in answers] == [200, 200, 200, 200]  # one, and a burst of three
        assert request(world.address, "/app/deep", "host: a.test").status == 429
    for each in answers:
        assert each.seen["target"] == "/deep?q=1"
        assert ["x-in", "in"] in each.seen["pairs"]
        assert each.headers["x-out"] == "out"


def test_what_a_task_may_have_done_is_not_done_twice(world: World, stack: ExitStack) -> None:
    port, seen = stack.enter_context(hanging_up())
    world.backend("web", port, address=GONE)
    with application("new", port=port), world.running():
        answer = request(world.address, "/order", "host: a.test", method="POST", body="one")
        assert (answer.status, answer.error) == (502, "bad-response")
        assert [each.split(b" ")[0] for each in seen] == [b"POST"]
        assert request(world.address, "/order", "host: a.test").status == 200, "that may be asked again"


def test_who_is_nowhere_is_502_and_who_comes_again_is_found(world: World, names: dict[str, list[str]]) -> None:
    del names["tasks.web"]
    with world.running():
        assert request(world.address, "/", "host: a.test").status == 502
        names["tasks.web"] = [HERE]
        assert request(world.address, "/", "host: a.test").status == 200


class Lagging(dict[str, list[str]]):
    """Names as DNS knows them while a task goes: for half a second after the first question, the one that went."""

    asked = 0.0

    def get(self, name: str, default: object = None) -> list[str]:  # type: ignore[override]
        self.asked = self.asked or time.monotonic()
        return [HOLE] if time.monotonic() < self.asked + 0.5 else [HERE]


@contextmanager
def swallowing(port: int) -> Iterator[None]:
    """What a task that has gone leaves on an overlay network: who connects hears nothing."""
    with socket.create_server((HOLE, port), backlog=0), ExitStack() as stack:
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex((HOLE, port))
        yield


def test_who_went_when_dns_was_asked_is_not_the_end(tmp_path: Path, stack: ExitStack) -> None:
    world = World(tmp_path, resolver=stack.enter_context(name_server(Lagging())))
    port = stack.enter_context(application("new"))
    stack.enter_context(swallowing(port))
    world.backend("web", port, address=GONE)
    world.route("a.test", "/", "web")
    with world.running():
        answer = request(world.address, "/", "host: a.test")
    assert (answer.status, answer.seen["app"]) == (200, "new")


def test_a_task_that_is_about_to_run_is_found_when_it_does(
    world: World, names: dict[str, list[str]], stack: ExitStack
) -> None:
    port = stack.enter_context(application("new"))
    world.backend("web", port, address=GONE, state=pb.SERVER_STATE_PENDING)
    found = names.pop("tasks.web")
    with world.running():
        answer = request(world.address, "/", "host: a.test")
        assert (answer.status, answer.error) == (503, "no-server")
        names["tasks.web"] = found
        answer = request(world.address, "/x", "host: a.test")
        assert (answer.status, answer.seen["app"]) == (200, "new")


def test_canaries_stay_among_themselves(world: World, names: dict[str, list[str]], stack: ExitStack) -> None:
    world.backend("beta", stack.enter_context(application("beta")), address=GONE)
    names["tasks.beta"] = [HERE]
    canary = pb.Canary(backend="beta", header="x-beta", value="yes")
    world.route("a.test", "/", "web", canaries=[canary])
    with world.running():
        for headers, application_ in ((("x-beta: yes",), "beta"), ((), "new")):
            answer = request(world.address, "/", "host: a.test", *headers)
            assert (answer.status, answer.seen["app"]) == (200, application_)


def test_services_of_one_backend_have_their_shares(
    world: World, names: dict[str, list[str]], stack: ExitStack
) -> None:
    ports = [stack.enter_context(application(name)) for name in ("blue", "green")]
    settings = pb.BackendSettings(services=["blue", "green"])
    world.backend("web", *ports, settings=settings, address=GONE)
    world.state.backends["web"].servers[1].service = 1
    world.state.backends["web"].servers[1].weight = 3
    names |= {"tasks.blue": [HERE], "tasks.green": [HERE]}
    with world.running():
        asked = (request(world.address, "/", "host: a.test") for _ in range(120))
        found = Counter(str(each.seen["app"]) for each in asked)
    assert found["green"] > found["blue"] > 0
    assert sum(found.values()) == 120
