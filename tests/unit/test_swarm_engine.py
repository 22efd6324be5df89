"""The Engine against a daemon that says what the test wants, over TCP with TLS."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from l7.deploy import secrets
from l7.kit.errors import ConfigError, Rejected, Unavailable
from l7.model import StoredSecret
from l7.swarm.cache import Kind
from l7.swarm.engine import Address, Engine, Hint, Outdated

TASK = {"ID": "t1", "Version": {"Index": 1}, "ServiceID": "s1", "Status": {"State": "running"}}


@dataclass
class Daemon:
    """What the next calls get: a status (299: no JSON), or with `hang` nothing until it is set."""

    address: Address
    status: int = 200
    hang: asyncio.Event | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)
    spec: dict[str, Any] = field(default_factory=lambda: {"Name": "web", "Unknown": {"deep": [None, 1]}})
    update: tuple[int, str] = (200, "")
    updated: list[tuple[str, Any]] = field(default_factory=list)

    async def hangs(self) -> bool:
        """Whether it did, once it does no more."""
        hang = self.hang
        if hang is not None:
            await hang.wait()
        return hang is not None


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    certificate, key = _self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    daemon = Daemon(Address())
    runner = web.AppRunner(_application(daemon), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    host, port = runner.addresses[0][:2]
    daemon.address = Address(f"tcp://{host}:{port}", tls_ca=certificate)
    yield daemon
    daemon.over.set()
    if daemon.hang:
        daemon.hang.set()
    await runner.cleanup()


@pytest.fixture
async def engine(daemon: Daemon) -> AsyncIterator[Engine]:
    engine = Engine(daemon.address, timeout=1)
    yield engine
    await engine.close()


async def test_the_ca_of_the_settings_counts_and_not_that_of_the_environment(
    engine: Engine, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other, _ = _self_signed(tmp_path / "other")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", other)
    monkeypatch.setenv("CURL_CA_BUNDLE", other)
    assert [task.id for task in await engine.tasks()] == ["t1"]
    stranger = Engine(replace(daemon.address, tls_ca=other), timeout=1)
    with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
        await stranger.tasks()
    await stranger.close()


async def test_a_certificate_that_is_not_there_is_a_matter_of_settings(daemon: Daemon) -> None:
    engine = Engine(replace(daemon.address, tls_cert="/nowhere", tls_key="/nowhere"), timeout=1)
    with pytest.raises(ConfigError):
        await engine.tasks()
    await engine.close()


async def test_without_a_ca_it_is_the_public_ones_that_count(daemon: Daemon, tmp_path: Path) -> None:
    certificate, key = _self_signed(tmp_path)
    engine = Engine(replace(daemon.address, tls_ca="", tls_cert=certificate, tls_key=key), timeout=1)
    with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
        await engine.tasks()
    await engine.close()


@pytest.mark.parametrize("scheme", ["tcp", "https"])
async def test_insecure_is_any_certificate(daemon: Daemon, tmp_path: Path, scheme: str) -> None:
    (tmp_path / "other").mkdir()
    other, _ = _self_signed(tmp_path / "other")
    url = daemon.address.url.replace("tcp", scheme)
    engine = Engine(Address(url, "" if scheme == "https" else other, insecure=True), timeout=1)
    assert len(await engine.tasks()) == 1
    await engine.close()


async def test_commands_connect_as_core_does(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other, _ = _self_signed(tmp_path / "other")
    client = await asyncio.to_thread(secrets.connect, daemon.address)
    assert client.api.api_version == "1.41"
    client.close()
    with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
        await asyncio.to_thread(secrets.connect, replace(daemon.address, tls_ca=other))
    client = await asyncio.to_thread(secrets.connect, replace(daemon.address, tls_ca=other, insecure=True))
    client.close()
    with pytest.raises(ConfigError):
        await asyncio.to_thread(secrets.connect, replace(daemon.address, tls_ca="/nowhere"))


@pytest.mark.parametrize("status", [500, 503])
async def test_no_leader_and_no_manager_are_unavailable(engine: Engine, daemon: Daemon, status: int) -> None:
    daemon.status = status
    with pytest.raises(Unavailable):
        await engine.tasks()
    daemon.status = 200
    assert len(await engine.tasks()) == 1


async def test_an_unknown_service_is_rejected_with_what_docker_says(engine: Engine, daemon: Daemon) -> None:
    daemon.status = 404
    with pytest.raises(Rejected, match="says 404"):
        await engine.tasks(["gone"])


async def test_a_daemon_that_does_not_answer_is_unavailable_in_time(engine: Engine, daemon: Daemon) -> None:
    daemon.hang = asyncio.Event()
    with pytest.raises(Unavailable):
        await engine.tasks()


async def test_an_answer_that_is_no_json_is_unavailable_and_not_empty(engine: Engine, daemon: Daemon) -> None:
    daemon.status = 299
    with pytest.raises(Unavailable):
        await engine.tasks()


async def test_without_a_leader_no_networks_are_believed(engine: Engine, daemon: Daemon) -> None:
    assert [network.name for network in await engine.networks()] == ["front"]
    daemon.status = 503  # as GET /swarm says; GET /networks says 200 even then, with this node's own networks
    with pytest.raises(Unavailable):
        await engine.networks()


async def test_events_are_hints_and_their_end_is_an_error(engine: Engine) -> None:
    async with engine.events() as events:
        assert await events.wait(5) == {Hint(Kind.SERVICE, "s1")}
        with pytest.raises(Unavailable):
            await events.wait(5)
        with pytest.raises(Unavailable):
            await events.wait(5)


async def test_a_stream_that_opens_after_it_was_given_up_is_not_read(engine: Engine, daemon: Daemon) -> None:
    daemon.hang = asyncio.Event()
    before = set(threading.enumerate())
    with pytest.raises(Unavailable, match="no event stream"):
        async with engine.events():
            pass
    readers = [each for each in set(threading.enumerate()) - before if each.name == "docker-events"]
    daemon.hang.set()
    for reader in readers:
        await asyncio.to_thread(reader.join, 10)
    assert len(readers) == 1
    assert not readers[0].is_alive()


async def test_the_content_of_configs_is_dropped(engine: Engine) -> None:
    assert await engine.secrets() == (StoredSecret("x1", 7, "cert", False, (("a", "1"), ("b", "2"))),)
    (config,) = await engine.configs(["x2"])
    assert config == StoredSecret("x2", 8, "ca", config=True)
    assert "Y29udGVudA" not in repr(config)


async def test_a_specification_goes_back_as_it_came(engine: Engine, daemon: Daemon) -> None:
    version, spec = await engine.service_spec("s1")
    assert (version, spec) == (9, daemon.spec)
    await engine.update_service("s1", version, spec)
    assert daemon.updated == [("9", daemon.spec)]


@pytest.mark.parametrize(("reason", "outdated"), [("update out of sequence", True), ("no leader", False)])
async def test_an_update_of_something_that_changed_meanwhile_is_outdated(
    engine: Engine, daemon: Daemon, reason: str, outdated: bool
) -> None:
    daemon.update = 500, f"rpc error: code = Unknown desc = {reason}"
    # Not `as`: an error that is kept keeps the connection.
    with pytest.raises(Unavailable, check=lambda error: isinstance(error, Outdated) == outdated):
        await engine.update_service("s1", 8, {})
    daemon.update = 200, ""
    await engine.update_service("s1", 9, {})


async def test_an_update_that_refers_to_nothing_is_rejected_with_what_docker_says(
    engine: Engine, daemon: Daemon
) -> None:
    daemon.update = 400, "secret not found: cert"
    with pytest.raises(Rejected, match="secret not found: cert"):
        await engine.update_service("s1", 9, {})


def _application(daemon: Daemon) -> web.Application:
    async def tasks(request: web.Request) -> web.Response:
        await daemon.hangs()
        if daemon.status == 299:
            return web.Response(text="<html>")
        if daemon.status != 200:
            return web.json_response({"message": f"says {daemon.status}"}, status=daemon.status)
        return web.json_response([TASK])

    async def events(request: web.Request) -> web.StreamResponse:
        late = await daemon.hangs()
        response = web.StreamResponse()
        response.force_close()
        await response.prepare(request)
        if late:
            await daemon.over.wait()
        await response.write(b'{"Type": "service", "Action": "update", ')
        await response.write(b'"Actor": {"ID": "s1"}}\n')
        return response

    async def networks(request: web.Request) -> web.Response:
        return web.json_response([{"Id": "n1", "Name": "front"}])

    async def swarm(request: web.Request) -> web.Response:
        return web.json_response({"message": "no leader"}, status=daemon.status)

    async def version(request: web.Request) -> web.Response:
        return web.json_response({"ApiVersion": "1.41"})

    application = web.Application()
    application.router.add_get("/version", version)
    application.router.add_get("/v1.41/tasks", tasks)
    application.router.add_get("/v1.41/networks", networks)
    application.router.add_get("/v1.41/swarm", swarm)
    application.router.add_get("/v1.41/events", events)
    _add_stored(application)
    _add_service(application, daemon)
    return application


def _add_stored(application: web.Application) -> None:
    """A secret and a config, which comes with its content."""

    async def secrets(request: web.Request) -> web.Response:
        spec = {"Name": "cert", "Labels": {"b": "2", "a": "1"}}
        return web.json_response([{"ID": "x1", "Version": {"Index": 7}, "Spec": spec}])

    async def configs(request: web.Request) -> web.Response:
        spec = {"Name": "ca", "Labels": {}, "Data": "Y29udGVudA=="}
        return web.json_response([{"ID": "x2", "Version": {"Index": 8}, "Spec": spec}])

    application.router.add_get("/v1.41/secrets", secrets)
    application.router.add_get("/v1.41/configs", configs)


def _add_service(application: web.Application, daemon: Daemon) -> None:
    """A service that can be updated."""

    async def service(request: web.Request) -> web.Response:
        return web.json_response({"ID": "s1", "Version": {"Index": 9}, "Spec": daemon.spec})

    async def update(request: web.Request) -> web.Response:
        status, message = daemon.update
        daemon.updated.append((request.query["version"], await request.json()))
        return web.json_response({"message": message}, status=status)

    application.router.add_get("/v1.41/services/s1", service)
    application.router.add_post("/v1.41/services/s1/update", update)


def _self_signed(directory: Path) -> tuple[str, str]:
    """Paths of a certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "daemon")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    paths = str(directory / "certificate.pem"), str(directory / "key.pem")
    Path(paths[0]).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    Path(paths[1]).write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths
