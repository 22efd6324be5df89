"""`make acceptance`: each item of docs/acceptance.md with the tests that show it, and their results.

    python -m tests.acceptance [--list] [pytest arguments]

`--list` collects without running. An item counts as passed only when every test that carries its number ran and
passed; skipped, expected-to-fail and specification-only tests are listed apart, with their reason.
"""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

ITEMS = Path(__file__).parent.parent / "docs" / "acceptance.md"
_ROW = re.compile(r"\| (\d+) \| (.+?) \| ")


@dataclass
class Outcome:
    """What became of one test. `kind`: passed, failed, skipped, xfailed, specification, or not run."""

    kind: str = "not run"
    reason: str = ""


@dataclass
class Recorder:
    """A pytest plug-in: which tests carry which items, and how they ended."""

    items: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    outcomes: dict[str, Outcome] = field(default_factory=lambda: defaultdict(Outcome))
    specification: set[str] = field(default_factory=set)

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        marked = [item for item in items if item.get_closest_marker("acceptance")]
        config.hook.pytest_deselected(items=[item for item in items if item not in marked])
        items[:] = marked
        for item in marked:
            if item.get_closest_marker("specification"):
                self.specification.add(item.nodeid)
            for number in {n for marker in item.iter_markers("acceptance") for n in marker.args}:
                self.items[number].append(item.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        outcome = self.outcomes[report.nodeid]
        if report.failed:
            outcome.kind, outcome.reason = "failed", report.when
        elif report.skipped:
            outcome.kind = "xfailed" if hasattr(report, "wasxfail") else "skipped"
            outcome.reason = getattr(report, "wasxfail", "") or _skip_reason(report)
        elif report.when == "call" and outcome.kind == "not run":
            outcome.kind = "specification" if report.nodeid in self.specification else "passed"


def _skip_reason(report: pytest.TestReport) -> str:
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)


def titles() -> dict[int, str]:
    """Item number -> what the operator does."""
    matches = (_ROW.match(line) for line in ITEMS.read_text().splitlines())
    return {int(match[1]): match[2] for match in matches if match}


def verdict(outcomes: Iterable[Outcome]) -> str:
    """Of an item, from those of its tests: the worst counts."""
    kinds = [outcome.kind for outcome in outcomes]
    order = ("failed", "not run", "skipped", "xfailed", "specification", "passed")
    return next((kind for kind in order if kind in kinds), "no test yet")


def _functions(tests: Iterable[str]) -> list[str]:
    """Test functions, with the number of their cases where there are several."""
    counts = Counter(test.removeprefix("tests/").partition("[")[0] for test in tests)
    return [f"{name} ×{count}" if count > 1 else name for name, count in counts.items()]


def _apart(recorder: Recorder, tests: Iterable[str]) -> list[str]:
    """Of the tests that did not simply pass or fail: function, cases, how it ended and why."""
    ended = [(test, recorder.outcomes[test]) for test in tests]
    reasons: dict[tuple[str, str], list[str]] = defaultdict(list)
    for test, outcome in ended:
        if outcome.kind not in ("passed", "failed"):
            reasons[(outcome.kind, outcome.reason)].append(test)
    return [f"{', '.join(_functions(names))}: {kind} {why}" for (kind, why), names in reasons.items()]


def show(recorder: Recorder) -> Counter[str]:
    """Print the table; how many items ended how."""
    table = Table("item", "does", "tests", "result")
    apart: list[str] = []
    counts: Counter[str] = Counter()
    for number, title in sorted(titles().items()):
        tests = recorder.items.get(number, [])
        result = verdict(recorder.outcomes[test] for test in tests)
        counts[result] += 1
        if tests:
            table.add_row(str(number), title, "\n".join(_functions(tests)), result)
        apart += [f"  {number}  {line}" for line in _apart(recorder, tests)]
    console = Console()
    console.print(table)
    if apart:
        console.print("Listed apart (not passed):", *apart, sep="\n", markup=False, soft_wrap=True)
    missing = [str(number) for number in sorted(titles()) if number not in recorder.items]
    console.print("No test yet:", ", ".join(missing) or "none")
    console.print(*(f"{kind}: {count}" for kind, count in sorted(counts.items())), sep="   ")
    return counts


def main(arguments: list[str]) -> int:
    listing = "--list" in arguments
    rest = [argument for argument in arguments if argument != "--list"]
    recorder = Recorder()
    extra = ["--collect-only", "-qq"] if listing else ["-q"]
    status = pytest.main([*extra, *rest], plugins=[recorder])
    show(recorder)
    return 0 if listing else int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
