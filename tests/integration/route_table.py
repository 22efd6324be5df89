"""Requests and what has to become of them, as data.

The same routes exist for an exact host, for a wildcard and for any other host; PATHS holds for all three. What is
expected is an application (with the path that it sees), a location, or the proxy's own refusal. An application is
named `<kind of host>-<backend>`.
"""

from __future__ import annotations

from dataclasses import dataclass

from haproxy.model import Canary, Redirect, Route

KINDS = {"exact": "exact.test", "wild": "*.wild.test", "any": "*"}
"""Kind of host -> host of its routes."""

ASKED = {"exact": "exact.test", "wild": "x.wild.test", "any": "whatever.example"}
"""Kind of host -> a host that a client asks for."""

BACKENDS = ("root", "api", "deep", "app", "mix", "blue", "green")
"""With one server each, per kind of host."""

SHARED = {"ring": 4, "weighted": 2}
"""Backends that all kinds share -> number of servers. `ring` hashes a cookie; `weighted` has 3 : 1."""


def routes_of(kind: str) -> tuple[Route, ...]:
    host = KINDS[kind]
    canaries = (
        Canary(f"{kind}-blue", "header", "x-canary", "blue"),
        Canary("empty", "header", "x-canary", "nobody"),
        Canary(f"{kind}-green", "cookie", "canary"),
    )
    return (
        Route(host, "/", f"{kind}-root"),
        Route(host, "/api", f"{kind}-api"),
        Route(host, "/api/v2", f"{kind}-deep", True),
        Route(host, "/app", f"{kind}-app", True),
        Route(host, "/a b", f"{kind}-app", True),
        Route(host, "/mix", f"{kind}-mix", canaries=canaries),
        Route(host, "/mixed", f"{kind}-mix", True, canaries=canaries),
        Route(host, "/only", "", canaries=canaries),
        Route(host, "/old", "", redirect=Redirect("", "http://new.test")),
        Route(host, "/old/kept", f"{kind}-api"),
        Route(host, "/secure", f"{kind}-app", True, redirect=Redirect("http", "https://new.test/at")),
        Route(host, "/insecure", f"{kind}-app", True, redirect=Redirect("https", "http://new.test")),
        Route(host, "/sticky", "ring", rules="sticky"),
        Route(host, "/weighted", "weighted", True),
        Route(host, "/none", "empty"),
    )


@dataclass(frozen=True)
class Row:
    """`backend` and `seen`: who answers, and the path that it sees; else `status`, with a location or an error."""

    target: str
    backend: str = ""
    seen: str = ""
    status: int = 200
    location: str = ""
    error: str = ""
    headers: tuple[str, ...] = ()


def to(target: str, backend: str, seen: str | None = None, *headers: str) -> Row:
    return Row(target, backend, target if seen is None else seen, headers=headers)


def found(target: str, location: str) -> Row:
    return Row(target, status=302, location=location)


def moved(target: str, location: str) -> Row:
    """Of a rewritten path nothing is left: its page begins with a slash."""
    return Row(target, status=301, location=location)


def refused(target: str, status: int, error: str, *headers: str) -> Row:
    return Row(target, status=status, error=error, headers=headers)


PATHS = (
    # exact and prefix
    to("/", "root"),
    to("/other/path?q=1", "root"),
    to("/api", "api"),
    to("/api/", "api"),
    to("/api/x/y?a=b&c", "api"),
    to("/apix", "root"),
    to("/api.x", "root"),
    to("/API", "root"),
    to("/ap", "root"),
    to("/api/v1", "api"),
    to("/api/v20", "api"),
    # rewrite
    to("/app/", "app", "/"),
    moved("/app", "/app/"),
    moved("/app?q=1&r=%2F", "/app/?q=1&r=%2F"),
    moved("//app", "/app/"),
    moved("/%61pp", "/app/"),
    moved("/x/../app", "/app/"),
    to("/app/x?q=1", "app", "/x?q=1"),
    to("/app/app/app", "app", "/app/app"),
    to("/app/%7Eu/%2F?x=%41", "app", "/~u/%2F?x=%41"),
    moved("/api/v2", "/api/v2/"),
    to("/api/v2/", "deep", "/"),
    to("/api/v2/x/y/", "deep", "/x/y/"),
    to("/a%20b/c%20d", "app", "/c%20d"),
    # spellings
    to("//api", "api"),
    to("/./api/./x", "api"),
    to("/x/../api", "api"),
    to("/%61%70i/x", "api"),
    to("/x/%2e%2E/api", "api"),
    to("//app///x", "app", "/x"),
    to("/api/v2/%2e%2e/v1", "api"),
    to("/api/../other", "root"),
    to("/../../app/x", "app", "/x"),
    to("/api%2fv2", "root"),
    to("/?/api", "root"),
    to("/%2561pi", "root"),
    refused("/api%00", 400, "bad-path"),
    refused("/app/%", 400, "bad-path"),
    refused("/app/%zz", 400, "bad-path"),
    # redirect
    found("/old", "http://new.test/old"),
    found("/old/a/b?c=d", "http://new.test/old/a/b?c=d"),
    found("/old/%7E//x/../y?%20", "http://new.test/old/%7E//x/../y?%20"),
    found("//old/x", "http://new.test//old/x"),
    to("/old/kept/x", "api"),
    to("/older", "root"),
    found("/secure/x?y", "https://new.test/at/secure/x?y"),
    to("/insecure/x?y", "app", "/x?y"),
    # canary
    to("/mix", "mix"),
    to("/mix/x", "blue", None, "x-canary: blue"),
    to("/mix/x", "mix", None, "x-canary: red"),
    to("/mix/x", "mix", None, "x-canary: nobody"),
    to("/mix/x", "green", None, "cookie: a=b; canary=1"),
    to("/mix/x", "green", None, "x-canary: nobody", "cookie: canary=1"),
    to("/mix/x", "blue", None, "x-canary: blue", "cookie: canary=1"),
    to("/mix/x", "mix", None, "cookie: xcanary=1; canaryx=1; y=canary=1"),
    to("/mixed/x?y", "mix", "/x?y"),
    to("/mixed//%78?y", "blue", "/x?y", "x-canary: blue"),
    to("/api/x", "api", None, "x-canary: blue"),
    to("/only/x", "blue", None, "x-canary: blue"),
    refused("/only/x", 503, "no-server", "x-canary: red"),
    # sticky, weight
    to("/sticky/x", "ring", None, "cookie: sid=1"),
    to("/sticky", "ring"),
    to("/weighted/x", "weighted", "/x"),
    refused("/none/x", 503, "no-server"),
)

SPELLINGS = (
    ("exact", "EXACT.test"),
    ("exact", "exact.test."),
    ("exact", "exact.test:80"),
    ("exact", "Exact.Test.:8080"),
    ("exact", "exact.test:"),
    ("wild", "a-b_c.wild.test"),
    ("wild", "X.WILD.TEST."),
    ("wild", "1.wild.test:443"),
    ("any", "wild.test"),
    ("any", "a.b.wild.test"),
    ("any", "xexact.test"),
    ("any", "exact.test.evil"),
    ("any", "test"),
    ("any", "192.0.2.1:8080"),
    ("any", "[2001:db8::1]:80"),
    ("any", "Localhost."),
)
"""Kind of host whose routes apply, and a spelling of a host."""

BAD_HOSTS = ("*", "*.wild.test", "exact.test/api", "exact.test|x", "a..b", ".test", "exact.test:x", "")
