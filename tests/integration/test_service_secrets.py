"""The extension service: whose secrets, and to whom."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from haproxy.fetch import Fetcher
from haproxy.service import ExtensionService, Options
from haproxy.vault import Vault
from l7.deploy import pki
from l7.kit.channel import open_channel
from l7.kit.errors import ConfigError
from l7.kit.tls import extension_name
from tests.integration.pki_parts import Pki, code_of, fetched, service_running, until

MARK = b"-----BEGIN PRIVATE KEY-----MARKED"


@pytest.fixture
def installation(tmp_path: Path) -> Pki:
    return Pki(tmp_path, pki.new_authority())


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    directory = tmp_path / "secrets"
    directory.mkdir()
    (directory / "a1").write_bytes(MARK)
    (directory / "b2").write_bytes(b"two")
    return directory


async def test_the_proxies_of_its_cluster_get_what_they_ask_for(installation: Pki, secrets: Path) -> None:
    async with service_running(secrets, installation.extension("east"), "east") as (_, address):
        proxy = installation.proxy("east")
        assert await fetched(address, proxy, "b2", "nothing", "a1", cluster="east") == {"b2": b"two", "a1": MARK}
        (secrets / "c3").write_bytes(b"three")
        (secrets / "b2").unlink()
        assert await fetched(address, proxy, "b2", "c3", cluster="east") == {"c3": b"three"}, "read at each request"


@asynccontextmanager
async def far_away(address: str, delay: float) -> AsyncIterator[str]:
    """The same at another address, whose every word takes `delay` seconds to get there."""
    host, _, port = address.rpartition(":")
    tasks: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            while data := await reader.read(65536):
                await asyncio.sleep(delay)
                writer.write(data)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(port))
        for each in (carry(reader, back), carry(there, writer)):
            tasks.add(asyncio.create_task(each))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield "127.0.0.1:{1}".format(*server.sockets[0].getsockname())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_slow_way_there_is_no_refusal(installation: Pki, secrets: Path) -> None:
    async with service_running(secrets, installation.extension("east"), "east") as (_, address):
        async with far_away(address, 0.1) as there:
            assert await fetched(there, installation.proxy("east"), "b2", cluster="east") == {"b2": b"two"}


REFUSED = {
    "another cluster's proxies": lambda ours, other: ours.proxy("west"),
    "the default cluster's proxies": lambda ours, other: ours.proxy(""),
    "core": lambda ours, other: ours.core(),
    "its own extension service": lambda ours, other: ours.extension("east"),
}


@pytest.mark.parametrize("who", REFUSED)
async def test_nobody_else_of_the_installation_gets_anything(installation: Pki, secrets: Path, who: str) -> None:
    async with service_running(secrets, installation.extension("east"), "east") as (_, address):
        files = REFUSED[who](installation, None)
        call = fetched(address, files, "a1", cluster="east")
        assert await code_of(call) is grpc.StatusCode.PERMISSION_DENIED


async def test_nobody_of_another_installation_gets_in(installation: Pki, secrets: Path, tmp_path: Path) -> None:
    stranger = pki.new_authority()
    files = installation.files("stranger", pki.proxy_identity(stranger, "east"))
    async with service_running(secrets, installation.extension("east"), "east") as (_, address):
        assert await code_of(fetched(address, files, "a1", cluster="east")) is grpc.StatusCode.UNAVAILABLE


async def test_nobody_gets_in_without_a_certificate(installation: Pki, secrets: Path) -> None:
    async with service_running(secrets, installation.extension()) as (_, address):
        assert await code_of(fetched(address, None, "a1")) is grpc.StatusCode.UNAVAILABLE
        trust = grpc.ssl_channel_credentials(installation.authority.certificate)
        options = [("grpc.ssl_target_name_override", extension_name(""))]
        async with grpc.aio.secure_channel(address, trust, options=options) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            call = stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
            assert await code_of(call) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("who", ["another cluster's", "core", "a proxy"])
async def test_a_proxy_trusts_only_its_own_extension_service(installation: Pki, secrets: Path, who: str) -> None:
    """Core tells addresses; who answers there has to prove that it is the one."""
    impostor = {
        "another cluster's": installation.extension("west"),
        "core": installation.core(),
        "a proxy": installation.files("impostor", pki.proxy_identity(installation.authority, "east")),
    }[who]
    async with service_running(secrets, impostor, "east") as (_, address):
        call = fetched(address, installation.proxy("east"), "a1", cluster="east")
        assert await code_of(call) is grpc.StatusCode.UNAVAILABLE


def test_clusters_that_differ_in_case_only_have_different_names() -> None:
    names = {extension_name(cluster) for cluster in ("East", "east", "EAST", "")}
    assert len({name.lower() for name in names}) == 4
    assert extension_name("east") == "east.extension.l7.internal"
    assert extension_name("") == extension_name("default") == "default.extension.l7.internal"


@pytest.mark.parametrize("id", ["../run", "a/b", "", "a1\n"])
async def test_an_id_that_leads_elsewhere_is_refused(installation: Pki, secrets: Path, id: str) -> None:
    async with service_running(secrets, installation.extension()) as (_, address):
        call = fetched(address, installation.proxy(), id)
        assert await code_of(call) is grpc.StatusCode.INVALID_ARGUMENT


async def test_no_content_is_logged(installation: Pki, secrets: Path) -> None:
    (secrets / "unreadable").mkdir()
    with capture_logs() as lines:
        async with service_running(secrets, installation.extension()) as (_, address):
            await fetched(address, installation.proxy(), "a1", "unreadable")
            await code_of(fetched(address, installation.proxy("west"), "a1"))
    assert {"secrets sent", "secret unreadable", "fetch forbidden"} <= {str(line["event"]) for line in lines}
    assert "MARKED" not in str(lines)


async def test_plain_is_only_for_this_host(secrets: Path) -> None:
    async with service_running(secrets, None) as (service, address):
        assert await fetched(address, None, "b2") == {"b2": b"two"}
        assert service.identity is None
    with pytest.raises(ConfigError):
        await ExtensionService(Options("0.0.0.0:0", str(secrets))).start()


async def test_it_says_that_it_serves(installation: Pki, secrets: Path) -> None:
    async with service_running(secrets, installation.extension()) as (_, address):
        async with open_channel(address, installation.proxy(), extension_name(""), own=True) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            for name in ("", "l7.v1.SecretService"):
                answer = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_the_fetcher_gets_it_with_its_identity(installation: Pki, secrets: Path, tmp_path: Path) -> None:
    vault, stop, arrived = Vault(tmp_path / "vault"), asyncio.Event(), set[str]()
    fetcher = Fetcher(vault, lambda: installation.proxy("east"), "east", arrived.update)
    async with service_running(secrets, installation.extension("east"), "east") as (_, address):
        running = asyncio.create_task(fetcher.run(stop))
        fetcher.want(frozenset({"a1", "b2"}), ("127.0.0.1:1", address))
        await until(lambda: not fetcher.missing)
        stop.set()
        await running
    assert arrived == {"a1", "b2"}
    assert vault.get("a1") == MARK


# ---------------------------------------------------------------- as a process


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "service.sock"


COMMANDS: dict[str, Callable[[], list[str]]] = {
    "module": lambda: [sys.executable, "-m", "haproxy.service"],
    "command": lambda: [sys.executable, "-c", "from l7.cli import main; main()", "haproxy", "service"],
}


@pytest.mark.parametrize("command", COMMANDS)
async def test_it_ends_quickly_on_sigterm(socket: Path, secrets: Path, command: str) -> None:
    environment = os.environ | {"L7_HAPROXY_LISTEN": f"unix:{socket}", "L7_HAPROXY_SECRETS": str(secrets)}
    process = await asyncio.create_subprocess_exec(*COMMANDS[command](), env=environment)
    try:
        await until(socket.exists)
        assert await fetched(f"unix:{socket}", None, "b2") == {"b2": b"two"}
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
