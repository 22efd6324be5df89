"""The kept state: that of the last update that was saved whole, and never a reason not to start."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haproxy import journal
from haproxy.journal import Journal, whole
from haproxy.mirror import BrokenChain, Mirror
from haproxy.model import Backend, Desired, Route, Server, ServerState
from l7.kit.errors import ProtocolError
from l7.v1 import sync_pb2 as pb

DESIRED = Desired(
    "r1",
    {"a": Backend("a", ("s",), False, {"t1": Server("t1", 7, "10.0.0.1", 80, 3, ServerState.LEAVING, 1100)})},
    {("h", "/p"): Route("h", "/p", "a", True)},
)


class Bench:
    """A mirror with its journal, as the sidecar has them."""

    def __init__(self, path: Path) -> None:
        self.mirror = Mirror()
        self.journal = Journal(path, self.mirror)

    def send(self, *chunks: pb.SyncResponse) -> None:
        for chunk in chunks:
            data = chunk.SerializeToString()
            self.journal.take(chunk, data)
            if self.mirror.apply(chunk, data) is not None:
                self.journal.commit()

    def complete(self, desired: Desired = DESIRED) -> None:
        self.send(pb.SyncResponse.FromString(whole(desired)))

    def change(self, start: str, end: str, **changes: object) -> None:
        self.send(change(start, end, **changes))


def change(start: str, end: str, last: bool = True, **changes: object) -> pb.SyncResponse:
    return pb.SyncResponse(
        kind=pb.UPDATE_KIND_INCREMENTAL, applies_to=start, results_in=end, last=last,
        changes=pb.Changes(**changes),  # type: ignore[arg-type]
    )  # fmt: skip


def route(number: int) -> pb.Route:
    return pb.Route(host=f"h{number}", path="/", backend="a")


def server(number: int) -> pb.Backend:
    row = pb.Server(task=f"n{number}", id=number + 10, address="10.0.0.2", port=80, weight=1, state=2)
    return pb.Backend(name="a", servers=[row])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "desired.pb"


def loaded(path: Path) -> Desired | None:
    bench = Bench(path)
    return bench.mirror.desired if bench.journal.load() else None


def test_what_is_saved_is_loaded(path: Path) -> None:
    bench = Bench(path)
    bench.complete()
    bench.journal.save()
    assert loaded(path) == DESIRED
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_changes_are_written_behind_and_nothing_again(path: Path) -> None:
    bench = Bench(path)
    bench.complete()
    bench.journal.save()
    before = path.read_bytes()
    bench.change("r1", "r2", routes=[route(1)])
    bench.change("r2", "r3", backends=[server(1)], removed_routes=[pb.RouteKey(host="h", path="/p")])
    bench.journal.save()
    assert path.read_bytes().startswith(before)
    assert loaded(path) == bench.mirror.desired
    bench.complete()
    bench.journal.save()
    assert path.read_bytes() == before


def test_who_loaded_goes_on_in_the_same_file(path: Path) -> None:
    first = Bench(path)
    first.complete()
    first.journal.save()
    path.write_bytes(path.read_bytes() + b"torn")
    second = Bench(path)
    assert second.journal.load()
    second.change("r1", "r2", routes=[route(1)])
    second.journal.save()
    assert loaded(path) == second.mirror.desired


def test_a_state_of_another_origin_is_kept_too(path: Path) -> None:
    bench = Bench(path)
    update = pb.SyncResponse.FromString(whole(DESIRED))
    bench.mirror.load(update.results_in, update.changes)
    bench.journal.begin(update)
    bench.change("r1", "r2", routes=[route(1)])
    bench.journal.save()
    assert loaded(path) == bench.mirror.desired


def test_what_the_mirror_refuses_or_never_got_whole_is_not_kept(path: Path) -> None:
    bench = Bench(path)
    bench.complete()
    with pytest.raises(BrokenChain):
        bench.change("r7", "r8", routes=[route(1)])
    bench.send(change("r1", "r5", last=False, routes=[route(2)]))
    bench.send(change("r1", "r2", last=False, routes=[route(3)]), change("r1", "r2", backends=[server(1)]))
    bench.journal.save()
    assert loaded(path) == bench.mirror.desired
    assert bench.mirror.desired.routes.keys() == {("h", "/p"), ("h3", "/")}


def test_that_nothing_changed_is_not_written(path: Path) -> None:
    bench = Bench(path)
    bench.complete()
    bench.journal.save()
    before = path.stat()
    bench.change("r1", "r1")
    bench.journal.save()
    assert path.stat() == before


def test_a_file_that_has_grown_long_is_written_anew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "LEAST", 0)
    bench, sizes = Bench(path), list[int]()
    bench.complete()
    for number in range(1, 200):
        bench.change(f"r{number}", f"r{number + 1}", routes=[route(number % 5)])
        bench.journal.save()
        sizes.append(path.stat().st_size)
        assert loaded(path) == bench.mirror.desired
    assert max(sizes) < (journal.TIMES + 2) * (len(whole(bench.mirror.desired)) + 100)


def test_a_file_that_went_away_is_written_anew(path: Path) -> None:
    bench = Bench(path)
    bench.complete()
    bench.journal.save()
    path.unlink()
    bench.change("r1", "r2", routes=[route(1)])
    bench.journal.save()
    assert loaded(path) == bench.mirror.desired


def test_what_could_not_be_written_is_written_the_next_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(path)
    bench.complete()
    bench.journal.save()
    bench.change("r1", "r2", routes=[route(1)])
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", _full)
        with pytest.raises(OSError, match="full"):
            bench.journal.save()
    bench.change("r2", "r3", routes=[route(2)])
    bench.journal.save()
    assert loaded(path) == bench.mirror.desired


def _full(*_: object) -> None:
    raise OSError("full")


@given(cut=st.integers(0, 2000), broken=st.booleans())
def test_of_a_damaged_file_the_beginning_counts(
    cut: int, broken: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("journal") / "desired.pb"
    bench, states = Bench(path), [None, DESIRED]
    bench.complete()
    for number in range(1, 6):
        bench.change(f"r{number}", f"r{number + 1}", routes=[route(number)])
        states.append(Desired(bench.mirror.revision, {**bench.mirror.named}, {**bench.mirror.routes}))
    bench.journal.save()
    content = path.read_bytes()
    at = cut % len(content)
    path.write_bytes(content[:at] + (bytes([content[at] ^ 0xFF]) + content[at + 1 :] if broken else b""))
    found = loaded(path)
    assert found in states[:-1]


@pytest.mark.parametrize("content", [None, b"", b"\xff\xff garbage", whole(DESIRED)])
def test_without_a_readable_file_there_is_no_state(path: Path, content: bytes | None) -> None:
    if content is not None:
        path.write_bytes(content)
    assert loaded(path) is None


def test_a_state_of_an_unknown_kind_is_no_state(path: Path) -> None:
    # The server's state is field 6 of l7.v1.Server: one that a later version may know.
    update = pb.SyncResponse.FromString(whole(DESIRED).replace(b"\x30\x03", b"\x30\x09"))
    bench = Bench(path)
    bench.journal.begin(update)
    bench.journal.save()
    mirror = Mirror()
    assert not Journal(path, mirror).load()
    assert mirror == Mirror()
    with pytest.raises(ProtocolError):
        mirror.load(update.results_in, update.changes)
