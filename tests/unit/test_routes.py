"""Rows of routes.map."""

from __future__ import annotations

import pytest

from haproxy.model import Canary, Redirect, Route
from haproxy.routes import MAX_STRIPPED, NO_ROUTE, look_up_path, operation, row_host, row_value, rows, rows_for_host


def routes_of(*routes: Route) -> dict[tuple[str, str], Route]:
    return {(route.host, route.path): route for route in routes}


ROUTES = routes_of(
    Route("a.test", "/", "web"),
    Route("a.test", "/api", "web:api", True),
    Route("b.test", "/x", "x"),
    Route("*.w.test", "/deep/er", "wild", True),
)


def test_rows_have_a_trailing_slash_and_a_sentinel_where_the_root_is_not_routed() -> None:
    assert rows(ROUTES) == {
        "*.w.test/": NO_ROUTE,
        "*.w.test/deep/er/": "wild|s2",
        "a.test/": "web|",
        "a.test/api/": "web:api|s1",
        "b.test/": NO_ROUTE,
        "b.test/x/": "x|",
    }


def test_rows_are_sorted_whatever_the_order_of_routes() -> None:
    assert list(rows(ROUTES)) == sorted(rows(ROUTES)) == list(rows(dict(reversed(ROUTES.items()))))


def test_rows_of_all_hosts_together_are_the_rows() -> None:
    joined: dict[str, str] = {}
    for host in {host for host, _ in ROUTES}:
        joined |= rows_for_host(host, ROUTES)
    assert joined == rows(ROUTES)
    assert {row_host(key) for key in joined} == {"a.test", "b.test", "*.w.test"}


def test_a_host_that_lost_its_routes_has_no_rows() -> None:
    assert rows_for_host("a.test", {}) == {}


def test_the_prefix_of_the_root_is_nothing() -> None:
    assert operation(Route("a.test", "/", "web", strip_path=True)) == ""


def test_a_path_too_long_to_be_stripped_is_an_error() -> None:
    path = "/s" * MAX_STRIPPED
    assert operation(Route("a.test", path, "web", strip_path=True)) == f"s{MAX_STRIPPED}"
    with pytest.raises(ValueError, match="segments"):
        operation(Route("a.test", path + "/s", "web", strip_path=True))


def test_any_host_has_no_sentinel() -> None:
    assert rows(routes_of(Route("*", "/app", "web"))) == {"*/app/": "web|"}


def test_a_port_is_no_host() -> None:
    assert rows(routes_of(Route(":5432", "/", "db.tcp"))) == {}


BLUE = Canary("blue", "header", "x-v", "2")
GREEN = Canary("green", "cookie", "v")


@pytest.mark.parametrize(
    ("route", "value"),
    [
        (Route("a.test", "/", "web"), "web|"),
        (Route("a.test", "/", ""), "-|"),
        (Route("a.test", "/", "web", rules="r"), "web|||r"),
        (Route("a.test", "/x", "web", True, "r"), "web|s1||r"),
        (Route("a.test", "/x", "web", canaries=(BLUE,)), "web||||x-v||a.test/x/"),
        (Route("a.test", "/x", "web", canaries=(GREEN, BLUE), rules="r"), "web|||r|x-v|v|a.test/x/"),
        (Route("a.test", "/", "", redirect=Redirect("", "http://b.test")), "-|r302|http://b.test"),
        (Route("a.test", "/", "web", redirect=Redirect("http", "https://b.test/|%s p")), "web|r302http|https://b.test/%7C%s%20p"),
        (Route("a.test", "/x/y", "web", True, redirect=Redirect("https", "http://b.test")), "web|s2+r302https|http://b.test"),
    ],
)  # fmt: skip
def test_a_row_says_as_much_as_it_has_to(route: Route, value: str) -> None:
    assert row_value(route) == value


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/", "/"),
        ("/plain-._~/X", "/plain-._~/X"),
        ("/a@b", "/a%40b"),
        ("/a%40b", "/a%40b"),
        ("/%61pi", "/api"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/café", "/caf%C3%A9"),
        ("/a%2fb", "/a%252Fb"),
        ("/a%2Fb", "/a%252Fb"),
    ],
)
def test_a_path_is_looked_up_in_one_spelling(path: str, key: str) -> None:
    assert look_up_path(path) == key
