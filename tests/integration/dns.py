"""A name server on loopback that answers as Docker's does: A records of the names that it is told, no others."""

from __future__ import annotations

import socketserver
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import ip_address

GONE, HERE = "127.0.0.9", "127.0.0.1"
"""Where no task listens, on any port; where those are that came since."""

_HEADER = struct.Struct(">HHHHHH")
_A, _ANSWER, _NO_SUCH_NAME = 1, 0x8180, 0x8183
_TTL = 600


@contextmanager
def name_server(names: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Its address and port. `names` may change meanwhile."""
    handler = type("Names", (_Names,), {"names": names})
    with socketserver.UDPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield "{}:{}".format(*server.server_address)
        finally:
            server.shutdown()
            thread.join()


class _Names(socketserver.DatagramRequestHandler):
    names: Mapping[str, Sequence[str]]

    def handle(self) -> None:
        self.wfile.write(answer(self.rfile.read(), self.names))


def answer(query: bytes, names: Mapping[str, Sequence[str]]) -> bytes:
    """RFC 1035, section 4: the header, the question as it came, and a record for each address."""
    number, *_ = _HEADER.unpack_from(query)
    name, end = _name(query)
    (kind,) = struct.unpack_from(">H", query, end)
    known = names.get(name)
    records = [ip_address(each).packed for each in known or () if kind == _A]
    head = _HEADER.pack(number, _NO_SUCH_NAME if known is None else _ANSWER, 1, len(records), 0, 0)
    pointer = struct.pack(">HHHIH", 0xC000 | _HEADER.size, _A, 1, _TTL, 4)
    return head + query[_HEADER.size : end + 4] + b"".join(pointer + record for record in records)


def _name(query: bytes) -> tuple[str, int]:
    """The name of the question, and where it ends."""
    labels, at = [], _HEADER.size
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return ".".join(labels).lower(), at + 1
