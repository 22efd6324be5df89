"""Rules, canaries and ports as rows of maps."""

from __future__ import annotations

from typing import Any

import pytest

from haproxy.capabilities import Capabilities, capabilities
from haproxy.credentials import Credentials
from haproxy.features import Field, Flag, canary_rows, header_effect, hex_prefixes, rules_rows, tcp_rows, varint
from haproxy.model import Canary, Route
from haproxy.settings import FEATURES_MAP, RULES_MAPS
from l7.v1 import sync_pb2 as pb

OLD, NEW = capabilities((2, 6, 12)), capabilities((3, 4, 7))
SET, ADD, REMOVE = pb.HEADER_ACTION_SET, pb.HEADER_ACTION_ADD, pb.HEADER_ACTION_REMOVE


def row(able: Capabilities = NEW, **values: Any) -> str:
    """The row of features.map."""
    rules = pb.Rules(name="web", **values)
    return rules_rows(rules, able).get(FEATURES_MAP, {}).get("web", "")


def test_rules_that_say_nothing_have_no_row() -> None:
    assert rules_rows(pb.Rules(name="web"), NEW) == {}


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"timeout_server_milliseconds": 5}, "T|5"),
        ({"timeout_tunnel_milliseconds": 6}, "U||6"),
        ({"timeout_connect_milliseconds": 7, "queue_timeout_milliseconds": 8}, "NP|||7|8"),
        ({"https_redirect": True}, "FH"),
        ({"compression": True}, "FZ"),
        ({"max_body_bytes": 10 << 30}, "FB|||||||10737418240"),
        ({"rate_limit": pb.RateLimit(requests=5, period_milliseconds=60_000)}, "F3|||||5|12"),
        ({"rate_limit": pb.RateLimit(requests=5, period_milliseconds=60)}, ""),
        ({"hash_key": pb.HashKey(source=pb.HASH_SOURCE_COOKIE, name="sid")}, "FK||||||||c|sid"),
        ({"hash_key": pb.HashKey(source=pb.HASH_SOURCE_ADDRESS)}, "FK||||||||a"),
        ({"hsts": "max-age=1; preload"}, "EV||||||||||max-age=1; preload"),
        ({"hsts": "max-age=1|x\r\n"}, "EV||||||||||max-age=1x"),
    ],
)
def test_a_field_has_its_place_and_its_letter(values: dict[str, Any], wanted: str) -> None:
    assert row(**values) == wanted


def test_what_a_version_cannot_do_is_not_in_its_rows() -> None:
    assert row(OLD, timeout_connect_milliseconds=7, queue_timeout_milliseconds=8) == ""
    assert row(OLD, timeout_connect_milliseconds=7, timeout_server_milliseconds=8) == "T|8"


def test_each_letter_and_each_place_is_one() -> None:
    assert len({str(flag) for flag in Flag}) == len(Flag)
    assert sorted(Field) == list(range(1, len(Field) + 1))


def test_rows_of_rules_are_found_by_their_name() -> None:
    rules = pb.Rules(
        name="web",
        allow_prefixes=["10.0.0.0/8"],
        cors=pb.Cors(origins=["https://A.test"], methods=["GET", "P UT"], headers=["x-a"], max_age_seconds=9),
        request_headers=[pb.HeaderChange(action=SET, name="x-a", value="1")],
        response_headers=[pb.HeaderChange(action=REMOVE, name="Server")],
        basic_auth=pb.Secret(id="s"),
    )
    rows = rules_rows(rules, NEW, Credentials(b"key", {"s": (("alice", "secret"),)}))
    assert [file for file in RULES_MAPS if file in rows] == list(RULES_MAPS)
    assert {key.partition("|")[0] for content in rows.values() for key in content} == {"web"}
    assert rows["cors.map"] == {
        "web|ohttps://a.test": "1",
        "web|methods": "GET",
        "web|headers": "x-a",
        "web|age": "9",
    }
    assert rows["request_headers.map"] == {"web|": "A3gtYQA=~A3gtYQExAAA="}
    assert rows["response_headers.map"] == {"web|": "BnNlcnZlcgA=~AAA="}
    assert rows[FEATURES_MAP] == {"web": "FACELQR|||||||||||restricted"}


