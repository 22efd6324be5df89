"""Linux namespaces that hold a whole test installation, and their removal without a trace.

Everything a test installation consists of carries one mark: its processes have ``L7_TESTBED=<directory>`` in
their environment, live in a namespace of such a process, or belong to the cgroup ``/<directory's name>``. That is
enough to find and end all of it from the outside, whoever started it and however that one died.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

MARK = "L7_TESTBED"
PREFIX = "l7-testbed-"


class TestbedError(RuntimeError):
    """The test installation cannot do what was asked; the text says what to do about it."""

    __test__ = False  # no test class, whatever its name looks like to pytest


@dataclass(frozen=True, slots=True)
class Namespace:
    """A network, host name and mount namespace, kept open by one sleeping process."""

    pid: int

    @property
    def net(self) -> Path:
        """A path for ``nsenter --net=``."""
        return Path(f"/proc/{self.pid}/ns/net")

    def command(self, argv: list[str]) -> list[str]:
        """``argv``, to be run in the network namespace alone (the file system stays the caller's)."""
        return ["nsenter", f"--net={self.net}", "--", *argv]

    def command_inside(self, argv: list[str]) -> list[str]:
        """``argv``, to be run in all three namespaces."""
        return ["nsenter", "-t", str(self.pid), "--net", "--uts", "--mount", "--root", "--", *argv]


def marked_environment(directory: Path, home: Path) -> dict[str, str]:
    """A small environment: no proxy or certificate settings of the caller reach the daemons."""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    # TMPDIR: containerd dumps its stacks there when dockerd finds it slow.
    return {"PATH": path, "HOME": str(home), "TMPDIR": str(home), "LANG": "C.UTF-8", MARK: str(directory)}


def open_namespace(directory: Path, script: str, arguments: list[str]) -> Namespace:
    """New namespaces, prepared by the shell `script`, held until `remove`; raises if the script fails."""
    command = ["unshare", "--net", "--uts", "--mount", "sh", "-euc", f"{script}\necho ready\nexec sleep infinity"]
    holder = subprocess.Popen(
        [*command, "sh", *arguments],
        env=marked_environment(directory, directory),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is the owner's to handle
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stderr is not None
    with holder.stdout, holder.stderr:
        if holder.stdout.readline() != "ready\n":
            reason = holder.stderr.read().strip()
            holder.wait()
            raise TestbedError(f"cannot prepare a namespace ({reason}); needs root, veth, bridge and overlayfs")
    _reap_later.append(holder)
    return Namespace(holder.pid)


# Holders are our children: whoever removes them must also wait for them, or they stay as zombies.
_reap_later: list[subprocess.Popen[str]] = []


def _read(path: Path) -> bytes:
    """A file of /proc, empty once its process is gone (or is another kernel thread's)."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _namespaces(pid: int) -> set[str]:
    found = set()
    for kind in ("net", "mnt"):
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"/proc/{pid}/ns/{kind}"))
    return found


def _pids() -> list[int]:
    own = os.getpid()
    return [pid for entry in os.listdir("/proc") if entry.isdigit() and (pid := int(entry)) != own]


def is_alive(pid: int) -> bool:
    """Whether the process runs: neither gone nor a zombie."""
    state = _read(Path(f"/proc/{pid}/stat")).rpartition(b")")[2].split()[:1]
    return state not in ([], [b"Z"], [b"X"])


def find_processes(directory: Path, known: set[str]) -> list[int]:
    """Every living process of the installation. `known` collects its namespaces, so that a second look finds
    those which entered one of them without the mark."""
    mark = f"{MARK}={directory}".encode()
    cgroup = f"/{directory.name}".encode()
    ours = _namespaces(os.getpid())
    pids = [pid for pid in _pids() if is_alive(pid)]
    marked = {pid for pid in pids if mark in _read(Path(f"/proc/{pid}/environ")).split(b"\0")}
    for pid in marked:
        known |= _namespaces(pid) - ours
    return [
        pid
        for pid in pids
        if pid in marked
        or cgroup in _read(Path(f"/proc/{pid}/cgroup"))
        or (known & _namespaces(pid) and not _is_anothers(pid, directory))
    ]


def _is_anothers(pid: int, directory: Path) -> bool:
    """Whether a process is of another installation. The kernel gives the number of a namespace that has ended to
    the next new one at once: one that we know may be a neighbour's by now."""
    environment = _read(Path(f"/proc/{pid}/environ")).split(b"\0")
    marks = [each for each in environment if each.startswith(f"{MARK}=".encode())]
    groups = re.findall(f"/{PREFIX}[^/\n]*".encode(), _read(Path(f"/proc/{pid}/cgroup")))
    own = {f"{MARK}={directory}".encode(), f"/{directory.name}".encode()}
    return not own.issuperset(marks + groups)


def _kill_all(directory: Path, timeout: float) -> list[int]:
    """Ends all processes of the installation; what still lives after `timeout` seconds."""
    known: set[str] = set()
    deadline = time.monotonic() + timeout
    while victims := find_processes(directory, known):
        if time.monotonic() > deadline:
            return victims
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)  # the kernel has no event for "the last of these is gone"
    return []


def _cgroups(name: str) -> list[Path]:
    """The installation's directory in each hierarchy (version 1) or in the only one (version 2)."""
    root = Path("/sys/fs/cgroup")
    return [path for path in (root / name, *root.glob(f"*/{name}")) if path.is_dir()]


def _remove_cgroups(name: str, timeout: float) -> list[Path]:
    deadline = time.monotonic() + timeout
    while left := _cgroups(name):
        for top in left:
            for path, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):  # busy until the kernel has buried the last process
                    os.rmdir(path)
        if time.monotonic() > deadline:
            return left
        time.sleep(0.02)
    return []


def _mounts(directory: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [where for line in lines if (where := line.split()[1]).startswith(f"{directory}/")]


def remove(directory: Path, timeout: float = 20.0) -> None:
    """Ends the installation whose state is in `directory` and removes all of it: processes, mounts, cgroups,
    namespaces (these end with their processes) and files. Raises TestbedError with what would not go."""
    if not directory.name.startswith(PREFIX):
        raise TestbedError(f"{directory} is no directory of the testbed")
    living = _kill_all(directory, timeout)
    for holder in [*_reap_later]:
        if holder.poll() is not None:
            _reap_later.remove(holder)
    for where in sorted(_mounts(directory), reverse=True):
        subprocess.run(["umount", "-l", where], check=False)
    left = [f"process {pid}: {_read(Path(f'/proc/{pid}/cmdline'))[:80]!r}" for pid in living]
    left += [f"cgroup {path}" for path in _remove_cgroups(directory.name, timeout)]
    left += [f"mount {where}" for where in _mounts(directory)]
    if not left and directory.exists():
        shutil.rmtree(directory)
    if left:
        raise TestbedError(f"left behind by {directory}: {'; '.join(left)}; end them and remove the directory")
