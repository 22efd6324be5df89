"""Paths: acceptance items 47 to 50, on a real Swarm, on each HAProxy series side by side."""

from __future__ import annotations

import orjson
import pytest

from tests.e2e.answers import Answer
from tests.e2e.conftest import Create
from tests.e2e.installation import Installation

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]


def seen(answers: list[Answer]) -> set[str]:
    """The request lines that the application saw."""
    return {orjson.loads(each.body)["request"] for each in answers}


def refused(answers: list[Answer]) -> bool:
    """Whether the proxies themselves answered, because there is no such path."""
    return all((each.status, each.error, each.instance) == (404, "no-route", "") for each in answers)


@pytest.mark.acceptance(47)
def test_a_context_root(l7: Installation, create: Create) -> None:
    create("rooted", "rooted47.local", labels={"context_root": "/app"})
    l7.running("rooted", 1)
    l7.answered("rooted47.local", "/app")
    for path in ("/app/", "/app/x", "/app/x/y?z=/"):
        assert {each.instance for each in l7.ask("rooted47.local", path)} == l7.task_ids("rooted")
    assert refused(l7.ask("rooted47.local", "/"))
    assert refused(l7.ask("rooted47.local", "/other"))


@pytest.mark.acceptance(48)
def test_a_context_root_is_removed_when_asked_for(l7: Installation, create: Create) -> None:
    create("rewrite", "rewrite48.local", labels={"context_root": "/app"})
    l7.running("rewrite", 1)
    l7.answered("rewrite48.local", "/app")
    tasks = l7.task_ids("rewrite")
    plain, encoded = "/app/x/echo?q=1", "/app/%C3%A4%20b/echo?q=%2Fapp%20+&r=%C3%A4"
    assert seen(l7.ask("rewrite48.local", plain)) == {f"GET {plain} HTTP/1.1"}
    assert seen(l7.ask("rewrite48.local", encoded)) == {f"GET {encoded} HTTP/1.1"}
    l7.update("rewrite", "--label-add=com.docker.lb.context_root_rewrite=true")
    rewritten = {f"GET {plain.removeprefix('/app')} HTTP/1.1"}
    l7.until("the rewrite", lambda: seen(l7.ask("rewrite48.local", plain)) == rewritten)
    assert seen(l7.ask("rewrite48.local", encoded)) == {f"GET {encoded.removeprefix('/app')} HTTP/1.1"}
    bare = l7.ask("rewrite48.local", "/app?q=1")
    assert {(each.status, each.headers["location"]) for each in bare} == {(301, "/app/?q=1")}
    assert {each.status for each in l7.ask("rewrite48.local", "/app/")} == {200}
    assert l7.task_ids("rewrite") == tasks


@pytest.mark.acceptance(49)
def test_only_whole_segments_match(l7: Installation, create: Create) -> None:
    create("segment", "segment49.local", labels={"context_root": "/app"})
    l7.running("segment", 1)
    l7.answered("segment49.local", "/app")
    for path in ("/apple", "/app.html", "/ap", "/App", "/app%65"):
        assert refused(l7.ask("segment49.local", path)), path


@pytest.mark.acceptance(50)
def test_the_longest_prefix_wins(l7: Installation, create: Create) -> None:
    roots = {"pathroot": "", "patha": "/a", "pathb": "/b", "pathdeep": "/a/deep"}
    for name, root in roots.items():
        create(name, "paths50.local", labels={"context_root": root} if root else {})
    for name, root in roots.items():
        l7.running(name, 1)
        l7.answered("paths50.local", f"{root}/")
        l7.reach("paths50.local", l7.task_ids(name), root or "/")
    asked = {
        "/": "pathroot", "/x": "pathroot", "/ab": "pathroot", "/c/a": "pathroot",
        "/a": "patha", "/a/x": "patha", "/a/deeper": "patha", "/b/a": "pathb", "/b/": "pathb",
        "/a/deep": "pathdeep", "/a/deep/x": "pathdeep", "/a/x/../deep": "pathdeep", "/x/../b": "pathb",
    }  # fmt: skip
    for path, name in asked.items():
        assert {each.instance for each in l7.ask("paths50.local", path, times=2)} == l7.task_ids(name), path
