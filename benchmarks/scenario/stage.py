"""What scenarios have in common: a Swarm with l7 on it, and a proxy that must stay the same process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.scenario.result import Case, Outcome
from testbed.swarm import Swarm
from testbed.system import Options, System

HOST = "app.example.org"
TAIL = 2.0
"""Seconds that a load goes on after the last change: what fails late must show, too."""


@contextmanager
def stage(case: Case, nodes: int = 1, managers: int = 1) -> Iterator[System]:
    """l7 on a new Swarm, core and one proxy on node 0."""
    options = Options(haproxy=case.haproxy, watch=case.watch, poll=case.poll)
    with Swarm.up(nodes=nodes, managers=managers) as swarm, System.up(swarm, options) as system:
        yield system


@contextmanager
def same_worker(system: System, outcome: Outcome) -> Iterator[None]:
    """Checks that HAProxy's worker has lived through the block, without a reload."""
    before = system.proxy_status()
    yield
    after = system.proxy_status()
    outcome.figures["haproxy"] = {"version": after.version, "worker_pid": after.worker_pid}
    outcome.check("another worker process", int(after.worker_pid != before.worker_pid), 0)
    outcome.check("reloads", after.reloads - before.reloads, 0)
    outcome.check("drift repaired", after.drift - before.drift, 0)
