"""Questions to HAProxy of a scenario's own, so that the sidecar is not asked about itself."""

from __future__ import annotations

import socket
from pathlib import Path

_MAINTENANCE = 0x3B
"""Bits of srv_admin_state that keep a server out of rotation (management guide, section 9.3)."""


def ask(path: Path, command: str) -> bytes:
    """The answer to one command, on a connection of its own."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(f"{command}\n".encode())
        chunks = []
        while chunk := connection.recv(1 << 18):
            chunks.append(chunk)
    return b"".join(chunks)


def enabled(path: Path) -> int:
    """Servers of tasks that may take requests."""
    rows = (line.split() for line in ask(path, "show servers state").splitlines()[2:])
    return sum(len(row) > 6 and row[3].startswith(b"task") and not int(row[6]) & _MAINTENANCE for row in rows)
