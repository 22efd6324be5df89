"""No private key and no password is anywhere but where it belongs: a run with marked ones, then a look at
everything that is written, served, or seen by other processes."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed import processes
from testbed.certificates import Issued, TestAuthority
from testbed.system import CORE, PROXY_ADMIN_PORT
from tests.e2e.conftest import Create
from tests.e2e.installation import Installation
from tests.e2e.tls_client import TlsClient

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]

EXTENSION = "l7_extension"
PASSWORD = "marked-password-4711"


def marks(*issued: Issued) -> set[str]:
    """Pieces of the keys, as they stand in PEM and as text of the bytes would show them; and of the password."""
    lines = {line.decode() for each in issued for line in each.key.splitlines()[1:-1]}
    login = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()
    return {line for line in lines if len(line) > 20} | {PASSWORD, login}


def everything_written(l7: Installation) -> Iterator[tuple[str, str]]:
    """(where, text) of all that others than the owner can read."""
    for name in (CORE, EXTENSION, *l7.services):
        yield f"log of {name}", l7.log_of(name)
    yield "l7 status", str(l7.status())
    for proxy in range(len(l7.services)):
        for page in ("/metrics", "/status"):
            text = processes.get_tcp(l7.proxy_pid(proxy), PROXY_ADMIN_PORT, page).decode()
            yield f"{page} of {l7.services[proxy]}", text
    client: Any = l7.swarm.docker(l7.manager)
    for each in client.configs():
        content = base64.b64decode(each["Spec"].get("Data", ""))
        yield f"config {each['Spec']['Name']}", content.decode(errors="replace")
    for name in (CORE, EXTENSION, *l7.services):
        yield f"specification of {name}", str(client.inspect_service(name))
        for pid in {member for each in l7.containers(name) for member in processes.in_container(each)}:
            for file in ("cmdline", "environ"):
                yield f"{file} of {pid}", read(Path(f"/proc/{pid}/{file}"))


def read(file: Path) -> str:
    try:
        return file.read_bytes().decode(errors="replace")
    except OSError:  # gone meanwhile
        return ""


def test_no_key_is_seen(l7: Installation, create: Create, tmp_path: Path) -> None:
    """With everything that can go wrong with one, since errors like to quote what they are about."""
    tls, authority = TlsClient(l7, tmp_path), TestAuthority()
    good, another = authority.issue("marked.local"), authority.issue("marked.local")
    crossed = Issued(good.certificate, another.key)
    garbage = Issued(good.certificate, b"-----BEGIN PRIVATE KEY-----\n" + good.key[40:90] + b"\n")
    create("marked", "marked.local", labels=tls.pair("marked", good))
    tls.secret("marked-users", f"alice:{PASSWORD}\n{PASSWORD}\n".encode())
    create("crossed", "crossed.local", labels=tls.pair("crossed", crossed))
    create("garbage", "garbage.local", labels=tls.pair("garbage", garbage) | {"basic_auth": "marked-users"})
    tls.shows("marked.local", good.fingerprint)
    l7.label("marked", **tls.pair("marked2", another))
    tls.shows("marked.local", another.fingerprint)
    for name in ("crossed", "garbage"):
        l7.problem(name)
    looked_for = marks(good, another)
    found = [(where, mark) for where, text in everything_written(l7) for mark in looked_for if mark in text]
    assert found == []
    for proxy in range(len(l7.services)):
        assert modes(l7.file(proxy, "")) == {0o600}, "keys are readable by their owner alone"


def modes(directory: Path) -> set[int]:
    """Of the files below it that hold a private key."""
    files = (each for each in directory.rglob("*") if each.is_file())
    return {each.stat().st_mode & 0o777 for each in files if b"PRIVATE KEY" in each.read_bytes()}
