"""The Engine API of a node over TCP with TLS, as `dockerd --tlsverify` has it: clients need a certificate."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.certificates import TestAuthority


@contextmanager
def tls_relay(directory: Path, authority: TestAuthority, target: Path) -> Iterator[int]:
    """The port on loopback behind which is the unix socket `target`. Writes files."""
    issued = authority.issue("127.0.0.1")
    (directory / "relay.pem").write_bytes(issued.combined)
    (directory / "relay-ca.pem").write_bytes(authority.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "relay.pem")
    context.load_verify_locations(directory / "relay-ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(_serve(context, target), loop).result(10)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _serve(context: ssl.SSLContext, target: Path) -> asyncio.Server:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(target)
        try:
            await asyncio.gather(_pass(reader, back), _pass(there, writer))
        except OSError:
            pass  # one of the two has gone, and with it goes the other
        finally:
            back.transport.abort()
            writer.transport.abort()

    return await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def _end(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.sleep(0)  # transports close in the loop's next round
