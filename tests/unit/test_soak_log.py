"""What a soak test makes of what it saw."""

from __future__ import annotations

from testbed.load import Report
from tests.e2e import soak_log
from tests.e2e.soak_log import Growth, Log, Sample, Step


def life(part: str, pid: int, memories: list[float], began: float = 0.0) -> list[Sample]:
    """A process looked at once in ten seconds."""
    return [Sample(began + 10 * n, part, pid, memory, 7) for n, memory in enumerate(memories)]


def test_growth_is_of_the_process_that_lived_longest_and_after_its_start() -> None:
    short = life("core", 1, [10, 500], began=0)
    long = life("core", 2, [10, 20, 50, 50, 50, 50, 50, 53, 53], began=20)
    assert soak_log.growth([*short, *long]) == {"core": Growth(80, 53, 3.0, 0)}


def test_a_leak_shows_whatever_is_started_again() -> None:
    leaking = life("core", 1, [float(10 * n) for n in range(20)])
    again = life("core", 2, [10.0] * 5, began=200)
    assert soak_log.growth([*leaking, *again])["core"].memory > 50


def test_a_single_look_grows_by_nothing() -> None:
    assert soak_log.growth(life("core", 1, [10.0])) == {"core": Growth(0, 10.0, 0.0, 0)}


def test_failures_come_with_what_was_under_way_and_without_what_clients_expect() -> None:
    log = Log(began=0.0, steps=[Step(100.0, "edge", "scale", detail="web to 2", seconds=5.0)])
    stale = [104.0, "stale_keepalive", 0, 1.0]
    report = Report(failures=[[103.0, "reset", 0, 5.0], stale, [300.0, "status", 502, 1.0]])
    found = soak_log.failures({"live-still": report}, log)
    assert [(each["at"], each["during"]) for each in found] == [(103.0, ["edge: scale web to 2"]), (300.0, [])]


def test_only_what_a_killed_proxy_had_under_way_is_explained() -> None:
    found = [{"at": 99.5}, {"at": 102.0}, {"at": 104.0}]
    assert soak_log.unexplained(found, [100.0]) == [{"at": 104.0}]
    assert soak_log.unexplained(found, []) == found


def test_of_each_fault_what_the_other_cluster_was_asked_and_failed() -> None:
    log = Log(began=0.0, steps=[Step(101.0, "edge", "bad labels", fault=True, seconds=1.0)])
    timeline = [[10, 3, 1.0]] * 4
    failures = [[101.5, "reset", 0, 1.0], [101.6, "stale_keepalive", 0, 1.0]]
    live = Report(started=100.0, timeline=timeline, failures=failures)
    own = Report(started=100.0, timeline=timeline)
    found = soak_log.document(log, {"live-still": live, "edge-still": own}, {"live": [1.0, 3.0, 2.0], "edge": []})
    (fault,) = found["faults"]
    assert (fault["kind"], fault["others_sent"], fault["others_failed"]) == ("bad labels", 20, 1)
    assert found["new_hosts"] == {"live": {"number": 3, "median": 2.0, "most": 3.0}}


def test_what_goes_wrong_is_written_down_and_the_run_goes_on() -> None:
    log = Log()
    with log.step("edge", "scale"):
        raise AssertionError("no")
    assert [each.error for each in log.errors()] == ["AssertionError: no"]
