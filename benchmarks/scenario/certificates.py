"""One certificate added, rotated and removed among 500, under handshakes: what failed, and how long a change took.

Each host has a service and a secret of its own. The services have no tasks: a handshake needs none.
"""

from __future__ import annotations

import os
import time
from typing import Any

from benchmarks.scenario.clients import handshakes
from benchmarks.scenario.result import Case, Outcome, spread
from benchmarks.scenario.stage import TAIL, stage
from testbed import app
from testbed.certificates import Issued, TestAuthority
from testbed.handshakes import HandshakeReport
from testbed.system import EXTENSION, LABEL, NETWORK, System

HOSTS = int(os.environ.get("L7_BENCH_CERTIFICATES", "500"))
SHORT = 20
SAMPLE = 200
"""So many of the other hosts are asked: the command line of the client bears no thousands."""
RATE = 260.0
RATE_OF_ONE = 50.0
"""Handshakes per second of all others, and of the host that changes: together above 300."""
MANY = 1000
"""From so many on a change takes Swarm itself seconds: there are fewer of them, held against no limit."""
ROTATIONS, ADDED = (6, 3) if HOSTS < MANY else (2, 1)
LIMIT_S = 2.0
READY_S = 600.0
"""For so many services to be created and their certificates loaded, at most."""

ONE = "one.example.org"


def run(case: Case, outcome: Outcome) -> None:
    number = SHORT if case.short else HOSTS
    authority = TestAuthority()
    with stage(case) as system:
        others = [f"h{index}.example.org" for index in range(number - 1)]
        began = time.monotonic()
        for index, host in enumerate(others):
            create(system, f"h{index}", host, authority.issue(host))
        created = time.monotonic() - began
        first = authority.issue(ONE)
        create(system, "one", ONE, first)
        system.until("all certificates to be served", lambda: loaded(system) == number, READY_S)
        outcome.figures["certificates"] = number
        outcome.figures["seconds to create so many services"] = round(created, 1)
        outcome.figures["seconds from the first call to all served"] = round(time.monotonic() - began, 1)
        outcome.figures["memory of HAProxy's worker, MB"] = memory(system)
        rotate(system, case, outcome, authority, others[:: max(1, number // SAMPLE)])
        add_and_remove(system, case, outcome, authority, others[:: max(1, number // SAMPLE)])


def create(system: System, name: str, host: str, issued: Issued) -> None:
    """A service without tasks, whose host has this certificate. By the API: the command line takes 0.3 s each."""
    client: Any = system.swarm.docker(system.manager)
    secret = f"{name}.{issued.fingerprint[:12]}"
    client.create_secret(secret, issued.combined)
    labels = {"hosts": host, "port": str(app.PORT), "ssl_cert": secret}
    spec = {
        "Name": name,
        "Labels": {f"{LABEL}{key}": value for key, value in labels.items()},
        "TaskTemplate": {"ContainerSpec": {"Image": app.TAG}, "Networks": [{"Target": NETWORK}]},
        "Mode": {"Replicated": {"Replicas": 0}},
    }
    url = f"{client.base_url}/v{client.api_version}/services/create"
    client.post(url, json=spec).raise_for_status()


def replace(system: System, name: str, issued: Issued) -> float:
    """Gives a service another secret; when the call began, in seconds of Unix time."""
    client: Any = system.swarm.docker(system.manager)
    secret = f"{name}.{issued.fingerprint[:12]}"
    client.create_secret(secret, issued.combined)
    began = time.time()
    system.update(name, f"--label-add={LABEL}ssl_cert={secret}")
    return began


def settled(system: System) -> None:
    """Waits until Swarm is done with the update before: one that comes meanwhile is a second late."""
    client: Any = system.swarm.docker(system.manager)

    def done() -> bool:
        return str(client.inspect_service(EXTENSION).get("UpdateStatus", {}).get("State")) == "completed"

    system.until("the extension service's update to be completed", done)


def loaded(system: System) -> int:
    """How many certificates HAProxy has for hosts."""
    listing = system.haproxy("show ssl crt-list /run/l7/tls/certificates.list")
    return sum(1 for line in listing.splitlines() if line.startswith("/"))


def memory(system: System) -> int:
    return round(system.usage()["haproxy"].memory)


def rotate(system: System, case: Case, outcome: Outcome, authority: TestAuthority, others: list[str]) -> None:
    """One of them gets another certificate, again and again."""
    before = system.proxy_status()
    called: list[tuple[float, str]] = []
    with handshakes(system, others, RATE) as all_others, handshakes(system, [ONE], RATE_OF_ONE) as one:
        for _ in range(2 if case.short else ROTATIONS):
            issued = authority.issue(ONE)
            settled(system)
            began = replace(system, "one", issued)
            called.append((began, issued.fingerprint))
            until_shown(system, ONE, issued.fingerprint)
        report, of_one = all_others.finish(TAIL), one.finish()
    waits = [of_one.seen[ONE][fingerprint][0] - began for began, fingerprint in called]
    handshaken(outcome, "others, while one is rotated", report)
    handshaken(outcome, "the one that is rotated", of_one)
    outcome.figures["seconds from the call to the first handshake with the new certificate"] = spread(waits)
    if HOSTS < MANY:
        outcome.check("slowest rotation, seconds", round(max(waits), 3), LIMIT_S)
    after = system.proxy_status()
    outcome.check("rotation: another worker process", int(before.worker_pid != after.worker_pid), 0)
    outcome.check("rotation: reloads", after.reloads - before.reloads, 0)


def add_and_remove(
    system: System, case: Case, outcome: Outcome, authority: TestAuthority, others: list[str]
) -> None:
    """One more host comes and goes."""
    before = system.proxy_status()
    added: list[float] = []
    removed: list[float] = []
    with handshakes(system, others, RATE) as all_others:
        for index in range(1 if case.short else ADDED):
            name, host = f"more{index}", f"more{index}.example.org"
            issued = authority.issue(host)
            settled(system)
            began = time.time()
            create(system, name, host, issued)
            until_shown(system, host, issued.fingerprint)
            added.append(time.time() - began)
            began = time.time()
            system.update(name, f"--label-rm={LABEL}ssl_cert")
            until_shown(system, host, "")
            removed.append(time.time() - began)
        report = all_others.finish(TAIL)
    handshaken(outcome, "others, while one comes and goes", report)
    outcome.figures["seconds from the call to a new host's first handshake"] = spread(added)
    outcome.figures["seconds from the call to its end"] = spread(removed)
    after = system.proxy_status()
    outcome.check("coming and going: another worker process", int(before.worker_pid != after.worker_pid), 0)
    outcome.check("coming and going: reloads", after.reloads - before.reloads, 0)


def until_shown(system: System, host: str, fingerprint: str) -> None:
    """Waits until the host shows this certificate; "" for none."""
    system.until(f"{host} to show {fingerprint or 'nothing'}", lambda: system.certificate(host) == fingerprint)


def handshaken(outcome: Outcome, name: str, report: HandshakeReport) -> None:
    names = ("sent", "failed", "by_kind", "p50_ms", "p99_ms", "max_ms", "seconds")
    outcome.figures[name] = {each: getattr(report, each) for each in names}
    outcome.check(f"{name}: failed handshakes", report.failed, 0)
