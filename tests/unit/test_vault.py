from __future__ import annotations

from pathlib import Path

import pytest

from haproxy.vault import Vault
from l7.kit.errors import ProtocolError


def test_what_was_put_is_there_for_the_next_sidecar_too(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "secrets")
    vault.put("a1", b"one")
    assert (vault.get("a1"), vault.get("b2")) == (b"one", None)
    again = Vault(tmp_path / "secrets")
    assert again.ids == {"a1"}
    assert again.get("a1") == b"one"


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "secrets")
    vault.put("a1", b"one")
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "secrets/a1").stat().st_mode & 0o777 == 0o600


def test_what_is_not_kept_is_gone_from_the_directory(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    for id in ("a1", "b2", "c3"):
        vault.put(id, id.encode())
    vault.keep(frozenset({"b2", "d4"}))
    assert vault.ids == {"b2"}
    assert [file.name for file in tmp_path.iterdir()] == ["b2"]
    assert vault.get("a1") is None


def test_what_a_killed_writer_left_is_deleted(tmp_path: Path) -> None:
    (tmp_path / "a1.new").write_bytes(b"ha")
    assert Vault(tmp_path).ids == frozenset()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("id", ["", ".", "..", "../a1", "a/b", "a1.new", "a" * 65, "a\n"])
def test_an_id_that_leads_elsewhere_is_refused(tmp_path: Path, id: str) -> None:
    vault = Vault(tmp_path / "secrets")
    with pytest.raises(ProtocolError):
        vault.put(id, b"x")
    assert vault.get(id) is None
    assert [file.name for file in tmp_path.iterdir()] == ["secrets"]
