"""The scenario that compares modes: what it reads of proxies, what it makes of that, and the tables."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.page import modes as page
from benchmarks.scenario.clock import Moments
from benchmarks.scenario.clusters import FILES, LIVE, MODES, NGINX, in_rotation, listed, table
from benchmarks.scenario.modes import cuts, figures_of, judge, last_word
from benchmarks.scenario.result import Outcome
from benchmarks.scenario.watched import Seen
from testbed import processes
from testbed.load import Report
from testbed.sessions import SessionReport

HAPROXY_FILE = """\
backend app.1
    server a 10.0.1.5:8080 id 1 check
    server b 10.0.1.6:8080 id 2 check disabled
    server hold 127.0.0.1:9 backup
"""
NGINX_FILE = """\
upstream b_app {
    zone b_app 64k;
    server 10.0.1.5:8080 weight=1 max_fails=1 fail_timeout=10s;
    server 10.0.1.7:8080 down;
    server 10.0.1.8:8080;
    server unix:/var/run/l7-hold.sock backup;
}
server {
    server_name 10.0.1.9;
}
"""
STATES = """\
1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_port
3 app.1 1 a 10.0.1.5 2 0 1 8080
3 app.1 2 was-disabled 10.0.1.6 2 4 1 8080
3 app.1 3 drains 10.0.1.7 2 8 1 8080
3 app.1 4 down 10.0.1.8 0 0 1 8080
3 app.1 5 hold 127.0.0.1 2 0 1 9

