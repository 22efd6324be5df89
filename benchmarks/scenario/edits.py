"""Many changes at once: 200 label edits in 10 s, and 200 services created in a row. When has all of it settled?"""

from __future__ import annotations

import time
from typing import Any

from benchmarks.scenario.clients import RATE, load
from benchmarks.scenario.clock import Clock
from benchmarks.scenario.result import Case, Outcome
from benchmarks.scenario.stage import HOST, same_worker, stage
from testbed.readback import routed, served
from testbed.system import LABEL, System

EDITED = 20
EDITS_SETTLE_S, SERVICES_SETTLE_S = 2.0, 1.0


def run(case: Case, outcome: Outcome) -> None:
    edits, services = (20, 10) if case.short else (200, 200)
    with stage(case) as system, Clock(system.swarm) as clock:
        label_edits(system, case, outcome, edits)
        create_services(system, clock, case, outcome, services)


class Counted:
    """Notes what the block cost: Runtime API commands, and the CPU time of each part."""

    def __init__(self, system: System, outcome: Outcome, name: str) -> None:
        self._system = system
        self._outcome = outcome
        self._name = name

    def __enter__(self) -> None:
        self._commands = self._count()
        self._usage = self._system.usage()

    def __exit__(self, *_: object) -> None:
        cpu = {part: round(used.cpu - self._usage[part].cpu, 2) for part, used in self._system.usage().items()}
        self._outcome.figures[f"{self._name}: CPU seconds"] = cpu
        commands = {verb: number - self._commands.get(verb, 0) for verb, number in self._count().items()}
        self._outcome.figures[f"{self._name}: commands"] = {verb: n for verb, n in commands.items() if n}

    def _count(self) -> dict[str, int]:
        """Commands so far, by verb and result."""
        prefix = "l7_runtime_commands_total{"
        metrics = self._system.proxy_metrics().items()
        return {name.removeprefix(prefix).rstrip("}"): int(n) for name, n in metrics if name.startswith(prefix)}


def label_edits(system: System, case: Case, outcome: Outcome, edits: int) -> None:
    """Each edit gives one of 20 services another path; under load, which an edit elsewhere must not touch."""
    system.create("app", HOST, 2)
    for i in range(EDITED):
        system.create(f"edited{i}", f"edited{i}.example.org")
    system.settled("app", 2)
    for i in range(EDITED):
        system.settled(f"edited{i}", 1)
    counted = Counted(system, outcome, "label edits")
    with same_worker(system, outcome), load(system, HOST) as client, counted:
        asked, began = {}, time.monotonic()
        for i in range(edits):
            name, path = f"edited{i % EDITED}", f"/path{i}"
            edit(system, name, {f"{LABEL}context_root": path})
            asked[f"{name}.example.org"] = path
            time.sleep(max(0.0, began + (i + 1) * 10 / 200 - time.monotonic()))  # the pace, not a wait
        took, ended = time.monotonic() - began, time.monotonic()
        system.until("the last edits to be in effect", lambda: asked.items() <= paths(system).items(), 30)
        system.until("HAProxy to have them", lambda: asked.items() <= routed(system).items(), 30)
        settled = time.monotonic() - ended
        report = client.finish()
    outcome.figures["label edits: number, seconds"] = [edits, round(took, 1)]
    outcome.load("app, during label edits", report, RATE)
    outcome.check("label edits: seconds from the last to settled", round(settled, 3), EDITS_SETTLE_S + case.polling)
    system.remove("app", *(f"edited{i}" for i in range(EDITED)))
    system.until("all to be gone", lambda: not system.cluster()["backends"])


def create_services(system: System, clock: Clock, case: Case, outcome: Outcome, number: int) -> None:
    """As fast as the API takes them; Swarm itself needs most of the time until they run."""
    with same_worker(system, outcome), Counted(system, outcome, "services created"):
        began = time.time()
        ids = {system.create(f"many{i}", f"many{i}.example.org") for i in range(number)}
        called = time.time()
        system.until("all to be served", lambda: all_served(system, number), 300)
        settled = time.time()
    last = max(task.running for task in clock.tasks.values() if task.service in ids)
    outcome.figures["services created: number"] = number
    outcome.figures["services created: seconds of calls, to the last task running"] = [
        round(called - began, 1), round(last - called, 1),
    ]  # fmt: skip
    outcome.check(
        "services created: seconds from the last task running to all served",
        round(settled - last, 3),
        SERVICES_SETTLE_S + case.polling,
    )


def edit(system: System, name: str, labels: dict[str, str], whole: bool = False) -> None:
    """Changes labels and nothing else, without the cost of a process; `whole`: those not named are removed.

    (`update_service` of the SDK builds the rest of the specification anew, a little differently, and Swarm replaces
    the tasks.)
    """
    client: Any = system.swarm.docker(system.manager)
    service = client.inspect_service(name)
    spec = service["Spec"] | {"Labels": labels if whole else service["Spec"]["Labels"] | labels}
    url = f"{client.base_url}/v{client.api_version}/services/{service['ID']}/update"
    client.post(url, params={"version": service["Version"]["Index"]}, json=spec).raise_for_status()


def paths(system: System) -> dict[str, str]:
    """Host -> path, of the routes that core wants."""
    return {route["host"]: route["path"] for route in system.cluster()["routes"]}


def all_served(system: System, number: int) -> bool:
    servers = served(system)
    return len(servers) == number and all(servers.values())
