"""Every label set, changed and removed once on a running service, under load: what failed, what was reloaded.

The labels of TLS are not among them yet, nor are two that need more than this machine may have: `backend_mode=vip`
(IP_VS in the kernel) and the protocols that the test application does not speak.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from benchmarks.scenario.clients import RATE, load
from benchmarks.scenario.edits import edit
from benchmarks.scenario.result import Case, Outcome, spread
from benchmarks.scenario.stage import HOST, TAIL, stage
from testbed.system import LABEL, NETWORK, System

REPLICAS = 3
PATH = "/app/x"
"""What the load asks for, so that `context_root` may come and go under it."""

FIRST_USE = {"tcp_port"}
"""Labels whose first value costs a reload."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A label, two values that leave the load's requests answered 200, and what else has to be set with it."""

    label: str
    first: str
    second: str
    beside: tuple[tuple[str, str], ...] = ()


EDITS = (
    Edit("hosts", f"{HOST} a.example.org", f"{HOST}, b.example.org, *.c.example.org"),
    Edit("context_root", "/app", "/app/x"),
    Edit("context_root_rewrite", "true", "false", (("context_root", "/app"),)),
    Edit("redirects", f"http://old.example.org,http://{HOST}", f"http://older.example.org,http://{HOST};"),
    Edit("default_backend", "true", "false"),
    Edit("sticky_session_cookie", "session", "JSESSIONID"),
    Edit("ip_hash", "true", "false"),
    Edit("websocket_endpoints", "/ws", "/ws,/live"),
    Edit("backend_mode", "task", "task"),
    Edit("max_fails", "3", "0", (("fail_timeout", "5s"),)),
    Edit("fail_timeout", "5s", "15s", (("max_fails", "3"),)),
    Edit("network", NETWORK, NETWORK),
    Edit("weight", "10", "200"),
    Edit("canary_header", "x-canary", "x-canary=yes"),
    Edit("canary_cookie", "canary", "canary=yes"),
    Edit("balance", "leastconn", "random"),
    Edit("balance", "first", "uri"),
    Edit("balance", "header:x-user", "cookie:user"),
    Edit("balance", "source", "roundrobin"),
    Edit("health_check_path", "/healthz", "/status/204"),
    Edit("health_check_port", "8080", "8080"),
    Edit("health_check_interval", "1s", "3s"),
    Edit("health_check_rise", "2", "1"),
    Edit("health_check_fall", "4", "3"),
    Edit("health_check_status", "200", "200-299", (("health_check_path", "/healthz"),)),
    Edit("health_check_host", "check.example.org", "other.example.org", (("health_check_path", "/healthz"),)),
    Edit("slow_start", "2s", "5s"),
    Edit("max_connections", "100", "200"),
    Edit("timeout_server", "10s", "20s"),
    Edit("timeout_tunnel", "10m", "20m"),
    Edit("timeout_connect", "1s", "2s"),
    Edit("queue_timeout", "1s", "2s"),
    Edit("retry_on", "safe", "all"),
    Edit("drain_timeout", "5s", "10s"),
    Edit("protocol", "http", "http"),
    Edit("header_request_X-Env", "production", 'with spaces; and | "quotes" 100%'),
    Edit("header_response_X-Team", "shop", ""),
    Edit("hsts", "31536000", "3600"),
    Edit("allow", "0.0.0.0/0", "0.0.0.0/0, 10.0.0.0/9, ::/0"),
    Edit("rate_limit", "100000/s", "1000000/m"),
    Edit("max_body_size", "1m", "10m"),
    Edit("compression", "true", "false"),
    Edit("cors_origins", "https://app.example.org", "*"),
    Edit("cors_methods", "GET,POST", "GET", (("cors_origins", "https://app.example.org"),)),
    Edit("cors_headers", "X-A", "X-A,X-B", (("cors_origins", "https://app.example.org"),)),
    Edit("cors_credentials", "true", "false", (("cors_origins", "https://app.example.org"),)),
    Edit("cors_max_age", "600", "1200", (("cors_origins", "https://app.example.org"),)),
    Edit("tcp_port", "21000", "21001"),
)

BESIDE = (Edit("https_redirect", "true", "false"),)
"""On a service of its own: these change how the load's requests would be answered."""


def run(case: Case, outcome: Outcome) -> None:
    edits = EDITS[:: 4 if case.short else 1]
    with stage(case) as system:
        system.create("app", HOST, REPLICAS)
        system.create("beside", "beside.example.org")
        system.settled("app", REPLICAS)
        system.settled("beside", 1)
        before = system.proxy_status()
        settled: list[float] = []
        with load(system, HOST, url=f"{system.url()}{PATH}") as client:
            for each in edits:
                settled += change(system, "app", each)
            for each in BESIDE:
                settled += change(system, "beside", each)
            report = client.finish(TAIL)
        judge(system, case, outcome, before.reloads)
        outcome.load("app, while every label changes", report, RATE)
        outcome.figures["labels"] = len({each.label for each in (*edits, *BESIDE)})
        outcome.figures["changes"] = len(settled)
        outcome.figures["seconds from the call to all proxies settled"] = spread(settled)
        kept = {each["label"].removeprefix(LABEL) for each in system.status()["problems"]}
        outcome.check("labels with a problem", ", ".join(sorted(kept)), "")


def judge(system: System, case: Case, outcome: Outcome, reloads: int) -> None:
    """One reload for each first use, and one worker otherwise."""
    used = 0 if case.short else 2 * len(FIRST_USE)
    outcome.check("reloads", system.proxy_status().reloads - reloads, used)


def change(system: System, name: str, given: Edit) -> list[float]:
    """Sets a label, changes it, and takes it away again; seconds that each took to settle."""
    took = []
    plain: dict[str, str] = labels(system, name)
    beside = {LABEL + label: value for label, value in given.beside}
    for value in (given.first, given.second):
        took.append(step(system, name, plain | beside | {LABEL + given.label: value}))
    took.append(step(system, name, plain))
    return took


def step(system: System, name: str, wanted: dict[str, str]) -> float:
    """Seconds from the call until core has seen the new specification and every proxy has what follows from it."""
    began = time.monotonic()
    edit(system, name, wanted, whole=True)
    mark = f"seen{time.monotonic_ns()}.example.org"
    witness(system, mark)
    system.until(f"core to have seen {mark}", lambda: system.is_routed(mark))
    system.converged()
    return time.monotonic() - began


def witness(system: System, mark: str) -> None:
    """A change that shows that all before it were seen: Swarm tells of changes in their order."""
    hosts = {f"{LABEL}hosts": f"beside.example.org {mark}"}
    edit(system, "beside", labels(system, "beside") | hosts, whole=True)


def labels(system: System, name: str) -> dict[str, str]:
    found: dict[str, str] = system.swarm.docker(system.manager).inspect_service(name)["Spec"]["Labels"]
    return dict(found)
