"""Names, ids and keywords of servers; which backend of HAProxy serves which of ours."""

from __future__ import annotations

from dataclasses import replace

from haproxy import policy
from haproxy.capabilities import capabilities
from haproxy.model import Backend, Server
from haproxy.settings import Settings

OLD, NEW = capabilities((2, 6, 12)), capabilities((3, 4, 7))
SERVER = Server("task", 7, "10.0.0.1", 80)
KEYWORDS = policy.server_keywords(Settings(), NEW, Backend("web"))


def test_a_server_on_2_6_gets_the_keywords_without_which_connections_are_never_reused() -> None:
    words = " ".join(policy.server_keywords(Settings(), OLD, Backend("web")))
    assert words == "check inter 2000 fall 2 rise 1 pool-max-conn -1 pool-purge-delay 5s"


def test_whatever_is_fixed_on_a_server_makes_a_generation() -> None:
    changed = [
        replace(SERVER, address="10.0.0.2"),
        replace(SERVER, port=81),
        replace(SERVER, id=8),
    ]
    names = {policy.server_name(server, KEYWORDS) for server in (SERVER, *changed)}
    names.add(policy.server_name(SERVER, (*KEYWORDS, "ssl")))
    assert len(names) == 5
    assert all(name.startswith("task.") and len(name) == len("task.") + 6 for name in names)


def test_what_can_be_changed_on_a_server_makes_none() -> None:
    same = {policy.server_name(server, KEYWORDS) for server in (SERVER, replace(SERVER, weight=1, stop_in=5))}
    assert len(same) == 1


def test_a_second_generation_gets_another_id_of_the_same_place_on_the_ring() -> None:
    first = policy.runtime_id(SERVER, "task.a", {policy.HOLD_ID})
    second = policy.runtime_id(SERVER, "task.b", {policy.HOLD_ID, first})
    assert (first, second) == (7, 7 + 2**20)


def test_the_placeholder_has_an_id_that_no_server_can_get() -> None:
    assert policy.HOLD_ID % 2**20 == 0
    assert policy.hold_server("web").id == policy.HOLD_ID


def test_backends_made_at_run_time_keep_their_names() -> None:
    backends = {name: Backend(name) for name in ("b", "a:b")}
    assert policy.place(Settings(), NEW, backends) == {"a:b": "a:b", "b": "b"}


def test_spares_are_kept_and_taken_in_order_until_there_are_none() -> None:
    backends = {name: Backend(name) for name in ("a", "b", "c", "d")}
    placed = policy.place(Settings(spare_backends=3), OLD, backends, {"c": "spare-http-0001", "gone": "x"})
    assert placed == {"a": "spare-http-0002", "b": "spare-http-0003", "c": "spare-http-0001"}
