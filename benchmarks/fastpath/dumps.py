"""Dumps as HAProxy gives them, of any number of servers: real rows with other names and counters.

The rows are those of tests/data/haproxy/, so a row here has the bytes that a real one has.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

DATA = Path(__file__).resolve().parents[2] / "tests" / "data" / "haproxy"
SERIES = "2.6"
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"

Server = tuple[str, str]
"""Backend and server."""


def servers(count: int, backends: int) -> list[Server]:
    """Names as the product gives them: `<task id>.<generation>`, in the order in which HAProxy shows them."""
    random = Random(7)
    return [(f"shop-{n * backends // count:04}.http", f"{_task(random)}.{n % 7:06x}") for n in range(count)]


def _task(random: Random) -> str:
    return "".join(random.choices(LETTERS, k=25))


def shown(kind: str, name: str) -> tuple[str, list[str]]:
    """Header and the row of server `name` of a real dump; its columns."""
    lines = (DATA / f"show-{kind}-{SERIES}.txt").read_text().splitlines()
    separator, at = (",", 1) if kind == "stat" else (" ", 3)
    row = next(line.split(separator) for line in lines if line.split(separator)[at : at + 1] == [name])
    header = lines[0] if kind == "stat" else "\n".join(lines[:2])
    return header, row


def state(names: list[Server]) -> bytes:
    """`show servers state`."""
    header, row = shown("state", "s1")
    lines = (" ".join([row[0], backend, str(n), server, *row[4:]]) for n, (backend, server) in enumerate(names, 1))
    return "".join(f"{line}\n" for line in (header, *lines)).encode()


def stat(names: list[Server], busy: bool) -> bytes:
    """`show stat`: servers that had no request yet, or counters of every size."""
    header, row = shown("stat", "s1")
    columns = header.removeprefix("# ").split(",")
    counters = [
        columns.index(name) for name in ("qcur", "scur", "stot", "bin", "bout", "econ", "eresp", "wretr", "wredis")
    ]
    lines = ((",".join([*each, *_counted(row, counters, busy, random)[2:]])) for each, random in _each(names))
    return "".join(f"{line}\n" for line in (header, *lines)).encode()


def _each(names: list[Server]) -> Iterator[tuple[Server, Random]]:
    random = Random(11)
    for each in names:
        yield each, random


LIMITS = (50, 200, 10**6, 10**10, 10**11, 100, 100, 1000, 100)
"""Of the counters of a busy server."""


def _counted(row: list[str], counters: list[int], busy: bool, random: Random) -> list[str]:
    row = row.copy()
    for at, limit in zip(counters, LIMITS, strict=True):
        row[at] = str(int(random.random() ** 2 * limit)) if busy else "0"
    return row
