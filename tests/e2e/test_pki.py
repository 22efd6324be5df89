"""The installation's own certificates on a real Swarm: renewed after the start, and a CA replaced under load."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from l7 import cli
from l7.deploy import pki
from l7.kit import tls
from testbed.swarm import Swarm
from testbed.system import CORE, EXTENSION, PROXY
from tests.conftest import HAPROXY_SERIES
from tests.e2e.installation import Installation, nothing_failed

pytestmark = pytest.mark.swarm
HOST = "web.local"


@pytest.fixture
def system() -> Iterator[Installation]:
    """One of its own: what is rotated stays rotated."""
    with Swarm.up() as swarm:
        system = Installation.started(swarm, HAPROXY_SERIES[-1:])
        system.create("web", HOST)
        system.answered(HOST, timeout=60)
        yield system
    os.environ.pop("L7_PKI", None)


def l7_pki(system: Installation, *words: str) -> Result:
    command = ["pki", *words, "--docker-url", system.swarm.node(0).url]
    return CliRunner().invoke(cli.main, command)


def root(system: Installation, service: str) -> Path:
    return Path(f"/proc/{system._pids(service)[0]}/root")


def renewed(system: Installation, service: str, authority: bytes) -> Path | None:
    """The place of a renewed identity that the newest of these CAs has signed, and that trusts just these."""
    for place in (root(system, service) / "run/l7/identity").glob("*-*[0-9]"):
        newest = tls.certificates(authority)[0]
        if not pki.issued_by((place / "identity.pem").read_bytes(), newest):
            continue
        if tls.authorities_digest((place / "ca.pem").read_bytes()) == tls.authorities_digest(authority):
            return place
    return None


def authority(system: Installation) -> bytes:
    """The CAs that core trusts now."""
    return (root(system, CORE) / "run/secrets/l7-ca").read_bytes()


def secrets(system: Installation, generation: int) -> set[str]:
    suffix = "" if generation == 1 else f".{generation}"
    return {f"l7-{name}{suffix}" for name in ("ca", "ca-key", "core", "proxy", "extension")}


def names(system: Installation) -> set[str]:
    return set(system.cli("secret", "ls", "--format={{.Name}}").split())


def test_a_ca_is_replaced_while_everything_goes_on(system: Installation) -> None:
    first = authority(system)
    for service in (PROXY, EXTENSION):
        place = system.until(f"{service} to be renewed", lambda s=service: renewed(system, s, first))  # type: ignore[misc]
        assert (place / "identity.pem").stat().st_mode & 0o777 == 0o600
    assert not [each for each in system.status()["problems"] if each["label"] == "pki"]
    worker, before = system.proxy_status().worker_pid, system.task_ids(PROXY)

    with system.load(HOST) as reports:
        dry = l7_pki(system, "rotate", "--dry-run")
        assert (dry.exit_code, names(system)) == (0, secrets(system, 1) | {"l7-acme-account"}), dry.output
        result = l7_pki(system, "rotate")
        assert result.exit_code == 0, result.output
        both = authority(system)
        assert len(tls.certificates(both)) == 2
        system.until("the proxy to have a certificate of the new CA", lambda: renewed(system, PROXY, both))
        system.converged()
        refused = l7_pki(system, "rotate", "--finish")
        assert refused.exit_code == 1
        assert PROXY in refused.output
    assert nothing_failed(reports)
    assert (system.proxy_status().worker_pid, system.task_ids(PROXY)) == (worker, before)
    said = l7_pki(system, "status").output
    assert "rotation is under way" in said
    authorities = [pki.certificate_of(each).subject.rfc4514_string() for each in tls.certificates(both)]
    assert any(name.removeprefix("CN=") in said for name in authorities), said

    os.environ["L7_PKI"] = ".2"
    system.deploy()
    system.converged()
    assert system.task_ids(PROXY) == before
    moved = l7_pki(system, "rotate", "--proxies")
    assert moved.exit_code == 0, moved.output
    system.until("the proxy's new task", lambda: not system.task_ids(PROXY) & before)
    system.converged()
    finished = l7_pki(system, "rotate", "--finish")
    assert finished.exit_code == 0, finished.output
    new = system.until(
        "core's new task", lambda: len(tls.certificates(authority(system))) == 1 and authority(system)
    )
    assert new == tls.certificates(both)[0]
    system.converged()
    system.until("the proxy to know the new CA alone", lambda: renewed(system, PROXY, new))
    there = names(system)
    assert there >= secrets(system, 3) | {"l7-ca.2", "l7-proxy.2", "l7-acme-account"}
    assert not there & secrets(system, 1)
    os.environ["L7_PKI"] = ".3"
    system.deploy()
    assert l7_pki(system, "rotate", "--proxies").exit_code == 0
    system.converged()

    def last() -> bool:
        return l7_pki(system, "rotate", "--finish").exit_code == 0 and "l7-ca.2" not in names(system)

    system.until("the secrets of before to be removed", last)
    assert names(system) == secrets(system, 3) | {"l7-acme-account"}
