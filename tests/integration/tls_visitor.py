"""A client of a proxy's TLS listener, in the tests' event loop."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from tests.integration.live_sidecar import PATIENCE, Client
from tests.integration.live_tls import client as context_of

REFUSED = (ssl.SSLError, ConnectionError)


@dataclass(frozen=True)
class TlsVisitor:
    """Asks at a port of loopback."""

    port: int

    async def client(self, sni: str | None, context: ssl.SSLContext | None = None) -> Client:
        """A connection after its handshake. Raises one of REFUSED."""
        async with asyncio.timeout(PATIENCE):
            return Client(
                *await asyncio.open_connection(
                    "127.0.0.1", self.port, ssl=context or context_of(), server_hostname=sni or ""
                )
            )

    async def shown(self, sni: str | None, context: ssl.SSLContext | None = None) -> str:
        """Fingerprint (SHA-256) of the certificate that is shown for a name; "" when the handshake is refused."""
        try:
            client = await self.client(sni, context)
        except REFUSED:
            return ""
        try:
            return fingerprint(client)
        finally:
            client.writer.transport.abort()

    async def get(self, host: str, context: ssl.SSLContext | None = None, *headers: str) -> tuple[int, str]:
        """One request on a connection of its own; (0, "") when there is no answer."""
        try:
            client = await self.client(host, context)
        except REFUSED:
            return 0, ""
        try:
            return await client.ask(host, "/", "connection: close", *headers)
        except ssl.SSLError:  # TLS 1.3: the server's judgement comes after the client's handshake
            return 0, ""
        finally:
            client.writer.transport.abort()


def fingerprint(client: Client) -> str:
    shown = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(shown).fingerprint(SHA256()).hex()


@dataclass
class Crowd:
    """Clients that shake hands again and again with all of these hosts. `failed`: hosts of handshakes that were
    refused; `number`: of all handshakes."""

    visitor: TlsVisitor
    hosts: tuple[str, ...]
    number: int = 0
    failed: list[str] = field(default_factory=list)

    async def run(self) -> None:
        while True:
            for host in self.hosts:
                if not await self.visitor.shown(host):
                    self.failed.append(host)
                self.number += 1


@asynccontextmanager
async def crowd(visitor: TlsVisitor, hosts: Iterable[str]) -> AsyncIterator[Crowd]:
    """Runs within the block."""
    found = Crowd(visitor, tuple(hosts))
    task = asyncio.create_task(found.run())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
