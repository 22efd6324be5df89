"""Nobody stands in for somebody else: not a wildcard's certificate for a host that lacks its own, nor a task that
does not prove who it is. The sidecar, with a real HAProxy and real handshakes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from l7.v1 import sync_pb2 as pb
from testbed.certificates import TestAuthority
from tests.integration.live_sidecar import App, Proxy, eventually, proxy, secret, until
from tests.integration.live_tls import client, identity
from tests.integration.tls_visitor import crowd
from tests.integration.tls_world import PREFIX, World, tls_world

pytestmark = [pytest.mark.haproxy, pytest.mark.timeout(120)]

REQUIRED = int(pb.CLIENT_CERTIFICATE_REQUIRED)
LABEL = f"{PREFIX}ssl_backend_"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with tls_world(tmp_path) as world:
        yield world


@pytest.fixture
async def running(haproxy_binary: Path, world: World) -> AsyncIterator[Proxy]:
    async with proxy(haproxy_binary, world.settings, world.core.port) as running:
        yield running
        assert (running.sidecar.reloads, running.sidecar.drift) == (0, 0)


# ---------------------------------------------------------------- a wildcard, and a host below it


async def wildcard(world: World, clients: bytes = b"") -> str:
    """Service `b` has all of `*.test`, and wants its own clients' certificates, if it has a CA. The fingerprint."""
    shown = world.host("*.test", "b1")
    world.secrets.contents["b1ca"] = clients
    if clients:
        world.core.tls("*.test", "b1", ca="b1ca", verify=REQUIRED)
    world.core.route("*.test", "b")
    world.core.remove("a")
    await world.core.applied()
    await world.shows("other.test", shown)
    return shown


def protected(world: World, app: App) -> None:
    """Service `a` wants certificates of its own clients; neither its own nor its CA are there yet."""
    world.core.service("a", app)
    world.core.rules["a"] = pb.Rules(name="a", client_certificate=pb.CLIENT_CERTIFICATE_REQUIRED)
    world.core.routes["a.test", "/"].rules = "a"
    world.core.tls("a.test", "a1", ca="a1ca", verify=REQUIRED)


@pytest.mark.parametrize("bad", [False, True])
async def test_the_clients_of_another_ca_do_not_get_in_while_the_own_is_missing_or_bad(
    world: World, running: Proxy, tmp_path: Path, bad: bool
) -> None:
    theirs, ours = TestAuthority("theirs"), TestAuthority("ours")
    stranger, friend = client(identity(tmp_path, theirs, "them")), client(identity(tmp_path, ours, "us"))
    shown = await wildcard(world, theirs.certificate)
    assert await world.visitor.get("other.test", stranger) == (200, "web")
    protected(world, world.app)
    if bad:
        world.secrets.contents |= {"a1": b"no certificate", "a1ca": ours.certificate}
    await world.core.applied()
    if bad:
        await world.complains("a", f"{PREFIX}ssl_cert", "no certificate in it")
    assert (await running.map("sni.map")) == {"a.test": "!"}
    for who in (stranger, friend, client()):
        assert await world.visitor.shown("a.test", who) == ""
        assert await world.visitor.get("a.test", who) == (0, "")
    async with crowd(world.visitor, ["other.test"]) as others:
        issued = world.authority.issue("a.test")
        world.secrets.contents |= {"a2": issued.combined, "a1ca": ours.certificate}
        world.core.tls("a.test", "a2", ca="a1ca", verify=REQUIRED)
        await world.core.applied()
        await eventually(lambda: world.visitor.get("a.test", friend), (200, "web"))
        await until(lambda: others.number > 10)
    assert others.failed == []
    assert await world.visitor.get("a.test", stranger) == (0, "")
    assert await world.visitor.shown("a.test") == issued.fingerprint
    assert await world.visitor.shown("other.test") == shown
    await eventually(lambda: running.map("sni.map"), dict[str, str]())
    await world.content()


async def test_no_other_tenants_certificate_stands_in_for_a_bad_one(world: World, running: Proxy) -> None:
    shown = await wildcard(world)
    world.core.service("a", world.app)
    await world.core.applied()
    await world.shows("a.test", shown)  # a service without TLS of its own is just served by it
    world.secrets.contents["a1"] = b"no certificate"
    world.core.tls("a.test", "a1")
    await world.core.applied()
    await world.complains("a", f"{PREFIX}ssl_cert", "no certificate in it")
    await world.shows("a.test", "")
    assert await running.get("a.test") == (200, "web")
    del world.core.tls_hosts["a.test"]
    await world.core.applied()
    await world.shows("a.test", shown)
    assert await running.map("sni.map") == {}


async def test_a_host_goes_from_a_wildcard_to_its_own_without_a_gap(world: World, running: Proxy) -> None:
    await wildcard(world)
    world.core.service("a", world.app)
    await world.core.applied()
    own = world.authority.issue("a.test")
    async with crowd(world.visitor, ["a.test"]) as others:
        world.core.tls("a.test", "a1")
        await world.core.applied()
        await until(lambda: "a1" in world.secrets.asked)
        world.secrets.contents["a1"] = own.combined
        await world.shows("a.test", own.fingerprint)
        number = others.number
        await until(lambda: others.number > number + 5)
    assert others.failed == []


