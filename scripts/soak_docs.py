"""The table of docs/file-mode.md that says what an hour with two clusters showed, from the report that `make soak`
writes (tests/e2e/soak_log.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "benchmarks/results/soak/clusters.json"
FILE = ROOT / "docs/file-mode.md"
CLUSTERS = ("edge", "live")
"""NGINX and HAProxy."""

Report = Mapping[str, Any]


def kept() -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(REPORT.read_bytes())
    return found


def rows(report: Report) -> list[tuple[str, ...]]:
    """One for each thing that was counted, with a cell per cluster."""
    named: dict[str, Callable[[Report, str], str]] = {
        "changes": _changes,
        "faults": _faults,
        "requests": _requests,
        "requests while the other cluster had a fault": _beside,
        "p99 / slowest request (ms)": _latency,
        "new service → answered by both proxies (s)": _new,
        "extension service: memory, growth (MB)": lambda report, name: _grown(report, f"{name}-extension.0"),
    }
    found = [(title, *(cell(report, name) for name in CLUSTERS)) for title, cell in named.items()]
    core = ("core: memory, growth (MB)", _grown(report, "l7_core.0"), "the same")
    load = f"median {report['load']['median']:.0f}, {report['load']['most']:.0f} at most"
    return [*found, core, (f"load of the machine's {report['machine']['cpus']} cores", load, "the same")]


def _changes(report: Report, name: str) -> str:
    own = [each for each in report["steps"] if each["cluster"] == name]
    return str(sum(not each["fault"] and each["kind"] != "clean up" for each in own))


def _faults(report: Report, name: str) -> str:
    kinds = sorted(each["kind"] for each in report["faults"] if each["cluster"] == name)
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))


def _requests(report: Report, name: str) -> str:
    own = _own(report, name)
    return _failed(sum(each["failed"] for each in own), sum(each["sent"] for each in own))


def _beside(report: Report, name: str) -> str:
    others = [each for each in report["faults"] if each["cluster"] != name]
    return _failed(sum(each["others_failed"] for each in others), sum(each["others_sent"] for each in others))


def _latency(report: Report, name: str) -> str:
    own = _own(report, name)
    return f"{max(each['p99_ms'] for each in own):.0f} / {max(each['max_ms'] for each in own):.0f}"


def _new(report: Report, name: str) -> str:
    found = report["new_hosts"].get(name)
    return f"median {found['median']:.1f}, {found['most']:.1f} at most" if found else ""


def _grown(report: Report, part: str) -> str:
    found = report["growth"][part]
    return f"{found['most']:.0f}, {found['memory']:+.1f} in {found['seconds'] / 60:.0f} min"


def _own(report: Report, name: str) -> Sequence[Mapping[str, Any]]:
    return [each for service, each in report["requests"].items() if service.startswith(f"{name}-")]


def _failed(failed: int, sent: int) -> str:
    return f"{failed:,} of {sent:,} failed"
