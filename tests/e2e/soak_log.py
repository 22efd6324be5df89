"""What a soak test did and saw: each step with its time, so that a failed request can be traced to it; what
processes used; and the report of it all. Pure but for the clock, and for what `Log.look` reads of /proc."""

from __future__ import annotations

import contextlib
import http.client
import os
import statistics
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import docker.errors

from testbed import processes
from testbed.load import Report
from testbed.namespace import TestbedError


@dataclass(slots=True)
class Step:
    """`at`: unix seconds; `cluster` "": core. `fault`: it is one."""

    at: float
    cluster: str
    kind: str
    fault: bool = False
    detail: str = ""
    seconds: float = 0.0
    error: str = ""

    def line(self) -> str:
        """For somebody who follows the run; the clock's time, UTC."""
        clock = time.strftime("%H:%M:%S", time.gmtime(self.at))
        words = f"{clock} {self.seconds:6.1f} s  {self.cluster or 'core'}: {self.kind} {self.detail} {self.error}"
        return words.rstrip()


@dataclass(frozen=True, slots=True)
class Sample:
    """Of a process: memory in MB, open files."""

    at: float
    part: str
    pid: int
    memory: float
    descriptors: int


@dataclass(slots=True)
class Log:
    """Of one run, from its start."""

    began: float = field(default_factory=time.time)
    steps: list[Step] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    stored: list[dict[str, int]] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)

    @contextmanager
    def step(self, cluster: str, kind: str, fault: bool = False) -> Iterator[Step]:
        """A new step: the block is its first part."""
        self.steps.append(Step(round(time.time(), 2), cluster, kind, fault))
        with self.going_on(self.steps[-1]) as step:
            yield step

    @contextmanager
    def going_on(self, step: Step) -> Iterator[Step]:
        """What fails in it is written down, and the run goes on: the end asks for `errors`."""
        try:
            yield step
        except (TestbedError, AssertionError, OSError, http.client.HTTPException, docker.errors.APIError) as error:
            step.error = "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
        finally:
            step.seconds = round(time.time() - step.at, 2)
            print(step.line(), flush=True)

    def errors(self) -> list[Step]:
        return [each for each in self.steps if each.error]

    def look(self, watched: Mapping[str, int]) -> None:
        """One sample of each process that is still there, and the machine's load."""
        now = round(time.time(), 1)
        self.loads.append(round(os.getloadavg()[0], 1))
        for part, pid in watched.items():
            with contextlib.suppress(FileNotFoundError):  # it may be gone
                files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
                memory = processes.usage([pid]).memory
                self.samples.append(Sample(now, part, pid, round(memory, 1), files))

    def during(self, when: float) -> list[str]:
        """The steps that were under way, or had ended within the 3 s before."""
        found = (each for each in self.steps if each.at - 0.5 <= when <= each.at + each.seconds + 3)
        return [f"{each.cluster or 'core'}: {each.kind} {each.detail}".strip() for each in found]


@dataclass(frozen=True, slots=True)
class Growth:
    """Of the process of a part that lived longest: seconds, and what its last quarter has more than its second
    quarter, medians: MB, open files. Its first quarter is what a start takes. `most`: MB, at any time."""

    seconds: float
    most: float
    memory: float
    descriptors: float


def growth(samples: Sequence[Sample]) -> dict[str, Growth]:
    """By part. Not over processes: one that is started again hides what another has lost."""
    longest: dict[str, list[Sample]] = {}
    for own in _by_process(samples):
        part = own[0].part
        longest[part] = max(own, longest.get(part, own), key=_lifetime)
    return {part: _growth(own) for part, own in sorted(longest.items())}


def _by_process(samples: Iterable[Sample]) -> Iterable[list[Sample]]:
    found: dict[tuple[str, int], list[Sample]] = {}
    for each in samples:
        found.setdefault((each.part, each.pid), []).append(each)
    return found.values()


def _lifetime(own: Sequence[Sample]) -> float:
    return own[-1].at - own[0].at


def _growth(own: Sequence[Sample]) -> Growth:
    quarter = _lifetime(own) / 4
    early = [each for each in own if quarter <= each.at - own[0].at <= 2 * quarter] or list(own[:1])
    late = [each for each in own if each.at >= own[-1].at - quarter]
    memory = _median(each.memory for each in late) - _median(each.memory for each in early)
    files = _median(each.descriptors for each in late) - _median(each.descriptors for each in early)
    return Growth(round(_lifetime(own)), max(each.memory for each in own), round(memory, 1), files)


def _median(values: Iterable[float]) -> float:
    return statistics.median(list(values))


def failures(reports: Mapping[str, Report], log: Log) -> list[dict[str, Any]]:
    """Each failed request with what was under way."""
    return [
        {"service": name, "at": when, "kind": kind, "status": status, "ms": taken, "during": log.during(when)}
        for name, report in reports.items()
        for when, kind, status, taken in report.failures
        if kind != "stale_keepalive"
    ]


def unexplained(found: Iterable[Mapping[str, Any]], kills: Iterable[float]) -> list[Mapping[str, Any]]:
    """Those that were not under way in a proxy when it was killed."""
    moments = list(kills)
    return [each for each in found if not any(-1 <= float(each["at"]) - kill <= 3 for kill in moments)]


def document(log: Log, reports: Mapping[str, Report], took: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """All of it as JSON values, but for the single samples."""
    ended = log.steps[-1].at + log.steps[-1].seconds if log.steps else log.began
    kinds = Counter((each.cluster or "core", each.kind) for each in log.steps)
    return {
        "seconds": round(ended - log.began),
        "kinds": {f"{cluster}: {kind}": number for (cluster, kind), number in sorted(kinds.items())},
        "requests": {name: _figures(report) for name, report in reports.items()},
        "failures": failures(reports, log),
        "faults": [_fault(each, reports) for each in log.steps if each.fault],
        "new_hosts": {name: _spread(seconds) for name, seconds in took.items() if seconds},
        "growth": {part: asdict(grown) for part, grown in growth(log.samples).items()},
        "load": _spread(log.loads) if log.loads else {},
        "stored": {name: max(each[name] for each in log.stored) for name in (log.stored or [{}])[0]},
        "errors": [asdict(each) for each in log.errors()],
        "steps": [asdict(each) for each in log.steps],
    }


def _figures(report: Report) -> dict[str, Any]:
    names = ("sent", "failed", "stale_keepalive", "by_kind", "p50_ms", "p99_ms", "max_ms")
    return {name: getattr(report, name) for name in names}


def _fault(step: Step, reports: Mapping[str, Report]) -> dict[str, Any]:
    """With what the services of the other cluster were asked while it lasted."""
    others = [report for name, report in reports.items() if not name.startswith(step.cluster)]
    sent = sum(
        int(row[0])
        for report in others
        for second, row in enumerate(report.timeline, int(report.started))
        if step.at <= second <= step.at + step.seconds
    )
    failed = sum(
        kind != "stale_keepalive"
        for report in others
        for when, kind, *_ in report.failures
        if step.at <= when <= step.at + step.seconds
    )
    asked = {"others_sent": sent, "others_failed": failed}
    return {"at": step.at, "cluster": step.cluster, "kind": step.kind, "seconds": step.seconds} | asked


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {"number": len(ordered), "median": statistics.median(ordered), "most": ordered[-1]}
