"""Rows of rules, for any rules: what they let in, and that nothing in them is read as anything but data."""

from __future__ import annotations

from base64 import b64decode
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from hypothesis import given
from hypothesis import strategies as st

from haproxy import ops
from haproxy.capabilities import capabilities
from haproxy.features import Field, hex_prefixes, rules_rows, varint
from haproxy.runtime import codec
from haproxy.settings import FEATURES_MAP, REQUEST_HEADERS_MAP
from l7.v1 import sync_pb2 as pb

NEW = capabilities((3, 4, 7))

v4 = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(
    lambda pair: ip_network((pair[0] >> (32 - pair[1]) << (32 - pair[1]), pair[1]))
)
v6 = st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 128)).map(
    lambda pair: ip_network((IPv6Address(pair[0] >> (128 - pair[1]) << (128 - pair[1])), pair[1]))
)


def lets_in(rows: tuple[str, ...], address: IPv4Address | IPv6Address) -> bool:
    """As HAProxy asks: `map_beg` by the family and the whole address."""
    width = 8 if address.version == 4 else 32
    return any(f"{address.version}{int(address):0{width}X}".startswith(row) for row in rows)


@given(v4 | v6, st.integers(0, 2**128 - 1), st.booleans())
def test_a_prefix_lets_in_what_is_in_it(net: IPv4Network | IPv6Network, number: int, inside: bool) -> None:
    first, size = int(net.network_address), net.num_addresses
    asked = first + number % size if inside else number % (1 << net.max_prefixlen)
    rows = hex_prefixes(str(net))
    address = (IPv4Address if net.version == 4 else IPv6Address)(asked)
    assert lets_in(rows, address) == (address in net)
    assert len(rows) <= 16
    if net.version == 4:
        assert lets_in(rows, IPv6Address(f"::ffff:{IPv4Address(asked)}")) == (address in net)


text = st.text(max_size=30)
texts = st.lists(text, max_size=2)
changes = st.builds(pb.HeaderChange, action=st.sampled_from((1, 2, 3)), name=text, value=text)
rules = st.builds(
    pb.Rules,
    name=st.just("web"),
    https_redirect=st.booleans(),
    hsts=text,
    allow_prefixes=st.lists(text, max_size=3),
    max_body_bytes=st.integers(0, 2**40),
    cors=st.builds(pb.Cors, origins=texts, methods=texts, headers=texts),
    request_headers=st.lists(changes, max_size=4),
    response_headers=st.lists(changes, max_size=4),
    hash_key=st.builds(pb.HashKey, source=st.integers(0, 4), name=text),
    timeout_server_milliseconds=st.integers(0, 2**31),
)  # fmt: skip


@given(rules)
def test_any_rules_are_rows_that_can_be_written(any_rules: pb.Rules) -> None:
    rows = rules_rows(any_rules, NEW)
    for file, content in rows.items():
        for key, value in content.items():
            assert key.partition("|")[0] == "web"
            assert " " not in key
            assert codec.encode(ops.AddMapRow(f"/{file}", key, value)).endswith(b"\n")
    for value in rows.get(FEATURES_MAP, {}).values():
        assert value.count("|") < len(Field)
        assert value.isascii()
        assert value.isprintable()


@given(st.lists(st.tuples(st.from_regex(r"\Ax-[a-z]{1,9}\Z"), st.from_regex(r"\A[ -~]{0,400}\Z")), max_size=5))
def test_header_rows_read_back(pairs: list[tuple[str, str]]) -> None:
    """By a reader of their own. Blanks around a value are none of it."""
    given_rules = pb.Rules(
        name="web",
        request_headers=[
            pb.HeaderChange(action=pb.HEADER_ACTION_ADD, name=name, value=value) for name, value in pairs
        ],
    )
    row = rules_rows(given_rules, NEW).get(REQUEST_HEADERS_MAP, {}).get("web|", "AA==~AAA=")
    names, added = (b64decode(part) for part in row.split("~"))
    assert names == b"\0"
    strings = list(read(added))
    written = [(name, value.strip(" ")) for name, value in pairs]
    assert list(zip(strings[::2], strings[1::2], strict=True)) == [*written, ("", "")]


def read(data: bytes) -> list[str]:
    strings, at = [], 0
    while at < len(data):
        length, at = number_at(data, at)
        strings.append(data[at : at + length].decode())
        at += length
    return strings


def number_at(data: bytes, at: int) -> tuple[int, int]:
    value, shift = data[at], 4
    if value >= 240:
        while True:
            at += 1
            value += data[at] << shift
            shift += 7
            if data[at] < 128:
                break
    return value, at + 1


@given(st.integers(0, 2**40), st.binary(max_size=3))
def test_a_length_reads_back(number: int, more: bytes) -> None:
    data = varint(number)
    assert number_at(data + more, 0) == (number, len(data))
