"""What is stored of a service cluster, in numbers and in words."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest

from l7.deploy.published import parts_of
from l7.history import Entry, changes, difference, entries, find
from l7.inputs import Inputs, Written, to_json
from l7.kit.bundle import INPUTS, STATE, Bundle, pack
from l7.kit.errors import ConfigError
from l7.model import Backend, BackendSettings, Route, Server, Snapshot
from l7.publication import Publication
from l7.serve import wire

WEB = Snapshot(
    "", "s1", {"web": Backend("web", BackendSettings(("web",)), {"t1": Server("t1", 1, "10.0.0.1", 80)})},
    {("a.test", "/"): Route("a.test", "/", "web"), ("b.test", "/"): Route("b.test", "/", "web")},
)  # fmt: skip


def stored(
    snapshot: Snapshot, revision: str, at: str, hosts: str = "a.test", cluster: str = ""
) -> list[dict[str, Any]]:
    """As GET /configs has it."""
    (update,) = wire.messages(snapshot)
    files = {
        STATE: update.SerializeToString(),
        INPUTS: to_json(Inputs(services={"web": Written((("com.docker.lb.hosts", hosts),))})),
        "routes.map": "".join(f"{host}/ web|\n" for host, _ in snapshot.routes).encode(),
    }
    publication = Publication(cluster, snapshot.revision, revision, files, {"routes": len(snapshot.routes)})
    archive = pack(Bundle(cluster, revision, snapshot.revision, files))
    return [
        {
            "ID": part.name,
            "Version": {"Index": 1},
            "Spec": {"Name": part.name, "Labels": dict(part.labels), "Data": base64.b64encode(part.data).decode()},
        }
        for part in parts_of(publication, archive, at)
    ]


ROUTES = (Route("a.test", "/", "web", strip_path=True), Route("c.test", "/", "web"))
CHANGED = replace(WEB, revision="s2", config=b'{"A":1}', routes={each.key: each for each in ROUTES})
BOTH = [*stored(WEB, "aa11" * 8, "2026-01-01"), *stored(CHANGED, "ab22" * 8, "2026-01-02", "a.test c.test")]


def both() -> tuple[Entry, Entry]:
    newer, older = entries(BOTH, "")
    return newer, older


def test_the_newest_comes_first_and_says_what_it_holds() -> None:
    newer, older = both()
    assert (newer.version.revision, newer.state, newer.counts) == ("ab22" * 8, "s2", {"routes": "2"})
    assert older.bundle is not None
    assert entries(BOTH, "east") == []


def test_what_was_changed_is_told_in_numbers() -> None:
    newer, older = both()
    assert changes(older, newer) == "+1 -1 ~1 routes, settings"
    assert changes(None, older) == ""
    moved = replace(WEB, backends={"web": replace(WEB.backends["web"], servers={})})
    (other,) = entries(stored(moved, "ac33" * 8, "2026-01-03"), "")
    assert changes(older, other) == "servers only"


def test_two_differ_by_labels_first_and_then_by_files() -> None:
    newer, older = both()
    assert list(difference(older, newer)) == [
        "--- aa11aa11aa11/labels", "+++ ab22ab22ab22/labels", "@@ -1,2 +1,2 @@", " Config = {}",
        "-web: com.docker.lb.hosts=a.test", "+web: com.docker.lb.hosts=a.test c.test",
        "--- aa11aa11aa11/routes.map", "+++ ab22ab22ab22/routes.map", "@@ -1,2 +1,2 @@", " a.test/ web|",
        "-b.test/ web|", "+c.test/ web|",
    ]  # fmt: skip
    assert list(difference(newer, newer)) == []


FOUND = [("aa", "aa11"), ("ab22ab", "ab22"), ("s1", "aa11"), ("current", "ab22")]


@pytest.mark.parametrize(("text", "revision"), FOUND)
def test_a_revision_is_found_by_its_beginning_or_its_states(text: str, revision: str) -> None:
    assert find(both(), text).version.revision.startswith(revision)


@pytest.mark.parametrize(("text", "why"), [("", "no such"), ("ff", "no such"), ("a", "aa11aa11aa11, ab22ab22ab22")])
def test_what_is_not_one_revision_is_refused(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        find(both(), text)
    with pytest.raises(ConfigError):
        find([], "current")


def test_what_cannot_be_read_is_there_all_the_same() -> None:
    broken = [{**each, "Spec": {**each["Spec"], "Data": "AAAA"}} for each in stored(WEB, "aa11" * 8, "2026")]
    (entry,) = entries(broken, "")
    assert changes(None, entry).startswith("can't be read")
    with pytest.raises(ConfigError, match="can't be read"):
        list(difference(entry, entry))
