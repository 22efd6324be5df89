"""The compiled `Table` against the plain one: whatever is done to both, they say the same."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l7 import _fastpath
from l7.fastpath_pure.rows import parse_address
from l7.fastpath_pure.table import Table as Pure
from l7.v1 import sync_pb2 as pb
from tests.fuzz.tables import ADDRESSES, BACKENDS, IDS, SERVERS, Action, agree
from tests.fuzz.tables import actions as actions_by_chance
from tests.unit.test_fastpath_table import HEADER, row

backends, servers = st.sampled_from(BACKENDS), st.sampled_from(SERVERS)
addresses, ids = st.sampled_from(ADDRESSES), st.sampled_from(IDS)

# ---------------------------------------------------------------- what is done

server_messages = st.builds(
    pb.Server,
    task=servers,
    id=ids,
    address=addresses,
    port=st.sampled_from([1, 80, 65535]),
    weight=st.sampled_from([0, 1, 256]),
    state=st.sampled_from([1, 2, 2, 3]),
    stop_in_milliseconds=st.sampled_from([0, 2**32 - 1]),
    service=st.sampled_from([0, 1, 65535]),
)
backend_messages = st.builds(
    pb.Backend,
    name=backends,
    settings=st.none() | st.builds(pb.BackendSettings, services=st.lists(st.sampled_from("ab"), max_size=2)),
    servers=st.lists(server_messages, max_size=5),
    removed_servers=st.lists(servers, max_size=1),
)


def chunk_of(messages: Sequence[pb.Backend], shuffled: random.Random | None) -> bytes:
    """The fields of each Backend perhaps in another order: servers ahead of their backend's name."""
    changes = b"".join(_field(1, _shuffled(message, shuffled)) for message in messages)
    return pb.SyncResponse(kind=1, last=True).SerializeToString() + _field(5, changes)


def _shuffled(message: pb.Backend, order: random.Random | None) -> bytes:
    parts = [pb.Backend(name=message.name), *(pb.Backend(servers=[each]) for each in message.servers)]
    if message.HasField("settings"):
        parts.append(pb.Backend(settings=message.settings))
        if message.settings.services:
            parts.append(pb.Backend(settings=message.settings))
    if order is not None:
        order.shuffle(parts)
    return b"".join(part.SerializeToString() for part in parts)


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


chunks = st.lists(
    st.builds(chunk_of, st.lists(backend_messages, max_size=4), st.none() | st.randoms(use_true_random=False)),
    max_size=3,
)


@st.composite
def dumps(draw: st.DrawFn) -> bytes:
    """Mostly whole ones; a server that is named twice is an error."""
    keys = draw(st.lists(st.tuples(backends, servers), max_size=8, unique=draw(st.integers(0, 9)) > 0))
    rows = [
        row(
            *key, id=draw(ids), addr=draw(addresses | st.just("-")), op=draw(st.integers(0, 3)),
            admin=draw(st.sampled_from([0, 0, 1, 2, 4, 5, 8, 9, 0x20])), weight=draw(st.sampled_from([0, 1, 256])),
            check=draw(st.sampled_from([0, 6, 7])), port=draw(st.sampled_from([1, 80, 65535])),
        )
        for key in keys
    ]  # fmt: skip
    return HEADER + b"".join(rows)


@st.composite
def feeds(draw: st.DrawFn) -> list[Action]:
    text = draw(dumps())
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    parts = [text[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    if draw(st.integers(0, 9)) == 0:
        parts.pop()
    return [("feed", (part,)) for part in parts]


upserts = st.tuples(
    backends, servers, ids, addresses, st.sampled_from([1, 80]), st.sampled_from([1, 256]), st.integers(1, 3),
    st.sampled_from([0, 5]), st.integers(0, 1),
)  # fmt: skip
ends = st.tuples(st.just("end"), st.tuples(st.none()) | st.tuples(backends))
singles = st.one_of(
    st.tuples(st.just("ingest"), st.tuples(chunks)),
    st.tuples(st.just("upsert"), upserts),
    st.tuples(st.just("remove"), st.tuples(backends, servers)),
    st.tuples(st.just("settings"), st.tuples(backends, st.sampled_from([b"", b"x"]))),
    st.tuples(st.just("remove_backend"), st.tuples(backends)),
    st.tuples(
        st.just("keywords"), st.tuples(backends, st.integers(0, 1), st.sampled_from([b"check", b"", b"a;b"]))
    ),
    ends,
    st.tuples(st.just("commands"), st.tuples(st.sampled_from([0, 100, 400, 65536]))),
    st.tuples(st.just("commands"), st.tuples(st.just(65536))),
    st.tuples(st.just("ack"), st.tuples(st.integers(1, 3))),
    st.tuples(st.just("ack_all"), st.just(())),
    st.tuples(st.just("nack"), st.just(())),
    st.tuples(st.just("retry"), st.tuples(st.none()) | st.tuples(backends)),
)
groups = singles.map(lambda action: [action]) | feeds() | st.tuples(feeds(), ends).map(lambda p: [*p[0], p[1]])
actions = st.lists(groups, max_size=25).map(lambda groups: [action for group in groups for action in group])


# ---------------------------------------------------------------- the comparison


def run(steps: Sequence[Action]) -> None:
    agree(Pure, _fastpath.Table, steps)


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**64 - 1))
def test_the_same_by_chance(seed: int) -> None:
    run(actions_by_chance(random.Random(seed)))


