"""What HAProxy has taken, on tmpfs: found again as it was, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from haproxy import tls
from haproxy.kept import Kept
from haproxy.model import ClientCertificate
from haproxy.settings import Settings
from haproxy.tls import ANY, Entry, Stores


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(run_dir=str(tmp_path))


def stores(settings: Settings) -> Stores:
    names = {host: tls.certificate_store(settings, host) for host in ("a.test", "*.a.test", ANY)}
    ca, identity = settings.file("tls/authorities/c.pem"), settings.file("tls/identities/i.pem")
    entries = (
        Entry(names[ANY], ANY),
        Entry(names["*.a.test"], "*.a.test"),
        Entry(names["a.test"], "a.test", ClientCertificate.REQUIRED, ca),
    )
    return Stores({name: name.encode() for name in names.values()}, {ca: b"ca"}, {identity: b"id"}, entries)


def test_what_is_saved_is_found_again(settings: Settings) -> None:
    wanted = stores(settings)
    Kept(settings).save(wanted)
    found = Kept(settings).stores
    assert set(found.entries) == set(wanted.entries)
    assert (found.certificates, found.authorities, found.identities) == (
        wanted.certificates, wanted.authorities, wanted.identities,
    )  # fmt: skip


def test_only_its_owner_can_read_it(settings: Settings) -> None:
    Kept(settings).save(stores(settings))
    for path in Path(settings.file("tls")).rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    assert Path(settings.file("tls")).stat().st_mode & 0o077 == 0


def test_what_is_no_longer_there_is_deleted_and_drafts_are_too(settings: Settings) -> None:
    wanted = stores(settings)
    kept = Kept(settings)
    kept.save(wanted)
    Path(settings.file("tls/certificates/a.test.pem.new")).write_bytes(b"half")
    kept = Kept(settings)
    kept.save(Stores())
    assert list(Path(settings.file("tls")).rglob("*.pem*")) == []
    assert Kept(settings).stores == Stores()


def test_lines_that_make_no_sense_are_made_anew(settings: Settings) -> None:
    Kept(settings).save(stores(settings))
    lines = "what [is this ] at all\n/x [verify maybe ca-file /y] z\n"
    Path(settings.file("tls/certificates.list")).write_text(lines)
    assert {entry.host for entry in Kept(settings).stores.entries} == {ANY}
