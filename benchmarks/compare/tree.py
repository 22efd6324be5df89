"""A revision in a worktree of its own, with its fast path compiled, and its benchmarks run there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

from benchmarks.compare.pairs import medians, targets
from benchmarks.kept import ROOT

MICRO, FASTPATH = "benchmarks/micro", "benchmarks/fastpath"
MISSED = 1
"""What the fast path's targets end with where a gate was missed, which is for themselves to tell."""
NOTHING_COLLECTED = 5
"""What pytest ends with where no test is of the names asked for."""


class CompareError(Exception):
    """A revision can't be had, built or run: says which, and what the command said."""


@dataclass(frozen=True, slots=True)
class Tree:
    """`commit`: short; `path`: where it is checked out."""

    commit: str
    path: Path


@contextmanager
def checked_out(revision: str) -> Iterator[Tree]:
    """The revision, built; it is gone afterwards. Raises CompareError."""
    commit = _run(["git", "rev-parse", "--short", f"{revision}^{{commit}}"], ROOT).strip()
    with TemporaryDirectory(prefix=f"l7-{commit}-") as directory:
        tree = Tree(commit, Path(directory) / "l7")
        _run(["git", "worktree", "add", "--quiet", "--detach", str(tree.path), commit], ROOT)
        try:
            _build(tree)
            yield tree
        finally:
            _run(["git", "worktree", "remove", "--force", str(tree.path)], ROOT)


def _build(tree: Tree) -> None:
    """Compiles the extension; all else that is installed is shared with this interpreter."""
    _python(tree, "setup.py", "-q", "build_ext", "--inplace")
    used = _python(tree, "-c", "import l7._fastpath as f; print(f.__file__)").strip()
    if not Path(used).is_relative_to(tree.path):
        raise CompareError(f"{tree.commit}: would measure {used}, which is not its own")


def requirements_differ(base: Tree, head: Tree) -> bool:
    """Whether they ask for other packages than each other: both are run with those of this interpreter."""
    return _requirements(base) != _requirements(head)


def _requirements(tree: Tree) -> bytes:
    return (tree.path / "requirements.lock").read_bytes()


def measure(tree: Tree, only: Sequence[str], seconds: float) -> dict[str, float]:
    """One run of its micro benchmarks: name -> median, in seconds.

    `only`: parts of names; `seconds`: how long each is repeated. Raises CompareError where one fails.
    """
    if not (tree.path / MICRO).is_dir():
        return {}
    report = tree.path.parent / "report.json"
    report.unlink(missing_ok=True)
    words = ["-m", "pytest", MICRO, "-q", "-p", "no:cacheprovider", "-W", "ignore:Not saving anything"]
    words += [f"--benchmark-json={report}", f"--benchmark-max-time={seconds:g}"]
    words += ["-k", " or ".join(only)] if only else []
    _python(tree, *words, allowed=(0, NOTHING_COLLECTED))
    return medians(orjson.loads(report.read_bytes())) if report.exists() and report.stat().st_size else {}


def measure_fastpath(tree: Tree) -> dict[str, float]:
    """One run of the fast path's targets, each a median already: name -> cost. Raises CompareError."""
    if not (tree.path / FASTPATH).is_dir():
        return {}
    result = tree.path / "benchmarks" / "results" / "fastpath.json"
    result.unlink(missing_ok=True)
    said = _python(tree, "-m", "benchmarks.fastpath", allowed=(0, MISSED))
    if not result.exists():
        raise CompareError(f"{tree.commit}: the fast path's targets left no result:\n{said[-3000:]}")
    return targets(orjson.loads(result.read_bytes()))


def _python(tree: Tree, *words: str, allowed: Sequence[int] = (0,)) -> str:
    """PYTHONPATH comes before what is installed, so all that is imported is the tree's own."""
    return _run([sys.executable, *words], tree.path, {"PYTHONPATH": str(tree.path)}, allowed)


def _run(words: list[str], where: Path, more: dict[str, str] | None = None, allowed: Sequence[int] = (0,)) -> str:
    done = subprocess.run(
        words, cwd=where, env=os.environ | (more or {}), capture_output=True, text=True, check=False
    )
    if done.returncode not in allowed:
        said = (done.stdout + done.stderr).strip()[-3000:]
        raise CompareError(f"{' '.join(words[:4])} in {where} ended with status {done.returncode}:\n{said}")
    return done.stdout
