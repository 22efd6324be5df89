"""`make soak`: an hour (L7_SOAK_SECONDS) of mixed changes and faults on an NGINX and a HAProxy cluster of one core.

A fault in either never shows in the other: no request fails there, none of its tasks is replaced, it has no
Problem, and what is new there is answered as usual. L7_SOAK_SEED chooses the sequence, L7_SOAK_REPORT a file for
all that was done and seen, JSON.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from benchmarks.scenario.result import machine, versions
from l7.deploy.published import KEPT, RETURN
from testbed.certificates import TestAuthority
from testbed.load import Report
from testbed.system import CORE
from tests.e2e import faults, soak_log
from tests.e2e.fleet import load
from tests.e2e.mixed import Changes
from tests.e2e.pair import NODES, SIDES, WATCHED, Pair, other

SECONDS = float(os.environ.get("L7_SOAK_SECONDS", "3600"))
SEED = int(os.environ.get("L7_SOAK_SEED", "7"))
REPORT = os.environ.get("L7_SOAK_REPORT", "")
RATES = {"witness": 10.0, "still": 5.0}
"""Requests per second on the services of each cluster."""
CALM = 2 / 3
"""From here on nothing replaces core or an extension service: processes that live long show what they leak."""
GROWTH_MB = 15.0
"""What a process may grow in the second half of its life: allocators settle late, leaks never do."""
GROWTH_FILES = 30
LIVED = SECONDS / 12
"""What the process of each part that lived longest lived, at the least: there is something to be seen of it."""
IN_USE = 4
"""Older configurations that stay in any case: what two services are run from, and would be taken back to."""
ERRORS = 3
"""Steps that go wrong before the run is given up."""
KILLED = 5
"""Requests that a proxy may have under way when it is killed."""

pytestmark = [pytest.mark.swarm, pytest.mark.soak, pytest.mark.timeout(SECONDS + 900)]


class Soak:
    """One run: a step after the other until the time is over."""

    def __init__(self, pair: Pair) -> None:
        self.pair, self.log = pair, soak_log.Log()
        self.chance = random.Random(SEED)
        self.changes = {side: Changes(pair, side, self.chance, TestAuthority()) for side in SIDES}
        self.reports: dict[str, Report] = {}
        when = datetime.now(UTC).isoformat(timespec="seconds")
        self.about = {"when": when, "machine": machine(), "versions": versions()}

    def run(self) -> None:
        until = self.log.began + SECONDS
        while time.time() < until and len(self.log.errors()) < ERRORS:
            calm = time.time() > self.log.began + CALM * SECONDS
            self.chance.choices([self.change, self.fault, self.kill_core], [6, 3, 0 if calm else 0.4])[0](calm)
            self.look()
            time.sleep(self.chance.uniform(1, 6))  # changes come when they come

    def change(self, calm: bool) -> None:
        """One in either cluster, or in both at once."""
        waiting = []
        for side in self.chance.sample(SIDES, self.chance.choice([1, 1, 2])):
            changes = self.changes[side]
            kinds = changes.kinds() | ({} if calm else changes.deadly_kinds())
            kind = self.chance.choice(sorted(kinds))
            with self.log.step(side.name, kind) as step:
                made = kinds[kind]()
                step.detail = made.detail
                waiting.append((step, made))
        for step, made in waiting:
            with self.log.going_on(step):
                made.through()

    def fault(self, calm: bool) -> None:
        kinds = faults.HARMLESS | ({} if calm else faults.DEADLY)
        side, kind = self.chance.choice(SIDES), self.chance.choice(sorted(kinds))
        with self.log.step(side.name, kind, fault=True):
            for each in SIDES:
                self.pair.at_rest(each)
            with kinds[kind](self.pair, side):
                faults.not_seen(self.pair, self.changes[other(side)])

    def kill_core(self, calm: bool) -> None:
        del calm
        with self.log.step("", "kill core"):
            before = self.pair.task_ids(CORE)
            self.pair.kill_container(CORE)
            self.pair.another_task(CORE, before)
            for side in SIDES:
                self.pair.at_rest(side)

    def look(self) -> None:
        self.log.look(self.pair.watched())
        self.log.stored.append({side.name: len(self.pair.versions(side)) for side in SIDES})

    def finish(self) -> None:
        """Everything that came is gone again, and nothing is left of it."""
        for side, changes in self.changes.items():
            with self.log.step(side.name, "clean up"):
                gone = list(changes.there.items())
                self.pair.remove(*changes.there)
                for name, path in gone:
                    self.pair.answered(side, f"{name}.local", path, 503)
                self.pair.at_rest(side)
                assert self.pair.problems(side) == []
                assert {each["host"] for each in self.pair.cluster(side.name)["routes"]} == {
                    f"{side.witness}.local", f"{side.still}.local"
                }  # fmt: skip

    def write(self) -> None:
        took = {side.name: changes.took for side, changes in self.changes.items()}
        found = self.about | {"seed": SEED} | soak_log.document(self.log, self.reports, took)
        print(orjson.dumps({key: found[key] for key in found if key != "steps"}).decode())
        if REPORT:
            Path(REPORT).write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2) + b"\n")


@pytest.fixture
def soak() -> Iterator[Soak]:
    with Pair.started() as pair:
        yield Soak(pair)


def test_a_fault_in_either_never_shows_in_the_other(soak: Soak) -> None:
    with ExitStack() as under_load:
        loads = {
            name: under_load.enter_context(load(soak.pair, f"{name}.local", NODES, rate, side.port))
            for side in SIDES
            for name, rate in ((side.witness, RATES["witness"]), (side.still, RATES["still"]))
        }
        try:
            soak.run()
            soak.finish()
        finally:
            under_load.close()
            soak.reports = {name: reports[0] for name, reports in loads.items()}
            soak.write()
    nothing_went_wrong(soak)
    nothing_grew(soak)


def nothing_went_wrong(soak: Soak) -> None:
    assert soak.log.errors() == []
    for side, changes in soak.changes.items():
        own = {name: report for name, report in soak.reports.items() if name.startswith(side.name)}
        failed = soak_log.failures(own, soak.log)
        assert soak_log.unexplained(failed, changes.kills.times) == []
        assert len(failed) <= KILLED * len(changes.kills.times)
        assert sum(report.failed for report in own.values()) == len(failed)
        assert all(report.sent > SECONDS for report in own.values())


def nothing_grew(soak: Soak) -> None:
    grown = soak_log.growth(soak.log.samples)
    assert {part.partition(".")[0] for part in grown} == set(WATCHED)
    for part, each in grown.items():
        assert each.seconds > LIVED, f"{part} never lived longer than {each.seconds} s"
        assert each.memory < GROWTH_MB, f"{part} has grown by {each.memory} MB"
        assert each.descriptors < GROWTH_FILES, f"{part} keeps {each.descriptors} descriptors"
    for side in SIDES:
        assert max(each[side.name] for each in soak.log.stored) <= KEPT + RETURN + 1 + IN_USE