@settings(deadline=None, max_examples=200)
@given(actions)
def test_the_same_whatever_is_done(steps: list[Action]) -> None:
    run(steps)


# ---------------------------------------------------------------- odd bytes


@settings(deadline=None)
@given(chunks, st.lists(st.tuples(st.integers(0), st.integers(0, 255), st.integers(0, 2)), min_size=1, max_size=4))
def test_the_same_of_damaged_messages(parts: list[bytes], damage: list[tuple[int, int, int]]) -> None:
    run([("ingest", (parts,)), ("ingest", ([damaged(part, damage) for part in parts],))])


@settings(deadline=None)
@given(dumps(), dumps(), st.lists(st.tuples(st.integers(0), st.integers(0, 255), st.integers(0, 2)), max_size=3))
def test_the_same_of_damaged_dumps(first: bytes, second: bytes, damage: list[tuple[int, int, int]]) -> None:
    run([("feed", (first,)), ("end", ()), ("feed", (damaged(second, damage),)), ("end", ())])


def damaged(data: bytes, damage: Sequence[tuple[int, int, int]]) -> bytes:
    """Bytes replaced, inserted, cut off."""
    for at, byte, kind in damage:
        at %= len(data) + 1
        data = data[:at] + (bytes([byte]) if kind < 2 else b"") + data[at + 1 - (kind == 1) :]
    return data


ODD_TEXTS = st.sampled_from([b"\xff", b"\xed\xa0\x80", "é".encode(), b"\xf4\x90\x80\x80", b"\xe2\x82"])
FIELDS = st.one_of(
    st.binary(max_size=12),
    st.builds(lambda tag, value: _varint(tag) + _varint(value), st.integers(0, 2**35), st.integers(0, 2**70)),
    st.builds(lambda depth, at: b"\x0b" * depth + b"\x0c" * at, st.integers(90, 102), st.integers(90, 102)),
    st.builds(lambda text: _field(1, text), ODD_TEXTS),
    st.just(b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x7f"),
    st.builds(lambda tag: bytes([tag]) + b"\xff" * 9 + b"\x01", st.sampled_from([0x10, 0x20, 0x28, 0x30])),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(FIELDS, max_size=2), st.lists(FIELDS, max_size=2), st.lists(FIELDS, max_size=2), FIELDS)
def test_the_same_of_unknown_and_broken_fields(
    outer: list[bytes], middle: list[bytes], inner: list[bytes], last: bytes
) -> None:
    server = b"".join(inner) + pb.Server(task="t", id=1, address="::1", port=1, state=2).SerializeToString() + last
    backend = b"".join(middle) + pb.Backend(name="a").SerializeToString() + _field(3, server)
    response = b"".join(outer) + _field(5, _field(1, backend) + b"".join(middle)) + b"".join(outer)
    run([("ingest", ([response],))])


@settings(deadline=None)
@given(st.text("0123456789abcdefABCDEF:.%", max_size=46) | st.ip_addresses().map(str) | st.text(max_size=20))
def test_addresses_as_python_reads_and_writes_them(text: str) -> None:
    table = _fastpath.Table()
    try:
        expected = str(parse_address(text))
    except ValueError:
        with pytest.raises(ValueError):
            table.upsert("a", "t", 1, text, 80, 1, 2)
        return
    table.upsert("a", "t", 1, text, 80, 1, 2)
    assert table.servers("a")[0][2] == expected


# ---------------------------------------------------------------- sizes past every limit


def both(check: Callable[[Any], Any]) -> None:
    assert check(Pure()) == check(_fastpath.Table())


@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
def test_growth_and_slots_that_are_used_again(count: int) -> None:
    def check(table: Any) -> Any:
        seen = []
        for turn in range(4):
            names = [f"b{n * 11 % count}-{turn % 2}" for n in range(count)]
            servers = [
                pb.Server(task=f"t{n}" * (n % 5 + 1), id=n + 1, address="::1", port=1, state=1) for n in range(9)
            ]
            message = [pb.Backend(name=name, servers=servers[: turn + 3]) for name in names]
            seen.append(table.ingest([chunk_of(message, None)]))
            table.feed(HEADER + b"".join(row(name, f"t{turn}{n}") for name in names[::2] for n in range(3)))
            seen += [table.end(), len(table), table.pending(), table.digests()]
            while lines := table.commands(20_000):
                seen.append(lines)
                table.ack(lines.count(b"\n"))
        return seen

    both(check)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 200_000), st.integers(0, 300), st.integers(500, 70_000))
def test_long_rows_and_wide_headers(length: int, columns: int, size: int) -> None:
    header = HEADER[:-1] + b"".join(b" c%d" % n for n in range(columns)) + b"\n"
    line = row("a", "s" * 60_000)[:-1] + b" x" * columns + b" " + b"y" * length + b"\n"
    text = header + line + row("a", "s")[:-1] + b" -" * columns + b"\n"

    def check(table: Any) -> Any:
        for at in range(0, len(text), size):
            table.feed(text[at : at + size])
        return table.end(), table.rows("a")

    both(check)


def test_a_byte_at_a_time() -> None:
    text = HEADER + b"".join(row(backend, server) for backend in BACKENDS for server in SERVERS)
    run([*(("feed", (text[at : at + 1],)) for at in range(len(HEADER) - 3, len(HEADER))), ("end", ())])
    table = _fastpath.Table()
    for byte in text:
        table.feed(bytes([byte]))
    assert table.end() == [(backend, len(SERVERS)) for backend in sorted(BACKENDS)]
