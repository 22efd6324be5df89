"""The demo's clients, a process of their own: ``python -m examples.demo.traffic --url … --host … --path / …``.

First it asks until there is an answer; from then on it is a constant load (`testbed.load`) on all paths, which
counts every failure and retries nothing. It prints one JSON object per line: {"waiting": status} before, then five
times per second an account (`account`), and at the end of its standard input {"report": of all requests,
"by_path": [of each path's]}.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import orjson

from testbed.load import Load, Sample, Target, build_report
from testbed.program import stop_event

TICK = 0.2
"""Seconds between two accounts."""


def account(samples: Sequence[Sample], known: set[str]) -> dict[str, Any]:
    """What came of some requests. `answers`: [task, version, number]; `first`: [task, Unix time of its first
    answer], for those not in `known`, which are added to it."""
    good = [sample for sample in samples if not sample.failure]
    counts = Counter((sample.instance, sample.version) for sample in good)
    first: dict[str, float] = {}
    for sample in good:
        if sample.instance not in known:
            end = sample.start + sample.latency
            first[sample.instance] = min(end, first.get(sample.instance, end))
    known.update(first)
    return {
        "sent": len(samples),
        "failed": sum(bool(sample.failure) for sample in samples),
        "slowest_ms": round(max((sample.latency * 1000 for sample in samples), default=0.0), 1),
        "answers": [[*key, count] for key, count in sorted(counts.items())],
        "first": sorted(first.items()),
    }


def say(message: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(message) + b"\n")
    sys.stdout.buffer.flush()


async def first_answer(target: Target, stopped: asyncio.Event) -> None:
    """Asks twenty times per second, until the expected status comes or it is time to stop."""
    load = Load(target, rate=20.0)
    await load.start()
    seen = 0
    while not stopped.is_set():
        await load.seen(seen + 1)
        sample = load.samples[seen]
        seen += 1
        if not sample.failure:
            break
        say({"waiting": sample.status})
    await load.stop()


async def run(targets: Sequence[Target], rates: Sequence[float]) -> None:
    stopped = stop_event()
    await first_answer(targets[0], stopped)
    loads = [Load(target, rate) for target, rate in zip(targets, rates, strict=True)]
    for load in loads:
        await load.start()
    known: set[str] = set()
    done = [0] * len(loads)
    while not stopped.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), TICK)
        news: list[Sample] = []
        for i, load in enumerate(loads):
            news += load.samples[done[i] :]
            done[i] = len(load.samples)
        say(account(news, known))
    reports = [await load.stop() for load in loads]
    samples = [sample for load in loads for sample in load.samples]
    say({"report": build_report(samples, reports[0].started, reports[0].seconds), "by_path": reports})


def main() -> None:
    parser = argparse.ArgumentParser(prog="examples.demo.traffic", description="the demo's clients")
    parser.add_argument("--url", required=True, help="http://address:port of the proxy")
    parser.add_argument("--host", required=True, help="host that is asked for")
    parser.add_argument("--path", action="append", required=True, help="path that is asked for; repeat")
    parser.add_argument("--rate", type=float, default=300.0, help="requests per second, shared by all paths")
    options = parser.parse_args()
    targets = [Target.of(options.url + path, options.host) for path in options.path]
    asyncio.run(run(targets, [options.rate / len(targets)] * len(targets)))


if __name__ == "__main__":
    main()