"""


@pytest.mark.parametrize(
    ("text", "found"), [(HAPROXY_FILE, {"10.0.1.5"}), (NGINX_FILE, {"10.0.1.5", "10.0.1.8"}), ("", set())]
)
def test_tasks_that_a_file_names(text: str, found: set[str]) -> None:
    assert listed(text) == found


def test_tasks_that_a_running_haproxy_sends_requests_to() -> None:
    assert in_rotation(STATES) == {"10.0.1.5", "10.0.1.6"}


def test_clusters_share_neither_ports_nor_services() -> None:
    tables = [table(mode, "haproxy") for mode in MODES]
    for key in ("ServiceName", "ProxyServiceName", "ServiceCluster", "PublishedPort", "PublishedSSLPort"):
        assert len({each[key] for each in tables}) == len(MODES)
    ports = [each[key] for each in tables for key in ("PublishedPort", "PublishedSSLPort")]
    assert len({*ports}) == len(ports)


def task(id_: str, pid: int, desired: str = "running", state: str = "running") -> dict[str, Any]:
    return {"ID": id_, "DesiredState": desired, "Status": {"State": state, "ContainerStatus": {"PID": pid}}}


def test_what_tasks_used_at_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "in_container", lambda pid: [pid] if pid else [])
    own, seen = os.getpid(), Seen()
    found = [task("a", own), task("b", os.getppid(), desired="shutdown"), task("c", own, state="starting")]
    monkeypatch.setattr(processes, "name_of", lambda pid: "proxy" if pid == own else "other")
    seen.add(found, "proxy")
    assert (seen.tasks, seen.at_once, seen.processes) == ({"a", "c"}, 2, 1)
    assert seen.memory > seen.program_memory > 0
    before = seen.memory
    seen.add([task("d", 0, state="shutdown")], "proxy")
    assert (seen.tasks, seen.at_once, seen.memory) == ({"a", "c", "d"}, 2, before)


def test_a_program_that_a_loader_starts_has_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert processes.name_of(os.getpid()) == Path("/proc/self/comm").read_text().strip()
    monkeypatch.setattr(processes, "command_of", lambda pid: ["/lib/ld-linux.so.2", "--argv0", "/opt/proxy", "-v"])
    assert processes.name_of(os.getpid()) == "proxy"


def test_a_process_that_is_gone_has_neither_name_nor_memory() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert processes.name_of(process.pid) == ""
    assert processes.shared_memory([process.pid]) == 0.0


def moments(running: float, leaving: float = 0.0) -> Moments:
    found = Moments("task", "service")
    found.running, found.leaving = running, leaving
    return found


def test_the_last_word_on_tasks() -> None:
    assert last_word([moments(100.0, 130.0), moments(120.0)], began=110.0) == 130.0
    assert last_word([moments(100.0), moments(120.0)], began=110.0) == 120.0
    assert last_word([moments(100.0)], began=110.0) == 110.0


def test_proxies_that_were_there_before_are_not_new_ones() -> None:
    found = figures_of(Report(), Seen({"a", "b", "c"}, at_once=3), before={"a", "b"})
    assert found["proxies replaced"] == 1
    assert found["proxies at once"] == 3


def test_what_was_cut_is_told_in_order() -> None:
    reports = [
        SessionReport(3, 1, reasons=[[112.5, "websocket", "EOFError"]]),
        SessionReport(3, 2, reasons=[[111.0, "websocket", "EOFError"], [113.0, "websocket", "Cut"]]),
    ]
    expected = {"opened": 6, "cut": 3, "seconds": [1.0, 2.5, 3.0], "why": ["Cut", "EOFError"]}
    assert cuts(reports, began=110.0) == expected


def change(failed: int = 0, **more: Any) -> dict[str, Any]:
    kinds = {"status": failed} if failed else {}
    load = {"sent": 1000, "failed": failed, "stale_keepalive": 2, "by_kind": kinds, "seconds": 10.0,
            "p50_ms": 2.0, "p99_ms": 30.0, "max_ms": 400.5}  # fmt: skip
    return {
        "load": load, "proxies replaced": 2, "proxies at once": 2, "proxy processes": 6, "memory MB": 150.4,
        "program memory MB": 50.2, "seconds until all proxies knew": 8.25,
    } | more  # fmt: skip


def judged(mode: Any, found: dict[str, Any]) -> set[str]:
    outcome = Outcome()
    judge(outcome, mode, "scale", found)
    return {check.what.partition(": scale: ")[2] for check in outcome.checks if not check.met}


def test_live_nothing_fails_and_nobody_is_replaced() -> None:
    cut = {"opened": 6, "cut": 1, "seconds": [1.0], "why": ["EOFError"]}
    closed = "kept-alive connections closed before an answer"
    assert judged(LIVE, change(1, WebSockets=cut)) == {
        "failed requests", closed, "proxies replaced", "WebSockets cut",
    }  # fmt: skip


@pytest.mark.parametrize("mode", [FILES, NGINX])
def test_in_file_mode_proxies_are_replaced(mode: Any) -> None:
    assert judged(mode, change()) == set()


def test_a_load_that_was_none_shows_nothing() -> None:
    idle = change()
    idle["load"]["seconds"] = 20.0
    assert judged(NGINX, idle) == {"requests per second short of 100"}


def result(figures: dict[str, Any]) -> dict[str, Any]:
    return {"figures": figures}


def test_modes_stand_beside_each_other_for_each_change() -> None:
    live, files = {"up": change(), "down": change()}, {"up": change(3)}
    lines = page.changes(result({LIVE.title: live, FILES.title: files})).splitlines()[2:]
    assert [line.split(" | ")[:2] for line in lines] == [
        ["| up", LIVE.title], ["| up", FILES.title], ["| down", LIVE.title], ["| down", FILES.title],
    ]  # fmt: skip
    assert "| 3 of 1,000 (3 status) | 2 | 2.0 / 30.0 / 400.5 | 8.2 | 2 | 6 | 150, 50 |" in lines[1]
    assert "not run" in lines[3]


def test_what_is_left_in_the_end() -> None:
    cut = {"opened": 6, "cut": 2, "seconds": [1.0, 12.5], "why": ["EOFError"]}
    files = {"other": change(WebSockets=cut), "config objects at the end": 9}
    live = {"other": change(WebSockets=cut | {"cut": 0, "seconds": []}), "config objects at the end": 3}
    lines = page.ends(result({LIVE.title: live, FILES.title: files, NGINX.title: {}})).splitlines()[2:]
    assert lines == [
        f"| {LIVE.title} | 0 of 6 |  | 3 |",
        f"| {FILES.title} | 2 of 6 | 1.0 to 12.5 | 9 |",
        f"| {NGINX.title} | not run |",
    ]
