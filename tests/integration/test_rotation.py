"""A new CA: who accepts whom while it takes the place of the old one, and after; over real connections."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from l7.deploy import pki
from l7.kit import identity as module
from l7.kit import tls
from l7.kit.identity import Identity
from l7.kit.stream import Stream
from l7.kit.tls import TlsFiles
from l7.v1 import sync_pb2 as pb
from tests.integration.pki_parts import Pki, code_of, core_running, fetched, service_running, until

OK, REFUSED = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE


@dataclass(frozen=True)
class Generations:
    """The PKI before a rotation, during it and after it. During it both CAs are trusted."""

    before: Pki
    during: Pki
    after: Pki

    @property
    def trusted(self) -> dict[str, bytes]:
        old, new = self.before.authority.certificate, self.after.authority.certificate
        return {"before": old, "during": new + old, "after": new}

    def _pki(self, name: str) -> Pki:
        return {"before": self.before, "during": self.during, "after": self.after}[name]

    def core(self, name: str) -> TlsFiles:
        return self._pki(name).core(self.trusted[name])

    def proxy(self, name: str) -> TlsFiles:
        return self._pki(name).proxy("", self.trusted[name])

    def extension(self, name: str) -> TlsFiles:
        return self._pki(name).extension("", self.trusted[name])


@pytest.fixture
def generations(tmp_path: Path) -> Generations:
    places = {name: tmp_path / name for name in ("before", "during", "after")}
    for place in places.values():
        place.mkdir()
    old = pki.new_authority()
    new = pki.cross_signed(pki.new_authority(), old)
    alone = pki.Authority(new.certificate, new.key)
    return Generations(Pki(places["before"], old), Pki(places["during"], new), Pki(places["after"], alone))


TOGETHER = [
    ("before", "during"), ("during", "before"), ("during", "during"), ("during", "after"), ("after", "during"),
    ("after", "after"),
]  # fmt: skip


@pytest.mark.parametrize(("server", "client"), TOGETHER)
async def test_neighbouring_generations_accept_each_other(
    generations: Generations, tmp_path: Path, server: str, client: str
) -> None:
    async with service_running(tmp_path / "secrets", generations.extension(server)) as (_, address):
        assert await code_of(fetched(address, generations.proxy(client))) is OK


@pytest.mark.parametrize(("server", "client"), [("before", "after"), ("after", "before")])
async def test_the_old_ca_counts_for_nothing_at_the_end(
    generations: Generations, tmp_path: Path, server: str, client: str
) -> None:
    async with service_running(tmp_path / "secrets", generations.extension(server)) as (_, address):
        assert await code_of(fetched(address, generations.proxy(client))) is REFUSED


async def test_the_new_ca_on_its_own_is_not_accepted_before(generations: Generations, tmp_path: Path) -> None:
    """It is the cross certificate that makes the difference."""
    bare = generations.after.proxy("", generations.trusted["during"])
    async with service_running(tmp_path / "secrets", generations.extension("before")) as (_, address):
        assert await code_of(fetched(address, bare)) is REFUSED


@pytest.mark.parametrize("first", ["before", "during"])
async def test_a_proxy_that_runs_goes_through_all_of_it(
    generations: Generations, tmp_path: Path, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first identity stays; core is replaced, and it hears of each new CA by its stream, and renews itself."""
    monkeypatch.setattr(module, "SETTLE", 0.0)
    address = f"unix:{tmp_path}/core.sock"
    identity = Identity(generations.proxy(first), tmp_path / "identity", address)
    stop, heard = asyncio.Event(), asyncio.Queue[str]()
    stream = Stream(address, identity.files, lambda: pb.Hello(instance="h1"), lambda update, data: None)

    def hear(digest: str) -> None:
        heard.put_nowait(digest)
        identity.core_trusts(digest)

    stream.on_authorities = hear
    running = [asyncio.create_task(part.run(stop)) for part in (stream, identity)]
    for name in ("before", "during", "after"):
        files = generations.core(name)
        async with core_running(files, generations._pki(name).issuer(files), address):
            wanted = tls.authorities_digest(generations.trusted[name])
            while await asyncio.wait_for(heard.get(), 20) != wanted:
                pass
            await until(lambda: tls.authorities_digest(Path(identity.files().ca).read_bytes()) == wanted)  # noqa: B023
            newest = generations._pki(name).authority.certificate
            assert pki.issued_by(Path(identity.files().identity).read_bytes(), newest)
            async with service_running(tmp_path / "secrets", generations.extension(name)) as (_, service):
                assert await code_of(fetched(service, identity.files())) is OK
    stop.set()
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
