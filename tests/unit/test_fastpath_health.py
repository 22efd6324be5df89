"""Health of servers out of what HAProxy shows, by example: dumps of real ones, and what no HAProxy should show."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

import pytest

from l7 import _fastpath
from l7.fastpath_pure import health as plain
from l7.fastpath_pure.health_rows import DOWN, GONE, LONGEST, MAINTENANCE, UP, split

DATA = Path(__file__).parents[1] / "data" / "haproxy"
"""Of HAProxy 2.6.12 and 3.4.7 with the same configuration: two backends, seven servers, a few requests."""

STATE = b"1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight\n"
STAT = b"# pxname,svname,qcur,scur,stot,bin,bout,econ,eresp,wretr,wredis,status,type,last_chk,\n"

Health: TypeAlias = plain.Health | _fastpath.Health


@pytest.fixture(params=[plain.Health, _fastpath.Health], ids=["plain", "compiled"])
def kind(request: pytest.FixtureRequest) -> type[Health]:
    """Examples hold for both."""
    found: type[Health] = request.param
    return found


def state(name: str, op: object = 2, admin: object = 0, backend: str = "be") -> bytes:
    return f"3 {backend} 1 {name} 10.0.0.1 {op} {admin} 64\n".encode()


def stat(
    name: str, status: str = "UP", type: int = 2, counters: object = "1,2,3,4,5,6,7,8,9", check: str = ""
) -> bytes:
    return f"be,{name},{counters},{status},{type},{check},\n".encode()


def look(health: Health, dumps: Iterable[tuple[int, bytes]], quorum: int = 1) -> list[tuple[str, str, int, int]]:
    health.begin()
    for process, dump in dumps:
        health.feed(process, dump)
    return health.end(quorum)


def shown(kind: str, series: str) -> bytes:
    return (DATA / f"show-{kind}-{series}.txt").read_bytes()


@pytest.mark.parametrize("series", ["2.6", "3.4"])
@pytest.mark.parametrize("kinds", [("state",), ("stat",), ("state", "stat"), ("stat", "state")])
def test_verdicts_of_a_real_haproxy(kind: type[Health], series: str, kinds: tuple[str, ...]) -> None:
    health = kind()
    assert look(health, [(0, shown(each, series)) for each in kinds]) == [
        ("tcp", "t1", 0, DOWN),
        ("web", "hold", 0, UP),
        ("web", "s1", 0, UP),
        ("web", "s2", 0, DOWN),
        ("web", "s3", 0, MAINTENANCE),
        ("web", "s4", 0, MAINTENANCE),
        ("web", "s5", 0, UP),
    ]
    assert health.counts() == (3, 2, 2)
    assert health.unknown() == 0
    assert look(health, [(0, shown(each, series)) for each in kinds]) == []


@pytest.mark.parametrize(("series", "requests", "sent"), [("2.6", 3, 321), ("3.4", 2, 214)])
def test_totals_of_a_real_haproxy(kind: type[Health], series: str, requests: int, sent: int) -> None:
    health = kind(2)
    look(health, [(process, shown("stat", series)) for process in (0, 1)])
    found = health.server("web", "s1")
    assert (found["total"], found["bytes_in"], found["up"], found["down"]) == (2 * requests, 2 * sent, 2, 0)
    assert health.backends()["web"]["own_total"] == health.backends()["web"]["total"] == 10
    assert set(health.backends()) == {"web", "tcp"}


def test_totals_are_sums_over_processes_and_servers(kind: type[Health]) -> None:
    health = kind(3)
    own = stat("BACKEND", type=1, counters="10,20,30,40,50,60,70,80,90")
    look(health, [(0, STAT + stat("a") + stat("b", "DOWN") + own), (2, STAT + stat("a", "MAINT"))])
    assert health.server("be", "a") == {
        "sessions": 4, "queued": 2, "total": 6, "bytes_in": 8, "bytes_out": 10, "errors": 26, "retries": 16,
        "redispatches": 18, "up": 1, "down": 0, "maintenance": 1,
    }  # fmt: skip
    total = health.backends()["be"]
    assert (total["total"], total["up"], total["down"], total["maintenance"]) == (9, 1, 1, 1)
    assert (total["own_queued"], total["own_sessions"], total["own_errors"]) == (10, 20, 130)


def test_a_quorum_of_processes_has_to_see_it_up(kind: type[Health]) -> None:
    health = kind(3)
    dumps = [(0, STATE + state("a")), (1, STATE + state("a")), (2, STATE + state("a", 0))]
    assert look(health, dumps, quorum=2) == [("be", "a", 0, UP)]
    assert look(health, dumps, quorum=3) == [("be", "a", UP, DOWN)]
    dumps[2] = (2, STATE + state("a", admin=1))
    assert look(health, dumps, quorum=3) == [("be", "a", DOWN, MAINTENANCE)]


def test_what_no_process_has_is_gone_and_then_unknown(kind: type[Health]) -> None:
    health = kind(2)
    look(health, [(0, STATE + state("a") + state("b"))])
    assert look(health, [(1, STATE + state("b"))]) == [("be", "a", UP, GONE)]
    assert look(health, [(0, STATE + state("a"))]) == [("be", "a", 0, UP), ("be", "b", UP, GONE)]
    with pytest.raises(KeyError):
        health.server("be", "b")


def test_a_look_that_is_not_ended_is_as_if_it_had_not_been(kind: type[Health]) -> None:
    health = kind()
    look(health, [(0, STATE + state("a"))])
    health.begin()
    health.feed(0, STATE + state("b", 0) + b"3 be 1 cut")
    assert look(health, [(0, STATE + state("a"))]) == []
    assert (health.counts(), health.unknown()) == ((1, 0, 0), 0)


def test_a_process_has_one_view_of_a_server_and_counts_once(kind: type[Health]) -> None:
    health = kind()
    dump = STATE + state("a", 0) + state("a") + STAT + stat("a", "MAINT") + stat("a")
    assert look(health, [(0, dump)]) == [("be", "a", 0, DOWN)]
    assert health.server("be", "a")["total"] == 3


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ("UP", UP), ("UP 1/3", UP), ("no check", UP), ("DOWN", DOWN), ("DOWN 1/2", DOWN), ("DOWN (agent)", DOWN),
        ("NOLB", DOWN), ("NOLB 1/3", DOWN), ("MAINT", MAINTENANCE), ("MAINT (via a/b)", MAINTENANCE),
        ("MAINT (resolution)", MAINTENANCE), ("DRAIN", MAINTENANCE),
    ],
)  # fmt: skip
def test_verdict_by_status(kind: type[Health], status: str, verdict: int) -> None:
    assert look(kind(), [(0, STAT + stat("a", status))]) == [("be", "a", 0, verdict)]


@pytest.mark.parametrize(
    ("op", "admin", "verdict"),
    [
        (0, 0, DOWN), (1, 0, UP), (2, 0, UP), (3, 0, DOWN), (2, 4, UP), (2, 0x40, UP),
        (0, 1, MAINTENANCE), (2, 2, MAINTENANCE), (2, 8, MAINTENANCE), (2, 0x10, MAINTENANCE),
        (0, 0x20, MAINTENANCE),
    ],
)  # fmt: skip
def test_verdict_by_state(kind: type[Health], op: int, admin: int, verdict: int) -> None:
    assert look(kind(), [(0, STATE + state("a", op, admin))]) == [("be", "a", 0, verdict)]


QUOTED = ['"a,b"', '"say ""hallo"""', '"two\nlines"', '"a\n\nb,""\n"', '""', 'a"b', '"a"b"c', '"x",', '"a","b"']


