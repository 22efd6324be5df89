"""Base and head beside each other: ratios of pairs, and a comparison of two revisions of a small repository."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks.compare import tree
from benchmarks.compare.__main__ import of_fastpath
from benchmarks.compare.pairs import Row, medians, rows, shown, targets
from benchmarks.compare.tree import CompareError, checked_out


def test_the_median_of_paired_ratios_counts_not_the_ratio_of_medians() -> None:
    base = [{"a": 1.0}, {"a": 10.0}, {"a": 4.0}]  # the machine was busy in the second pair, for both
    head = [{"a": 1.1}, {"a": 11.0}, {"a": 8.0}]
    (row,) = rows(base, head, 1.5)
    assert (row.base, row.head, row.ratio) == (4.0, 8.0, pytest.approx(1.1))
    assert row.verdict == "ok"


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(1.51, "slower"), (1.5, "ok"), (0.67, "ok"), (0.66, "faster")]
)
def test_the_margin_counts_both_ways(ratio: float, verdict: str) -> None:
    assert Row("a", 1.0, ratio, ratio, 1.5).verdict == verdict


def test_what_only_one_revision_has_is_told_and_not_compared() -> None:
    compared = rows([{"a": 1.0, "old": 1.0}], [{"young": 1.0, "a": 1.0}], 1.5)
    assert [(row.name, row.verdict) for row in compared] == [("young", "new"), ("a", "ok"), ("old", "gone")]


def test_names_are_those_of_the_file_and_the_test() -> None:
    each = {"fullname": "benchmarks/micro/test_diff.py::test_diff[a/b-10]", "stats": {"median": 0.5}}
    assert medians({"benchmarks": [each]}) == {"diff::diff[a/b-10]": 0.5}


def test_targets_of_the_fast_path_are_turned_so_that_less_is_better() -> None:
    checks = [
        {"what": "stat, than split", "found": 50.0, "kind": "at least"},
        {"what": "stat, than a scan", "found": 4.0, "kind": "at most"},
    ]
    costs = targets({"checks": checks})
    assert costs == {"fastpath::stat, than split": 0.02, "fastpath::stat, than a scan": 4.0}
    assert [shown(cost, "") for cost in costs.values()] == ["0.02", "4"]


@pytest.mark.parametrize(("only", "asked"), [([], True), (["fastpath"], True), (["diff"], False)])
def test_targets_of_the_fast_path_are_run_when_they_are_asked_for(only: list[str], asked: bool) -> None:
    assert of_fastpath(only) is asked


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (1.5, "1.5 s"), (0.01234, "12.3 ms"), (4e-6, "4 µs"), (2.5e-8, "25 ns")]
)
def test_times_have_units(seconds: float | None, text: str) -> None:
    assert shown(seconds) == text


needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git compares revisions")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, which has nothing to compile."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=l7", "-c", "user.email=l7@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "requirements.lock").touch()
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "first"], check=True)
    monkeypatch.setattr(tree, "ROOT", tmp_path)
    return tmp_path


def worktrees(repository: Path) -> int:
    words = ["git", "-C", str(repository), "worktree", "list"]
    return len(subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines())


@needs_git
def test_a_revision_that_cannot_be_built_is_named_and_leaves_nothing(repository: Path) -> None:
    with pytest.raises(CompareError, match=r"setup\.py"), checked_out("HEAD"):
        pass
    assert worktrees(repository) == 1


@needs_git
def test_an_unknown_revision_is_named(repository: Path) -> None:
    with pytest.raises(CompareError, match="nope"), checked_out("nope"):
        pass


@needs_git
def test_a_worktree_is_gone_after_use(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "_build", lambda tree: None)
    with checked_out("HEAD") as there:
        assert worktrees(repository) == 2
        assert tree.measure(there, [], 0.1) == {}  # it has no benchmarks
    assert (worktrees(repository), there.path.exists()) == (1, False)
