"""Drift: what changed though nobody of ours changed it."""

from __future__ import annotations

from dataclasses import replace

from haproxy.model import Admin, ServerRow
from haproxy.observation import Drift, Observation, drift
from haproxy.servers import Differing, Servers
from haproxy.settings import ALLOW_MAP, CANARY_MAP, CHECK_PATH_MAP, CHECK_STATUS_MAP, TCP_MAP
from haproxy.tables import SHARED, owner_of
from haproxy.work import Work
from tests.fakes.haproxy import SERVERS_STATE, servers_state_row

ROW = ServerRow("be", "t1.aa", 1, "10.0.0.1", 80, 64, Admin(0), True, True)
SEEN = Observation({"be": {"t1.aa": ROW}, "other": {}}, {"a": "be"}, {"h": {"h/": "a|"}})


def found(count: int, *work: set[str]) -> Drift:
    return Drift(count, Work(*work))


def looks(*rows: ServerRow) -> Drift:
    """Of a dump with these rows after one with ROW alone."""
    servers = Servers()
    look(servers, ROW)
    return drift(look(servers, *rows), SEEN, SEEN)


def look(servers: Servers, *rows: ServerRow) -> Differing:
    servers.feed(SERVERS_STATE + b"".join(map(servers_state_row, rows)))
    return servers.end(("be", "other"))


def test_nothing_changed() -> None:
    assert drift([], SEEN, SEEN) == found(0)
    assert looks(ROW) == found(0)


def test_what_only_a_command_does_is_drift() -> None:
    for changed in (replace(ROW, admin=Admin.FORCED_MAINT), replace(ROW, weight=1), replace(ROW, port=81)):
        assert looks(changed) == found(1, {"be"})
    assert looks() == found(1, {"be"})


def test_a_health_check_is_news_and_not_drift() -> None:
    assert looks(replace(ROW, up=False)) == found(0, {"be"})


def test_rows_of_maps() -> None:
    now = Observation(SEEN.servers, {"a": "other"}, {"h": {"h/": "b|"}, "new": {"new/": "a|"}})
    assert drift([], SEEN, now) == found(3, {"be", "other"}, {"h", "new"})
    assert drift([], SEEN, Observation(SEEN.servers, {}, {})) == found(2, {"be", "a"}, {"h"})


def test_rows_of_every_map_have_an_owner() -> None:
    rows = ((TCP_MAP, "5432"), (CANARY_MAP, "h/p/|h=x"), (ALLOW_MAP, "shop|47F"), (CHECK_PATH_MAP, "a:b"))
    assert [owner_of(*row) for row in rows] == [":5432", "h", "shop", "a:b"]
    assert owner_of(CHECK_STATUS_MAP, "default:200") == SHARED
    assert owner_of(CHECK_STATUS_MAP, "default:a|200") == "default:a"


def test_drift_of_every_map_is_somebodys() -> None:
    now = Observation(SEEN.servers, SEEN.placement, SEEN.routes)
    for file, key in (
        (TCP_MAP, "5432"),
        (ALLOW_MAP, "shop|47F"),
        (CHECK_PATH_MAP, "be"),
        (CHECK_STATUS_MAP, "d:1"),
    ):
        now.table(file).setdefault(owner_of(file, key), {})[key] = "x"
    assert drift([], SEEN, now) == found(4, {"be"}, {":5432"}, {"shop", SHARED})
