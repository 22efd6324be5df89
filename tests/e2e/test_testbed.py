"""The test installation itself: it comes up, carries traffic, survives a killed daemon, and leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from testbed import app
from testbed.namespace import TestbedError, find_processes
from testbed.swarm import Swarm, wait_for

pytestmark = pytest.mark.swarm


def traces(directory: Path) -> list[str]:
    """What of an installation can still be seen from outside."""
    found = [f"process {pid}" for pid in find_processes(directory, set())]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/{directory.name}")]
    found += [line for line in Path("/proc/self/mounts").read_text().splitlines() if directory.name in line]
    return found + ([str(directory)] if directory.exists() else [])


def start_app(swarm: Swarm, port: int) -> None:
    publish = f"mode=host,target={app.PORT},published={port}"
    options = ["--detach", "--no-resolve-image", "--publish", publish, "--env", "INSTANCE={{.Task.Slot}}"]
    swarm.cli(0, "service", "create", "--name", "app", *options, app.TAG)


def ask(swarm: Swarm, node: int | None, url: str) -> str:
    """The body of the answer, "" if there was none."""
    client = swarm.run(node, ["curl", "-s", "-m", "5", url], stdout=subprocess.PIPE, text=True)
    return client.communicate()[0]


def test_a_service_answers_and_nothing_stays() -> None:
    with Swarm.up() as swarm:
        swarm.load_image(app.image())
        start_app(swarm, 8080)
        url = f"http://{swarm.node(0).address}:8080/"
        assert wait_for("an answer", lambda: ask(swarm, 0, url)) == "instance=1 version=1\n"
        assert ask(swarm, None, url) == "instance=1 version=1\n", "a client outside the node"
        assert swarm.node(0).control_socket.is_socket()
        assert traces(swarm.directory)

        swarm.stop_daemon(0, signal.SIGKILL)
        assert ask(swarm, 0, url) == "instance=1 version=1\n", "containers outlive their daemon"
        swarm.start_daemon(0)
        assert swarm.docker(0).info()["Swarm"]["LocalNodeState"] == "active"
    assert traces(swarm.directory) == []


def test_two_installations_do_not_see_each_other() -> None:
    with Swarm.up() as one, Swarm.up() as two:
        assert one.node(0).address == two.node(0).address
        one.down()
        assert two.docker(0).ping()
    assert traces(one.directory) + traces(two.directory) == []


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGKILL])
def test_nothing_stays_when_the_owner_is_ended(sig: signal.Signals) -> None:
    program = "from testbed.swarm import Swarm\nwith Swarm.up() as s: print(s.directory, flush=True); input()"
    owner = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    with owner:
        assert owner.stdout is not None
        directory = Path(owner.stdout.readline().strip())
        assert traces(directory)
        os.killpg(owner.pid, sig)
        owner.wait(120)
    wait_for("the removal", lambda: not traces(directory), timeout=30)


def test_errors_say_what_to_do() -> None:
    with Swarm.up(swarm_mode=False) as swarm:
        with pytest.raises(TestbedError, match="nodes 0 to 0"):
            swarm.node(1)
        with pytest.raises(TestbedError, match="No such image"):
            swarm.cli(0, "image", "inspect", "nothing")
