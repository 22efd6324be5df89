"""What can't be said to HAProxy is left out of its files, with the routes that need it; all else stays."""

from __future__ import annotations

import pytest

from haproxy.capabilities import capabilities
from haproxy.model import Backend, Desired, Route
from haproxy.sayable import sayable
from haproxy.settings import Settings
from l7.v1 import sync_pb2 as pb

ABLE = capabilities((2, 6, 12))


def rules(name: str, length: int) -> pb.Rules:
    header = pb.HeaderChange(action=pb.HEADER_ACTION_SET, name="x", value="v" * length)
    return pb.Rules(name=name, allow_prefixes=["10.0.0.0/8"], request_headers=[header])


@pytest.mark.parametrize(("length", "fits"), [(10, True), (4000, True), (20_000, False)])
def test_rules_that_do_not_fit_keep_their_routes_away(length: int, fits: bool) -> None:
    routes = [Route("a", "/", "a", rules="a"), Route("b", "/", "a", rules="b"), Route("c", "/", "a")]
    desired = Desired(
        "r", {"a": Backend("a")}, {(each.host, each.path): each for each in routes},
        {"a": rules("a", length), "b": rules("b", 10)},
    )  # fmt: skip
    said = sayable(desired, Settings(), ABLE)
    assert said.backends == desired.backends
    assert set(said.rules) == ({"a", "b"} if fits else {"b"})
    assert {host for host, _ in said.routes} == ({"a", "b", "c"} if fits else {"b", "c"})


def test_a_path_that_is_no_row_is_left_out() -> None:
    deep = Route("a", "/p" * 70, "a", strip_path=True)
    kept = Route("a", "/p" * 70 + "/q", "a")
    desired = Desired("r", {}, {(each.host, each.path): each for each in (deep, kept)})
    assert list(sayable(desired, Settings(), ABLE).routes.values()) == [kept]
