"""The demo runs to its end, tells what it promised, and leaves nothing, whenever it is ended."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import image
from testbed.swarm import wait_for

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]

REPOSITORY = Path(__file__).resolve().parents[2]
PORT = 18080


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    """The first time takes minutes, which belong to no test."""
    image.build([])


@pytest.fixture
def home() -> Iterator[Path]:
    """Where the demo keeps everything; not pytest's, because paths of sockets have at most 107 characters."""
    with tempfile.TemporaryDirectory(prefix="l7-") as name:
        yield Path(name)
        wait_for("nothing to be left", lambda: traces(Path(name)) == [], 10)


def traces(home: Path) -> list[str]:
    """Files, mounts and processes of a demo in `home`; its network namespaces live as long as its processes."""
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(home) in line]
    processes = [
        f"process {pid}" for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _names(pid, home)
    ]
    return [str(path) for path in home.iterdir()] + mounts + processes


def _names(pid: int, home: Path) -> bool:
    """Whether the process has the directory in its environment or arguments."""
    try:
        texts = [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("environ", "cmdline")]
    except OSError:  # gone, or the kernel's
        return False
    return pid != os.getpid() and any(str(home).encode() in text for text in texts)


def demo(home: Path, *options: str, port: int = PORT) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "examples.demo", "--port", str(port), *options],
        cwd=REPOSITORY,
        env=os.environ | {"L7_TESTBED_DIR": str(home), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def figure(output: str, what: str) -> str:
    """The line of the summary about `what`, without its name."""
    found = re.search(rf"^  {re.escape(what)} +(.*?) *$", output, re.MULTILINE)
    assert found, f"no {what!r} in:\n{output}"
    return found[1]


def test_once(home: Path) -> None:
    with demo(home, "--once", "--quick") as process:
        output, _ = process.communicate(timeout=110)
    assert process.returncode == 0, output
    assert figure(output, "failed") == "0"
    assert figure(output, "reloads") == "0"
    assert int(figure(output, "requests sent").split()[0]) > 1000
    before, after = re.findall(r"pid (\d+) before, (\d+) after", figure(output, "HAProxy's worker"))[0]
    assert before == after
    assert re.fullmatch(r"median \d+ ms, max \d+ ms, of 1\d tasks", figure(output, "task running → first answer"))
    assert re.search(r"^wordpress\.example\.org +/shop +shop +2 ", output, re.MULTILINE), "l7 status"


@pytest.mark.parametrize("moment", ["l7, live", "a Swarm of one node runs"])
def test_nothing_stays_when_it_is_ended(home: Path, moment: str) -> None:
    with demo(home) as process:
        assert process.stdout is not None
        assert any(moment in line for line in process.stdout)
        os.killpg(process.pid, signal.SIGINT)
        output = process.stdout.read()
    assert process.returncode == 130, output
    assert "Traceback" not in output


def test_a_port_in_use_is_said(home: Path) -> None:
    with demo(home, "--once", port=PORT) as first:
        assert first.stdout is not None
        first.stdout.readline()
        with demo(home, "--once", port=PORT) as second:
            output, _ = second.communicate(timeout=30)
        os.killpg(first.pid, signal.SIGINT)
    assert second.returncode == 1
    assert f"127.0.0.1:{PORT}: Address already in use" in output
    assert f"--port {PORT + 1}" in output
