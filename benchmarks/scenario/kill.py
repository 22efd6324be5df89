"""SIGKILL to core, a sidecar, an HAProxy worker, and the leader's dockerd: who notices, and what comes after."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial

from benchmarks.scenario.clients import RATE, load
from benchmarks.scenario.result import Case, Outcome, load_figures
from benchmarks.scenario.stage import HOST, TAIL
from testbed.load import Report
from testbed.readback import served, wanted
from testbed.swarm import Swarm
from testbed.system import Options, System

REPLICAS = 4
WORKER_BACK_S = 1.0


def run(case: Case, outcome: Outcome) -> None:
    """Core and proxy on node 1, the application on node 2; node 0 is the leader, and runs neither."""
    options = Options(haproxy=case.haproxy, watch=case.watch, poll=case.poll, core_on=1, proxy_on=(1,))
    with Swarm.up(nodes=3, managers=3) as swarm, System.up(swarm, options) as system:
        system.create("app", HOST, REPLICAS, f"--constraint=node.hostname=={swarm.node(2).name}")
        system.settled("app", REPLICAS)
        unnoticed(system, outcome, "core", lambda: kill(system.core_process()))
        unnoticed(system, outcome, "sidecar", lambda: kill(system.sidecar_process()))
        worker(system, outcome)
        unnoticed(system, outcome, "dockerd of the leader", lambda: kill_leader(system))


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def kill_leader(system: System) -> None:
    system.swarm.stop_daemon(0, signal.SIGKILL)
    system.manager = 1


def unnoticed(system: System, outcome: Outcome, what: str, act: Callable[[], None]) -> None:
    """A kill that no client may notice; the next change must go through."""
    before = system.proxy_status()
    with load(system, HOST) as client:
        act()
        began = time.monotonic()
        next_change(system, outcome, what)
        outcome.figures[f"{what}: seconds until the next change was in effect"] = round(time.monotonic() - began, 1)
        report = client.finish(TAIL)
    after = system.proxy_status()
    outcome.load(f"{what} killed", report, RATE)
    outcome.check(f"{what} killed: another worker process", int(before.worker_pid != after.worker_pid), 0)
    outcome.check(f"{what} killed: reloads", after.reloads, 0)


def worker(system: System, outcome: Outcome) -> None:
    """The only kill that clients do notice: for how long, and whether everything is back."""
    victim = system.haproxy_processes()[-1]
    servers = served(system)
    with load(system, HOST) as client:
        kill(victim)
        killed, began = time.time(), time.monotonic()
        system.until("HAProxy to be back", lambda: served(system) == servers)
        back = time.monotonic() - began
        next_change(system, outcome, "worker")
        report = client.finish(TAIL)
    last = last_failure(report) - killed if report.failed else 0.0
    outcome.figures["worker killed"] = load_figures(report)
    outcome.check("worker killed: seconds until HAProxy had its full state", round(back, 3), WORKER_BACK_S)
    outcome.check("worker killed: seconds until the last failed request", round(last, 3), WORKER_BACK_S)


def last_failure(report: Report) -> float:
    """Unix seconds of the end of the last failed request; of its whole second, where there were very many."""
    if report.failed > len(report.failures):
        return report.started + max(second for second, row in enumerate(report.timeline, 1) if row[1])
    return max(float(start) + float(latency) / 1000 for start, _, _, latency in report.failures)


def next_change(system: System, outcome: Outcome, what: str) -> None:
    """One more replica, then one less: everybody must come to the same again, HAProxy itself included."""
    for replicas in (REPLICAS + 1, REPLICAS):
        system.until(f"Swarm to take a change, {what} killed", partial(scaled, system, replicas))
        system.settled("app", replicas, timeout=90)
        system.until("HAProxy to have what core wants", lambda: served(system) == wanted(system))
    outcome.check(f"{what} killed: servers that differ", len(served(system)["app"] ^ wanted(system)["app"]), 0)


def scaled(system: System, replicas: int) -> bool:
    """Without a leader Swarm refuses; the caller tries again."""
    system.scale("app", replicas)
    return True
