"""Makes the proxy inside the demo's network reachable at a port of this machine.

It inherits a socket that listens on the machine's loopback, lives in the demo's network namespace, and connects
there: ``python -m examples.demo.forward <file descriptor> <address> <port>``.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carries bytes one way until that side ends."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def serve(listener: socket.socket, address: str, port: int) -> None:
    """Forwards every connection of `listener`, until cancelled."""

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):  # either side may go at any time
            there, back = await asyncio.open_connection(address, port)
            with contextlib.closing(back):
                await asyncio.gather(pump(reader, back), pump(there, writer))

    async with await asyncio.start_server(forward, sock=listener) as server:
        await server.serve_forever()


def main() -> None:
    descriptor, address, port = sys.argv[1:]
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(socket.socket(fileno=int(descriptor)), address, int(port)))


if __name__ == "__main__":
    main()
