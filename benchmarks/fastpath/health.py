"""Health out of dumps, against Python with `str.split` and against a bare scan for newlines."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.fastpath import dumps
from benchmarks.fastpath.native import newlines
from benchmarks.fastpath.rounds import rounds, times
from benchmarks.fastpath.split import Split
from benchmarks.fastpath.target import Target
from haproxy.runtime.adapter import CHUNK
from l7._fastpath import Health

SERVERS, BACKENDS = 100_000, 1_000


def targets() -> Iterator[Target]:
    names = dumps.servers(SERVERS, BACKENDS)
    yield from compared("`show stat`, idle rows", dumps.stat(names, busy=False), (35, 65), (6, 3))
    yield from compared("`show stat`, busy rows", dumps.stat(names, busy=True), (25, 45), (8, 4.5))
    yield from compared("`show servers state`", dumps.state(names), (50, 100), (4, 2))


def compared(what: str, dump: bytes, split: tuple[float, float], scan: tuple[float, float]) -> Iterator[Target]:
    """Each as in the product: a look at one process, in the chunks that the Runtime API's adapter gives."""
    health, plain, count = Health(), Split(), newlines()
    chunks = [dump[at : at + CHUNK] for at in range(0, len(dump), CHUNK)]
    assert look(health, chunks) == plain.look(dump)
    found = rounds({"fast path": lambda: look(health, chunks), "split": lambda: plain.look(dump)}, 7)
    yield Target(f"{what}, than `str.split`", times(found, "split", "fast path"), *split, least=True)
    found = rounds({"fast path": lambda: look(health, chunks), "newlines": lambda: count(dump)}, 41)
    each = min(found["fast path"]) / SERVERS * 1e9
    detail = f"{len(dump) / SERVERS:.0f} B and {each:.0f} ns a row"
    yield Target(f"{what}, than a scan for newlines", times(found, "fast path", "newlines"), *scan, detail=detail)


def look(health: Health, chunks: list[bytes]) -> list[tuple[str, str, int, int]]:
    health.begin()
    for chunk in chunks:
        health.feed(0, chunk)
    return health.end()
