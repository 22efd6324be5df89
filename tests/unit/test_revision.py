"""A revision changes with every part of the content, and comes back with it."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from l7.model import (
    BackendSettings,
    Balance,
    Canary,
    ClientCertificate,
    Cors,
    HashKey,
    HashSource,
    HeaderAction,
    HeaderChange,
    HealthCheck,
    KeyPair,
    RateLimit,
    Redirect,
    RetryOn,
    Route,
    Rules,
    Secret,
    Server,
    ServerSettings,
    ServerState,
    TlsHost,
)
from l7.revision import Revision

SERVER = Server("t", 1, "10.0.0.1", 80)
OTHER_SERVER = Server("u", 2, "10.0.0.2", 81, 65, ServerState.LEAVING, 3000, 1)
ROUTE = Route("a", "/", "b")
OTHER_ROUTE = Route("b", "/x", "c", True, "r", Redirect("http", "http://x"), (Canary("d", "header", "x"),))
SETTINGS = BackendSettings(("a",))
OTHER_SETTINGS = BackendSettings(
    ("b",), False, Balance.HASH, RetryOn.ALL, HealthCheck("/"), (ServerSettings(slow_start=1),), True
)
RULES = Rules("a")
OTHER_RULES = Rules(
    "b", True, "x", ("::/0",), RateLimit(1, 1000), 1, True, Cors(("*",)),
    (HeaderChange(HeaderAction.SET, "a", "b"),), (HeaderChange(HeaderAction.REMOVE, "a"),),
    HashKey(HashSource.URI), 1, 2, 3, 4, Secret("i", "n"), "r", ClientCertificate.OPTIONAL,
)  # fmt: skip
HOST = TlsHost("a", "s", KeyPair(Secret("i", "n")))
OTHER_HOST = TlsHost(
    "b", "t", KeyPair(Secret("i", "n"), Secret("k", "m")), ClientCertificate.REQUIRED, Secret("c", "d", True)
)


def revision_of(item: object) -> str:
    revision = Revision(b"{}")
    if isinstance(item, Server):
        revision.server("b", None, item)
    elif isinstance(item, Route):
        revision.route(None, item)
    elif isinstance(item, Rules):
        revision.rules(None, item)
    elif isinstance(item, TlsHost):
        revision.tls_host(None, item)
    elif isinstance(item, BackendSettings):
        revision.settings("b", None, item)
    return str(revision)


@pytest.mark.parametrize(
    ("item", "other"),
    [
        (SERVER, OTHER_SERVER),
        (ROUTE, OTHER_ROUTE),
        (SETTINGS, OTHER_SETTINGS),
        (RULES, OTHER_RULES),
        (HOST, OTHER_HOST),
    ],
    ids=lambda item: type(item).__name__,
)
def test_every_field_counts(item: object, other: object) -> None:
    names = [each.name for each in fields(item)]  # type: ignore[arg-type]
    assert all(getattr(item, name) != getattr(other, name) for name in names), "give the second one other values"
    changed = {revision_of(replace(item, **{name: getattr(other, name)})) for name in names}  # type: ignore[type-var]
    assert len(changed | {revision_of(item)}) == len(names) + 1


def test_what_leaves_leaves_no_trace_and_the_order_does_not_show() -> None:
    one, two = Revision(b"{}"), Revision(b"{}")
    one.route(None, ROUTE)
    one.rules(None, RULES)
    one.server("b", None, SERVER)
    one.server("b", SERVER, OTHER_SERVER)
    two.server("b", None, OTHER_SERVER)
    two.rules(None, RULES)
    two.route(None, ROUTE)
    assert str(one) == str(two)
    two.server("c", None, OTHER_SERVER)
    assert str(one) != str(two)


def test_the_settings_of_the_proxies_count() -> None:
    assert str(Revision(b"{}")) != str(Revision(b'{"A":1}'))


def test_challenges_and_sources_count_and_leave_no_trace() -> None:
    revision = Revision(b"{}")
    seen = {empty := str(revision)}
    revision.challenge("t", None, "a")
    seen.add(str(revision))
    revision.challenge("t", "a", "b")
    seen.add(str(revision))
    revision.sources((), ("10.0.0.1:8081", "10.0.0.2:8081"))
    seen.add(str(revision))
    revision.sources(("10.0.0.1:8081", "10.0.0.2:8081"), ("10.0.0.2:8081", "10.0.0.1:8081"))
    assert len(seen | {str(revision)}) == 5
    revision.sources(("10.0.0.2:8081", "10.0.0.1:8081"), ())
    revision.challenge("t", "b", None)
    assert str(revision) == empty
