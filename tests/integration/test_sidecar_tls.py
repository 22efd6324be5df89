"""The sidecar takes TLS live, on a real HAProxy, with real handshakes: nothing here reloads unless it says so."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from haproxy import contents
from l7.v1 import sync_pb2 as pb
from testbed.certificates import TestAuthority
from tests.integration.live_sidecar import App, Core, Proxy, eventually, proxy, secret, until
from tests.integration.live_tls import client, identity
from tests.integration.tls_visitor import crowd, fingerprint
from tests.integration.tls_world import PREFIX, World, tls_world

pytestmark = [pytest.mark.haproxy, pytest.mark.timeout(120)]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with tls_world(tmp_path) as world:
        yield world


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A first state with something missing is served soon."""
    monkeypatch.setattr(contents, "PATIENCE", 0.5)


@pytest.fixture
async def running(haproxy_binary: Path, world: World) -> AsyncIterator[Proxy]:
    async with proxy(haproxy_binary, world.settings, world.core.port) as running:
        yield running
        assert (running.sidecar.reloads, running.sidecar.drift) == (0, 0)


async def test_a_host_gets_a_certificate_another_one_and_none(world: World, running: Proxy) -> None:
    other = world.host("b.test", "b1")
    await world.core.applied()
    await world.shows("b.test", other)
    worker = running.worker
    async with crowd(world.visitor, ["b.test"]) as others:
        first = world.host("a.test", "a1")
        await world.core.applied()
        await world.shows("a.test", first)
        assert await world.visitor.get("a.test") == (200, "web")
        old = await world.visitor.client("a.test")
        assert fingerprint(old) == first

        second = world.host("a.test", "a2")
        await world.core.applied()
        await world.shows("a.test", second)
        assert await old.ask("a.test") == (200, "web")
        old.close()
        await until(lambda: world.files("secrets") == {"a2", "b1"})
        await until(lambda: world.secrets.contents["a2"] in certificate_file(world, "a.test"))

        del world.core.tls_hosts["a.test"]
        await world.core.applied()
        await world.shows("a.test", "")
        await until(lambda: world.files("tls/certificates") == {"b.test.pem"})
        assert world.files("secrets") == {"b1"}
        await until(lambda: others.number > 20)
    assert others.failed == []
    assert running.worker == worker


def certificate_file(world: World, host: str) -> bytes:
    path = Path(world.settings.file(f"tls/certificates/{host}.pem"))
    return path.read_bytes() if path.exists() else b""


async def test_what_is_bad_leaves_the_certificate_of_before(world: World, running: Proxy) -> None:
    good = world.host("a.test", "a1")
    await world.core.applied()
    await world.shows("a.test", good)
    bad = {
        ("garbage", "ssl_cert"): b"no PEM at all",
        ("covering", "ssl_cert"): world.authority.issue("other.test").combined,
        ("expired", "ssl_cert"): world.authority.issue("a.test", begin=-9, end=-1).combined,
    }
    words = {"garbage": "no certificate in it", "covering": "not for a.test", "expired": "the one before stays"}
    for (id, label), content in bad.items():
        world.secrets.contents[id] = content
        world.core.tls("a.test", id)
        await world.core.applied()
        await world.complains("a", PREFIX + label, words[id])
        assert await world.visitor.shown("a.test") == good
    one, other = world.authority.issue("a.test"), world.authority.issue("a.test")
    world.secrets.contents |= {"mine": one.certificate, "notmine": other.key}
    world.core.tls("a.test", "mine", "notmine")
    await world.core.applied()
    await world.complains("a", f"{PREFIX}ssl_key", "does not match")
    assert await world.visitor.shown("a.test") == good
    world.secrets.contents["minekey"] = one.key
    world.core.tls("a.test", "mine", "minekey")
    await world.core.applied()
    await world.shows("a.test", one.fingerprint)
    await world.content()


async def test_a_host_whose_first_certificate_is_bad_has_no_tls(world: World, running: Proxy) -> None:
    good = world.host("b.test", "b1")
    world.host("a.test", "a1", "other.test")
    await world.core.applied()
    await world.shows("b.test", good)
    await world.complains("a", f"{PREFIX}ssl_cert", "not for a.test")
    assert await world.visitor.shown("a.test") == ""
    assert await running.get("a.test") == (200, "web")


async def test_what_has_expired_is_served_where_there_is_no_other(world: World, running: Proxy) -> None:
    old = world.host("a.test", "a1", begin=-9, end=-1)
    soon = world.host("b.test", "b1", end=5)
    await world.core.applied()
    await world.shows("a.test", old)
    await world.shows("b.test", soon)
    await world.complains("a", f"{PREFIX}ssl_cert", "expired on")
    await world.complains("b", f"{PREFIX}ssl_cert", "expires in less than 7 days")
    status = running.sidecar.status()["tls"]
    assert status.keys() == {"a.test", "b.test"}
    assert b'l7_cert_not_after_seconds{host="b.test"}' in running.sidecar.metrics.exposition()


