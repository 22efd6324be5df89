"""Processes inside containers, seen from outside: what they use, and their private HTTP servers."""

from __future__ import annotations

import ctypes
import hashlib
import http.client
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from testbed.namespace import TestbedError

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_TICK = os.sysconf("SC_CLK_TCK")
_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds since the start, memory now (RSS, MB) and number of a group of processes."""

    cpu: float = 0.0
    memory: float = 0.0
    processes: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.cpu + other.cpu, self.memory + other.memory, self.processes + other.processes)


def usage(pids: Iterable[int], children: bool = False) -> Usage:
    """What these processes use; `children`: with the CPU time of children that ended."""
    return sum((_usage(pid, children) for pid in pids), Usage())


def _usage(pid: int, children: bool) -> Usage:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):  # gone
        return Usage()
    ticks = sum(map(int, fields[11 : 15 if children else 13]))  # utime, stime, cutime, cstime
    return Usage(ticks / _TICK, pages * os.sysconf("SC_PAGESIZE") / 1e6, 1)


def shared_memory(pids: Iterable[int]) -> float:
    """Memory of a group (PSS, MB): a page that several have is counted in parts, one to each of them."""
    return sum(map(_proportional, pids))


def _proportional(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # gone
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6


def name_of(pid: int) -> str:
    """Of its program: what the kernel calls it, or what a loader was told that it is; "" when it is gone."""
    words = command_of(pid)
    if "--argv0" in words[1:2]:
        return Path(words[2]).name
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def command_of(pid: int) -> list[str]:
    """The command line; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def in_container(pid: int) -> list[int]:
    """All processes that share the pid namespace of `pid`, oldest first: by their numbers in there, since those of
    the machine begin anew now and then."""
    try:
        wanted = os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return []
    found = {}
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and os.readlink(f"/proc/{entry}/ns/pid") == wanted:
                found[int(entry)] = _number_inside(int(entry))
        except OSError:  # gone meanwhile
            continue
    return sorted(found, key=lambda each: found[each])


def _number_inside(pid: int) -> int:
    """The process's number in the innermost pid namespace that it is in."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[-1]) for line in lines if line.startswith("NSpid:"))


def get_unix(pid: int, path: str, page: str) -> bytes:
    """GET `page` from the unix socket at `path` inside the container of process `pid`."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_TIMEOUT)
        connection.connect(f"/proc/{pid}/root{path}")
        return _get(connection, page)


def ask_unix(pid: int, path: str, command: str) -> str:
    """The whole answer to one line sent to the unix socket at `path` inside the container of process `pid`."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_TIMEOUT)
        connection.connect(f"/proc/{pid}/root{path}")
        connection.sendall(command.encode() + b"\n")
        with connection.makefile("rb") as answer:
            return answer.read().decode()


def get_tcp(pid: int, port: int, page: str) -> bytes:
    """GET `page` from loopback inside the network namespace of process `pid`."""

    def fetch() -> bytes:
        with socket.create_connection(("127.0.0.1", port), _TIMEOUT) as connection:
            return _get(connection, page)

    return within(Path(f"/proc/{pid}/ns/net"), fetch)


def certificate(pid: int, port: int, host: str) -> str:
    """SHA-256 of the certificate that is shown for `host` on loopback inside the network namespace of process
    `pid`, "" when the handshake is refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def shake() -> bytes:
        with socket.create_connection(("127.0.0.1", port), _TIMEOUT) as connection:
            try:
                with context.wrap_socket(connection, server_hostname=host) as secured:
                    return secured.getpeercert(binary_form=True) or b""
            except (ssl.SSLError, ConnectionResetError):
                return b""

    shown = within(Path(f"/proc/{pid}/ns/net"), shake)
    return hashlib.sha256(shown).hexdigest() if shown else ""


def within(netns: Path, call: Callable[[], T]) -> T:
    """What `call` gives in another network namespace: a thread of its own enters it, and ends there."""
    outcome: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            with netns.open() as file:
                if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"setns {netns}")
            outcome.append(call())
        except (OSError, TestbedError, http.client.HTTPException) as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if not outcome:
        raise errors[0] if errors else TestbedError(f"nothing came of a call in {netns}")
    return outcome[0]


def _get(connection: socket.socket, page: str) -> bytes:
    client = http.client.HTTPConnection("l7", timeout=_TIMEOUT)
    client.sock = connection
    client.request("GET", page, headers={"Connection": "close"})
    answer = client.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise TestbedError(f"{page}: {answer.status} {body.decode(errors='replace').strip()}")
    return body
