"""What a backend is to have, and that one change of thousands makes one server anew."""

from __future__ import annotations

from dataclasses import replace

from haproxy.capabilities import capabilities
from haproxy.model import Backend, Server, ServerSettings
from haproxy.settings import Settings
from haproxy.targets import Targets, targets_of

SETTINGS, V34 = Settings(), capabilities((3, 4, 7))
SERVERS = {task: Server(task, number, "10.0.0.1", 80) for number, task in enumerate(("t1", "t2"), 1)}
SHOP = Backend("shop", ("shop",), servers=SERVERS)


def test_nothing_is_made_anew_while_nothing_changes() -> None:
    targets = Targets(V34)
    known = targets.of("shop", SHOP, SETTINGS)
    assert targets.of("shop", SHOP, SETTINGS) is known
    assert known.targets == targets_of(SHOP, SETTINGS, V34)
    assert known.servers == {name: target.server for name, target in known.targets.items()}
    assert known.successor("t1") in known.servers
    assert known.successor("t3") is None


def test_one_server_that_changes_is_made_anew_alone() -> None:
    targets = Targets(V34)
    before = targets.of("shop", SHOP, SETTINGS)
    moved = replace(SHOP, servers={**SERVERS, "t2": replace(SERVERS["t2"], port=81)})
    now = targets.of("shop", moved, SETTINGS)
    assert now.tasks["t1"] is before.tasks["t1"]
    assert now.targets == targets_of(moved, SETTINGS, V34) != before.targets


def test_other_settings_make_all_anew_that_they_concern() -> None:
    targets = Targets(V34)
    before = targets.of("shop", SHOP, SETTINGS)
    slow = replace(SHOP, settings=(ServerSettings(slow_start=10),))
    assert targets.of("shop", slow, SETTINGS).targets == targets_of(slow, SETTINGS, V34) != before.targets
    other = replace(SETTINGS, check_interval=77)
    assert targets.of("shop", slow, other).targets == targets_of(slow, other, V34)
    assert targets.of("shop", SHOP, SETTINGS).targets == before.targets
    targets.forget("shop")
    assert targets.of("shop", SHOP, SETTINGS) == before
