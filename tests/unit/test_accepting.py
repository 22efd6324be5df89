"""A task known from one backend is known in all, and forgotten with the last."""

from __future__ import annotations

from haproxy.accepting import Accepting, Passed
from haproxy.checks import Check
from haproxy.model import HealthCheck

T1, T2, T3 = (Passed(task, Check("10.0.0.1", 80)) for task in ("t1", "t2", "t3"))
T1_BY_HTTP = Passed("t1", Check("10.0.0.1", 80, http=HealthCheck("/")))


def test_a_task_counts_as_long_as_one_backend_has_it() -> None:
    accepting = Accepting()
    accepting.add("a", {"t1.x": T1, "t2.x": T2})
    accepting.add("ab", {"t1.y": T1})
    accepting.keep("a", {})

    assert T1 in accepting
    assert T2 not in accepting
    assert accepting.of("ab") == accepting.all() == {"t1.y"}
    accepting.keep("ab", {"t3.y": T3})
    assert accepting == Accepting()


def test_the_same_name_twice_in_a_backend_counts_once() -> None:
    accepting = Accepting()
    accepting.add("a", {"t1.x": T1})
    accepting.add("a", {"t1.x": T1})
    accepting.keep("a", {})

    assert accepting == Accepting()


def test_what_passed_one_check_is_not_known_to_pass_another() -> None:
    accepting = Accepting()
    accepting.add("a", {"t1.x": T1})
    assert T1_BY_HTTP not in accepting
    accepting.keep("a", {"t1.x": T1_BY_HTTP})
    assert accepting == Accepting()


def test_another_reason_takes_the_place_of_the_first() -> None:
    accepting = Accepting()
    accepting.add("a", {"t1.x": T1})
    accepting.add("a", {"t1.x": T1_BY_HTTP})
    assert T1 not in accepting
    assert T1_BY_HTTP in accepting
    assert accepting.of("a") == {"t1.x"}
