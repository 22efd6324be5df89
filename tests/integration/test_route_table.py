"""The table of `route_table`, request by request, on a real HAProxy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from haproxy.model import Backend, Balance, Desired, Server
from l7.v1 import sync_pb2 as pb
from tests.integration.live_haproxy import LiveHAProxy, application, request, running
from tests.integration.route_table import (
    ASKED,
    BACKENDS,
    BAD_HOSTS,
    KINDS,
    PATHS,
    SHARED,
    SPELLINGS,
    Row,
    routes_of,
)

pytestmark = pytest.mark.haproxy

WEIGHTS = (192, 64)


@pytest.fixture(scope="module")
def proxy(haproxy_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveHAProxy]:
    with ExitStack() as stack:
        made = {"empty": Backend("empty", expected=False)}
        for name in (*SHARED, *(f"{kind}-{backend}" for kind in KINDS for backend in BACKENDS)):
            servers = {
                f"t{n}": Server(
                    f"t{n}", 1000 * (n + 1), "127.0.0.1", stack.enter_context(application(f"{name}.{n}"))
                )
                for n in range(SHARED.get(name, 1))
            }
            balance = Balance.HASH if name == "ring" else Balance.ROUND_ROBIN
            made[name] = Backend(name, expected=False, servers=servers, balance=balance)
        heavy, light = made["weighted"].servers.values()
        made["weighted"] = Backend(
            "weighted",
            expected=False,
            servers={
                "t0": Server(heavy.task, heavy.id, heavy.address, heavy.port, WEIGHTS[0]),
                "t1": Server(light.task, light.id, light.address, light.port, WEIGHTS[1]),
            },
        )
        routes = {(route.host, route.path): route for kind in KINDS for route in routes_of(kind)}
        sticky = pb.Rules(name="sticky", hash_key=pb.HashKey(source=pb.HASH_SOURCE_COOKIE, name="sid"))
        desired = Desired("r", made, routes, {"sticky": sticky})
        directory = tmp_path_factory.mktemp("table")
        yield stack.enter_context(running(haproxy_binary, directory, desired, spare_backends=40))


def check(proxy: LiveHAProxy, kind: str, host: str, row: Row) -> None:
    answer = request(proxy.address, row.target, f"host: {host}", *row.headers)
    assert answer.status == row.status, answer
    assert (answer.error or "", answer.headers.get("location", "")) == (row.error, row.location)
    if row.backend:
        name = row.backend if row.backend in SHARED else f"{kind}-{row.backend}"
        app, _, _ = str(answer.seen["app"]).rpartition(".")
        assert (app, answer.seen["target"]) == (name, row.seen)


def named(row: Row) -> str:
    return " ".join((row.target, *row.headers))


@pytest.mark.acceptance(47)
@pytest.mark.acceptance(48)
@pytest.mark.acceptance(49)
@pytest.mark.acceptance(50)
@pytest.mark.acceptance(51)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("row", PATHS, ids=named)
def test_path(proxy: LiveHAProxy, kind: str, row: Row) -> None:
    check(proxy, kind, ASKED[kind], row)


@pytest.mark.acceptance(20)
@pytest.mark.acceptance(83)
@pytest.mark.parametrize(("kind", "host"), SPELLINGS)
def test_host(proxy: LiveHAProxy, kind: str, host: str) -> None:
    check(proxy, kind, host, Row("/x", "root", "/x"))
    check(proxy, kind, host, Row("/api/v2/x", "deep", "/x"))


@pytest.mark.parametrize("host", BAD_HOSTS)
def test_what_is_no_host_is_not_any_host(proxy: LiveHAProxy, host: str) -> None:
    assert request(proxy.address, "/", f"host: {host}").status == 400


def test_the_table_is_long_enough() -> None:
    assert len(PATHS) * len(KINDS) + 2 * len(SPELLINGS) + len(BAD_HOSTS) >= 150


def test_a_client_stays_with_its_server(proxy: LiveHAProxy) -> None:
    def app(host: str, sid: int) -> object:
        return request(proxy.address, "/sticky", f"host: {host}", f"cookie: sid={sid}").seen["app"]

    assert {len({app(ASKED[kind], sid) for kind in KINDS}) for sid in range(20)} == {1}
    assert len({app("exact.test", sid) for sid in range(60)}) == SHARED["ring"]


def test_shares_follow_the_weights(proxy: LiveHAProxy) -> None:
    asked = [request(proxy.address, "/weighted/", "host: exact.test").seen["app"] for _ in range(80)]
    assert 55 <= Counter(asked)["weighted.0"] <= 65
