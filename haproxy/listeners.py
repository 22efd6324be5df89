"""The listening sockets of a running HAProxy, which it hands over on its Runtime API (`expose-fd listeners`).

A socket that is closed resets the connections that wait in its queue: their clients were connected, and lose what
they have sent (in 28 of 30 stops under 32 clients). So nobody new is let in before HAProxy closes it, and HAProxy
takes what waits.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

MOST = 253
"""Descriptors in a message: SCM_MAX_FD of Linux, and more than HAProxy sends in one (MAX_SEND_FD)."""
MORE = bytes(4)
"""Asks HAProxy for the next message; it looks at the length alone."""
PATIENCE = 2.0

SO_BINDTOIFINDEX = 62
"""socket(7): only what comes in by that interface is for this socket. Anybody may say so, once (Linux 5.7)."""
NO_INTERFACE = 0x7FFFFFFF


def let_nobody_in(path: str) -> int:
    """From now on new connections to HAProxy's TCP listeners are refused; those that began are as before.

    `path`: the Runtime API's socket. Returns the number of listeners. Raises OSError.
    """
    number = 0
    for listener in _listeners(path):
        with listener:
            if listener.family != socket.AF_UNIX and listener.type == socket.SOCK_STREAM:
                listener.setsockopt(socket.SOL_SOCKET, SO_BINDTOIFINDEX, NO_INTERFACE)
                number += 1
    return number


def _listeners(path: str) -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(path)
        connection.sendall(b"_getsocks\n")
        left = int.from_bytes(connection.recv(4), "little")
        while left > 0:
            text, descriptors, _, _ = socket.recv_fds(connection, 65536, MOST)
            yield from [socket.socket(fileno=each) for each in descriptors]
            left -= len(descriptors)
            if not text:
                return
            if left > 0:
                connection.sendall(MORE)
