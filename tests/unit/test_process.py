"""The HAProxy process, with other programs in its place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from haproxy.process import CONFIG, Process, fitting_connections, version_of
from haproxy.settings import Settings
from l7.kit.errors import ConfigError, Rejected


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def process(tmp_path: Path, binary: str = "haproxy") -> Process:
    return Process(Settings(run_dir=str(tmp_path)), binary)


@contextmanager
def running(*arguments: str, deaf: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose command line has these arguments; it ends on SIGUSR1, after those it is deaf to."""
    code = (
        "import signal; heard = [signal.SIGUSR1]; signal.pthread_sigmask(signal.SIG_BLOCK, heard)\n"
        "print(flush=True)\n"
        f"for _ in range({deaf} + 1): signal.sigwait(heard)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_the_version_is_what_the_program_says(tmp_path: Path) -> None:
    assert version_of(script(tmp_path / "a", 'echo "HAProxy version 3.4.7-1 2026/01/01"')) == (3, 4, 7)
    with pytest.raises(ConfigError, match="cannot be run"):
        version_of(script(tmp_path / "b", "exit 1"))
    with pytest.raises(ConfigError, match="cannot be run"):
        version_of(str(tmp_path / "absent"))


async def test_a_bad_configuration_is_rejected_in_haproxys_words(tmp_path: Path) -> None:
    await process(tmp_path, script(tmp_path / "good", "exit 0")).check()
    with pytest.raises(Rejected, match="line 7 is bad"):
        await process(tmp_path, script(tmp_path / "bad", "echo line 7 is bad; exit 1")).check()


@pytest.mark.parametrize("content", [None, "", "nonsense", "1", "999999999"])
def test_what_is_not_ours_is_not_adopted(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "haproxy.pid").write_text(content)
    assert not process(tmp_path).adopt()


async def test_adopts_what_runs_with_our_configuration_and_ends_it_softly(tmp_path: Path) -> None:
    with running("-f", str(tmp_path / CONFIG)) as child:
        (tmp_path / "haproxy.pid").write_text(f"{child.pid}\n")
        found = process(tmp_path)
        assert found.adopt()
        assert found.alive()
        await found.stop(10)
        assert child.wait(10) == 0
        assert not found.alive()
        await found.ended()
        await found.stop(10)


async def test_a_soft_stop_that_went_unheard_is_asked_for_again(tmp_path: Path) -> None:
    with running("-f", str(tmp_path / CONFIG), deaf=2) as child:
        (tmp_path / "haproxy.pid").write_text(f"{child.pid}\n")
        found = process(tmp_path)
        assert found.adopt()
        await found.stop(10)
        assert child.wait(10) == 0  # negative when it had to be ended by SIGTERM


async def test_a_worker_left_is_ended_and_a_stranger_with_its_number_is_not(tmp_path: Path) -> None:
    with running("-f", str(tmp_path / CONFIG)) as worker, running("-f", "/other") as stranger:
        os.kill(worker.pid, signal.SIGUSR1)
        await process(tmp_path).buried(worker.pid)
        assert worker.wait(10) == 0
        await process(tmp_path).buried(stranger.pid)
        assert stranger.poll() is None


def test_connections_that_fit_the_descriptors() -> None:
    assert fitting_connections(20_000, 1_048_576) == 20_000
    assert fitting_connections(20_000, 1024) == 192
    assert fitting_connections(20_000, 1024, tls=True) == 128
    assert fitting_connections(20_000, 10) == 100
