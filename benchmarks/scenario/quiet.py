"""5,000 polls of Swarm and the audits of that time, nothing happens: nothing is updated or made, nothing grows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import starmap
from pathlib import Path
from typing import Any

from benchmarks.scenario.installed import CORE, Installed, prepared
from benchmarks.scenario.result import Case, Outcome
from benchmarks.scenario.stage import HOST
from l7.deploy.published import newest, versions
from l7.swarm import from_json
from testbed import processes
from testbed.system import CORE_ADMIN_SOCKET, EXTENSION, PROXY

POLLS = 5000
WARM_UP = 500
"""Polls before the first look at memory: what is made once is no growth."""
POLL, AUDIT = 0.02, "500ms"
GROWTH = 5.0
"""Percent."""
Numbers = dict[str, float]


def run(case: Case, outcome: Outcome) -> None:
    """Where core follows SwarmKit there are no polls; the scenario is about them, so it always asks Docker."""
    polls = 300 if case.short else POLLS
    with prepared(Case(case.haproxy, "docker", case.short), POLL) as system:
        system.install()
        system.update(CORE, f"--env-add=L7_AUDIT_INTERVAL={AUDIT}")
        system.create("app", HOST, 4)
        system.until("all proxies to answer", lambda: system.answered(HOST), 120)
        system.until("what is published to be mounted", lambda: is_mounted(system) and system.at_rest(), 180)
        follow(system, outcome, polls)


def is_mounted(system: Installed) -> bool:
    """Whether the extension service refers to the newest published configuration: it takes that up when for a
    minute there was no other."""
    client: Any = system.swarm.docker(0)
    found = newest(versions(map(from_json.parse_config, client.configs()), ""))
    container = client.inspect_service(EXTENSION)["Spec"]["TaskTemplate"]["ContainerSpec"]
    mounted = {each["ConfigID"] for each in container.get("Configs") or ()}
    return found is not None and {part.id for part in found.parts} <= mounted


def follow(system: Installed, outcome: Outcome, polls: int) -> None:
    """Looks at everything at the begin, in the middle and at the end."""
    wait_for_polls(system, counted(system)["polls"] + WARM_UP)
    before, looks, begin = objects(system), counted(system), use(system)
    wait_for_polls(system, looks["polls"] + polls / 2)
    middle = use(system)
    wait_for_polls(system, looks["polls"] + polls)
    end, after = use(system), objects(system)
    made = {name: round(count - looks[name]) for name, count in counted(system).items()}
    outcome.figures |= {"begin": begin, "middle": middle, "end": end, "looks": made}
    outcome.check("polls missing", max(0, polls - made["polls"]), 0)
    outcome.check("services updated, objects made or removed", len(set(before.items()) ^ set(after.items())), 0)
    for name, value in begin.items():
        outcome.check(f"{name}: growth, %", growth(value, end[name]), GROWTH)


def growth(before: float, after: float) -> float:
    return round((after / before - 1) * 100, 1)


def wait_for_polls(system: Installed, count: float) -> None:
    system.until(f"{count:g} polls", lambda: counted(system)["polls"] >= count, 1800)


def objects(system: Installed) -> Mapping[str, str]:
    """Services with their versions, configs, secrets, networks and tasks of l7: all that there is."""
    client: Any = system.swarm.docker(0)
    services = {each["ID"]: str(each["Version"]["Index"]) for each in client.services()}
    others = [each["ID"] for each in client.configs() + client.secrets()]
    others += [each["Id"] for each in client.networks()]
    tasks = [task["ID"] for name in (CORE, EXTENSION, PROXY) for task in system.tasks(name)]
    return services | dict.fromkeys(others + tasks, "")


def counted(system: Installed) -> Numbers:
    """Looks of each kind so far: of this core, and of the first proxy."""
    source = system.status()["source"]
    text = processes.get_unix(system.core_pid(), CORE_ADMIN_SOCKET, "/metrics").decode()
    core, proxy = _metrics(text), system.proxy_metrics()
    return {
        "polls": source["polls"],
        "audits of Swarm": source["audits"],
        "audits of services": core['l7_audits_total{of="services"}'],
        "audits of HAProxy's servers": proxy['l7_audits_total{of="servers"}'],
        "audits of all of HAProxy": proxy.get('l7_audits_total{of="whole"}', 0.0),
    }


def _metrics(text: str) -> Numbers:
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def use(system: Installed) -> Numbers:
    """Memory (RSS, MB) and descriptors of each part."""
    parts = {
        "core": [system.core_process()],
        "extension service": [system.extension_process()],
        "sidecar": [system.sidecar_process()],
        "HAProxy": system.haproxy_processes(),
    }
    return dict(item for pair in starmap(_use, parts.items()) for item in pair)


def _use(name: str, pids: Iterable[int]) -> tuple[tuple[str, float], tuple[str, float]]:
    pids = list(pids)
    descriptors = sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)
    memory = round(processes.usage(pids).memory, 2)
    return (f"{name}: MB", memory), (f"{name}: descriptors", float(descriptors))
