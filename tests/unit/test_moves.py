"""Routes that move: who waits for whom, what is kept meanwhile, and for how long."""

from __future__ import annotations

from dataclasses import replace

from haproxy.model import Admin, Backend, Canary, Route, Server, ServerRow, ServerState
from haproxy.moves import Prospects, Routes, plan_hosts
from haproxy.observation import Observation
from haproxy.ops import AddMapRow, DeleteMapRow, Op, SetMapRow
from haproxy.settings import CANARY_MAP, ROUTES_MAP, SNI_MAP, TCP_MAP, Settings
from haproxy.tables import owner_of
from haproxy.work import rules_owner, store_owner

SETTINGS = Settings(run_dir="/run/l7")
ROUTES, CANARIES, TCP, SNI = (SETTINGS.file(name) for name in (ROUTES_MAP, CANARY_MAP, TCP_MAP, SNI_MAP))
LEAVING = ServerState.LEAVING


def row(task: str, usable: bool = True) -> ServerRow:
    return ServerRow("", f"{task}.aa", 1, "10.0.0.1", 80, 64, Admin(0), usable, True)


def seen(rows: dict[str, str], **servers: tuple[ServerRow, ...]) -> Observation:
    """Rows by key, of whichever map, and the servers of the backends that are placed."""
    found = Observation({name: {each.name: each for each in of} for name, of in servers.items()})
    found.placement.update({name: name for name in servers})
    for key, value in rows.items():
        file = TCP_MAP if key.isdigit() else CANARY_MAP if "|" in key else ROUTES_MAP if "/" in key else SNI_MAP
        found.table(file).setdefault(owner_of(file, key), {})[key] = value
    return found


def backend(name: str, *tasks: str, **states: ServerState) -> Backend:
    servers = {task: Server(task, 1, "10.0.0.1", 80) for task in tasks}
    servers |= {task: Server(task, 1, "10.0.0.1", 80, state=state) for task, state in states.items()}
    return Backend(name, (name,), True, servers)


def plan(route: Route | None, now: Observation, *wanted: Backend, **more: object) -> Routes:
    """One route of a host; all backends may come."""
    host = route.host if route else next(iter(now.routes))
    backends = {each.name: each for each in wanted}
    prospects = replace(Prospects(backends, (), lambda name: True), **more)  # type: ignore[arg-type]
    routes = {(route.host, route.path): route} if route else {}
    return plan_hosts([host], {host: routes}, prospects, now, SETTINGS)


def test_a_route_moves_when_every_task_that_stays_is_there() -> None:
    route, wanted = Route("h", "/", "b"), backend("b", "t1", "t2", "t3")
    old = (row("t1"), row("t2"))
    waits = plan(route, seen({"h/": "a|"}, a=old, b=(row("t1"), row("t2", usable=False))), wanted)
    assert waits.ops == []
    assert waits.late == {"h": {"a", "b"}}
    assert (waits.targets, waits.protected, waits.waiting) == ({"b"}, {"a": set()}, set())
    moves = plan(route, seen({"h/": "a|"}, a=old, b=(row("t1"), row("t2"))), wanted)
    assert moves.ops == [SetMapRow(ROUTES, "h/", "b|")]
    assert (moves.released, moves.protected, moves.late) == ({"a"}, {}, {})


def test_a_route_moves_without_them_when_they_had_their_time() -> None:
    now = seen({"h/": "a|"}, a=(row("t1"),), b=())
    assert plan(Route("h", "/", "b"), now, backend("b", "t1"), patient=lambda name: False).ops
    assert plan(Route("h", "/", "b"), now, backend("b"), may_come=lambda name: False).ops
    assert not plan(Route("h", "/", "b"), now, backend("b")).ops


def test_a_route_moves_at_once_from_what_answers_nobody() -> None:
    now = seen({"h/": "a|"}, a=(row("t1", usable=False),), b=())
    assert plan(Route("h", "/", "b"), now, backend("b", "t1")).ops == [SetMapRow(ROUTES, "h/", "b|")]


def test_what_still_answers_follows_the_tasks_that_go() -> None:
    now = seen({"h/": "a|"}, a=(row("t1"), row("t2"), row("t3")), **{"a.http-leastconn": ()})
    wanted = replace(backend("a", "t1", t2=LEAVING), name="a.http-leastconn")
    waits = plan(Route("h", "/", "a.http-leastconn"), now, wanted)
    assert waits.protected == {"a": {"t2", "t3"}}


def test_a_refused_backend_is_waited_for_however_long() -> None:
    now = seen({"h/": "a|"}, a=(row("t1"),), b=(row("t1"),))
    waits = plan(
        Route("h", "/", "b"), now, backend("b", "t1"), broken={"b"}, patient=lambda name: False
    )  # fmt: skip
    assert waits.ops == []
    assert waits.waiting == {"h"}


