"""SIGKILL to the extension service, core, a sidecar and HAProxy's worker while a certificate is rotated."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.scenario.certificates import ONE, create, handshaken, replace, until_shown
from benchmarks.scenario.clients import handshakes
from benchmarks.scenario.kill import kill
from benchmarks.scenario.result import Case, Outcome
from benchmarks.scenario.stage import TAIL, stage
from testbed.certificates import TestAuthority
from testbed.handshakes import HandshakeReport
from testbed.system import System

OTHERS = 20
RATE = 150.0
WORKER_BACK_S = 1.0


def run(case: Case, outcome: Outcome) -> None:
    authority = TestAuthority()
    others = [f"h{index}.example.org" for index in range(OTHERS)]
    with stage(case) as system:
        for index, host in enumerate(others):
            create(system, f"h{index}", host, authority.issue(host))
        first = authority.issue(ONE)
        create(system, "one", ONE, first)
        until_shown(system, ONE, first.fingerprint)
        for what, victim in victims(system).items():
            rotated(system, outcome, authority, others, what, victim)


def victims(system: System) -> dict[str, Callable[[], int]]:
    """Which process is killed; the worker last, because clients notice."""
    return {
        "extension service": system.extension_process,
        "core": system.core_process,
        "sidecar": system.sidecar_process,
        "worker": lambda: system.haproxy_processes()[-1],
    }


def rotated(
    system: System,
    outcome: Outcome,
    authority: TestAuthority,
    others: list[str],
    what: str,
    victim: Callable[[], int],
) -> None:
    """The label changes, and at once something dies; the newest certificate has to come all the same."""
    issued = authority.issue(ONE)
    with handshakes(system, [*others, ONE], RATE) as client:
        replace(system, "one", issued)
        kill(victim())
        killed, began = time.time(), time.monotonic()
        until_shown(system, ONE, issued.fingerprint)
        outcome.figures[f"{what} killed: seconds until the new certificate"] = round(time.monotonic() - began, 1)
        report = client.finish(TAIL)
    if what != "worker":
        handshaken(outcome, f"{what} killed", report)
        return
    outcome.figures["worker killed: failed handshakes"] = report.failed
    last = last_failure(report) - killed if report.failed else 0.0
    outcome.check("worker killed: seconds until the last failed handshake", round(last, 3), WORKER_BACK_S)


def last_failure(report: HandshakeReport) -> float:
    """Unix seconds."""
    return max(float(when) for when, _, _ in report.failures)
