"""Drift: what changed though nobody of ours changed it."""

from __future__ import annotations

from dataclasses import replace

from haproxy.model import Admin, ServerRow
from haproxy.observation import Observation, drift

ROW = ServerRow("be", "t1.aa", 1, "10.0.0.1", 80, 64, Admin(0), True, True)
SEEN = Observation({"be": {"t1.aa": ROW}, "other": {}}, {"a": "be"}, {"h": {"h/": "a|"}})


def test_nothing_changed() -> None:
    assert drift(SEEN, SEEN) == (0, set(), set())


def test_what_only_a_command_does_is_drift() -> None:
    for changed in (replace(ROW, admin=Admin.FORCED_MAINT), replace(ROW, weight=1), replace(ROW, port=81)):
        now = Observation({"be": {"t1.aa": changed}, "other": {}}, SEEN.placement, SEEN.routes)
        assert drift(SEEN, now) == (1, {"be"}, set())
    gone = Observation({"be": {}, "other": {}}, SEEN.placement, SEEN.routes)
    assert drift(SEEN, gone) == (1, {"be"}, set())


def test_a_health_check_is_news_and_not_drift() -> None:
    now = Observation({"be": {"t1.aa": replace(ROW, up=False)}, "other": {}}, SEEN.placement, SEEN.routes)
    assert drift(SEEN, now) == (0, {"be"}, set())


def test_rows_of_maps() -> None:
    now = Observation(SEEN.servers, {"a": "other"}, {"h": {"h/": "b|"}, "new": {"new/": "a|"}})
    assert drift(SEEN, now) == (3, {"be", "other"}, {"h", "new"})
    assert drift(SEEN, Observation(SEEN.servers, {}, {})) == (2, {"be", "a"}, {"h"})
