"""What a scenario is run on, and what came of it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import orjson

from testbed.load import Report, percentile

RESULTS = Path(__file__).resolve().parents[1] / "results"


@dataclass(frozen=True, slots=True)
class Case:
    """`haproxy`: its series; `watch`: swarmkit or docker; `short`: fewer repetitions, for tests.

    `poll` is the interval of the polling source, in seconds.
    """

    haproxy: str = "2.6"
    watch: str = "swarmkit"
    short: bool = False
    poll: float = 0.5

    @property
    def polling(self) -> float:
        """Seconds that the source of changes may be behind by its nature."""
        return self.poll if self.watch == "docker" else 0.0

    def __str__(self) -> str:
        return f"haproxy {self.haproxy}, {self.watch}{', short' if self.short else ''}"


@dataclass(frozen=True, slots=True)
class Check:
    """One claim: what was found, and the limit it was held against (at most, or equal to)."""

    what: str
    found: float | str
    limit: float | str

    @property
    def met(self) -> bool:
        if isinstance(self.found, str) or isinstance(self.limit, str):
            return self.found == self.limit
        return self.found <= self.limit


@dataclass(slots=True)
class Outcome:
    """Checks and figures of one run of a scenario; filled as it goes, so that a run cut short shows its part."""

    checks: list[Check] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def check(self, what: str, found: float | str, limit: float | str) -> None:
        self.checks.append(Check(what, found, limit))

    def ratio(self, what: str, found: float) -> None:
        """A figure of two that this run measured, less being better: benchmarks.gates holds it to what it once was.

        One that has a limit of its own is a `check` instead.
        """
        self.figures.setdefault("ratios", {})[what] = round(found, 3)

    def load(self, name: str, report: Report, rate: float | None = None) -> None:
        """The figures of a load, which must not have failed once and must have been what it was to be."""
        self.figures[name] = load_figures(report)
        self.check(f"{name}: failed requests", report.failed, 0)
        self.check(f"{name}: kept-alive connections closed before an answer", report.stale_keepalive, 0)
        if rate is not None:
            short = max(0.0, rate - report.sent / max(report.seconds, 0.001))
            self.check(f"{name}: requests per second short of {rate:g}", round(short, 1), rate / 100)

    @property
    def met(self) -> bool:
        return bool(self.checks) and all(check.met for check in self.checks)


def load_figures(report: Report) -> dict[str, Any]:
    """What of a report is worth keeping; the failures only if there are any."""
    names = ("sent", "failed", "stale_keepalive", "by_kind", "p50_ms", "p99_ms", "max_ms", "seconds")
    figures = {name: getattr(report, name) for name in names}
    return figures | ({"failures": report.failures[:20]} if report.failures else {})


def spread(values: Sequence[float], digits: int = 3) -> dict[str, float]:
    """Count, least, median, 99th percentile (nearest rank) and greatest."""
    ordered = sorted(values)
    if not ordered:
        return {"n": 0}
    return {
        "n": len(ordered),
        "min": round(ordered[0], digits),
        "p50": round(percentile(ordered, 50), digits),
        "p99": round(percentile(ordered, 99), digits),
        "max": round(ordered[-1], digits),
    }


class AnyCase(Protocol):
    """What is said of any case; a dataclass, which is kept as a whole."""

    @property
    def haproxy(self) -> str: ...
    @property
    def watch(self) -> str: ...
    @property
    def short(self) -> bool: ...


def document(
    name: str,
    case: AnyCase,
    outcome: Outcome,
    seconds: float,
    error: str = "",
    program: str = "benchmarks.scenario",
) -> dict[str, Any]:
    """The result as it is kept. `program` is what ran it."""
    return {
        "scenario": name,
        "case": asdict(case),  # type: ignore[call-overload]
        "met": outcome.met and not error,
        "error": error,
        "checks": [asdict(check) | {"met": check.met} for check in outcome.checks],
        "figures": outcome.figures,
        "seconds": round(seconds, 1),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "command": ["python", "-m", program, *sys.argv[1:]],
    }


def write(result: dict[str, Any]) -> Path:
    """Keeps it under the scenario's name and case; a new run takes the place of the old one."""
    case = result["case"]
    short = "-short" if case["short"] else ""
    path = RESULTS / f"{result['scenario']}-{case['haproxy']}-{case['watch']}{short}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")
    return path


def machine() -> dict[str, Any]:
    """What the figures depend on. `load`: of the last minute, by everything that runs here."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = Path("/proc/meminfo").read_text().split()[1]
    return {
        "cpus": os.cpu_count(),
        "cpu": models[0].partition(":")[2].strip() if models else platform.machine(),
        "memory_mb": int(memory) // 1024,
        "kernel": platform.release(),
        "load": os.getloadavg()[0],
    }


def versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "docker": _first_line(["dockerd", "--version"]),
        "commit": _first_line(["git", "describe", "--always", "--dirty"]),
    }


def _first_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=RESULTS.parent.parent)
    return done.stdout.partition("\n")[0].strip()
