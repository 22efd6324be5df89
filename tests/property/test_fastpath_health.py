"""The compiled Health against the plain one, on dumps as they come, cut anywhere, and on what no HAProxy shows."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from l7 import _fastpath
from l7.fastpath_pure.health import Health as Plain
from l7.fastpath_pure.health_rows import COLUMNS, LONGEST
from tests.fuzz.dumps import cut
from tests.fuzz.health import agree, run, told
from tests.unit.test_fastpath_health import STAT, STATE, stat, state


@settings(max_examples=400)
@given(st.integers(0, 2**64 - 1))
def test_agrees_with_the_plain_one(seed: int) -> None:
    run(seed)


@settings(max_examples=100)
@given(st.lists(st.binary(max_size=200), max_size=3), st.sampled_from([b"", STAT, STATE]))
@example([b"#", b" \n1\n", b"1"], STAT)
@example([b"#,#\n", b"#a,b,,,,,,,,,,UP,2,,\n", b"\n\n"], STAT)
def test_agrees_on_any_bytes(chunks: list[bytes], header: bytes) -> None:
    agree([[(0, header), *((0, chunk) for chunk in chunks), (0, b"\n" + STATE + state("a"))]])


@pytest.mark.parametrize("step", [1, 13, 64])
def test_agrees_wherever_a_dump_is_cut(step: int) -> None:
    text = STAT + stat("a", check='"x,""\ny"') + stat("b" * 40) + STATE + state("c", 0) + state("d" * 200)
    agree([[(0, text[:at]), (0, text[at:])] for at in range(len(text))])
    agree([[(0, chunk) for chunk in cut(text, step)]])


@pytest.mark.parametrize("extra", [-65, -64, -1, 0, 1, 63, 64, 65, 200_000])
@pytest.mark.parametrize("quote", [b"", b'"', b'"\n'])
def test_agrees_about_the_longest_row(extra: int, quote: bytes) -> None:
    long = stat("a", check=quote.decode() + "x" * (LONGEST + extra - 40) + quote[:1].decode())
    text = STAT + long + stat("b") + STATE + b"3 be 1 " + b"z" * (LONGEST + extra) + b" 0 0 0\n" + state("c")
    agree([[(0, text)], [(0, chunk) for chunk in cut(text, 65_536)]])


@pytest.mark.parametrize("before", [COLUMNS - 14, COLUMNS - 13, COLUMNS - 12, COLUMNS - 1, COLUMNS, 400])
def test_agrees_about_the_last_columns(before: int) -> None:
    header, row = STAT.replace(b"# ", b"# " + b"x," * before), b"1," * before + stat("a")
    quoting = b'"",' * before + stat("b", check='"')
    agree([[(0, header + row)], [(0, header + quoting + b'"\n' + row)]])


def test_agrees_over_many_looks_while_servers_come_and_go() -> None:
    compiled, plain = _fastpath.Health(2), Plain(2)
    for turn in range(60):
        servers = range(turn * 7 % 400, turn * 7 % 400 + 300)
        text = STATE + b"".join(
            state(f"s{n}" if n % 3 else f"{'long' * 20}{n}", n % 4, backend=f"be{n % 5 + turn // 10}")
            for n in servers
        )
        pieces = [(turn % 2, chunk) for chunk in cut(text, 1000)]
        assert told(compiled, pieces, 1) == told(plain, pieces, 1)


def test_agrees_about_many_processes() -> None:
    compiled, plain = _fastpath.Health(64), Plain(64)
    most = ",".join([str(2**64 - 1)] * 9)
    for quorum in (1, 64, 65):
        pieces = [(process, STAT + stat("a", counters=most) + stat("BACKEND", type=1)) for process in range(64)]
        assert told(compiled, pieces, quorum) == told(plain, pieces, quorum)