def test_what_says_404_goes_on_until_the_backend_is_there() -> None:
    assert plan(Route("h", "/", "b"), seen({"h/": "-|404"}), backend("b")).ops == []
    assert plan(Route("h", "/", "b"), seen({"h/": "-|404"}, b=()), backend("b")).ops


def test_a_port_moves_as_a_route_does() -> None:
    wanted = backend("b", "t1")
    assert plan(Route(":5432", "/", "b"), seen({}, b=()), wanted).ops == [AddMapRow(TCP, "5432", "b")]
    now = seen({"5432": "a"}, a=(row("t1"),), b=(row("t1", usable=False),))
    assert plan(Route(":5432", "/", "b"), now, wanted).ops == []
    now = seen({"5432": "a"}, a=(row("t1"),), b=(row("t1"),))
    assert plan(Route(":5432", "/", "b"), now, wanted).ops == [SetMapRow(TCP, "5432", "b")]


def test_a_canary_is_there_before_the_row_that_asks_for_it_and_goes_after() -> None:
    with_canary = Route("h", "/", "a", canaries=(Canary("c", "header", "x", "yes"),))
    wanted = (backend("a", "t1"), backend("c", "t2"))
    value = "a||||x||h/"
    missing = plan(with_canary, seen({"h/": "a|"}, a=()), *wanted)
    assert missing.ops == [SetMapRow(ROUTES, "h/", value)]
    assert missing.targets == {"c"}
    there = plan(with_canary, seen({"h/": "a|"}, a=(), c=()), *wanted)
    expected: list[Op] = [AddMapRow(CANARIES, "h/|h=yes", "c"), SetMapRow(ROUTES, "h/", value)]
    assert there.ops == expected
    gone = plan(Route("h", "/", "a"), seen({"h/": value, "h/|h=yes": "c"}, a=(), c=()), wanted[0])
    assert gone.ops == [SetMapRow(ROUTES, "h/", "a|"), DeleteMapRow(CANARIES, "h/|h=yes")]
    assert gone.released == {"c"}


def test_a_canary_moves_when_it_can_take_over() -> None:
    with_canary = Route("h", "/", "a", canaries=(Canary("c.http-hash", "header", "x"),))
    rows = {"h/": "a||||x||h/", "h/|h": "c"}
    wanted = (backend("a"), backend("c.http-hash", "t1"))
    waits = plan(with_canary, seen(rows, a=(), c=(row("t1"),), **{"c.http-hash": ()}), *wanted)
    assert (waits.ops, waits.protected) == ([], {"c": set()})
    moves = plan(with_canary, seen(rows, a=(), c=(row("t1"),), **{"c.http-hash": (row("t1"),)}), *wanted)
    assert moves.ops == [SetMapRow(CANARIES, "h/|h", "c.http-hash")]


def test_no_request_passes_without_the_rules_that_cannot_be_said() -> None:
    ruled = Route("h", "/", "a", rules="a")
    new = plan(ruled, seen({}, a=()), backend("a"), rules={"a"}, unsaid={"a"})
    assert (new.ops, new.waiting) == ([], {"h"})
    assert new.late == {"h": {rules_owner("a")}}
    assert plan(ruled, seen({}, a=()), backend("a"), rules={"a"}).ops == [AddMapRow(ROUTES, "h/", "a|||a")]


def test_rules_apply_as_long_as_a_row_asks_for_them() -> None:
    now = seen({"h/": "a|||a"}, a=(row("t1"),), b=())
    waits = plan(Route("h", "/", "b", rules="b"), now, backend("b", "t1"), rules={"b"})
    assert (waits.ops, waits.ruling) == ([], {"a"})
    assert rules_owner("a") in waits.late["h"]
    now = seen({"h/": "a|||a"}, a=(row("t1"),), b=(row("t1"),))
    moves = plan(Route("h", "/", "b", rules="b"), now, backend("b", "t1"), rules={"b"})
    assert moves.released == {"a", rules_owner("a")}


# ---------------------------------------------------------------- TLS that is passed on


def flip(now: Observation, *wanted: Backend, **more: object) -> Routes:
    """The TLS of `h` is passed on to `h.tls` from now on; it had a certificate and a route until now."""
    route = Route("@h", "/", "h.tls")
    backends = {each.name: each for each in wanted}
    prospects = Prospects(backends, (), lambda name: True, terminated=lambda host: host == "h")
    prospects = replace(prospects, **more)  # type: ignore[arg-type]
    return plan_hosts(["h", "@h"], {"@h": {("@h", "/"): route}}, prospects, now, SETTINGS)


