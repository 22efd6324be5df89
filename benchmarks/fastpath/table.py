"""Snapshots, commands and memory of Table, against Python with protobuf's parser, and against that parser alone."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Iterator
from statistics import median

from benchmarks.fastpath import dumps
from benchmarks.fastpath.plain import Plain
from benchmarks.fastpath.rounds import rounds, times
from benchmarks.fastpath.target import Target
from l7._fastpath import Table
from l7.v1 import sync_pb2 as pb

SERVERS, BACKENDS = 100_000, 1_000
CHUNK = 1_000_000
"""Bytes of a message, about, as core cuts them."""


def targets() -> Iterator[Target]:
    for changed in (0, SERVERS // 1000, SERVERS // 100):
        yield from ingesting(changed)
    yield quiet()
    yield commanding()
    yield memory()


def wire(count: int, backends: int, changed: int = 0) -> list[bytes]:
    """One COMPLETE; `changed` of the servers, all over it, have another weight."""
    chunks, response, size = [], pb.SyncResponse(kind=pb.UPDATE_KIND_COMPLETE), 0
    step = count // changed if changed else 0
    names = dumps.servers(count, backends)
    for n, (backend, server) in enumerate(names):
        if n == 0 or names[n - 1][0] != backend:
            if size > CHUNK:
                chunks.append(response.SerializeToString())
                response, size = pb.SyncResponse(kind=pb.UPDATE_KIND_COMPLETE), 0
            message = response.changes.backends.add(name=backend)
            message.settings.services.append(backend)
            message.settings.expected = True
        weight = 65 if step and n % step == step - 1 else 64
        fields = {"id": n * 7919 % 1_048_575 + 1, "address": f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", "port": 8080}
        message.servers.add(task=server, weight=weight, state=pb.SERVER_STATE_READY, **fields)
        size += 60
    response.last = True
    return [*chunks, response.SerializeToString()]


def shown(count: int, backends: int) -> bytes:
    """`show servers state` of the same servers, enabled and checked."""
    header, row = dumps.shown("state", "s1")
    names = header.split("\n")[1].removeprefix("# ").split(" ")
    rows = []
    for n, (backend, server) in enumerate(dumps.servers(count, backends)):
        has = {
            "be_name": backend, "srv_name": server, "srv_id": n * 7919 % 1_048_575 + 1, "srv_port": 8080,
            "srv_addr": f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", "srv_uweight": 64, "srv_admin_state": 0,
            "srv_op_state": 2, "srv_check_state": 6,
        }  # fmt: skip
        rows.append(" ".join(str(has.get(name, value)) for name, value in zip(names, row, strict=True)))
    return "\n".join([header, *rows, ""]).encode()


def ingesting(changed: int) -> Iterator[Target]:
    """By turns the one state and the other: each time as much has changed."""
    states = wire(SERVERS, BACKENDS), wire(SERVERS, BACKENDS, changed)
    table, plain, turn = Table(), Plain(), {"fast path": 0, "plain": 0}

    def ingest(name: str, into: Table | Plain) -> object:
        turn[name] += 1
        return into.ingest(states[turn[name] % 2])

    assert ingest("fast path", table) == ingest("plain", plain)
    assert ingest("fast path", table) == ingest("plain", plain)
    what = f"snapshot → diff, {100 * changed / SERVERS:g} % changed"
    found = rounds({"fast path": lambda: ingest("fast path", table), "plain": lambda: ingest("plain", plain)}, 7)
    yield Target(f"{what}, than protobuf and dicts", times(found, "plain", "fast path"), 25, 45, least=True)
    found = rounds({"fast path": lambda: ingest("fast path", table), "parse": lambda: parse(states[0])}, 31)
    detail = f"{min(found['fast path']) / SERVERS * 1e9:.1f} ns a server"
    yield Target(f"{what}, than protobuf's parse", times(found, "fast path", "parse"), 0.5, 0.25, detail=detail)


def parse(chunks: list[bytes]) -> None:
    for chunk in chunks:
        pb.SyncResponse.FromString(chunk)


def converged(count: int, backends: int) -> Table:
    """What is there is what is wanted."""
    table = Table()
    table.ingest(wire(count, backends))
    drain(table)
    return table


def drain(table: Table) -> int:
    """Says all there is to say, and has it done; how many commands."""
    lines = 0
    while said := table.commands():
        table.ack(said.count(b"\n"))
        lines += said.count(b"\n")
    return lines


def quiet() -> Target:
    """The question itself: there is nothing to say."""
    large, small = converged(SERVERS, BACKENDS), converged(1_000, 10)

    def ask(table: Table) -> None:
        commands = table.commands
        for _ in range(10_000):
            commands()

    found = rounds({"large": lambda: ask(large), "small": lambda: ask(small)}, 31)
    detail = f"{min(found['large']) / 10_000 * 1e9:.0f} ns a call"
    return Target("no change, 100,000 servers than 1,000", times(found, "large", "small"), 2, 1, detail=detail)


def commanding() -> Target:
    """The time of `commands` alone, for 1 % and for 0.1 %, by turns."""
    table = converged(SERVERS, BACKENDS)
    states = {changed: wire(SERVERS, BACKENDS, changed) for changed in (0, SERVERS // 1000, SERVERS // 100)}
    found: dict[int, list[float]] = {SERVERS // 1000: [], SERVERS // 100: []}
    for _ in range(31):
        for changed, seconds in found.items():
            for state in (changed, 0):
                table.ingest(states[state])
                seconds.append(said(table, changed))
    few, many = found.values()
    each = min(many) / (SERVERS // 100) * 1e9
    growth = median(b / a for a, b in zip(few, many, strict=True))
    return Target("1 % changed → commands, than 0.1 %", growth, 12, 10, detail=f"{each:.0f} ns a command")


def said(table: Table, expected: int) -> float:
    """Seconds until nothing is left to say."""
    gc.disable()
    begin, lines = time.perf_counter(), []
    while text := table.commands():
        lines.append(text)
    seconds = time.perf_counter() - begin
    gc.enable()
    count = b"".join(lines).count(b"\n")
    assert count == expected
    table.ack(count)
    return seconds


MEASURE = """
import ctypes
from benchmarks.fastpath import table
from l7._fastpath import Health, Table

def resident():
    ctypes.CDLL(None).malloc_trim(0)
    return int(open("/proc/self/statm").read().split()[1]) * 4096

wire, state = table.wire(table.SERVERS, table.BACKENDS), table.shown(table.SERVERS, table.BACKENDS)
chunks = [state[at : at + 65536] for at in range(0, len(state), 65536)]

def look(health):
    health.begin()
    for chunk in chunks:
        health.feed(0, chunk)
    health.end()

look(Health()), Table()  # what Python takes for the first answer of all servers, it keeps
begin = resident()
wanted, health = Table(), Health()
wanted.ingest(wire)
table.drain(wanted)
for turn in range(2):
    for chunk in chunks:
        wanted.feed(chunk)
    wanted.end()
assert wanted.commands() == b""
second = resident()
look(health)
print(resident() - begin, second - begin)
"""


def memory() -> Target:
    """What a process of its own grows by, in pages that it has."""
    run = subprocess.run([sys.executable, "-c", MEASURE], check=True, capture_output=True, text=True)
    whole, table = (int(size) / SERVERS for size in run.stdout.split())
    detail = f"{table:.0f} B of them the table"
    return Target("memory, wanted, there and health", whole, 300, 250, unit=" B/server", detail=detail)
