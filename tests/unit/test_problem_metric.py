"""What `l7_problems` counts: a bounded set of labels, whatever users write."""

from __future__ import annotations

from l7.model import Problem
from l7.status import problems_by_label


def problem(label: str) -> Problem:
    return Problem("web", label, "x", "is wrong", "mend it")


def test_problems_are_counted_by_label_and_unknown_labels_together() -> None:
    labels = ["com.docker.lb.port", "com.docker.lb.port", "com.docker.lb.prot", "com.docker.lb.zzz", ""]

    assert problems_by_label(map(problem, labels)) == {"com.docker.lb.port": 2, "unknown": 3}


def test_labels_that_name_a_header_are_counted_by_their_row() -> None:
    labels = [f"com.docker.lb.header_request_X-{number}" for number in range(3)]

    assert problems_by_label(map(problem, labels)) == {"com.docker.lb.header_request_*": 3}
