"""A task known from one backend is known in all, and forgotten with the last."""

from __future__ import annotations

from haproxy.accepting import Accepting


def test_a_name_counts_as_long_as_one_backend_has_it() -> None:
    accepting = Accepting()
    accepting.add("a", ["t1", "t2"])
    accepting.add("ab", ["t1"])
    accepting.keep("a", [])

    assert "t1" in accepting
    assert "t2" not in accepting
    assert accepting.of("ab") == {"t1"}
    accepting.keep("ab", ["t3"])
    assert accepting.all() == frozenset()


def test_the_same_name_twice_in_a_backend_counts_once() -> None:
    accepting = Accepting()
    accepting.add("a", ["t1"])
    accepting.add("a", ["t1"])
    accepting.keep("a", ())

    assert accepting == Accepting()
