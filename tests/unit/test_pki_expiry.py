"""What core's status says about the installation's own certificates."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from l7 import daemon
from l7.daemon import Core, Options
from l7.deploy import expiry, pki
from l7.deploy.issuer import Issuer
from l7.deploy.secrets import labels_of
from l7.deploy.stored import GENERATION, NOT_AFTER
from l7.kit.tls import TlsFiles
from l7.model import StoredSecret

NOW = datetime(2030, 1, 1, tzinfo=UTC)


class Installation:
    def __init__(self, directory: Path) -> None:
        self.authority = pki.new_authority(NOW)
        self.files = TlsFiles(str(directory / "ca"), str(directory / "identity"))
        self.key = directory / "key"
        Path(self.files.ca).write_bytes(self.authority.certificate)
        Path(self.files.identity).write_bytes(pki.core_identity(self.authority, now=NOW))
        self.key.write_bytes(self.authority.key)
        self.issuer = Issuer(self.files, str(self.key))

    def secret(self, name: str, generation: int = 1, begin: datetime = NOW) -> StoredSecret:
        data = pki.proxy_identity(self.authority, "", now=begin)
        if name == "l7-ca":
            data = self.authority.certificate
        return StoredSecret(name, 1, name, labels=tuple(sorted(labels_of(name, generation, data).items())))

    def said(self, after: timedelta, *secrets: StoredSecret) -> list[str]:
        return [each.message for each in expiry.problems(self.files, self.issuer, secrets, NOW + after)]


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def test_nothing_is_said_while_all_is_well(installation: Installation) -> None:
    assert installation.said(timedelta(days=600), installation.secret("l7-proxy")) == []


def test_what_ends_is_said_ahead_and_after(installation: Installation) -> None:
    ahead = installation.said(timedelta(days=700), installation.secret("l7-proxy"))
    assert ahead == [
        "core's own certificate ends on 2032-01-01",  # 2030 and 2031 have 365 days each
        "the certificate in the secret l7-proxy ends on 2032-01-01",
    ]
    assert "has ended" in installation.said(timedelta(days=740))[0]
    assert [each for each in installation.said(timedelta(days=20 * 365 - 5)) if each.startswith("the CA ends")]


@pytest.mark.parametrize("text", ["9" * 5000, "9" * 18, "-1", "\uff11", "soon"])
def test_labels_that_are_no_numbers_end_nothing(installation: Installation, text: str) -> None:
    secret = installation.secret("l7-proxy")
    labels = dict(secret.labels) | {NOT_AFTER: text, GENERATION: text}
    odd = replace(secret, labels=tuple(sorted(labels.items())))
    assert installation.said(timedelta(), odd) == []


def test_no_repr_shows_the_key_of_the_ca(installation: Installation) -> None:
    assert "PRIVATE" not in repr(installation.authority)


def test_only_the_newest_generation_counts(installation: Installation) -> None:
    old = installation.secret("l7-extension", 1, NOW - timedelta(days=700))
    ca = installation.secret("l7-ca", 2)
    assert installation.said(timedelta(days=1), old) != []
    assert installation.said(timedelta(days=1), old, ca) == []


def test_secrets_of_users_and_configs_say_nothing(installation: Installation) -> None:
    ours = installation.secret("l7-proxy")
    theirs = replace(ours, labels=tuple(pair for pair in ours.labels if pair != ("com.docker.l7", "pki")))
    assert len(installation.said(timedelta(days=700), theirs, replace(ours, config=True))) == 1


@pytest.mark.parametrize("what", ["none", "missing", "another"])
def test_a_key_that_cannot_renew_is_said(installation: Installation, what: str) -> None:
    if what == "missing":
        installation.key.unlink()
    if what == "another":
        installation.key.write_bytes(pki.new_authority().key)
    issuer = None if what == "none" else installation.issuer
    [problem] = expiry.problems(installation.files, issuer, (), NOW)
    assert "not renewed" in problem.message
    assert (problem.label, problem.service, problem.fatal) == ("pki", "", False)
    assert "PRIVATE" not in str(problem)


def test_files_that_cannot_be_read_are_said(installation: Installation) -> None:
    Path(installation.files.identity).write_text("x")
    found = expiry.problems(installation.files, None, (), NOW)
    assert "is not PEM" in found[0].message


async def test_core_says_it_in_its_status(installation: Installation) -> None:
    def clock() -> int:
        return int(NOW.timestamp()) * 1_000_000_000

    plain = Core(Options(), clock)
    assert [each for each in plain.problems() if each.label == "pki"] == []
    without = Core(Options(tls=installation.files), clock)
    [problem] = [each for each in without.status()["problems"] if each["label"] == "pki"]
    assert "--tls-ca-key" in problem["remedy"]
    whole = Core(Options(tls=installation.files, tls_ca_key=str(installation.key)), clock)
    assert [each for each in whole.problems() if each.label == "pki"] == []


async def test_what_ends_is_logged_although_nothing_happens_in_swarm(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "PROBLEM_PAUSE", 0.001)
    monkeypatch.setattr(daemon, "PROBLEM_LIMIT", 0.001, raising=False)
    now = NOW
    options = Options(tls=installation.files, tls_ca_key=str(installation.key))
    core = Core(options, lambda: int(now.timestamp() * 1e9))
    stop = asyncio.Event()
    with capture_logs() as lines:
        watching = asyncio.create_task(core._watch_problems(stop))
        await asyncio.sleep(0)
        now = NOW + timedelta(days=700)
        async with asyncio.timeout(10):
            while not any("ends on 2032" in each.get("message", "") for each in lines):  # noqa: ASYNC110 - a log
                await asyncio.sleep(0.005)
        stop.set()
        await watching
