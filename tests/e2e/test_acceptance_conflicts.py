"""Services that want what can't be had together: who wins, and what the others are told, on a real Swarm.

The service created first wins, at any time and after a restart of core as well.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.e2e.conftest import Create
from tests.e2e.installation import Installation

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]

HOST = "shared.local"
FIRST = {
    "context_root": "/app",
    "context_root_rewrite": "true",
    "sticky_session_cookie": "session",
    "retry_on": "safe",
    "header_response_X-Team": "first",
    "canary_header": "X-Lane=first",
}
SECOND = {
    "context_root": "/app",
    "context_root_rewrite": "false",
    "balance": "leastconn",
    "retry_on": "all",
    "header_response_X-Team": "second",
    "canary_header": "X-Other=second",
    "max_connections": "50",
}
LOST = {"context_root_rewrite", "balance", "retry_on", "header_response_X-Team", "canary_header"}
"""Labels of the second that the first decides; `max_connections` is each service's own."""


def problems(l7: Installation, service: str) -> dict[str, dict[str, Any]]:
    """What is wrong with a service, by short name of the label."""
    found = (each for each in l7.status()["problems"] if each["service"] == service)
    return {each["label"].removeprefix("com.docker.lb."): each for each in found}


def as_the_first_wants(l7: Installation) -> bool:
    """Whether all requests, whoever answers them, are treated as the labels of the first say."""
    answers = l7.ask(HOST, "/app/echo", times=12)
    seen = {(orjson.loads(each.body)["request"], each.headers.get("x-team")) for each in answers}
    return seen == {("GET /echo HTTP/1.1", "first")}


def test_the_first_wins_and_the_second_is_told(l7: Installation, create: Create) -> None:
    create("first", HOST, labels=FIRST)
    create("second", HOST, labels=SECOND)
    for name in ("first", "second"):
        l7.running(name, 1)
    both = l7.task_ids("first") | l7.task_ids("second")
    l7.reach(HOST, both, "/app/")
    l7.until("the first to decide", lambda: as_the_first_wants(l7))
    l7.until("the second to be told", lambda: problems(l7, "second").keys() >= LOST)
    found = problems(l7, "second")
    assert found.keys() == LOST
    for label, problem in found.items():
        assert not problem["fatal"], label
        assert "first" in problem["message"], label
        assert problem["remedy"], label
    assert not problems(l7, "first")
    revision = l7.core_revision()
    l7.restart_core()
    assert l7.core_revision() == revision
    assert problems(l7, "second").keys() == LOST
    l7.remove("first")
    l7.solved("second")
    l7.reach(HOST, l7.task_ids("second"), "/app/", timeout=10)
    assert {each.headers.get("x-team") for each in l7.ask(HOST, "/app/")} == {"second"}


@pytest.mark.acceptance(39)
@pytest.mark.acceptance(47)
@pytest.mark.acceptance(48)
@pytest.mark.acceptance(49)
@pytest.mark.acceptance(50)
def test_paths_and_networks_with_everything_else_set(l7: Installation, create: Create) -> None:
    """What holds for a plain service holds for one with many labels."""
    many = {
        "network": "l7",
        "sticky_session_cookie": "session",
        "health_check_path": "/healthz",
        "max_fails": "5",
        "weight": "50",
        "canary_header": "X-Lane=many",
        "retry_on": "safe",
        "compression": "true",
        "rate_limit": "10000/s",
        "header_request_X-Team": "many",
        "timeout_server": "30s",
    }
    create("root50", "many50.local", labels=many)
    create("deep50", "many50.local", labels=many | {"context_root": "/app", "context_root_rewrite": "true"})
    for name, path in (("root50", "/"), ("deep50", "/app/")):
        l7.running(name, 1)
        l7.reach("many50.local", l7.task_ids(name), path)
    for name in ("root50", "deep50"):
        l7.solved(name)
    asked = {
        "/app/x/echo?q=%20": ("deep50", "/x/echo?q=%20"),
        "/apple/echo": ("root50", "/apple/echo"),
        "/x/../app/echo": ("deep50", "/echo"),
    }
    for path, (name, seen) in asked.items():
        for answer in l7.ask("many50.local", path, headers={"X-Lane": "many", "Cookie": "session=1"}):
            echo = orjson.loads(answer.body)
            assert answer.instance in l7.task_ids(name), path
            assert echo["request"] == f"GET {seen} HTTP/1.1"
            assert ["x-team", "many"] in [[header.lower(), value] for header, value in echo["headers"]]
    l7.label("deep50", network="elsewhere")
    assert l7.problem("deep50", "network")["value"] == "elsewhere"
    l7.label("root50", weight=None, rate_limit=None, compression=None)
    l7.converged()
    assert {each.instance for each in l7.ask("many50.local", "/app/")} == l7.task_ids("deep50"), "labels of before"
