"""``python -m benchmarks.compare BASE [HEAD] [--only NAME …] [--rounds 5] [--margin 1.5]``, `make bench-compare`

Builds two revisions side by side, runs their micro benchmarks by turns (base, head, base, head, …) and prints
head/base, as the median of the paired rounds. Then holds the ratios in benchmarks/results/ to their gates. Ends
with status 1 where head is slower by more than the margin or a gate is exceeded, 2 where nothing was measured.

The fast path's targets (benchmarks/fastpath) are ratios already, each of rounds of its own: they are run once by
each, and stand there as what is to be small.

Each revision runs its own benchmarks: what only one of them has is told, and no failure. Changes that are not
committed are not measured.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table

from benchmarks import gates
from benchmarks.compare.pairs import Row, rows, shown
from benchmarks.compare.tree import CompareError, Tree, checked_out, measure, measure_fastpath, requirements_differ
from benchmarks.kept import kept

MARKS = {"slower": "[bold red]SLOWER[/]", "faster": "[green]faster[/]"}


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.compare", description="head/base ratios of micro benchmarks")
    parser.add_argument("base", help="a revision of git")
    parser.add_argument("head", nargs="?", default="HEAD", help="another; default: %(default)s")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="benchmarks with this in their names")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of runs; default: %(default)s")
    parser.add_argument("--margin", type=float, default=1.5, help="head/base at most; default: %(default)s")
    parser.add_argument("--seconds", type=float, default=0.2, help="for each benchmark; default: %(default)s")
    given = parser.parse_args(words)
    if given.rounds < 1 or given.margin < 1 or given.seconds <= 0:
        parser.error("--rounds is 1 or more, --margin 1 or more, --seconds more than 0")
    return given


def compare(console: Console, given: argparse.Namespace) -> list[Row]:
    """Raises CompareError."""
    with ExitStack() as stack:
        base, head = (stack.enter_context(checked_out(each)) for each in (given.base, given.head))
        if requirements_differ(base, head):
            console.print("They pin other packages than each other; both run with those installed here.")
        console.print(f"base {base.commit}, head {head.commit}, {given.rounds} pairs of runs", highlight=False)
        runs = [_pair(base, head, given) for _ in range(given.rounds)]
        fast = [(measure_fastpath(base), measure_fastpath(head))] if of_fastpath(given.only) else []
    compared = rows([before for before, _ in runs], [after for _, after in runs], given.margin)
    return compared + rows([before for before, _ in fast], [after for _, after in fast], given.margin, unit="")


def of_fastpath(only: Sequence[str]) -> bool:
    """Whether the fast path's targets are asked for, all of them: by default, and by this name."""
    return not only or "fastpath" in only


def _pair(base: Tree, head: Tree, given: argparse.Namespace) -> tuple[dict[str, float], dict[str, float]]:
    return measure(base, given.only, given.seconds), measure(head, given.only, given.seconds)


def table(compared: Sequence[Row]) -> Table:
    title = "Micro benchmarks, head against base"
    shape = Table(Column("benchmark", overflow="fold"), title=title, title_justify="left", box=SIMPLE)
    for column in ("base", "head", "ratio", "limit"):
        shape.add_column(column, justify="right")
    shape.add_column("verdict")
    for row in compared:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        mark = MARKS.get(row.verdict, row.verdict)
        costs = (shown(row.base, row.unit), shown(row.head, row.unit))
        shape.add_row(row.name.replace("[", r"\["), *costs, ratio, f"{row.limit:g}", mark)
    return shape


def main(words: Sequence[str]) -> int:
    given, console = arguments(words), Console()
    try:
        compared = compare(console, given)
        held = gates.read()
    except (CompareError, gates.GateError) as error:
        print(error, file=sys.stderr)
        return 2
    if not compared:
        print(f"no benchmark has {' or '.join(given.only)} in its name", file=sys.stderr)
        return 2
    console.print(table(compared))
    slower = [row.name for row in compared if row.verdict == "slower"]
    return 0 if gates.show(console, held, kept()) and not slower else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
