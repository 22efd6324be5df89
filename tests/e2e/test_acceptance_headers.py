"""What proxies add to requests and answers: acceptance item 98, on a real Swarm."""

from __future__ import annotations

import re

import orjson
import pytest

from tests.e2e.answers import Answer
from tests.e2e.conftest import WITNESS, Create
from tests.e2e.installation import Installation

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]

DURATION = re.compile(r"[0-9]+(\.[0-9]+)?(us|ms|s)")


def seen_by_the_application(answer: Answer) -> dict[str, str]:
    return {name.lower(): value for name, value in orjson.loads(answer.body)["headers"]}


@pytest.mark.acceptance(98)
def test_what_the_application_and_the_client_are_told(l7: Installation, create: Create) -> None:
    """Nobody in front is trusted here: what a client says about itself is replaced."""
    create("told98", "told98.local")
    l7.published("told98", "told98.local")
    forged = {"X-Request-ID": "mine", "X-Real-IP": "1.2.3.4", "X-Forwarded-For": "1.2.3.4"}
    (server,) = l7.addresses("told98")
    for proxy, answer in enumerate(l7.ask("told98.local", "/echo", headers=forged)):
        seen = seen_by_the_application(answer)
        client = seen["x-real-ip"]
        assert client.startswith("10.213.0.")
        wanted = {"for": client, "host": "told98.local", "proto": "http", "port": str(l7.ports[proxy])}
        published = {name: seen[f"x-forwarded-{name}"] for name in wanted}
        assert published | {"port": wanted["port"]} == wanted
        assert seen["x-request-id"] == answer.headers["x-request-id"] != "mine"
        assert answer.upstream == f"{server}:8080"
        assert DURATION.fullmatch(answer.headers["x-upstream-response-time"])
        assert answer.headers["x-proxy-id"]
        assert answer.headers["x-server-info"].startswith("l7/")
        logged(l7, proxy, answer.headers["x-request-id"])


def logged(l7: Installation, proxy: int, request: str) -> None:
    """Waits until the proxy's log has this request."""
    l7.until(f"{request} in the log", lambda: f'"request_id":"{request}"' in l7.log_of(l7.services[proxy]))


@pytest.mark.acceptance(98)
def test_errors_carry_them_as_well(l7: Installation) -> None:
    always = {"x-request-id", "x-proxy-id", "x-server-info"}
    for answer in l7.ask(WITNESS, "/status/503"):
        assert answer.headers.keys() >= always | {"x-upstream-addr", "x-upstream-response-time"}
        assert DURATION.fullmatch(answer.headers["x-upstream-response-time"])
    for answer in l7.ask("nobody98.local"):
        assert (answer.status, answer.upstream) == (503, "")
        assert answer.headers.keys() >= always
