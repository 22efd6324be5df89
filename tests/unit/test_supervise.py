"""The supervisor: brings its child back, reaps orphans, ends when told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PATIENCE = 20.0


def supervised(script: str) -> subprocess.Popen[str]:
    start = f"sys.exit(Supervisor([sys.executable, '-c', {script!r}]).run())"
    code = f"import sys; from haproxy.supervise import Supervisor; {start}"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_restarts_until_the_end_is_good(tmp_path: Path) -> None:
    script = f"""
import os, sys
done = {str(tmp_path)!r} + '/runs'
runs = int(open(done).read()) if os.path.exists(done) else 0
open(done, 'w').write(str(runs + 1))
if runs == 0:
    os.kill(os.getpid(), 9)
sys.exit(3 if runs == 1 else 0)
"""
    process = supervised(script)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert (tmp_path / "runs").read_text() == "3"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGRTMIN + 3])
def test_passes_each_stop_signal_on(number: int) -> None:
    script = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
print('ready', flush=True)
signal.pause()
"""
    process = supervised(script)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


def test_one_that_was_away_at_the_signal_is_started_to_stop(tmp_path: Path) -> None:
    """It fails until the supervisor makes pauses of seconds; then the signal comes, and the next one hears of it,
    though it is told before it listens."""
    script = f"""
import os, signal, sys
with open({str(tmp_path)!r} + '/runs', 'a') as file:
    file.write('.')
if os.path.getsize({str(tmp_path)!r} + '/runs') < 5:
    sys.exit(1)
if signal.SIGTERM not in signal.sigpending():
    print('away', flush=True)
    sys.exit(1)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
"""
    process = supervised(script)
    assert process.stdout is not None
    assert any(line == "away\n" for line in process.stdout)
    process.send_signal(signal.SIGQUIT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 7


def test_orphans_become_its_children_and_are_reaped(tmp_path: Path) -> None:
    script = f"""
import os, signal, subprocess, sys
orphan = {str(tmp_path)!r} + '/orphan'
if os.path.exists(orphan):
    print(open(orphan).read(), flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    signal.pause()
child = subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL)
open(orphan, 'w').write(str(child.pid))
os.kill(os.getpid(), 9)
"""
    process = supervised(script)
    assert process.stdout is not None
    orphan = int(next(line for line in process.stdout if line.strip().isdigit()))
    try:
        assert parent(orphan) == process.pid
    finally:
        os.kill(orphan, signal.SIGKILL)
    until = time.monotonic() + PATIENCE
    while parent(orphan) == process.pid:
        assert time.monotonic() < until
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
