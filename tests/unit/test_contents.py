"""The contents of secrets in the sidecar: what is fetched, told, watched and kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import structlog.testing

from haproxy import contents
from haproxy.capabilities import capabilities
from haproxy.contents import Contents
from haproxy.expiry import DAY
from haproxy.mirror import Mirror, Touched
from haproxy.model import KeyPair, Secret, TlsHost
from haproxy.settings import Settings
from haproxy.work import Work
from l7.kit.metrics import Metrics
from l7.v1 import sync_pb2 as pb
from testbed.certificates import TestAuthority

AUTHORITY = TestAuthority()


@dataclass
class Bench:
    directory: Path
    mirror: Mirror = field(default_factory=Mirror)
    metrics: Metrics = field(default_factory=lambda: Metrics("sidecar", "test"))
    work: Work = field(default_factory=Work)
    told: asyncio.Event = field(default_factory=asyncio.Event)
    contents: Contents = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        settings = Settings(run_dir=str(self.directory), tls_bind=(":443",))
        self.contents = Contents(
            settings, capabilities((3, 4, 7)), self.mirror, self.metrics, self.work.join, self.told.set
        )

    def host(self, *certificates: str, host: str = "x.test") -> Touched:
        """The host names these secrets, at most two; none: it is gone."""
        self.mirror.tls_hosts.pop(host, None)
        if certificates:
            pair = KeyPair(*(Secret(each, each) for each in certificates))
            self.mirror.tls_hosts[host] = TlsHost(host, "s", pair)
        touched = Touched(tls_hosts=frozenset({host}))
        self.contents.update(touched)
        return touched

    def arrives(self, id: str, content: bytes) -> None:
        self.contents.vault.put(id, content)
        self.contents._arrived(frozenset({id}))

    @property
    def messages(self) -> list[str]:
        return [each.message for each in self.contents.problems]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.contents.close()


def store(bench: Bench, name: str = "x.test") -> str:
    return f"{bench.directory}/tls/certificates/{name}.pem"


async def test_what_arrives_touches_what_needs_it(bench: Bench) -> None:
    bench.host("c")
    assert bench.work.stores == set()
    bench.arrives("c", AUTHORITY.issue("x.test").combined)
    assert bench.work.stores == {store(bench)}
    assert (bench.work.backends, bench.work.rules) == (set(), set())
    assert bench.contents.status.keys() == {"x.test"}


async def test_what_nothing_names_is_forgotten(bench: Bench) -> None:
    bench.host("c", "k")
    issued = AUTHORITY.issue("x.test")
    bench.arrives("c", issued.certificate)
    bench.arrives("k", issued.key)
    bench.host("c")
    assert bench.contents.vault.ids == {"c"}
    bench.host()
    assert bench.contents.vault.ids == frozenset()
    assert bench.contents.status == {}


async def test_what_is_missing_for_long_is_told_until_it_comes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "PATIENCE", 0.02)
    bench.host("c")
    assert bench.messages == []
    bench.told.clear()
    await asyncio.wait_for(bench.told.wait(), 5)
    assert ["secret c has not arrived" in message for message in bench.messages] == [True]
    bench.arrives("c", AUTHORITY.issue("x.test").combined)
    assert bench.messages == []


async def test_all_is_complete_when_it_has_come_or_had_its_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.wait_for(bench.contents.complete(), 5)
    bench.host("c")
    waiting = asyncio.create_task(bench.contents.complete())
    await asyncio.sleep(0)
    assert not waiting.done()
    bench.arrives("c", AUTHORITY.issue("x.test").combined)
    await asyncio.wait_for(waiting, 5)
    monkeypatch.setattr(contents, "PATIENCE", 0.02)
    bench.host("never", host="y.test")
    await asyncio.wait_for(bench.contents.complete(), 5)


async def test_problems_are_told_once_and_in_order(bench: Bench) -> None:
    for host in ("x.test", "y.test", "a.test"):
        bench.host("c", host=host)
    bench.arrives("c", b"nothing")
    assert len(bench.messages) == 1
    assert bench.contents.problems == sorted(bench.contents.problems, key=pb.Problem.SerializeToString)


async def test_how_long_certificates_last_is_a_metric_and_logged_once_per_stage(bench: Bench) -> None:
    with structlog.testing.capture_logs() as logged:
        bench.host("c")
        bench.arrives("c", AUTHORITY.issue("x.test", end=5).combined)
        bench.host("c")
        bench.contents._another_stage()
    assert [line["host"] for line in logged if line["event"] == "certificate"] == ["x.test"]
    sample = bench.metrics.registry.get_sample_value("l7_cert_not_after_seconds", {"host": "x.test"})
    assert sample == pytest.approx(time.time() + 5 * DAY, abs=60)
    bench.host()
    assert bench.metrics.registry.get_sample_value("l7_cert_not_after_seconds", {"host": "x.test"}) is None


async def test_another_stage_is_told_when_it_comes(bench: Bench) -> None:
    bench.host("c")
    bench.arrives("c", AUTHORITY.issue("x.test", begin=-1, end=1.2 / DAY + 7).combined)
    assert "less than 30 days" in bench.messages[0]
    async with asyncio.timeout(10):
        while "less than 7 days" not in bench.messages[0]:
            bench.told.clear()
            await bench.told.wait()


async def test_what_haproxy_has_taken_is_found_after_a_restart(bench: Bench) -> None:
    issued = AUTHORITY.issue("x.test")
    bench.host("c")
    bench.arrives("c", issued.combined)
    assert bench.contents.accepted().entries == ()
    bench.contents.stored({store(bench)}, lambda name: False)
    assert bench.contents.accepted().entries == ()
    bench.contents.stored({store(bench)}, lambda name: True)
    bench.contents.close()
    bench.start()
    found = bench.contents.kept.stores
    assert [entry.host for entry in found.entries] == ["x.test"]
    assert issued.certificate in found.certificates[store(bench)]
    bench.host("missing")
    assert bench.contents.status.keys() == {"x.test"}
    bench.host()
    bench.contents.stored({store(bench)}, lambda name: False)
    bench.contents.close()
    assert not Path(store(bench)).exists()


async def test_what_went_while_nobody_looked_is_not_kept(bench: Bench) -> None:
    bench.host("c")
    bench.arrives("c", AUTHORITY.issue("x.test").combined)
    bench.contents.stored({store(bench)}, lambda name: True)
    bench.contents.close()
    assert Path(store(bench)).exists()
    bench.mirror.tls_hosts.clear()
    bench.start()
    bench.contents.update(Touched())
    bench.contents.close()
    assert not Path(store(bench)).exists()
    assert list((bench.directory / "secrets").iterdir()) == []


async def test_a_haproxy_that_was_started_without_a_host_does_not_get_its_files_back(bench: Bench) -> None:
    """It died before it was told that the host is gone, and has nothing of it when it is looked at."""
    for id in "xy":
        bench.host(id, host=f"{id}.test")
        bench.arrives(id, AUTHORITY.issue(f"{id}.test").combined)
    bench.contents.stored({store(bench), store(bench, "y.test")}, lambda name: True)
    bench.contents.close()
    bench.host()
    bench.contents.written(bench.contents.wanted)
    bench.contents.stored({store(bench, "y.test")}, lambda name: True)
    bench.contents.close()
    assert [path.name for path in Path(store(bench)).parent.iterdir()] == ["y.test.pem"]


async def test_the_key_of_passwords_is_made_once_and_only_ours(bench: Bench) -> None:
    path = bench.directory / "auth.key"
    key = bench.contents.material.credentials.key
    assert (len(key), path.stat().st_mode & 0o777) == (32, 0o600)
    bench.contents.close()
    bench.start()
    assert bench.contents.material.credentials.key == key
