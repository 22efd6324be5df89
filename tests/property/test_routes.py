"""Rows of routes.map, for any routes."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from haproxy.features import canary_rows
from haproxy.model import Canary, Redirect, Route, RouteKey
from haproxy.routes import NO_ROUTE, look_up_path, row_host, row_key, row_value, rows, rows_for_host

hosts = st.sampled_from(("a.test", "b.test", "*.test", "*.a.test", "*"))
paths = st.lists(st.sampled_from(("a", "ab", "b", "a@b", "é")), max_size=3).map(lambda parts: "/" + "/".join(parts))
routes = st.dictionaries(
    st.tuples(hosts, paths), st.tuples(st.sampled_from(("web", "api:v2")), st.booleans()), max_size=8
).map(lambda chosen: {key: Route(*key, *value) for key, value in chosen.items()})


@given(routes)
def test_the_rows_of_each_host_make_all_rows(routes: dict[RouteKey, Route]) -> None:
    joined: dict[str, str] = {}
    for host in {host for host, _ in routes}:
        of_host = rows_for_host(host, routes)
        assert {row_host(key) for key in of_host} == {host}
        joined |= of_host
    assert joined == rows(routes)


@given(routes, hosts, paths)
def test_the_longest_prefix_of_whole_segments_wins(routes: dict[RouteKey, Route], host: str, path: str) -> None:
    """What `map_beg` finds is what reading segment by segment finds."""
    table = rows(routes)
    looked_up = f"{host}{look_up_path(path)}/"
    found = max((key for key in table if looked_up.startswith(key)), key=len, default=None)
    parts = path.strip("/").split("/") if path != "/" else []
    wanted = None
    for length in range(len(parts), -1, -1):
        route = routes.get((host, "/" + "/".join(parts[:length])))
        if route is not None:
            wanted = row_value(route)
            break
    known = host != "*" and any(route.host == host for route in routes.values())
    assert (table[found] if found else None) == (wanted or (NO_ROUTE if known else None))


texts = st.text(max_size=20)


@given(
    st.builds(Redirect, st.sampled_from(("", "http", "https")), texts), st.booleans(), st.sampled_from(("", "r"))
)
def test_a_location_ends_no_field_and_no_row(redirect: Redirect, strip: bool, rules: str) -> None:
    value = row_value(Route("a.test", "/x", "web", strip, rules, redirect))
    assert value.isascii()
    assert value.isprintable()
    assert " " not in value
    fields = value.split("|")
    assert (fields[0], fields[1].endswith(f"r302{redirect.scheme}"), fields[3:]) == (
        "web",
        True,
        [rules] if rules else [],
    )


canaries = st.builds(Canary, st.just("blue"), st.sampled_from(("header", "cookie")), texts, texts)


@given(st.lists(canaries, max_size=3).map(tuple))
def test_a_canarys_name_ends_no_field_and_no_row(chosen: tuple[Canary, ...]) -> None:
    route = Route("a.test", "/x", "web", rules="r", canaries=chosen)
    value = row_value(route)
    assert re.fullmatch(r"web\|\|\|r(\|[!-{}~]*\|[!-{}~]*\|a\.test/x/)?", value, re.ASCII)
    for key, backend in canary_rows("a.test", {("a.test", "/x"): route}).items():
        assert (key.partition("|")[0], backend) == ("a.test/x/", "blue")
        assert re.fullmatch(r"[!-~]+", key, re.ASCII)


@given(st.text(st.characters(codec="utf-8"), max_size=12))
def test_a_key_is_one_word_of_plain_characters(path: str) -> None:
    key = row_key("a.test", "/" + path)
    assert re.fullmatch(r"[A-Za-z0-9._~%/-]+/", key, re.ASCII)