async def test_a_revision_does_not_wait_for_a_secret_and_the_secret_is_served_when_it_comes(
    world: World, running: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "PATIENCE", 0.05)
    world.core.tls("a.test", "late")
    await world.core.applied()
    await world.complains("a", f"{PREFIX}ssl_cert", "secret late has not arrived")
    assert await world.visitor.shown("a.test") == ""
    issued = world.authority.issue("a.test")
    world.secrets.contents["late"] = issued.combined
    await world.shows("a.test", issued.fingerprint)
    await world.content()


async def test_a_new_proxy_begins_to_listen_with_its_certificates(
    world: World, haproxy_binary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "PATIENCE", 60.0)
    issued = world.authority.issue("a.test")
    world.core.tls("a.test", "a1")
    world.core.push()  # before there is a proxy: in the first state that it gets
    async with proxy(haproxy_binary, world.settings, world.core.port):
        await until(lambda: "a1" in world.secrets.asked)
        assert not await listens(world)
        world.secrets.contents["a1"] = issued.combined
        await eventually(lambda: listens(world), True)
        assert await world.visitor.shown("a.test") == issued.fingerprint


async def listens(world: World) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", world.visitor.port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


async def test_clients_are_asked_for_a_certificate_when_the_ca_is_there(
    world: World, running: Proxy, tmp_path: Path
) -> None:
    people = TestAuthority("people")
    shown = world.host("a.test", "a1")
    world.core.tls("a.test", "a1", ca="ca", verify=2)
    await world.core.applied()
    await until(lambda: "a1" in world.files("secrets"))
    assert await world.visitor.shown("a.test") == ""
    world.secrets.contents["ca"] = people.certificate
    mine = client(identity(tmp_path, people, "me"))
    await eventually(lambda: world.visitor.get("a.test", mine), (200, "web"))
    assert await world.visitor.get("a.test", client()) == (0, "")
    world.core.tls("a.test", "a1")
    await world.core.applied()
    await eventually(lambda: world.visitor.get("a.test", client()), (200, "web"))
    assert await world.visitor.shown("a.test") == shown
    await until(lambda: world.files("tls/authorities") == set())
    assert world.settings.run_dir not in await running.command("show ssl ca-file")


# ---------------------------------------------------------------- tasks


