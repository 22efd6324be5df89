"""The kept state: whole or not at all, and never a reason not to start."""

from __future__ import annotations

from pathlib import Path

import pytest

from haproxy import state
from haproxy.mirror import Mirror
from haproxy.model import Backend, Desired, Route, Server, ServerState

DESIRED = Desired(
    "r1",
    {"a": Backend("a", ("s",), False, {"t1": Server("t1", 7, "10.0.0.1", 80, 3, ServerState.LEAVING, 1100)})},
    {("h", "/p"): Route("h", "/p", "a", True)},
)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path, mirror = tmp_path / "desired.pb", Mirror()
    state.save(path, DESIRED)
    assert state.load(path, mirror)
    assert mirror.desired == DESIRED
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [None, b"\xff\xff garbage"])
def test_without_a_readable_file_there_is_no_state(tmp_path: Path, content: bytes | None) -> None:
    path, mirror = tmp_path / "desired.pb", Mirror()
    if content is not None:
        path.write_bytes(content)
    assert not state.load(path, mirror)
    assert mirror == Mirror()


def test_a_state_of_an_unknown_kind_is_no_state(tmp_path: Path) -> None:
    path, mirror = tmp_path / "desired.pb", Mirror()
    state.save(path, DESIRED)
    # The server's state is field 6 of l7.v1.Server: one that a later version may know.
    path.write_bytes(path.read_bytes().replace(b"\x30\x03", b"\x30\x09"))
    assert not state.load(path, mirror)
    assert mirror == Mirror()
