"""What `Table` is for, by examples; the compiled one and the plain one alike."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from haproxy import ops
from haproxy.runtime.codec import encode
from l7 import _fastpath
from l7.fastpath_pure import table as pure
from l7.v1 import sync_pb2 as pb

HEADER = (
    b"1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    b"srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state "
    b"srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port "
    b"srv_check_addr srv_agent_addr srv_agent_port\n"
)
READY, PENDING, LEAVING = pb.SERVER_STATE_READY, pb.SERVER_STATE_PENDING, pb.SERVER_STATE_LEAVING


@pytest.fixture(params=[pure.Table, _fastpath.Table], ids=["pure", "compiled"])
def table(request: pytest.FixtureRequest) -> Any:
    return request.param()


def server(task: str, **changes: Any) -> pb.Server:
    fields = {"id": 7, "address": "10.0.0.1", "port": 80, "weight": 64, "state": READY, **changes}
    return pb.Server(task=task, **fields)


def backend(name: str, *servers: pb.Server, expected: bool = True) -> pb.Backend:
    return pb.Backend(name=name, settings=pb.BackendSettings(services=[name], expected=expected), servers=servers)


def chunk(*backends: pb.Backend, **fields: Any) -> bytes:
    return pb.SyncResponse(
        kind=pb.UPDATE_KIND_COMPLETE, changes=pb.Changes(backends=backends), **fields
    ).SerializeToString()


def row(backend: str, name: str, **changes: Any) -> bytes:
    """A row of `show servers state`: enabled, up, checked, as `server` wants it."""
    has = {"id": 7, "addr": "10.0.0.1", "op": 2, "admin": 0, "weight": 64, "check": 6, "port": 80, **changes}
    return (
        f"4 {backend} {has['id']} {name} {has['addr']} {has['op']} {has['admin']} {has['weight']} 1 123 6 3 4 "
        f"{has['check']} 0 0 0 - {has['port']} - 0 0 - - 0\n"
    ).encode()


def known(table: Any, *rows: bytes, backend: str | None = None) -> list[tuple[str, int]]:
    table.feed(HEADER + b"".join(rows))
    found: list[tuple[str, int]] = table.end(backend)
    return found


# ---------------------------------------------------------------- what is wanted


def test_a_whole_update_says_which_backends_differ(table: Any) -> None:
    assert table.ingest([chunk(backend("shop", server("t1")), backend("blog", server("t2")))]) == ["blog", "shop"]
    assert table.ingest([chunk(backend("blog", server("t2")), backend("shop", server("t1")))]) == []
    assert table.ingest([chunk(backend("shop", server("t1", weight=1)), backend("blog", server("t2")))]) == ["shop"]
    assert table.ingest([chunk(backend("shop", server("t1", weight=1)))]) == ["blog"]
    assert table.ingest([chunk(backend("shop", server("t1", weight=1), expected=False))]) == ["shop"]
    assert table.ingest([]) == ["shop"]
    assert len(table) == 0


def test_messages_of_one_backend_add_up_and_the_last_of_two_servers_counts(table: Any) -> None:
    first, second = server("t1"), server("t2", id=8, address="2001:db8::1")
    parts = [chunk(backend("shop", server("t1", port=1))), chunk(pb.Backend(name="shop", servers=[second, first]))]
    assert table.ingest(parts) == ["shop"]
    assert table.servers("shop") == [
        ("t1", 7, "10.0.0.1", 80, 64, 2, 0, 0),
        ("t2", 8, "2001:db8::1", 80, 64, 2, 0, 0),
    ]
    assert table.settings_of("shop") == pb.BackendSettings(services=["shop"], expected=True).SerializeToString()
    assert table.ingest([chunk(backend("shop", first, second))]) == []


@pytest.mark.parametrize(
    "wrong",
    [
        b"\x0a",
        b"\xff" * 20,
        chunk(backend("")),
        chunk(backend("a b")),
        chunk(backend("s", server(""))),
        chunk(backend("s", server("t" * 201))),
        chunk(backend("s", server("t", id=0))),
        chunk(backend("s", server("t", id=1 << 31))),
        chunk(backend("s", server("t", port=0))),
        chunk(backend("s", server("t", port=65536))),
        chunk(backend("s", server("t", weight=257))),
        chunk(backend("s", server("t", state=0))),
        chunk(backend("s", server("t", state=4))),
        chunk(backend("s", server("t", address="example.org"))),
        chunk(backend("s", server("t", address=""))),
        chunk(backend("s", server("t", address="fe80::1%1"))),
        chunk(backend("s", server("t", address="10.0.0.01"))),
        chunk(backend("s", server("t", service=65536))),
        chunk(backend("s", server("t")))[:-1],
        pb.SyncResponse(kind=pb.UPDATE_KIND_INCREMENTAL).SerializeToString(),
    ],
)
def test_an_update_that_makes_no_sense_changes_nothing(table: Any, wrong: bytes) -> None:
    table.ingest([chunk(backend("shop", server("t1")))])
    with pytest.raises(ValueError):
        table.ingest([chunk(backend("shop", server("t1", weight=1)), backend("new", server("t2"))), wrong])
    assert table.servers("shop") == [("t1", 7, "10.0.0.1", 80, 64, 2, 0, 0)]
    assert table.settings_of("new") is None
    assert len(table) == 1


def test_what_an_update_says_of_other_things_is_skipped(table: Any) -> None:
    changes = pb.Changes(backends=[backend("shop", server("t1"))], routes=[pb.Route(host="a", path="/")])
    unknown = b"\x9b\x06\x08\x01\x9c\x06" + b"\xa5\x06" + bytes(4) + b"\xa1\x06" + bytes(8)  # a group, fixed 32, 64
    message = pb.SyncResponse(kind=1, changes=changes, results_in="r", last=True, observed_unix_nano=5)
    assert table.ingest([unknown + message.SerializeToString() + unknown]) == ["shop"]
    assert len(table) == 1


def test_single_changes(table: Any) -> None:
    assert table.settings("shop", b"one")
    assert not table.settings("shop", b"one")
    assert table.upsert("shop", "t1", 7, "10.0.0.1", 80, 64, READY)
    assert not table.upsert("shop", "t1", 7, "10.0.0.1", 80, 64, READY)
    assert table.upsert("shop", "t1", 7, "10.0.0.1", 80, 64, LEAVING, 1000)
    assert table.remove("shop", "t1")
    assert not table.remove("shop", "t1")
    assert table.settings_of("shop") == b"one"
    assert table.remove_backend("shop")
    assert not table.remove_backend("shop")
    with pytest.raises(ValueError):
        table.upsert("shop", "t1", 7, "10.0.0.1", 80, 300, READY)
    assert table.settings_of("shop") is None


def test_digests_tell_contents_apart_and_do_not_depend_on_the_way_there(table: Any) -> None:
    table.ingest([chunk(backend("a", server("t1"), server("t2", id=8)), backend("b"))])
    first = table.digests()
    assert sorted(first) == ["a", "b"]
    assert {len(digest) for digest in first.values()} == {16}
    table.upsert("a", "t1", 7, "10.0.0.1", 80, 1, READY)
    assert table.digests()["a"] != first["a"]
    assert table.digests()["b"] == first["b"]
    table.remove("a", "t1")
    table.upsert("a", "t1", 7, "10.0.0.1", 80, 64, READY)
    assert table.digests() == first
    table.settings("b", b"")
    assert table.digests()["b"] != first["b"]


# ---------------------------------------------------------------- what the proxy has


def test_a_dump_says_which_backends_differ_and_whether_by_commands(table: Any) -> None:
    assert known(table, row("a", "s1"), row("b", "s2")) == [("a", 1), ("b", 1)]
    assert known(table, row("a", "s1"), row("b", "s2")) == []
    assert known(table, row("a", "s1", op=0), row("b", "s2")) == [("a", 0)]
    assert known(table, row("a", "s1", op=0, admin=1), row("b", "s2", port=81)) == [("a", 1), ("b", 1)]
    assert known(table, row("b", "s2", port=81), row("b", "s3")) == [("a", 1), ("b", 1)]
    assert table.rows("b") == [("s2", 7, "10.0.0.1", 81, 64, 0, 2, 6), ("s3", 7, "10.0.0.1", 80, 64, 0, 2, 6)]


def test_a_check_that_is_under_way_is_no_news(table: Any) -> None:
    known(table, row("a", "s1", check=6))
    assert known(table, row("a", "s1", check=7)) == []
    assert table.rows("a")[0][-1] == 6
    assert known(table, row("a", "s1", check=3)) == [("a", 0)]


def test_a_dump_of_one_backend_leaves_the_others(table: Any) -> None:
    known(table, row("a", "s1"), row("b", "s2"))
    assert known(table, row("a", "s3"), backend="a") == [("a", 2)]
    assert known(table, backend="a") == [("a", 1)]
    assert len(table) == 1
    with pytest.raises(ValueError):
        known(table, row("b", "s2", weight=1), backend="a")
    assert table.rows("b") == [("s2", 7, "10.0.0.1", 80, 64, 0, 2, 6)]


def test_columns_are_found_by_their_names(table: Any) -> None:
    names = b"srv_port new srv_check_state srv_uweight srv_admin_state srv_op_state srv_addr srv_name srv_id"
    table.feed(b"1\n# " + names + b" be_name\n80 x 6 64 0 2 2001:DB8:0::1 s1 7 a\n81 x 6 64 0 2 - s2 8 a\n")
    assert table.end() == [("a", 2)]
    assert table.rows("a") == [("s1", 7, "2001:db8::1", 80, 64, 0, 2, 6), ("s2", 8, "-", 81, 64, 0, 2, 6)]


def test_any_size_of_chunks(table: Any) -> None:
    whole = HEADER + row("a", "s" * 40_000) + b"\n" + row("a", "s2")
    for at in range(len(whole)):
        table.feed(whole[at : at + 1])
    assert table.end() == [("a", 2)]
    assert [name for name, *_ in table.rows("a")] == ["s2", "s" * 40_000]


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"1\n",
        HEADER[:-1],
        b"Can't find backend.\n",
        b"1\n# be_id be_name\n",
        HEADER + row("a", "s1")[:-1],
        HEADER + row("a", "s1")[:40] + b"\n",
        HEADER + row("a", "s1") + row("a", "s1"),
        HEADER + row("a", "s1", port="x"),
        HEADER + row("a", "s1", port=""),
        HEADER + row("a", "s1", port=65536),
        HEADER + row("a", "s1", id=2**32),
        HEADER + row("a", "s1", addr="10.0.0"),
        HEADER + row("a", "s1", addr="example.org"),
        HEADER + row("a", "s;1"),
        HEADER + row("a", ""),
    ],
)
def test_a_dump_that_is_not_whole_changes_nothing(table: Any, wrong: bytes) -> None:
    known(table, row("a", "s1", weight=5))
    table.feed(wrong)
    with pytest.raises(ValueError):
        table.end()
    assert [line[4] for line in table.rows("a")] == [5]
    assert known(table, row("a", "s1", weight=5)) == []


def test_no_dump_at_all(table: Any) -> None:
    with pytest.raises(ValueError):
        table.end()


# ---------------------------------------------------------------- from one to the other


def test_a_new_server_is_added_enabled_and_checked(table: Any) -> None:
    table.ingest([chunk(backend("shop", server("t1", service=1), server("t2", id=8, address="2001:db8:0::1")))])
    table.keywords("shop", 1, b"check inter 2s")
    assert table.commands().decode().splitlines() == [
        "add server shop/t1 10.0.0.1:80 id 7 weight 64 check inter 2s",
        "add server shop/t2 [2001:db8::1]:80 id 8 weight 64",
        "set server shop/t1 state ready",
        "enable health shop/t1",
        "set server shop/t2 state ready",
        "enable health shop/t2",
    ]
    assert table.commands() == b""
    assert table.rows("shop") == []
    table.ack(2)
    assert [line[5] for line in table.rows("shop")] == [1, 1]
    table.ack(4)
    assert [line[5] for line in table.rows("shop")] == [0, 0]
    assert table.commands() == b""


def test_what_is_said_is_what_the_codec_says(table: Any) -> None:
    table.ingest([chunk(backend("s", server("t1"), server("t2", weight=5, state=LEAVING), server("t4")))])
    table.keywords("s", 0, b"check inter 2s")
    known(table, row("s", "t2"), row("s", "t3"), row("s", "t4", admin=1, check=0))
    said = [
        ops.AddServer("s", "t1", "10.0.0.1", 80, 7, 64, ("check", "inter", "2s")),
        ops.SetWeight("s", "t2", 5),
        ops.EnableServer("s", "t1"),
        ops.EnableHealth("s", "t1"),
        ops.EnableServer("s", "t4"),
        ops.EnableHealth("s", "t4"),
        ops.DisableServer("s", "t2"),
        ops.DisableServer("s", "t3"),
        ops.DeleteServer("s", "t3"),
    ]
    assert [verb for verb, _, _ in table.pending()] == [
        "add server", "set weight", *["enable server", "enable health"] * 2, "disable server", "disable server",
        "del server",
    ]  # fmt: skip
    assert table.commands() == b"".join(encode(op) for op in said)


def test_states_of_a_task(table: Any) -> None:
    table.upsert("s", "t1", 7, "10.0.0.1", 80, 64, PENDING)
    assert table.pending() == [("add server", "s", "t1")]
    table.upsert("s", "t1", 7, "10.0.0.1", 80, 64, LEAVING)
    assert table.pending() == []
    known(table, row("s", "t1"))
    assert table.pending() == [("disable server", "s", "t1")]
    table.upsert("s", "t1", 7, "10.0.0.1", 80, 64, PENDING)
    assert table.pending() == []


def test_one_with_another_address_goes_before_it_comes(table: Any) -> None:
    known(table, row("s", "t1", addr="10.0.0.9"))
    table.upsert("s", "t1", 7, "10.0.0.1", 80, 64, PENDING)
    assert table.commands() == b"set server s/t1 state maint\ndel server s/t1\n"
    assert table.commands() == b""
    table.ack(2)
    assert table.pending() == [("add server", "s", "t1")]


def test_what_was_refused_waits_for_a_reason(table: Any) -> None:
    def refused() -> None:
        assert table.commands() == b"set server s/t1 weight 64\n"
        table.nack()
        assert table.commands() == b""

    table.upsert("s", "t1", 7, "10.0.0.1", 80, 64, READY)
    known(table, row("s", "t1", weight=1))
    refused()
    table.retry()
    refused()
    known(table, row("s", "t1", weight=1))
    refused()
    known(table, backend="unheard-of")
    assert table.commands() == b""
    table.upsert("s", "t1", 7, "10.0.0.1", 80, 65, READY)
    assert table.commands() == b"set server s/t1 weight 65\n"
    assert [line[4] for line in table.rows("s")] == [1]


def test_a_refused_server_is_left_alone_until_all_is_answered(table: Any) -> None:
    table.upsert("s", "t1", 7, "10.0.0.1", 80, 64, READY)
    table.commands()
    table.nack()
    table.retry()
    assert table.commands() == b""
    table.nack()
    table.nack()
    assert table.commands() == b""
    table.retry()
    assert len(table.pending()) == 3


def test_others_servers_are_not_touched(table: Any) -> None:
    known(table, row("foreign", "s1"), row("s", "hold"), row("s", "t1"))
    table.settings("s", b"")
    assert table.pending() == [("disable server", "s", "t1"), ("del server", "s", "t1")]
    table.remove_backend("s")
    assert table.pending() == [("disable server", "s", "t1"), ("del server", "s", "t1")]
    known(table, row("foreign", "s1"))
    assert table.pending() == []
    known(table, row("s", "t1"))
    assert table.pending() == []


def test_chunks_of_commands_keep_the_order(table: Any) -> None:
    table.ingest([chunk(backend("s", *(server(f"t{n:03}", id=n + 1) for n in range(50))))])
    known(table, *(row("s", f"old{n}") for n in range(50)))
    expected = table.pending()
    lines = []
    while text := table.commands(limit=100):
        assert len(text) <= 100
        lines += text.decode().splitlines()
    assert len(lines) == len(expected) == 250
    table.ack(250)
    assert len(table.rows("s")) == 50
    assert table.commands(limit=0) == b""


def test_a_server_that_was_told_something_stays_as_told_whatever_an_older_dump_says(table: Any) -> None:
    table.upsert("s", "t1", 7, "10.0.0.1", 80, 64, READY)
    known(table, row("s", "t1", weight=1))
    table.commands()
    table.feed(HEADER + row("s", "t1", weight=1))
    table.ack()
    assert table.end() == []
    assert [line[4] for line in table.rows("s")] == [64]


def test_answers_to_what_nobody_said(table: Any) -> None:
    with pytest.raises(ValueError):
        table.ack()
    with pytest.raises(ValueError):
        table.nack()


@pytest.mark.parametrize("words", [b"check;del server a/b", b"check <<", b"a\nb", b"\xff"])
def test_keywords_that_would_end_the_command(table: Any, words: bytes) -> None:
    table.settings("s", b"")
    with pytest.raises(ValueError):
        table.keywords("s", 0, words)
    with pytest.raises(ValueError):
        table.keywords("unknown", 0, b"check")


def test_a_second_thread_is_told_that_the_table_is_in_use() -> None:
    table = _fastpath.Table()
    seen = threading.Event()

    def feed() -> None:
        table.feed(HEADER)
        while not seen.is_set():
            table.feed(b"\n" * 5_000_000)  # no rows, and a while without the GIL

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    until = time.monotonic() + 60
    while not seen.is_set() and time.monotonic() < until:
        try:
            table.rows("a")
        except RuntimeError:
            seen.set()
    assert seen.is_set()
    thread.join()
    assert table.end() == []
