"""``python -m tests.fuzz [--seconds 600] [--seed N] [--extension FILE]``

Compares the compiled fast path with the plain one on inputs by chance, for so long; then its tests are run.
`--extension`: a build of l7._fastpath that takes the place of the installed one (`make sanitize`).
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ("tests/property", "tests/unit")


def load(file: Path) -> None:
    """Before anything else imports the module."""
    spec = importlib.util.spec_from_file_location("l7._fastpath", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["l7._fastpath"] = module
    spec.loader.exec_module(module)


def fuzz(run: Callable[[int], None], seconds: float, seed: int) -> int:
    """How many inputs there were. AssertionError where they do not agree, with the seed printed."""
    until, begin = time.monotonic() + seconds, seed
    while time.monotonic() < until:
        try:
            run(seed)
        except BaseException:
            print(f"{run.__module__}: seed {seed}", flush=True)
            raise
        seed += 1
    return seed - begin


def test() -> int:
    """Status of the tests of the fast path."""
    import pytest

    files = [str(file) for folder in TESTS for file in sorted((ROOT / folder).glob("test_fastpath_*.py"))]
    return int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "--capture=sys", "--timeout", "3600", *files]))


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=600.0, help="of all, the tests aside (default: %(default)g)"
    )
    parser.add_argument(
        "--seed", type=int, default=time.time_ns() // 1_000_000, help="the first (default: the time)"
    )
    parser.add_argument("--extension", type=Path, help="a build of l7._fastpath")
    given = parser.parse_args()
    if given.extension:
        load(given.extension)
    from tests.fuzz import health, tables

    for part in (health, tables):
        count = fuzz(part.run, given.seconds / 2, given.seed)
        print(f"{part.__name__}: {count} inputs from seed {given.seed} on agree", flush=True)
    return test()


if __name__ == "__main__":
    sys.exit(main())
