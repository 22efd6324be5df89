"""References to the published configuration, and when they advance."""

from __future__ import annotations

from typing import Any

import pytest

from l7.deploy.mounted import PAUSE, SETTLED, advance_at, references, referred, referring
from l7.deploy.published import Version
from l7.model import StoredSecret

OTHER = {"File": {"Name": "/etc/own", "UID": "0", "GID": "0", "Mode": 0o444}, "ConfigID": "c9", "ConfigName": "own"}
SECRET_LIKE = {"File": {"Name": "/run/secrets/l7/c8"}, "ConfigID": "c8", "ConfigName": "ca"}
RUNTIME = {"Runtime": {}, "ConfigID": "c7", "ConfigName": "credentials"}


def version(*ids: str) -> Version:
    parts = tuple(StoredSecret(id, 1, f"name-{id}", True) for id in ids)
    return Version("", "ab", "cd", "2026", parts, 1, True)


def spec(*configs: dict[str, Any]) -> dict[str, Any]:
    container = {"Image": "l7", "Configs": list(configs)}
    return {"Name": "extension", "TaskTemplate": {"ContainerSpec": container, "Networks": []}}


def test_parts_are_files_that_the_tasks_user_can_read() -> None:
    first, second = references(version("c1", "c2"))
    assert first == {
        "File": {"Name": "/run/l7-published/1", "UID": "1000", "GID": "1000", "Mode": 0o444},
        "ConfigID": "c1",
        "ConfigName": "name-c1",
    }
    assert second["File"]["Name"] == "/run/l7-published/2"
    assert references(None) == ()


@pytest.mark.parametrize("before", [(), ("c1",), ("c1", "c2", "c3")])
def test_the_newest_takes_the_place_of_the_one_before_and_of_nothing_else(before: tuple[str, ...]) -> None:
    old = spec(OTHER, *map(dict, references(version(*before) if before else None)), SECRET_LIKE, RUNTIME)
    new = referring(old, references(version("c4", "c5")))
    assert referred(new) == {"c4", "c5"}
    configs = new["TaskTemplate"]["ContainerSpec"]["Configs"]
    assert [each for each in configs if each["ConfigID"] in ("c9", "c8", "c7")] == [OTHER, SECRET_LIKE, RUNTIME]
    assert new["TaskTemplate"]["Networks"] == []
    assert referred(old) == set(before)


def test_what_is_so_already_is_left_as_it_is() -> None:
    there = spec(*map(dict, references(version("c2", "c1"))))
    assert referring(there, references(version("c2", "c1"))) is there
    assert referring(there, ()) is there
    assert referring({}, ()) == {}


def test_an_advance_waits_until_no_other_revision_comes_and_is_seldom() -> None:
    newest = version("c4")
    assert advance_at(frozenset(), None, 0, 0) is None
    assert advance_at(frozenset({"c4"}), newest, 1000, 0) is None
    assert advance_at(frozenset(), newest, 1000, 999) == 1000 + SETTLED, "there is none as yet"
    assert advance_at(frozenset({"c1"}), newest, 1000, 0) == 1000 + SETTLED
    assert advance_at(frozenset({"c1"}), newest, 1000, 999) == 999 + PAUSE
