"""`make soak`: half an hour (L7_SOAK_SECONDS) of changes of all kinds under load: nothing fails, nothing grows."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed import processes
from tests.e2e.conftest import Create
from tests.e2e.installation import Installation, nothing_failed

SECONDS = float(os.environ.get("L7_SOAK_SECONDS", "1800"))
HOST = "soak.local"
OTHERS = [f"other{number}" for number in range(5)]
GROWTH_MB = 15.0
"""What a part may grow between the first fifth and the end: allocators settle late, leaks never do."""

pytestmark = [pytest.mark.swarm, pytest.mark.soak, pytest.mark.timeout(SECONDS + 600)]


def parts(l7: Installation) -> dict[str, int]:
    """The processes that must not grow, by name."""
    sidecars = {f"sidecar {number}": l7.sidecar_process(number) for number in range(len(l7.series))}
    workers = {f"haproxy {number}": l7.haproxy_processes(number)[-1] for number in range(len(l7.series))}
    return {"core": l7.core_process(), **sidecars, **workers}


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


class Changes:
    """One change at a time, by chance, each waited for."""

    def __init__(self, l7: Installation, create: Create, chance: random.Random) -> None:
        self.l7, self.create, self.chance = l7, create, chance
        self.there: set[str] = set()
        self.done = 0

    def one(self) -> None:
        kinds: list[Callable[[], None]] = [self.scale, self.roll, self.come_or_go, self.edit]
        self.chance.choice(kinds)()
        self.done += 1

    def scale(self) -> None:
        replicas = self.chance.randint(1, 6)
        self.l7.scale("soak", replicas)
        self.l7.running("soak", replicas)

    def roll(self) -> None:
        version = str(self.done + 2)
        order = self.chance.choice(["start-first", "stop-first"])
        self.l7.update("soak", f"--update-order={order}", f"--env-add=VERSION={version}")
        self.l7.updated("soak", version)

    def come_or_go(self) -> None:
        name = self.chance.choice(OTHERS)
        if name in self.there:
            self.there.remove(name)
            self.l7.remove(name)
        else:
            self.there.add(name)
            self.create(name, f"{name}.local")

    def edit(self) -> None:
        path = f"/path{self.chance.randint(0, 9)}"
        for name in sorted(self.there)[:1]:
            self.l7.update(name, f"--label-add=com.docker.lb.context_root={path}")


def test_nothing_fails_and_nothing_grows(l7: Installation, create: Create) -> None:
    create("soak", HOST)
    l7.published("soak", HOST)
    changes = Changes(l7, create, random.Random(7))
    began = time.monotonic()
    early: dict[str, tuple[float, int]] = {}
    watched = parts(l7)
    with l7.load(HOST) as reports:
        while time.monotonic() - began < SECONDS:
            changes.one()
            if not early and time.monotonic() - began > SECONDS / 5:
                early = {name: (processes.usage([pid]).memory, descriptors(pid)) for name, pid in watched.items()}
    l7.converged()
    late = {name: (processes.usage([pid]).memory, descriptors(pid)) for name, pid in watched.items()}
    print(f"{changes.done} changes; memory (MB) and descriptors, early and late:", early, late, sep="\n")
    assert nothing_failed(reports)
    assert parts(l7) == watched, "something was started again"
    for name, (memory, _) in early.items():
        assert late[name][0] - memory < GROWTH_MB, f"{name} grows: {memory:.0f} MB, then {late[name][0]:.0f} MB"
        assert late[name][1] - early[name][1] < 50, f"{name} keeps descriptors"