async def test_a_start_lets_nobody_in_either(haproxy_binary: Path, world: World, tmp_path: Path) -> None:
    theirs = TestAuthority("theirs")
    stranger = client(identity(tmp_path, theirs, "them"))
    async with proxy(haproxy_binary, world.settings, world.core.port) as first:
        await wildcard(world, theirs.certificate)
        protected(world, world.app)
        await world.core.applied()
        assert await first.map("sni.map") == {"a.test": "!"}
    async with proxy(haproxy_binary, world.settings, world.core.port) as second:
        await eventually(lambda: world.visitor.get("other.test", stranger), (200, "web"))
        assert await world.visitor.get("a.test", stranger) == (0, "")
        await until(lambda: second.sidecar.revision == world.core.revision)
        assert await second.map("sni.map") == {"a.test": "!"}
        assert await world.visitor.get("a.test", stranger) == (0, "")


# ---------------------------------------------------------------- tasks


def context(directory: Path, authority: TestAuthority, clients: bytes = b"") -> ssl.SSLContext:
    """A task's, which proves to be safe.test."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    file = directory / "safe.pem"
    file.write_bytes(authority.issue("safe.test").combined)
    context.load_cert_chain(file)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients.decode())
    return context


def secured(world: World, app: App, ca: str, name: str = "safe.test", shown: str = "") -> None:
    world.core.service("safe", app)
    pair = pb.KeyPair(certificate=secret(shown)) if shown else None
    own = pb.ServerSettings(protocol=pb.PROTOCOL_HTTPS, tls_ca=secret(ca), tls_name=name, tls_certificate=pair)
    world.core.backends["safe"].settings.server_settings.append(own)


@pytest.fixture
async def safe(world: World, tmp_path: Path) -> AsyncIterator[App]:
    """Its CA is "good"."""
    inside = TestAuthority("inside")
    world.secrets.contents |= {"good": inside.certificate, "bad": TestAuthority("stranger").certificate}
    app = App("safe", 7, tls=context(tmp_path, inside))
    await app.up()
    yield app
    await app.down()


BAD = [("bad", "safe.test", f"{LABEL}ca", "no CA in bad"), ("good", "x.test", f"{LABEL}name", "not for x.test but")]


@pytest.mark.parametrize("way", BAD)
async def test_a_task_that_does_not_prove_itself_serves_as_before(
    world: World, running: Proxy, safe: App, way: tuple[str, str, str, str]
) -> None:
    ca, name, label, words = way
    secured(world, safe, "good")
    await world.core.applied()
    assert await running.get("safe.test") == (200, "safe")
    secured(world, safe, ca, name)
    await world.core.applied()
    await world.complains("safe", label, words)
    for _ in range(10):
        assert await running.get("safe.test") == (200, "safe")
    secured(world, safe, "good")
    await world.core.applied()
    await world.content()
    assert await running.get("safe.test") == (200, "safe")


@pytest.mark.parametrize("way", BAD)
async def test_a_task_that_never_proved_itself_gets_no_request(
    world: World, running: Proxy, safe: App, way: tuple[str, str, str, str]
) -> None:
    ca, name, label, words = way
    secured(world, safe, ca, name)
    await world.core.applied()
    await world.complains("safe", label, words)
    asking = asyncio.create_task(running.get("safe.test"))
    assert await running.servers("safe") in ({}, {safe.name: False})
    assert safe.requests == 0
    secured(world, safe, "good")
    await world.core.applied()
    assert await asking == (200, "safe")
    await world.content()


async def test_a_task_that_wants_another_client_certificate(world: World, running: Proxy, tmp_path: Path) -> None:
    inside, ours = TestAuthority("inside"), TestAuthority("ours")
    app = App("safe", 7, tls=context(tmp_path, inside, ours.certificate))
    await app.up()
    try:
        world.secrets.contents |= {
            "good": inside.certificate,
            "own": ours.issue(common_name="proxy").combined,
            "other": TestAuthority("nobody").issue(common_name="proxy").combined,
        }
        secured(world, app, "good", shown="other")
        await world.core.applied()
        await world.complains("safe", f"{LABEL}cert", "they are shown the certificate of ssl_backend_cert")
        secured(world, app, "good", shown="own")
        await world.core.applied()
        await world.content()
        await eventually(lambda: running.get("safe.test"), (200, "safe"))
    finally:
        await app.down()


async def test_a_certificate_that_ends_while_its_task_serves_is_told(
    world: World, running: Proxy, safe: App, tmp_path: Path
) -> None:
    secured(world, safe, "good")
    await world.core.applied()
    assert await running.get("safe.test") == (200, "safe")
    good = safe.tls
    assert good is not None
    safe.stop_listening()
    safe.tls = context(tmp_path, TestAuthority("stranger"))
    await safe.up()
    await world.complains("safe", f"{LABEL}ca", "no CA in good")
    safe.stop_listening()
    safe.tls = good
    await safe.up()
    await world.content()
    assert await running.get("safe.test") == (200, "safe")
