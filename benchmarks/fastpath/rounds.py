"""Rounds in which all that is compared runs in turn, in one process: only ratios within a round mean anything."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from statistics import median

Run = Callable[[], object]
Times = dict[str, list[float]]
"""Seconds of each, by round."""


def rounds(runs: Mapping[str, Run], number: int = 9) -> Times:
    """The first round warms up and is left out. Without the garbage collector, which comes when it likes."""
    found: Times = {name: [] for name in runs}
    gc.collect()
    gc.disable()
    try:
        for _ in range(number + 1):
            for name, run in runs.items():
                begin = time.thread_time()
                run()
                found[name].append(time.thread_time() - begin)
    finally:
        gc.enable()
    return {name: seconds[1:] for name, seconds in found.items()}


def times(found: Times, slow: str, fast: str) -> float:
    """How many times the one takes the time of the other: median over the rounds."""
    return median(a / b for a, b in zip(found[slow], found[fast], strict=True))
