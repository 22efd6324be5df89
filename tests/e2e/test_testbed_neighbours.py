"""What one test installation takes for its own when it is removed, beside another one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from testbed.namespace import MARK, PREFIX, find_processes

pytestmark = pytest.mark.swarm

OURS = Path(f"/tmp/{PREFIX}ours")


@pytest.mark.parametrize(("mark", "found"), [(f"/tmp/{PREFIX}theirs", False), (str(OURS), True), ("", True)])
def test_the_number_of_a_namespace_does_not_make_a_neighbours_process_ours(mark: str, found: bool) -> None:
    """A namespace of ours has ended, and a neighbour's new one has got its number."""
    environment = {"PATH": os.environ["PATH"]} | ({MARK: mark} if mark else {})
    command = ["unshare", "--mount", "sh", "-c", "echo ready; exec sleep infinity"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            known = {os.readlink(f"/proc/{process.pid}/ns/mnt")}
            assert (process.pid in find_processes(OURS, known)) is found
        finally:
            process.kill()