@pytest.mark.parametrize("check", QUOTED)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_quoted_columns(kind: type[Health], check: str, size: int) -> None:
    dump = STAT + stat("a", check=check) + stat("b")
    health = kind()
    chunks = [(0, dump[at : at + size]) for at in range(0, len(dump), size)]
    assert look(health, chunks) == [("be", "a", 0, UP), ("be", "b", 0, UP)]
    assert health.unknown() == 0


def test_quotes_around_what_is_read(kind: type[Health]) -> None:
    health = kind()
    assert look(health, [(0, STAT + b'"be","a","1",2,3,4,5,6,7,8,9,"UP 1/3","2","",\n')]) == [("be", "a", 0, UP)]
    assert health.server("be", "a")["queued"] == 1


UNREADABLE = [
    b"be,a,1,2,3\n",
    b"be,a,,,,,,,,,,UP,7,,\n",
    b"be,a,,,,,,,,,,UP,,,\n",
    b"be,a,x,,,,,,,,,UP,2,,\n",
    b"be,a,-1,,,,,,,,,UP,2,,\n",
    b"be,a,+1,,,,,,,,,UP,2,,\n",
    b"be,a,18446744073709551616,,,,,,,,,UP,2,,\n",
    b"be,a,000000000000000000001,,,,,,,,,UP,2,,\n",
    b"be,a,,,,,,,,,,OPEN,2,,\n",
    b"be,a,,,,,,,,,,U,2,,\n",
    b"be,,,,,,,,,,,UP,2,,\n",
    b",a,,,,,,,,,,UP,2,,\n",
    b"be,a b,,,,,,,,,,UP,2,,\n",
    b'be,"a,b",,,,,,,,,,UP,2,,\n',
    b"be,\xe4,,,,,,,,,,UP,2,,\n",
    b"be," + b"a" * 256 + b",,,,,,,,,,UP,2,,\n",
    b"be,BACKEND,x,,,,,,,,,UP,1,,\n",
    b"garbage\n",
    b"# pxname,svname\n" + b"be,a,1,1,1,1,1,1,1,1,1,UP,2,,\n",
    b"1\n" + state("a"),
    STATE + state("a", 4),
    STATE + state("a", ""),
    STATE + state("a", 2, "x"),
    STATE + state("a", 2, -1),
    STATE + b"3 be 1 a 10.0.0.1 2\n",
    STATE + state("a", backend=""),
]


