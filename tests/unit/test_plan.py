"""Old and new make exactly these commands: the planner by tables, on 2.6 and 3.4."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haproxy import ops, policy
from haproxy.capabilities import Capabilities, capabilities
from haproxy.model import (
    HOLD,
    HOLD_ADDRESS,
    HOLD_PORT,
    Admin,
    Backend,
    Protocol,
    Secret,
    Server,
    ServerRow,
    ServerSettings,
    ServerState,
)
from haproxy.ops import Op
from haproxy.plan import BackendPlan, Place, Situation, join, plan_backend, plan_routes
from haproxy.settings import Settings
from haproxy.targets import blocked, known_of, targets_of

SETTINGS = Settings(run_dir="/run/l7")
V26, V34 = capabilities((2, 6, 12)), capabilities((3, 4, 7))
BACKENDS, ROUTES = "/run/l7/backends.map", "/run/l7/routes.map"
BE = "shop"
both = pytest.mark.parametrize("able", [V26, V34], ids=["2.6", "3.4"])
MAINT = Admin.FORCED_MAINT


def home(able: Capabilities) -> str:
    return BE if able.dynamic_backends else "spare-http-0001"


def server(task: str = "t1", **changes: object) -> Server:
    return replace(Server(task, int(task[1:]), f"10.0.0.{task[1:]}", 80), **changes)  # type: ignore[arg-type]


def name(able: Capabilities, of: Server) -> str:
    return policy.server_name(of, policy.server_keywords(SETTINGS, able, Backend(BE)))


def row(able: Capabilities, of: Server, enabled: bool = True, up: bool = True, checked: bool = True) -> ServerRow:
    admin = Admin(0) if enabled else MAINT
    return ServerRow(
        home(able), name(able, of), of.id, of.address, of.port, of.weight, admin, up and enabled, checked
    )


def hold_row(able: Capabilities, enabled: bool = True) -> ServerRow:
    admin = Admin(0) if enabled else MAINT
    return ServerRow(home(able), HOLD, policy.HOLD_ID, HOLD_ADDRESS, HOLD_PORT, 1, admin, enabled, False)


def want(*servers: Server, expected: bool = True) -> Backend:
    return Backend(BE, (BE,), expected, {each.task: each for each in servers})


def there(able: Capabilities, *rows: ServerRow, hold: bool = True, **changes: object) -> Place:
    by_name = {each.name: each for each in (hold_row(able, hold), *rows)}
    return replace(Place(home(able), True, True, by_name), **changes)  # type: ignore[arg-type]


def plan(
    able: Capabilities, wanted: Backend | None, place: Place, situation: Situation | None = None
) -> BackendPlan:
    known = None if wanted is None else known_of(wanted, SETTINGS, able)
    return plan_backend(BE, known, place, situation or Situation(), SETTINGS, able)


def add(able: Capabilities, of: Server, number: int | None = None) -> Op:
    keywords = policy.server_keywords(SETTINGS, able, Backend(BE))
    return ops.AddServer(home(able), name(able, of), of.address, of.port, number or of.id, of.weight, keywords)


def enable(able: Capabilities, of: Server) -> list[Op]:
    return [ops.EnableServer(home(able), name(able, of)), ops.EnableHealth(home(able), name(able, of))]


def disable(able: Capabilities, of: Server) -> Op:
    return ops.DisableServer(home(able), name(able, of))


def delete(able: Capabilities, of: Server) -> Op:
    return ops.DeleteServer(home(able), name(able, of))


# ---------------------------------------------------------------- coming


def test_a_new_backend_is_made_marked_published_filled_and_only_then_named() -> None:
    result = plan(V34, want(server()), Place(BE, False, False))
    assert result.opening == (
        ops.AddBackend(BE, policy.HTTP),
        policy.hold_server(BE),
        ops.EnableServer(BE, HOLD),
        ops.PublishBackend(BE),
        add(V34, server()),
        ops.AddMapRow(BACKENDS, BE, BE),
    )
    assert result.closing == ()


def test_a_new_backend_takes_its_spare_before_3_4() -> None:
    result = plan(V26, want(server()), there(V26, hold=False, mapped=False))
    assert result.opening == (
        ops.EnableServer(home(V26), HOLD),
        add(V26, server()),
        ops.AddMapRow(BACKENDS, BE, home(V26)),
    )


@both
def test_a_backend_with_nothing_expected_does_not_hold(able: Capabilities) -> None:
    result = plan(able, want(expected=False), there(able, mapped=False, hold=False), Situation(hold=False))
    assert ops.EnableServer(home(able), HOLD) not in result.opening


@both
def test_a_server_is_enabled_once_it_accepts_and_checked_from_then_on(able: Capabilities) -> None:
    accepting = Situation(accepting=frozenset({name(able, server())}))
    added = there(able, row(able, server(), enabled=False))
    assert not plan(able, want(server()), added)
    assert plan(able, want(server()), added, accepting).opening == tuple(enable(able, server()))
    assert plan(able, want(server()), there(able), accepting).opening == (
        add(able, server()),
        *enable(able, server()),
    )


@both
def test_a_pending_server_is_only_added(able: Capabilities) -> None:
    pending = server(state=ServerState.PENDING)
    accepting = Situation(accepting=frozenset({name(able, pending)}))
    assert plan(able, want(pending), there(able), accepting).opening == (add(able, pending),)


@both
def test_a_server_that_is_leaving_already_is_not_added(able: Capabilities) -> None:
    assert not plan(able, want(server(state=ServerState.LEAVING)), there(able))


@both
def test_checks_that_an_interrupted_plan_left_off_are_switched_on(able: Capabilities) -> None:
    result = plan(able, want(server()), there(able, row(able, server(), checked=False)))
    assert result == BackendPlan((ops.EnableHealth(home(able), name(able, server())),))


@both
def test_weight(able: Capabilities) -> None:
    result = plan(able, want(server(weight=7)), there(able, row(able, server())))
    assert result == BackendPlan((ops.SetWeight(home(able), name(able, server()), 7),))


@both
def test_an_id_in_use_is_replaced_by_one_of_the_same_place_on_the_ring(able: Capabilities) -> None:
    old = row(able, server(port=81), enabled=False)
    result = plan(able, want(server()), there(able, old), Situation(waiting=frozenset({old.name})))
    assert result.opening == (add(able, server(), 1 + (1 << 20)),)


# ---------------------------------------------------------------- going


@both
def test_a_leaving_server_goes_at_once_where_another_is_usable(able: Capabilities) -> None:
    leaving, stays = server("t1", state=ServerState.LEAVING), server("t2")
    result = plan(able, want(leaving, stays), there(able, row(able, leaving), row(able, stays)))
    assert result == BackendPlan((), (disable(able, leaving),))


@both
@pytest.mark.parametrize("other", ["absent", "down", "added", "just enabled"])
def test_the_last_usable_server_stays_until_it_is_due(able: Capabilities, other: str) -> None:
    leaving, comes = server("t1", state=ServerState.LEAVING), server("t2")
    rows = [row(able, leaving)]
    if other in ("down", "added", "just enabled"):
        rows.append(row(able, comes, enabled=other == "down", up=False))
    accepting = frozenset({name(able, comes)} if other == "just enabled" else ())
    place = there(able, *rows)
    wanted = want(leaving, *([comes] if other != "absent" else []))
    assert plan(able, wanted, place, Situation(accepting=accepting)).closing == ()
    due = Situation(accepting=accepting, due=frozenset({name(able, leaving)}))
    assert plan(able, wanted, place, due).closing == (disable(able, leaving),)


@both
def test_a_last_server_goes_at_once_when_none_is_expected_or_it_is_down(able: Capabilities) -> None:
    leaving = server(state=ServerState.LEAVING)
    unwanted = plan(able, want(leaving, expected=False), there(able, row(able, leaving)), Situation(hold=False))
    assert unwanted.closing == (ops.DisableServer(home(able), HOLD), disable(able, leaving))
    down = plan(able, want(leaving), there(able, row(able, leaving, up=False)))
    assert down.closing == (disable(able, leaving),)


@both
def test_a_server_that_is_gone_is_disabled_and_deleted_even_if_it_was_the_last(able: Capabilities) -> None:
    result = plan(able, want(), there(able, row(able, server())))
    assert result == BackendPlan((), (disable(able, server()), delete(able, server())))


@both
def test_a_new_generation_is_there_before_the_old_one_goes(able: Capabilities) -> None:
    old, new = server(port=80), server(port=81)
    accepting = Situation(accepting=frozenset({name(able, new)}))
    first = plan(able, want(new), there(able, row(able, old)), accepting)
    assert first == BackendPlan((add(able, new, 1 + (1 << 20)), *enable(able, new)), ())
    second = plan(able, want(new), there(able, row(able, old), row(able, new)), accepting)
    assert second == BackendPlan((), (disable(able, old), delete(able, old)))


@both
def test_a_refused_deletion_waits_and_is_forced_only_past_the_deadline(able: Capabilities) -> None:
    place, gone = there(able, row(able, server(), enabled=False)), name(able, server())
    assert plan(able, want(), place).closing == (delete(able, server()),)
    assert plan(able, want(), place, Situation(waiting=frozenset({gone}))).closing == ()
    late = Situation(overdue=frozenset({gone}))
    assert plan(able, want(), place, late).closing == (
        ops.ShutdownSessions(home(able), gone),
        delete(able, server()),
    )
    assert not plan(able, want(), place, replace(late, waiting=frozenset({gone})))


# ---------------------------------------------------------------- the placeholder


@both
def test_hold_on_first_and_off_last(able: Capabilities) -> None:
    assert plan(able, want(), there(able, hold=False)).opening == (ops.EnableServer(home(able), HOLD),)
    accepting = Situation(accepting=frozenset({name(able, server())}), hold=False)
    result = plan(able, want(server()), there(able, row(able, server(), enabled=False)), accepting)
    assert result == BackendPlan(tuple(enable(able, server())), (ops.DisableServer(home(able), HOLD),))


@both
def test_a_placeholder_that_somebody_deleted_is_put_back(able: Capabilities) -> None:
    place = Place(home(able), True, True, {})
    assert plan(able, want(), place).opening == (policy.hold_server(home(able)), ops.EnableServer(home(able), HOLD))


# ---------------------------------------------------------------- backends


@both
def test_a_backend_is_removed_in_steps(able: Capabilities) -> None:
    first = plan(able, None, there(able, row(able, server())))
    off = ops.DisableServer(home(able), HOLD)
    assert first == BackendPlan((), (off, disable(able, server()), delete(able, server())))
    second = plan(able, None, there(able, hold=False))
    row_gone = ops.DeleteMapRow(BACKENDS, BE)
    dynamic = (ops.UnpublishBackend(BE), ops.DeleteServer(BE, HOLD), ops.DeleteBackend(BE))
    assert second == BackendPlan((), (row_gone, *(dynamic if able.dynamic_backends else ())))


def test_a_backend_that_was_refused_deletion_waits() -> None:
    place = Place(BE, False, True, {})
    assert not plan(V34, None, place, Situation(waiting=frozenset({HOLD})))
    assert plan(V34, None, place).closing == (ops.UnpublishBackend(BE), ops.DeleteBackend(BE))


def test_an_interrupted_plan_goes_on_where_it_was_cut() -> None:
    place = there(V34, row(V34, server()), mapped=False)
    assert plan(V34, want(server()), place).opening == (
        ops.PublishBackend(BE),
        ops.AddMapRow(BACKENDS, BE, BE),
    )


@both
def test_a_row_that_names_another_backend_is_put_right(able: Capabilities) -> None:
    place = there(able, mapped=False, misplaced=True)
    assert ops.SetMapRow(BACKENDS, BE, home(able)) in plan(able, want(), place).opening
    assert plan(able, None, place).closing[0:2] == (
        ops.DeleteMapRow(BACKENDS, BE),
        ops.DisableServer(home(able), HOLD),
    )


def test_a_mapped_backend_that_somebody_deleted_is_made_again() -> None:
    result = plan(V34, want(), Place(BE, True, False))
    assert result.opening == (
        ops.AddBackend(BE, policy.HTTP),
        policy.hold_server(BE),
        ops.EnableServer(BE, HOLD),
        ops.PublishBackend(BE),
    )


def test_what_is_not_ours_is_not_touched_and_haproxy_says_why() -> None:
    theirs = replace(row(V34, server()), name="mine")
    foreign = Place(BE, False, True, {"mine": theirs}, foreign=True)
    assert plan(V34, want(server()), foreign) == BackendPlan((ops.AddBackend(BE, policy.HTTP),))
    assert not plan(V34, None, foreign)


def test_what_an_interrupted_plan_left_is_deleted_first() -> None:
    blank = Place(BE, False, True, {}, foreign=True)
    assert plan(V34, want(server()), blank) == BackendPlan((ops.DeleteBackend(BE),))


# ---------------------------------------------------------------- routes and order


@pytest.mark.parametrize(
    ("have", "wanted", "expected"),
    [
        ({}, {"h/": "a|"}, [ops.AddMapRow(ROUTES, "h/", "a|")]),
        ({"h/": "a|"}, {"h/": "b|"}, [ops.SetMapRow(ROUTES, "h/", "b|")]),
        ({"h/": "a|"}, {"h/": "a|"}, []),
        ({"h/": "a|"}, {}, [ops.DeleteMapRow(ROUTES, "h/")]),
        (  # the sentinel comes after the paths that it does not hide, and goes before them
            {},
            {"h/": "-|404", "h/p/": "a|"},
            [ops.AddMapRow(ROUTES, "h/p/", "a|"), ops.AddMapRow(ROUTES, "h/", "-|404")],
        ),
        (
            {"h/": "-|404", "h/p/": "a|"},
            {},
            [ops.DeleteMapRow(ROUTES, "h/"), ops.DeleteMapRow(ROUTES, "h/p/")],
        ),
        (  # a path that becomes the whole host: the sentinel changes before the path goes
            {"h/": "-|404", "h/p/": "a|"},
            {"h/": "a|"},
            [ops.SetMapRow(ROUTES, "h/", "a|"), ops.DeleteMapRow(ROUTES, "h/p/")],
        ),
        (
            {"h/": "a|"},
            {"h/": "-|404", "h/p/": "a|s1"},
            [ops.AddMapRow(ROUTES, "h/p/", "a|s1"), ops.SetMapRow(ROUTES, "h/", "-|404")],
        ),
    ],
)
def test_routes(have: dict[str, str], wanted: dict[str, str], expected: list[Op]) -> None:
    assert plan_routes(wanted, have, SETTINGS) == expected


def test_all_that_opens_goes_before_routes_and_all_that_closes_after() -> None:
    opens, closes = ops.PublishBackend("a"), ops.DeleteBackend("b")
    route = ops.AddMapRow(ROUTES, "h/", "a|")
    assert join([BackendPlan((), (closes,)), BackendPlan((opens,), ())], [route]) == [opens, route, closes]


# ---------------------------------------------------------------- certificates


def secured(*servers: Server, ca: str) -> Backend:
    settings = ServerSettings(protocol=Protocol.HTTPS, tls_ca=Secret(ca, "ca"), tls_name="shop")
    return replace(want(*servers), settings=(settings,))


def names(able: Capabilities, wanted: Backend) -> list[str]:
    return sorted(targets_of(wanted, SETTINGS, able))


@both
def test_a_server_is_added_when_the_stores_that_it_names_are_there(able: Capabilities) -> None:
    wanted = secured(server("t1"), ca="c1")
    targets = targets_of(wanted, SETTINGS, able)
    (store,) = targets[names(able, wanted)[0]].stores
    assert store == "/run/l7/tls/authorities/c1.pem"
    missing = blocked(targets, ())
    assert missing == set(targets)
    accepts = Situation(accepting=missing, blocked=missing)
    assert not plan(able, wanted, there(able), accepts)
    assert blocked(targets, {store}) == set()
    assert len(plan(able, wanted, there(able), Situation(accepting=missing)).opening) == 3


@both
def test_the_earlier_generation_stands_in_for_one_whose_store_is_not_there(able: Capabilities) -> None:
    wanted = secured(server("t1"), ca="c2")
    place = there(able, row(able, server("t1")))
    missing = blocked(targets_of(wanted, SETTINGS, able), ())
    assert not plan(able, wanted, place, Situation(accepting=missing, blocked=missing))
    assert [type(op) for op in plan(able, wanted, place, Situation(accepting=missing)).opening] == [
        ops.AddServer, ops.EnableServer, ops.EnableHealth,
    ]  # fmt: skip


def test_raw_tcp_and_plain_http_name_no_store() -> None:
    https = secured(server("t1"), ca="c1")
    plain = replace(https, settings=(replace(https.settings[0], protocol=Protocol.HTTP),))
    for each in (replace(https, tcp=True), plain, want(server("t1"))):
        assert [target.stores for target in targets_of(each, SETTINGS, V34).values()] == [frozenset()]
