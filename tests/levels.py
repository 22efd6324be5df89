"""`make test`: all levels, in three lanes side by side.

    python -m tests.levels [pytest arguments]

Tests on a Swarm wait, mostly: two cores are idle for most of the time when one test follows the other. Each lane is
a pytest of its own, and each line of its output begins with its name. Arguments that name files or directories run
just these, in one pytest.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

SWARMS = tuple(
    f"tests/e2e/test_{name}.py"
    for name in (
        "acceptance_fleet", "acceptance_manager", "attachment", "core", "demo", "image", "install", "pki",
        "scenarios", "without_core",
        "file_mode", "file_mode_services", "file_mode_proxies",
    )
)  # fmt: skip
"""Those that make Swarms of their own; those of file mode share one, which lives until the end, so they are the
last. A file that is in no list runs beside those on the shared installation."""
JOINING = "tests/e2e/test_acceptance_joining.py"
"""As these, but where there is time for it: all lanes are to take the same."""

LONGEST_LINE = 1 << 24
"""Bytes: what an assertion compares is shown in one line."""


@dataclass(frozen=True, slots=True)
class Lane:
    """Levels that one pytest runs, one after the other. `where`: its arguments."""

    name: str
    where: tuple[str, ...]

    def command(self, arguments: Iterable[str]) -> list[str]:
        """A cache of its own: `--lf` runs in each lane what failed there."""
        cache = f"cache_dir=.pytest_cache/{self.name}"
        return [sys.executable, "-m", "pytest", "-o", cache, *self.where, *arguments]


LANES = (
    Lane("below", ("tests/unit", "tests/property", "tests/contract", "tests/integration", JOINING)),
    Lane("e2e", ("tests/e2e", *(f"--ignore={file}" for file in (*SWARMS, JOINING)))),
    Lane("swarms", SWARMS),
)


def chosen(arguments: Iterable[str]) -> bool:
    """Whether files or directories are among them."""
    return any(Path(each.partition("::")[0]).exists() for each in arguments)


def status_of(statuses: Iterable[int]) -> int:
    """Of all lanes: the first that is a failure. A lane without any test is one only if none has any."""
    nothing = int(pytest.ExitCode.NO_TESTS_COLLECTED)
    known = list(statuses)
    failed = [each for each in known if each not in (0, nothing)]
    return failed[0] if failed else 0 if 0 in known else nothing


def summary(lanes: Sequence[Lane], statuses: Sequence[int], seconds: float) -> str:
    """The last line: what became of each lane."""
    words = {0: "passed", int(pytest.ExitCode.NO_TESTS_COLLECTED): "no tests"}
    each = (f"{lane.name} {words.get(status, 'FAILED')}" for lane, status in zip(lanes, statuses, strict=True))
    return f"{', '.join(each)} in {seconds:.0f} s"


async def _run(lane: Lane, arguments: Iterable[str], say: Callable[[str], None]) -> int:
    process = await asyncio.create_subprocess_exec(
        *lane.command(arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=LONGEST_LINE,
    )
    assert process.stdout is not None
    try:
        async for line in process.stdout:
            say(f"{lane.name:6} | {line.decode(errors='replace').rstrip()}")
        return await process.wait()
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise


async def run(lanes: Sequence[Lane], arguments: Sequence[str]) -> int:
    """All at once. SIGINT reaches each pytest by the terminal, SIGTERM by us; then all of them clean up."""
    began, say = time.monotonic(), partial(print, flush=True)
    running = [asyncio.ensure_future(_run(lane, arguments, say)) for lane in lanes]
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    loop.add_signal_handler(signal.SIGTERM, lambda: [each.cancel() for each in running])
    ended = await asyncio.gather(*running, return_exceptions=True)
    statuses = [each if isinstance(each, int) else int(pytest.ExitCode.INTERRUPTED) for each in ended]
    say(summary(lanes, statuses, time.monotonic() - began))
    return status_of(statuses)


def main(arguments: Sequence[str]) -> int:
    if chosen(arguments):
        return int(pytest.main(list(arguments)))
    return asyncio.run(run(LANES, arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
