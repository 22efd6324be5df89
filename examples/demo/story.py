"""What happens in the demo, chapter by chapter, and what is to be said of it at the end."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.scenario.clock import Moments
from examples.demo.board import Answering, Board, of_service, versions
from examples.demo.screen import Screen
from testbed.load import Report
from testbed.system import System

HOST = "wordpress.example.org"
PORT = 8000
BLOG, SHOP = "wordpress", "shop"
SHOP_PATH = "/shop"
PATHS = ("/", f"{SHOP_PATH}/")
LABELS = {"port": str(PORT)}
ENVIRONMENT = {"INSTANCE": "{{.Task.Name}}", "PORT": str(PORT), "VERSION": "1"}
"""The test application listens where it is told, and names its task and version in each answer."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the summary is made of. `delays`: seconds from RUNNING to the first answer, per task. `blog` and
    `shop`: the reports of the two paths."""

    report: Report
    blog: Report
    shop: Report
    workers: tuple[int, ...]
    reloads: int
    delays: Sequence[float] = field(default=())

    @property
    def wrong(self) -> list[str]:
        """What should not have happened; empty when all is well."""
        report = self.report
        return [
            what
            for what, happened in (
                (f"{report.failed} requests failed: {report.by_kind}", report.failed),
                (f"{report.stale_keepalive} kept-alive connections ended unasked", report.stale_keepalive),
                ("no request was sent", not report.sent),
                ("HAProxy's worker was replaced", len(set(self.workers)) != 1),
                (f"HAProxy was reloaded {self.reloads} times", self.reloads),
            )
            if happened
        ]


class Story:
    """The chapters. `pause`: seconds in which the reader may look at what came of each; `extra`: options that every
    service gets."""

    def __init__(
        self, system: System, screen: Screen, board: Board, pause: float, extra: Sequence[str] = ()
    ) -> None:
        self.system = system
        self.screen = screen
        self.board = board
        self.pause = pause
        self.extra = extra

    def tell(self) -> None:
        """All of it; raises TestbedError when something does not come about."""
        for chapter in (self._appear, self._scale_up, self._scale_down, self._update, self._join):
            chapter()
            time.sleep(self.pause)  # for the reader

    def _appear(self) -> None:
        self.screen.chapter(
            f"1. A service appears, on port {PORT}, to be {HOST}",
            f"$ docker service create --name {BLOG} --network l7 --replicas 2 \\\n"
            f"    --label com.docker.lb.hosts={HOST} \\\n"
            f"    --label com.docker.lb.port={PORT} …",
        )
        with self.screen.step("waiting for its first answer") as notes:
            self.system.create(BLOG, HOST, 2, *self.extra, labels=LABELS, environment=ENVIRONMENT)
            self._answered_by(2)
            notes.append(f"2 tasks answer for {HOST}; requests never pause now")

    def _scale_up(self) -> None:
        self.screen.chapter("2. It is scaled up", f"$ docker service scale {BLOG}=10")
        with self.screen.step("8 more tasks start") as notes:
            self.system.scale(BLOG, 10)
            self._answered_by(10)
            notes.append("10 tasks share the requests")

    def _scale_down(self) -> None:
        self.screen.chapter("3. It is scaled down, with requests under way", f"$ docker service scale {BLOG}=2")
        with self.screen.step("8 tasks get no new requests, finish what they have, and end") as notes:
            self.system.scale(BLOG, 2)
            self._answered_by(2)
            notes.append("2 tasks answer, the other 8 finished what they had")

    def _update(self) -> None:
        self.screen.chapter(
            "4. A new version is rolled out, task by task",
            f"$ docker service update --env-add VERSION=2 --update-order start-first \\\n    {BLOG}",
        )
        with self.screen.step("version 2 takes over from version 1") as notes:
            self.system.update(BLOG, "--env-add=VERSION=2", "--update-order=start-first")
            self.system.updated(BLOG, "2")
            self._until("version 2 alone to answer", lambda: versions(self._tasks(BLOG)) == {"2"})
            notes.append("version 2 answers, version 1 is gone")

    def _join(self) -> None:
        self.screen.chapter(
            f"5. A second service joins the same host, under the path {SHOP_PATH}",
            f"$ docker service create --name {SHOP} --network l7 --replicas 2 \\\n"
            f"    --label com.docker.lb.hosts={HOST} \\\n"
            f"    --label com.docker.lb.port={PORT} \\\n"
            f"    --label com.docker.lb.context_root={SHOP_PATH} …",
        )
        with self.screen.step(f"{BLOG} answers for {SHOP_PATH}, until {SHOP} can") as notes:
            labels = LABELS | {"context_root": SHOP_PATH}
            self.system.create(SHOP, HOST, 2, *self.extra, labels=labels, environment=ENVIRONMENT)
            self._until(f"{SHOP} to answer", lambda: len(self._tasks(SHOP)) == 2)
            notes.append(f"{SHOP} answers for {SHOP_PATH}, {BLOG} for the rest")

    def _tasks(self, service: str) -> list[Answering]:
        return of_service(self.board.answering(), service)

    def _answered_by(self, number: int) -> None:
        self.system.running(BLOG, number)
        self._until(f"{number} tasks to answer", lambda: len(self._tasks(BLOG)) == number)

    def _until(self, what: str, probe: Callable[[], bool]) -> None:
        self.board.wait(what, probe)


def delays(first: Mapping[str, float], moments: Iterable[Moments], since: float) -> list[float]:
    """Seconds from RUNNING to the end of the first answer, for the tasks that came after the load began (`since`,
    Unix time). `first`: by name, `service.slot.task id`."""
    running = {each.task: each.running for each in moments if each.running > since}
    found = [(name.rpartition(".")[2], end) for name, end in first.items()]
    return [max(0.0, end - running[task]) for task, end in found if task in running]


def summary(facts: Facts) -> list[tuple[str, str]]:
    """The lines of the summary: what, and how it was."""
    report = facts.report
    before, after = facts.workers[0], facts.workers[-1]
    lines = [
        ("requests sent", f"{report.sent} ({report.sent / max(report.seconds, 0.001):.0f}/s)"),
        ("failed", f"{report.failed}{f' {report.by_kind}' if report.failed else ''}"),
        ("latency of /", _latency(facts.blog)),
        (f"latency of {SHOP_PATH}", _latency(facts.shop)),
        ("HAProxy's worker", f"pid {before} before, {after} after{': the same' if before == after else ''}"),
        ("reloads", str(facts.reloads)),
    ]
    if facts.delays:
        median, worst = statistics.median(facts.delays) * 1000, max(facts.delays) * 1000
        lines.append(
            (
                "task running → first answer",
                f"median {median:.0f} ms, max {worst:.0f} ms, of {len(facts.delays)} tasks",
            )
        )
    return lines


def _latency(report: Report) -> str:
    return f"median {report.p50_ms:.1f} ms, 99 % ≤ {report.p99_ms:.0f} ms, max {report.max_ms:.0f} ms"


METHOD = (
    "from Swarm's own Watch saying RUNNING to the end of the task's first answer, both seen from outside l7; "
    "it includes the wait for the task's turn: one of ten tasks gets every tenth request"
)
