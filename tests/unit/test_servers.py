"""HAProxy's servers, on text that HAProxy wrote: rows of one dump, and what differs from one to the next."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import replace

import pytest

from haproxy.model import Admin, ServerRow
from haproxy.servers import Servers, rows_of
from l7.kit.errors import ProtocolError
from tests.fakes.haproxy import SERVERS_STATE, servers_state_row

STATE_HEADER = (
    "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state "
    "srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port "
    "srv_check_addr srv_agent_addr srv_agent_port\n"
)


def test_servers_state() -> None:
    text = STATE_HEADER + (
        "3 b1 1 s0 127.0.0.2 2 0 1 1 176 1 0 2 0 0 0 0 - 8 - 0 0 - - 0\n"
        "3 b1 2 v6 ::1 0 1 5 1 0 1 0 0 14 0 0 0 - 81 - 0 0 - - 0\n"
        "4 b2 7 w 10.0.0.7 1 8 64 64 0 1 0 0 6 0 0 0 - 80 - 0 0 - - 0\n"
    )
    first, second, third = rows_of([text.encode()])
    assert first == ServerRow("b1", "s0", 1, "127.0.0.2", 8, 1, Admin(0), up=True, check_enabled=False)
    assert first.usable
    assert second == ServerRow("b1", "v6", 2, "::1", 81, 5, Admin.FORCED_MAINT, up=False, check_enabled=True)
    assert (third.backend, third.admin, third.up, third.enabled) == ("b2", Admin.FORCED_DRAIN, True, False)


def test_servers_state_finds_columns_by_name() -> None:
    text = (
        "1\n# srv_name new be_name srv_port srv_addr srv_id srv_uweight srv_check_state srv_admin_state "
        "srv_op_state\ns ? b 80 10.0.0.1 4 9 0 0 2\n"
    )
    assert rows_of([text.encode()]) == (
        ServerRow("b", "s", 4, "10.0.0.1", 80, 9, Admin(0), up=True, check_enabled=False),
    )


def test_a_backend_without_servers() -> None:
    assert rows_of([f"{STATE_HEADER}\n".encode()]) == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2\n# be_id\n",
        "1\n",
        "1\nbe_id be_name\n",
        STATE_HEADER + "3 b1 1 s0 127.0.0.2 2 0 1\n",
        STATE_HEADER + "3 b1 x s0 127.0.0.2 2 0 1 1 176 1 0 2 0 0 0 0 - 8 - 0 0 - - 0\n",
    ],
)
def test_servers_state_refuses_garbage(text: str) -> None:
    with pytest.raises(ProtocolError):
        rows_of([text.encode()])


# ---------------------------------------------------------------- one dump after the other

A = ServerRow("a", "t1.aa", 1, "10.0.0.1", 80, 64, Admin(0), up=True, check_enabled=True)
B = replace(A, backend="b", name="t2.aa", id=2)


def dump(*rows: ServerRow) -> bytes:
    return SERVERS_STATE + b"".join(map(servers_state_row, rows)) + b"\n"


def seen(*rows: ServerRow) -> Servers:
    servers = Servers()
    servers.feed(dump(*rows))
    servers.end(("a", "b", "empty"))
    return servers


def test_every_backend_is_a_key_with_servers_or_without() -> None:
    servers = seen(A)
    assert servers == {"a": {"t1.aa": A}, "b": {}, "empty": {}}
    servers.feed(dump(B))
    servers.end(("b",))
    assert dict(servers) == {"b": {"t2.aa": B}}
    assert "a" not in servers


def test_a_backend_that_was_made_amid_the_questions_is_there() -> None:
    servers = Servers()
    servers.feed(dump(A, B))
    servers.end(("a",))
    assert set(servers) == {"a", "b"}
    servers.feed(dump(A, B))
    assert servers.end(("a",)) == []
    assert set(servers) == {"a", "b"}


def test_rows_of_a_backend_stay_the_same_object_until_it_differs() -> None:
    servers = seen(A, B)
    a, b = servers["a"], servers["b"]
    servers.feed(dump(A, replace(B, weight=1)))
    assert servers.end(("a", "b")) == [("b", 1)]
    assert servers["a"] is a
    assert b != servers["b"] == {"t2.aa": replace(B, weight=1)}


def test_what_is_read_back_is_no_drift_afterwards() -> None:
    servers = seen(A, B)
    servers.feed(dump(replace(A, weight=1)))
    servers.end_of("a")
    assert servers["a"]["t1.aa"].weight == 1
    assert servers["b"] == {"t2.aa": B}
    servers.feed(dump(replace(A, weight=1), B))
    assert servers.end(("a", "b")) == []


def test_a_backend_that_haproxy_does_not_know_is_none() -> None:
    servers = seen(A, B)
    servers.gone("a")
    assert dict(servers) == {"b": {"t2.aa": B}, "empty": {}}
    servers.feed(dump(B))
    assert servers.end(("b", "empty")) == []


def test_a_dump_that_is_cut_leaves_what_was_known() -> None:
    servers = seen(A, B)
    servers.feed(dump(replace(A, weight=1), B)[:-20])
    assert servers["a"] == {"t1.aa": A}
    with pytest.raises(ProtocolError):
        servers.end(("a", "b"))
    assert servers["a"] == {"t1.aa": A}
    servers.feed(dump(A, B))
    assert servers.end(("a", "b")) == []


def test_rows_may_be_asked_for_while_a_dump_arrives() -> None:
    servers, text = seen(A, B), dump(A, B) * 50

    def feed() -> None:
        for _ in range(100):
            servers.feed(text)
            with suppress(ProtocolError):  # it is no whole dump
                servers.end(("a", "b", "empty"))

    thread = threading.Thread(target=feed)
    thread.start()
    while thread.is_alive():
        assert servers["a"] == {"t1.aa": A}
        servers._made.clear()
    thread.join()
