"""Installed, settings changed, upgraded, proxies scaled 2 → 10 → 2, under load: seconds, and no failed request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.scenario.clients import balanced
from benchmarks.scenario.installed import NEXT, Installed, prepared
from benchmarks.scenario.result import Case, Outcome
from benchmarks.scenario.stage import HOST, TAIL
from testbed import image

RATE = 100.0
RESERVED = "reserved.example.org"
"""A host of the same service, until the settings say otherwise."""
FEW, MANY = 2, 10
WITHIN = 300.0
"""Seconds for any of it; more is a fault."""


def run(case: Case, outcome: Outcome) -> None:
    with prepared(case, case.poll) as system:
        install(system, outcome)
        live(system, outcome)
        reload(system, outcome)
        replacement(system, outcome)
        upgrade(system, outcome)
        scale(system, outcome, 4 if case.short else MANY)


def install(system: Installed, outcome: Outcome) -> None:
    """From the command to the first routed request, which needs a service, too."""
    began = time.monotonic()
    system.install()
    outcome.figures["install: seconds until the command ended"] = _since(began)
    system.create("app", f"{HOST},{RESERVED}", 2)
    system.until("the first answer", lambda: any(system.ask(each, HOST)[0] == 200 for each in system.places()))
    outcome.figures["install: seconds to the first routed request"] = _since(began)
    system.until("all proxies to answer", lambda: system.answered(HOST), WITHIN)
    system.until("nothing to be under way", system.at_rest, WITHIN)


@contextmanager
def timed(system: Installed, outcome: Outcome, what: str, done: Callable[[], bool]) -> Iterator[None]:
    """Load while the block runs, and until what it asked for is `done`; the seconds of that, and what failed."""
    with balanced(system, HOST, RATE) as client:
        began = time.monotonic()
        yield
        system.until(what, done, WITHIN)
        outcome.figures[f"{what}: seconds"] = _since(began)
        system.until("nothing to be under way", lambda: system.at_rest() and system.all_gone(), WITHIN)
        report = client.finish(TAIL)
    outcome.load(what, report)


def live(system: Installed, outcome: Outcome) -> None:
    """A host is reserved for others, which no proxy needs a reload for."""
    what, tasks, reloads = "change that goes live", system.proxy_ids(), system.reloads()
    system.more += f'\n[[HostPolicy]]\nHosts = ["{RESERVED}"]\nServices = ["nobody"]\n'
    with timed(system, outcome, what, lambda: system.answered(RESERVED, status=503)):
        system.apply()
    outcome.check(f"{what}: reloads", system.reloads() - reloads, 0)
    outcome.check(f"{what}: proxies replaced", len(tasks - system.proxy_ids()), 0)


def reload(system: Installed, outcome: Outcome) -> None:
    """Proxies stop to tell who answered."""
    what, tasks, reloads = "change with a reload", system.proxy_ids(), system.reloads()
    system.table["Config"] = {"HideInfoHeaders": True}

    def hidden() -> bool:
        return all("x-upstream-addr" not in system.ask(place, HOST)[1] for place in system.places())

    outcome.check(f"{what}: headers hidden before", int(hidden()), 0)
    with timed(system, outcome, what, hidden):
        system.apply()
    outcome.check(f"{what}: reloads of 2 proxies", system.reloads() - reloads, 2)
    outcome.check(f"{what}: proxies replaced", len(tasks - system.proxy_ids()), 0)


def replacement(system: Installed, outcome: Outcome) -> None:
    """The proxies' containers get a label."""
    what, tasks = "change with new proxy tasks", system.proxy_ids()
    system.table["ProxyContainerLabels"] = {"generation": "2"}
    with timed(system, outcome, what, lambda: not tasks & system.proxy_ids() and system.answered(HOST)):
        system.apply()
    outcome.check(f"{what}: proxies that stayed", len(tasks & system.proxy_ids()), 0)


def upgrade(system: Installed, outcome: Outcome) -> None:
    """All parts to another image, and back."""
    for what, words, wanted in (
        ("upgrade", ("--image", NEXT), NEXT),
        ("rollback", ("--rollback",), image.TAG),
    ):
        with timed(system, outcome, what, lambda wanted=wanted: all_run(system, wanted)):  # type: ignore[misc]
            system.l7("upgrade", *words)


def all_run(system: Installed, wanted: str) -> bool:
    return system.images() == {wanted} and system.at_rest() and system.answered(HOST)


def scale(system: Installed, outcome: Outcome, many: int) -> None:
    for what, replicas in ((f"proxies {FEW}→{many}", many), (f"proxies {many}→{FEW}", FEW)):
        system.table["ProxyReplicas"] = replicas
        with timed(system, outcome, what, lambda replicas=replicas: system.answered(HOST, replicas)):  # type: ignore[misc]
            system.apply()


def _since(began: float) -> float:
    return round(time.monotonic() - began, 1)