def test_connections_are_passed_on_as_a_port_is() -> None:
    route, wanted = Route("@h", "/", "b"), backend("b", "t1")
    assert plan(route, seen({}), wanted).ops == [AddMapRow(SNI, "h", "b")]
    now = seen({"h": "a"}, a=(row("t1"),), b=(row("t1", usable=False),))
    assert plan(route, now, wanted).ops == []
    now = seen({"h": "a"}, a=(row("t1"),), b=(row("t1"),))
    assert plan(route, now, wanted).ops == [SetMapRow(SNI, "h", "b")]
    ends_here = plan(Route("@h", "/", ""), seen({"h": "a"}, a=(row("t1"),)))
    assert (ends_here.ops, ends_here.released) == ([SetMapRow(SNI, "h", "-")], {"a"})


def test_a_host_is_served_as_before_until_who_gets_its_connections_is_ready() -> None:
    wanted, rows = backend("h.tls", "t1"), {"h/": "h|"}
    for servers in ({}, {"h.tls": (row("t1", usable=False),)}):
        waits = flip(seen(rows, h=(row("t1"),), **servers), wanted)
        assert (waits.ops, waits.targets, waits.protected) == ([], {"h.tls"}, {"h": set()})
        assert waits.late == {"@h": {"h.tls"}, "h": {"h.tls"}}
    moves = flip(seen(rows, h=(row("t1"),), **{"h.tls": (row("t1"),)}), wanted)
    assert moves.ops == [AddMapRow(SNI, "h", "h.tls"), DeleteMapRow(ROUTES, "h/")]
    assert (moves.released, moves.late) == ({"h"}, {})


def test_nobody_waits_for_it_for_ever_and_no_host_that_has_nothing_to_lose() -> None:
    now = seen({"h/": "h|"}, h=(row("t1"),), **{"h.tls": ()})
    for changes in (
        {"patient": lambda name: False}, {"may_come": lambda name: False}, {"terminated": lambda host: False},
    ):  # fmt: skip
        assert flip(now, backend("h.tls", "t1"), **changes).ops == [
            AddMapRow(SNI, "h", "h.tls"), DeleteMapRow(ROUTES, "h/"),
        ]  # fmt: skip


def test_connections_are_passed_on_until_the_certificate_is_there() -> None:
    needs, now = store_owner("x.pem"), seen({"h": "a"}, a=(row("t1"),))
    for route in (Route("@h", "/", ""), None):
        routes = {"@h": {("@h", "/"): route}} if route else {}
        waits = plan_hosts(["@h"], routes, Prospects({}, awaited=lambda host: needs), now, SETTINGS)
        assert (waits.ops, waits.late, waits.protected) == ([], {"@h": {needs}}, {"a": set()})
        ends = plan_hosts(["@h"], routes, Prospects({}), now, SETTINGS)
        assert (len(ends.ops), ends.released) == (1, {"a"})
    nobody = seen({"h": "a"}, a=(row("t1", usable=False),))
    assert plan_hosts(["@h"], {}, Prospects({}, awaited=lambda host: needs), nobody, SETTINGS).ops


def test_a_closed_host_is_closed_before_its_routes_are_there_and_waits_for_what_opens_it() -> None:
    needs, routes = store_owner("x.pem"), {"h": {("h", "/"): Route("h", "/", "b")}}
    shut = Prospects({}, closed=lambda host: host == "h", awaited=lambda host: needs if host == "h" else "")
    found = plan_hosts(["@h", "h"], routes, shut, seen({}), SETTINGS)
    assert found.ops == [AddMapRow(SNI, "h", "!"), AddMapRow(ROUTES, "h/", "b|")]
    assert (found.closing, found.late) == ({"@h": needs}, {})
    for route, rest in ((None, [DeleteMapRow(SNI, "h")]), (Route("@h", "/", ""), [SetMapRow(SNI, "h", "-")])):
        want = {"@h": {("@h", "/"): route}} if route else {}
        assert plan_hosts(["@h"], want, shut, seen({"h": "!"}), SETTINGS).ops == []
        assert plan_hosts(["@h"], want, Prospects({}), seen({"h": "!"}), SETTINGS).ops == rest


def test_what_is_passed_on_is_not_closed() -> None:
    shut = Prospects({"b": backend("b", "t1")}, closed=lambda host: True)
    now = seen({}, b=(row("t1"),))
    assert plan_hosts(["@h"], {"@h": {("@h", "/"): Route("@h", "/", "b")}}, shut, now, SETTINGS).ops == [
        AddMapRow(SNI, "h", "b")
    ]
