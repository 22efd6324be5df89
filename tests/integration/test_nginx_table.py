"""The table of `route_table`, request by request, on a real NGINX; what it does otherwise than HAProxy is said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from haproxy.model import Desired, Route
from haproxy.wire import changes_from
from l7.v1 import sync_pb2 as pb
from tests.integration.live_haproxy import application, request
from tests.integration.live_nginx import World
from tests.integration.route_table import (
    ASKED,
    BACKENDS,
    BAD_HOSTS,
    KINDS,
    PATHS,
    SHARED,
    SPELLINGS,
    Row,
    moved,
    refused,
    routes_of,
    to,
)
from tests.integration.test_route_table import WEIGHTS, named

pytestmark = pytest.mark.nginx

OTHERWISE = {
    # The rest of a path that is stripped is as it was sent.
    "/app/%7Eu/%2F?x=%41": to("/app/%7Eu/%2F?x=%41", "app", "/%7Eu/%2F?x=%41"),
    # An encoded slash is a slash.
    "/api%2fv2": moved("/api%2fv2", "/api/v2/"),
    # Above the root there is nothing.
    "/../../app/x": refused("/../../app/x", 400, "bad-request"),
    "/api%00": refused("/api%00", 400, "bad-request"),
    "/app/%": refused("/app/%", 400, "bad-request"),
    "/app/%zz": refused("/app/%zz", 400, "bad-request"),
}
TAKEN = {"*", "*.wild.test", "exact.test|x", ".test", "exact.test:x"}
"""What is no host, and for NGINX any host."""


def message_of(route: Route) -> pb.Route:
    return changes_from(Desired("r", {}, {(route.host, route.path): route})).routes[0]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("nginx"))
    with ExitStack() as stack:
        for name in (*SHARED, *(f"{kind}-{backend}" for kind in KINDS for backend in BACKENDS)):
            ports = [stack.enter_context(application(f"{name}.{n}")) for n in range(SHARED.get(name, 1))]
            balance = pb.BALANCE_HASH if name == "ring" else pb.BALANCE_UNSPECIFIED
            world.backend(name, *ports, settings=pb.BackendSettings(services=[name], balance=balance))
        for server, weight in zip(world.state.backends["weighted"].servers, WEIGHTS, strict=True):
            server.weight = weight
        world.backend("empty")
        for route in (route for kind in KINDS for route in routes_of(kind)):
            world.state.routes[route.host, route.path] = message_of(route)
        key = pb.HashKey(source=pb.HASH_SOURCE_COOKIE, name="sid")
        world.state.rules["sticky"] = pb.Rules(name="sticky", hash_key=key)
        stack.enter_context(world.running())
        yield world


def check(world: World, kind: str, host: str, row: Row) -> None:
    answer = request(world.address, row.target, f"host: {host}", *row.headers)
    assert answer.status == row.status, answer
    assert (answer.error or "", answer.headers.get("location", "")) == (row.error, row.location)
    if row.backend:
        name = row.backend if row.backend in SHARED else f"{kind}-{row.backend}"
        app, _, _ = str(answer.seen["app"]).rpartition(".")
        assert (app, answer.seen["target"]) == (name, row.seen)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("row", PATHS, ids=named)
def test_path(world: World, kind: str, row: Row) -> None:
    check(world, kind, ASKED[kind], OTHERWISE.get(row.target, row))


@pytest.mark.parametrize(("kind", "host"), SPELLINGS)
def test_host(world: World, kind: str, host: str) -> None:
    check(world, kind, host, Row("/x", "root", "/x"))
    check(world, kind, host, Row("/api/v2/x", "deep", "/x"))


@pytest.mark.parametrize("host", sorted({*BAD_HOSTS} - TAKEN))
def test_what_is_no_host_is_not_any_host(world: World, host: str) -> None:
    assert request(world.address, "/", f"host: {host}").status == 400


def test_a_client_stays_with_its_server(world: World) -> None:
    def app(host: str, sid: int) -> object:
        return request(world.address, "/sticky", f"host: {host}", f"cookie: sid={sid}").seen["app"]

    assert {len({app(ASKED[kind], sid) for kind in KINDS}) for sid in range(20)} == {1}
    assert len({app("exact.test", sid) for sid in range(60)}) == SHARED["ring"]


def test_shares_follow_the_weights(world: World) -> None:
    asked = [request(world.address, "/weighted/", "host: exact.test").seen["app"] for _ in range(80)]
    assert 55 <= Counter(asked)["weighted.0"] <= 65


def test_the_differences_are_rows() -> None:
    assert OTHERWISE.keys() <= {row.target for row in PATHS}
