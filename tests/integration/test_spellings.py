"""Every spelling of a path finds the path's route: any path, spelled at random, on a real HAProxy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from haproxy import ops
from haproxy.model import Backend, Desired, Route, Server
from haproxy.routes import NO_ROUTE, row_key
from haproxy.runtime.client import Runtime
from haproxy.settings import ROUTES_MAP
from tests.integration.live_haproxy import LiveHAProxy, application, request, running

pytestmark = pytest.mark.haproxy

PLAIN = b"abcXYZ019-._~"
LITERAL = PLAIN + b"!$&'()*+,;=:@"
DETOURS = ("/", "//", "/./", "/%2e/", "/x/../", "/x/%2E%2e/", "/x//../", "///./")

segments = st.lists(
    st.sampled_from(LITERAL + b' "%/<>\\^`{|}\xc3\xa9') | st.sampled_from(PLAIN), min_size=1, max_size=6
).map(bytes)
paths = st.lists(segments.filter(lambda segment: segment not in {b".", b".."}), min_size=1, max_size=3)


def spelled(draw: st.DrawFn, segment: bytes) -> str:
    """The segment with each byte as it is or percent-encoded, in either case of letters."""
    text = ""
    for byte in segment:
        encoded = f"%{byte:02x}" if draw(st.booleans()) else f"%{byte:02X}"
        text += chr(byte) if byte in LITERAL and draw(st.booleans()) else encoded
    return text


@st.composite
def path_and_target(draw: st.DrawFn) -> tuple[str, str]:
    """A route's path, and a request's target that means the same."""
    path = draw(paths)
    target = "".join(draw(st.sampled_from(DETOURS)) + spelled(draw, segment) for segment in path)
    rest = draw(st.sampled_from(("", "/", "/rest", "?q=%2e%2e/..", "/.")))
    return "".join("/" + quote_from_bytes(segment, safe="") for segment in path), target + rest


@pytest.fixture(scope="module")
def proxy(haproxy_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveHAProxy]:
    with application("web") as port:
        web = Backend("web", servers={"t": Server("t", 1, "127.0.0.1", port)})
        wanted = Desired("r", {"web": web}, {("b.test", "/"): Route("b.test", "/", "web")})
        with running(haproxy_binary, tmp_path_factory.mktemp("spellings"), wanted) as proxy:
            with Runtime(proxy.runtime_url) as runtime:
                file = proxy.settings.file(ROUTES_MAP)
                assert runtime.apply([ops.AddMapRow(file, row_key("a.test", "/"), NO_ROUTE)])[0].ok
            yield proxy


@settings(
    max_examples=150,
    phases=(Phase.explicit, Phase.generate),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(case=path_and_target())
def test_a_spelling_finds_the_route(proxy: LiveHAProxy, case: tuple[str, str]) -> None:
    path, target = case
    file, key = proxy.settings.file(ROUTES_MAP), row_key("a.test", path)
    with Runtime(proxy.runtime_url) as runtime:
        before = request(proxy.address, target, "host: a.test")
        assert (before.status, before.error) == (404, "no-route")
        assert runtime.apply([ops.AddMapRow(file, key, "web|")])[0].ok
        answer = request(proxy.address, target, "host: a.test")
        assert runtime.apply([ops.DeleteMapRow(file, key)])[0].ok
    assert (answer.status, answer.error) == (200, None)
    assert answer.seen["target"] == target
