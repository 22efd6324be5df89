"""The codec under any chunking and any content: nothing lost, nothing merged, nothing but ProtocolError."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from haproxy import ops
from haproxy.runtime import codec, dumps, framing, replies
from haproxy.runtime.framing import PROMPT, PromptScanner, Splitter
from haproxy.servers import rows_of
from l7.kit.errors import ProtocolError

texts = st.text(st.sampled_from("ab> +\n,#0;é"), max_size=12).filter(
    lambda text: "\n> " not in f"{text}\n> "[:-1] and not text.startswith("+ ")
)
cuts = st.lists(st.integers(1, 7), min_size=1, max_size=5)


def chunks(data: bytes, sizes: list[int]) -> list[bytes]:
    """`data` in pieces of these sizes, over and over."""
    pieces: list[bytes] = []
    while data:
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(data[:size])
        data = data[size:]
    return pieces


@settings(deadline=None)
@given(st.lists(texts, min_size=1, max_size=6), cuts)
def test_replies_come_out_as_they_went_in(wanted: list[str], sizes: list[int]) -> None:
    wire = b"".join(text.encode() + PROMPT for text in wanted)
    scanner, splitter, found = PromptScanner(len(wanted)), Splitter(), []
    for chunk in chunks(wire, sizes):
        assert not scanner.done
        found += splitter.feed(scanner.feed(chunk))
    assert scanner.done
    assert [*found, splitter.finish()] == wanted


@settings(deadline=None)
@given(st.binary(max_size=60), st.integers(1, 4), cuts)
def test_any_bytes_are_passed_on_or_refused(wire: bytes, count: int, sizes: list[int]) -> None:
    scanner, passed = PromptScanner(count), b""
    with contextlib.suppress(ProtocolError):
        for chunk in chunks(wire, sizes):
            passed += scanner.feed(chunk)
    assert wire.startswith(passed)
    if not scanner.done:
        assert len(wire) - len(passed) <= 2
    with contextlib.suppress(ProtocolError):
        framing.split(wire)


# What HAProxy makes of a line: it splits at blanks, and a backslash takes the next character as it is.
def unescape(line: str) -> list[str]:
    words, word, characters = [], "", iter(line)
    for character in characters:
        if character == " ":
            words.append(word)
            word = ""
        else:
            assert character != ";"
            word += next(characters) if character == "\\" else character
    return [*words, word]


@settings(deadline=None)
@given(st.text(max_size=30), st.text(max_size=30))
def test_map_rows_arrive_as_they_are_or_are_not_sent(key: str, value: str) -> None:
    try:
        line = codec.encode(ops.AddMapRow("/run/my map", key, value))
    except ProtocolError:
        return
    assert line.count(b"\n") == 1
    assert b"<<" not in line
    assert codec.count_commands(line) == 1
    assert unescape(line[:-1].decode()) == ["add", "map", "/run/my map", key, value]


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=20), st.integers(60, 200))
def test_a_loaded_map_has_all_rows_once(rows: list[tuple[str, str]], limit: int) -> None:
    found: list[tuple[str, str]] = []
    try:
        commands = list(codec.load_map("/m", 1, rows, limit))
    except ProtocolError:
        return
    for command in commands:
        assert codec.count_commands(command) == 1
        head, *payload = command.decode().split("\n")
        if head.endswith("<<"):
            assert payload[-2:] == ["", ""]
            found += [(row.partition(" ")[0], row.partition(" ")[2]) for row in payload[:-2]]
        else:
            found.append((unescape(head)[-2], unescape(head)[-1]))
    assert sorted(found) == sorted(rows)


@settings(deadline=None)
@given(st.text(max_size=80))
def test_readers_of_dumps_take_any_text(text: str) -> None:
    for header in (
        "",
        "1\n# be_id be_name srv_id\n",
        "# pxname,svname,type\n",
        "# name\n",
        "#<PID>\n",
        "0x1 ",
        "# filename\n",
    ):
        for read in (
            lambda text: rows_of([text.encode()]),
            dumps.parse_backends,
            dumps.parse_map,
            dumps.parse_map_match,
            dumps.parse_new_version,
            dumps.parse_info,
            dumps.parse_stat,
            dumps.parse_processes,
            dumps.parse_certificate_names,
            dumps.parse_authorities,
            dumps.parse_crt_list,
        ):
            with contextlib.suppress(ProtocolError):
                read(header + text)


@settings(deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_success_only_where_it_says_so(text: str) -> None:
    added = replies.check(ops.AddServer("b", "s", "10.0.0.1", 80), text)
    assert added is not None or text.strip().endswith("New server registered.")
    enabled = replies.check(ops.EnableServer("b", "s"), text)
    assert (enabled is None) == (not text.strip())