def task_context(directory: Path, authority: TestAuthority, name: str, clients: bytes = b"") -> ssl.SSLContext:
    """A task that proves to be `name`, and wants its clients to prove themselves to be of these."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    file = directory / f"{name}.pem"
    file.write_bytes(authority.issue(name).combined)
    context.load_cert_chain(file)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients.decode())
    return context


def secured(core: Core, name: str, app: App, **tls: Any) -> None:
    """The service is spoken to by TLS."""
    core.service(name, app)
    settings = pb.ServerSettings(protocol=pb.PROTOCOL_HTTPS, **tls)
    core.backends[name].settings.server_settings.append(settings)


async def test_a_task_is_spoken_to_when_its_ca_and_our_certificate_are_there(
    world: World, running: Proxy, tmp_path: Path
) -> None:
    inside, ours = TestAuthority("inside"), TestAuthority("ours")
    app = App("safe", 7, tls=task_context(tmp_path, inside, "safe.test", ours.certificate))
    await app.up()
    try:
        pair = pb.KeyPair(certificate=secret("own"), key=secret("ownkey"))
        secured(world.core, "safe", app, tls_ca=secret("ca"), tls_name="safe.test", tls_certificate=pair)
        await world.core.applied()
        own = ours.issue(common_name="proxy")
        asking = asyncio.create_task(running.get("safe.test"))
        world.secrets.contents |= {"own": own.certificate, "ownkey": own.key}
        await until(lambda: "ownkey" in world.files("secrets"))
        assert not await running.servers("safe")
        world.secrets.contents["ca"] = inside.certificate
        assert await asking == (200, "safe")
        world.core.remove("safe")
        await world.core.applied()
        await until(lambda: world.files("tls/authorities") == set() == world.files("tls/identities"))
        await eventually(lambda: stores_left(running), 0)
    finally:
        await app.down()


async def stores_left(running: Proxy) -> int:
    text = await running.command("show ssl ca-file") + await running.command("show ssl cert")
    return sum(line.startswith(running.settings.run_dir) for line in text.splitlines())


async def test_the_task_of_before_serves_until_the_new_ca_is_there(
    world: World, running: Proxy, tmp_path: Path
) -> None:
    inside = TestAuthority("inside")
    app = App("safe", 7, tls=task_context(tmp_path, inside, "safe.test"))
    await app.up()
    try:
        secured(world.core, "safe", app)
        await world.core.applied()
        assert await running.get("safe.test") == (200, "safe")
        before = await server_names(running, "safe")
        world.core.backends["safe"].settings.server_settings[0].MergeFrom(
            pb.ServerSettings(tls_ca=secret("ca"), tls_name="safe.test")
        )
        await world.core.applied()
        assert await running.get("safe.test") == (200, "safe")
        assert await server_names(running, "safe") == before
        world.secrets.contents["ca"] = inside.certificate
        await eventually(lambda: only_others(running, "safe", before), True)
        assert await running.get("safe.test") == (200, "safe")
        world.core.backends["safe"].settings.server_settings[0].tls_ca.CopyFrom(secret("ca2"))
        world.secrets.contents["ca2"] = TestAuthority("stranger").certificate
        await world.core.applied()
        await until(lambda: "ca2" in world.files("secrets"))
    finally:
        await app.down()


async def server_names(running: Proxy, backend: str) -> set[str]:
    physical = (await running.map("backends.map"))[backend]
    text = await running.command(f"show servers state {physical}")
    rows = [line.split() for line in text.splitlines() if line and line[0].isdigit() and " " in line]
    return {row[3] for row in rows if row[3] != "hold"}


async def only_others(running: Proxy, backend: str, before: set[str]) -> bool:
    now = await server_names(running, backend)
    return bool(now) and not now & before


# ---------------------------------------------------------------- passwords, challenges, the default certificate


async def test_passwords_come_change_and_never_let_in_whom_they_do_not_name(world: World, running: Proxy) -> None:
    world.core.rules["a"] = pb.Rules(name="a", basic_auth=secret("users1"), basic_auth_realm="shop")
    world.core.routes["a.test", "/"].rules = "a"
    await world.core.applied()
    assert (await ask_as(running, "me:pass"))[0] == 401
    world.secrets.contents["users1"] = b"me:pass\nhashed:$2y$10$abcdefghijklmnopqrstuv\n"
    await eventually(lambda: ask_as(running, "me:pass"), (200, "web"))
    await world.complains("a", f"{PREFIX}basic_auth", "looks hashed")
    assert (await ask_as(running, "me:other"))[0] == 401
    world.core.rules["a"] = pb.Rules(name="a", basic_auth=secret("users2"))
    await world.core.applied()
    assert await ask_as(running, "me:pass") == (200, "web")
    world.secrets.contents["users2"] = b"you:secret\n"
    await eventually(lambda: ask_as(running, "you:secret"), (200, "web"))
    assert (await ask_as(running, "me:pass"))[0] == 401
    del world.core.rules["a"]
    world.core.routes["a.test", "/"].rules = ""
    await world.core.applied()
    await eventually(lambda: ask_as(running, "x:y"), (200, "web"))
    await eventually(lambda: passwords(running), {"key"})


async def passwords(running: Proxy) -> set[str]:
    return set(await running.map("auth.map"))


async def ask_as(running: Proxy, who: str) -> tuple[int, str]:
    client = await running.client()
    answer = await client.ask("a.test", "/", f"authorization: Basic {b64encode(who.encode()).decode()}")
    client.close()
    return answer


async def test_a_challenge_appears_and_goes(world: World, running: Proxy) -> None:
    world.core.challenges["token1"] = "token1.print"
    await world.core.applied()
    path = "/.well-known/acme-challenge/token1"
    assert await running.get("a.test", path) == (200, "token1.print")
    world.core.challenges.clear()
    await world.core.applied()
    assert await running.get("a.test", path) == (200, "web")


async def test_the_default_certificate_comes_and_goes_by_a_reload_and_changes_live(
    haproxy_binary: Path, world: World
) -> None:
    async with proxy(haproxy_binary, world.settings, world.core.port) as running:
        own = world.host("a.test", "a1")
        await world.core.applied()
        await world.shows("a.test", own)
        for number, id in enumerate(("d1", "d2")):
            default = world.authority.issue("fallback.test")
            world.secrets.contents[id] = default.combined
            world.core.tls("*", id)
            await world.core.applied()
            for name in ("unknown.test", None):
                await eventually(lambda name=name: world.visitor.shown(name), default.fingerprint)  # type: ignore[misc]
            assert await world.visitor.shown("a.test") == own
            assert running.sidecar.reloads == 1, number
        del world.core.tls_hosts["*"]
        await world.core.applied()
        await world.shows("unknown.test", "")
        assert await world.visitor.shown("a.test") == own
        assert running.sidecar.reloads == 2
        assert running.sidecar.metrics.reloads.labels("settings")._value.get() == 2
