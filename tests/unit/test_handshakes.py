"""The load of TLS handshakes counts what it sees: certificates by host, and every failure."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from testbed.certificates import TestAuthority
from testbed.handshakes import HandshakeReport, Handshakes

CA = TestAuthority()


def by_name(directory: Path, names: list[str]) -> tuple[ssl.SSLContext, dict[str, str]]:
    """A server's context that has a certificate for each of the names and refuses others; their fingerprints."""
    contexts: dict[str, ssl.SSLContext] = {}
    prints: dict[str, str] = {}
    for name in names:
        issued, file = CA.issue(name), directory / f"{name}.pem"
        file.write_bytes(issued.combined)
        contexts[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        contexts[name].load_cert_chain(file)
        prints[name] = issued.fingerprint

    def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
        if name not in contexts:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.context = contexts[name]
        return None

    outer = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    outer.load_cert_chain(directory / f"{names[0]}.pem")
    outer.sni_callback = choose  # type: ignore[assignment]
    return outer, prints


async def handshakes(address: str, port: int, hosts: list[str], wanted: int) -> HandshakeReport:
    client = Handshakes(address, port, hosts, rate=200)
    await client.start()
    async with asyncio.timeout(20):
        while client.ended < wanted:  # noqa: ASYNC110 - what it counts by itself
            await asyncio.sleep(0.01)
    return await client.stop()


@pytest.mark.asyncio
async def test_each_host_has_its_certificate(tmp_path: Path) -> None:
    context, prints = by_name(tmp_path, ["a.test", "b.test"])
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        report = await handshakes("127.0.0.1", server.sockets[0].getsockname()[1], ["a.test", "b.test"], 10)
    assert report.failed == 0
    assert report.sent >= 10
    assert {host: list(found) for host, found in report.seen.items()} == {name: [prints[name]] for name in prints}
    assert HandshakeReport.from_json(report.to_json()) == report


@pytest.mark.asyncio
async def test_a_refused_host_has_failed_and_others_have_not(tmp_path: Path) -> None:
    context, _ = by_name(tmp_path, ["a.test"])
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        report = await handshakes("127.0.0.1", server.sockets[0].getsockname()[1], ["a.test", "other.test"], 10)
    assert report.failed == report.failed_of("other.test") > 0
    assert list(report.seen) == ["a.test"]


@pytest.mark.asyncio
async def test_nobody_listens() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    report = await handshakes("127.0.0.1", port, ["a.test"], 3)
    assert report.by_kind == {"ConnectionRefusedError": report.sent}