@pytest.mark.parametrize("rows", UNREADABLE)
def test_rows_that_make_no_sense_are_counted_and_disturb_nothing(kind: type[Health], rows: bytes) -> None:
    health = kind()
    assert look(health, [(0, STAT + rows + STAT + stat("b"))]) == [("be", "b", 0, UP)]
    assert health.unknown() == 1 + rows.startswith(b"# ")
    assert (health.server("be", "b")["total"], set(health.backends()), "own_total" in health.backends()["be"]) == (
        3, {"be"}, False
    )  # fmt: skip


def test_a_row_before_any_header_and_one_without_end_are_unknown(kind: type[Health]) -> None:
    health = kind(2)
    assert look(health, [(0, state("a")), (1, STATE + state("b") + state("c")[:-1])]) == [("be", "b", 0, UP)]
    assert health.unknown() == 2


def test_rows_of_frontends_and_listeners_say_nothing(kind: type[Health]) -> None:
    health = kind()
    rows = stat("FRONTEND", "OPEN", 0, ",,,,,,,,") + stat("sock", "OPEN", 3, "x,,,,,,,,")
    assert look(health, [(0, STAT + rows)]) == []
    assert (health.unknown(), health.backends()) == (0, {})


@pytest.mark.parametrize("size", [100_000, 1 << 21])
@pytest.mark.parametrize("extra", [0, 1])
def test_the_longest_row(kind: type[Health], size: int, extra: int) -> None:
    text = stat("a", check="x")
    row = text.replace(b"x", b"x" * (LONGEST + extra - len(text) + 2))
    dump = STAT + row + stat("b")
    health = kind()
    chunks = [(0, dump[at : at + size]) for at in range(0, len(dump), size)]
    assert [name for _, name, _, _ in look(health, chunks)] == (["b"] if extra else ["a", "b"])
    assert health.unknown() == extra


def test_after_a_quote_that_nothing_closes_reading_goes_on_behind_the_longest_row(kind: type[Health]) -> None:
    health = kind()
    lines = LONGEST // len(stat("b")) + 1
    dump = STAT + stat("a", check='"') + stat("b") * lines + stat("c")
    assert look(health, [(0, dump)])[-1] == ("be", "c", 0, UP)
    assert health.unknown() == 1


def test_counters_have_64_bits_and_wrap_and_what_is_now_has_32(kind: type[Health]) -> None:
    health = kind(2)
    most = ",".join([str(2**64 - 1)] * 9)
    look(health, [(0, STAT + stat("a", counters=most)), (1, STAT + stat("a"))])
    found = health.server("be", "a")
    assert (found["sessions"], found["queued"], found["total"], found["errors"]) == (2**32 - 1, 2**32 - 1, 2, 11)


def test_what_is_asked_of_it_in_the_wrong_way(kind: type[Health]) -> None:
    for wrong in (0, 65, -1):
        with pytest.raises(ValueError, match="processes"):
            kind(wrong)
    health = kind(2)
    with pytest.raises(ValueError, match="begin"):
        health.feed(0, b"")
    with pytest.raises(ValueError, match="begin"):
        health.end()
    health.begin()
    for process in (2, -1):
        with pytest.raises(IndexError, match="process"):
            health.feed(process, b"")
    with pytest.raises(ValueError, match="quorum"):
        health.end(0)
    assert health.end() == []
    with pytest.raises(ValueError, match="begin"):
        health.feed(0, b"")


def test_one_thread_at_a_time(kind: type[Health]) -> None:
    health = kind()
    health.begin()
    done = threading.Event()
    thread = threading.Thread(target=feed_until, args=(health, STATE + state("a") * 100_000, done))
    thread.start()
    try:
        with pytest.raises(RuntimeError, match="in use"):
            ask_while_alive(health, thread)
    finally:
        done.set()
        thread.join()


def ask_while_alive(health: Health, thread: threading.Thread) -> None:
    while thread.is_alive():
        health.unknown()


def feed_until(health: Health, dump: bytes, done: threading.Event) -> None:
    while not done.is_set():
        with contextlib.suppress(RuntimeError):  # it may be the one who is late
            health.feed(0, dump)


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        (b"", [b""]), (b"a,,b", [b"a", b"", b"b"]), (b'"a,b",c', [b"a,b", b"c"]), (b'a"b,"c""', None),
        (b'"a""b"', [b'a"b']), (b'"a"b"c",d', [b'ab"c"', b"d"]), (b'"', None),
        (b'x,""', [b"x", b""]), (b'"""', None),
    ],
)  # fmt: skip
def test_columns(row: bytes, columns: list[bytes] | None) -> None:
    assert split(row) == columns