@pytest.mark.parametrize(
    ("prefix", "wanted"),
    [
        ("10.0.0.0/8", ["40A"]),
        ("10.1.2.3", ["40A010203"]),
        ("0.0.0.0/0", ["4"]),
        ("128.0.0.0/1", [f"4{digit}" for digit in "89ABCDEF"]),
        ("192.168.0.0/18", [f"4C0A8{digit}" for digit in "0123"]),
        ("192.168.4.0/23", [f"4C0A80{digit}" for digit in "45"]),
    ],
)
def test_a_prefix_is_digits(prefix: str, wanted: list[str]) -> None:
    found = hex_prefixes(prefix)
    mapped = [each.replace("4", "6" + "0" * 20 + "FFFF", 1) for each in wanted]
    assert list(found) == [*wanted, *mapped]


def test_a_prefix_of_ipv6() -> None:
    assert hex_prefixes("2001:db8::/32") == ("620010DB8",)
    assert hex_prefixes("2001:db8::/33") == tuple(f"620010DB8{digit:X}" for digit in range(8))
    assert hex_prefixes("::1") == ("6" + "0" * 31 + "1",)
    assert hex_prefixes("::/0") == ("6",)
    assert hex_prefixes("anything") == ()


def test_an_allow_list_of_which_nothing_is_left_lets_nobody_in() -> None:
    rows = rules_rows(pb.Rules(name="web", allow_prefixes=["nonsense"]), NEW)
    assert rows == {FEATURES_MAP: {"web": "FA"}}


def change(action: pb.HeaderAction, name: str, value: str = "") -> pb.HeaderChange:
    return pb.HeaderChange(action=action, name=name, value=value)


def test_changes_in_their_order_come_to_an_effect() -> None:
    changes = [
        change(ADD, "X-A", "1"),
        change(SET, "x-b", "2"),
        change(ADD, "X-B", "3"),
        change(SET, "X-C", "4"),
        change(REMOVE, "x-c"),
        change(SET, "x-b", "5"),
    ]
    assert header_effect(changes) == (["x-c", "x-b"], [("x-a", "1"), ("x-b", "5")])


@pytest.mark.parametrize(
    "bad",
    [
        change(SET, "x-a", "1\r\nx-b: 2"),
        change(SET, "x-a", "\0"),
        change(SET, "x-a", "é"),
        change(SET, "x a", "1"),
        change(SET, "x-a:", "1"),
        change(SET, "", "1"),
        change(SET, "Content-Length", "1"),
        change(REMOVE, "transfer-encoding"),
    ],
)
def test_what_would_break_a_message_apart_is_left_out(bad: pb.HeaderChange) -> None:
    assert header_effect([bad]) == ([], [])


@pytest.mark.parametrize(
    ("number", "wanted"),
    [(0, "00"), (239, "ef"), (240, "f000"), (256, "f001"), (2287, "ff7f"), (2288, "f08000"), (4096, "f0f100")],
)
def test_a_length_is_written_as_haproxy_reads_it(number: int, wanted: str) -> None:
    assert varint(number).hex() == wanted


def test_canaries_are_found_by_their_routes_key() -> None:
    canaries = (
        Canary("blue", "header", "x-v", "a b|c"),
        Canary("late", "header", "x-v", "a b|c"),
        Canary("blue", "header", "x-v"),
        Canary("green", "cookie", "v", "é"),
    )
    routes = [Route("a.test", "/x", "web", canaries=canaries), Route("b.test", "/", "web", canaries=canaries[2:3])]
    table = {(route.host, route.path): route for route in routes}
    assert canary_rows("a.test", table) == {
        "a.test/x/|c=%C3%A9": "green",
        "a.test/x/|h": "blue",
        "a.test/x/|h=a%20b%7Cc": "blue",
    }
    assert canary_rows("b.test", table) == {"b.test/|h": "blue"}
    assert canary_rows("c.test", table) == {}


def test_ports_are_rows_and_hosts_are_not() -> None:
    routes = [Route(":5432", "/", "db.tcp"), Route(":80", "/", ""), Route("a.test", "/", "web")]
    assert tcp_rows(routes) == {"5432": "db.tcp"}
