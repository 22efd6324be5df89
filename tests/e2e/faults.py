"""Faults of one cluster of a `Pair` that last for a while, and what the other cluster shows of them: nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from l7.deploy.mounted import referred
from tests.e2e.mixed import Changes
from tests.e2e.pair import BROKEN, Pair, Side

LASTS = 6.0
"""Seconds that a fault lasts, at the least, without any change in the other cluster."""

Fault = Callable[[Pair, Side], AbstractContextManager[None]]


@contextmanager
def bad_labels(pair: Pair, side: Side) -> Iterator[None]:
    """A service whose labels make no sense, and one that tells the proxy something for itself."""
    name = f"{side.name}-bad"
    bad = {"port": "a; deny all", "header_response_X-Bad": 'a"; return 500; "\n}'}
    pair.create_at(side, name, labels=bad)
    try:
        _problem(pair, side, "")
        yield
    finally:
        pair.remove(name)
    _healed(pair, side)


def refused_lines(pair: Pair, side: Side) -> AbstractContextManager[None]:
    """A Config that the proxy refuses."""
    key, line = side.refused
    return _misconfigured(pair, side, "", Config={key: [line]})


def failing_image(pair: Pair, side: Side) -> AbstractContextManager[None]:
    """Proxies that don't start: Swarm takes them back."""
    return _misconfigured(pair, side, "took an update back", ProxyImage=BROKEN)


@contextmanager
def frozen_extension(pair: Pair, side: Side) -> Iterator[None]:
    with pair.frozen(side.extension):
        yield
    _healed(pair, side)


@contextmanager
def no_extension(pair: Pair, side: Side) -> Iterator[None]:
    pair.scale_to(side.extension, 0)
    try:
        pair.until("the extension service to be gone", lambda: not pair.tasks(side.extension))
        yield
    finally:
        pair.scale_to(side.extension, 1)
        pair.running(side.extension, 1)
    _healed(pair, side)


HARMLESS: dict[str, Fault] = {
    "bad labels": bad_labels,
    "refused lines": refused_lines,
    "failing image": failing_image,
    "frozen extension": frozen_extension,
}
"""To the processes of core and of the extension services: these go on."""
DEADLY: dict[str, Fault] = {"no extension": no_extension}


@contextmanager
def _misconfigured(pair: Pair, side: Side, told: str, **settings: object) -> Iterator[None]:
    """`told`: words of the problem that there is then."""
    pair.configure(side, **settings)
    try:
        _problem(pair, side, told)
        yield
    finally:
        pair.configure(side)
    _healed(pair, side)


def _problem(pair: Pair, side: Side, words: str) -> None:
    def told() -> bool:
        return any(words in each["message"] for each in pair.problems(side))

    pair.until(f"a problem of {side.name} {words}", told, 120)


def _healed(pair: Pair, side: Side) -> None:
    """Waits until the cluster is as if nothing had been."""
    pair.until(f"{side.name} to be without problems", lambda: not pair.problems(side), 180)
    pair.at_rest(side, 180)


@dataclass(frozen=True, slots=True)
class Standing:
    """What a fault elsewhere must leave as it is. `proxies`, `extension`: ids of tasks; `mounted`: the published
    configuration in the extension's specification, which core brings up to date now and then, with a new task;
    `revision`: of the routing table; `version`: of the proxy service in Swarm, which each roll raises."""

    proxies: frozenset[str]
    extension: frozenset[str]
    mounted: frozenset[str]
    revision: str
    version: int

    @classmethod
    def of(cls, pair: Pair, side: Side) -> Standing:
        return cls(
            frozenset(pair.task_ids(side.proxies)),
            frozenset(pair.task_ids(side.extension)),
            referred(pair.spec(side.extension)),
            str(pair.cluster(side.name)["revision"]),
            pair.version(side.proxies),
        )

    def differs(self, now: Standing) -> list[str]:
        """What has changed."""
        there = zip(("proxies", "revision", "version"), self._fixed(), now._fixed(), strict=True)
        changed = [name for name, before, after in there if before != after]
        replaced = self.extension != now.extension and self.mounted == now.mounted
        return changed + (["extension"] if replaced else [])

    def _fixed(self) -> tuple[object, ...]:
        return self.proxies, self.revision, self.version


def not_seen(pair: Pair, other: Changes) -> None:
    """Asserts that the other cluster goes on as it is, and that what is new there is answered as usual."""
    side = other.side
    before = Standing.of(pair, side)
    until = time.monotonic() + LASTS
    while time.monotonic() < until:
        assert pair.problems(side) == []
        time.sleep(0.5)  # between looks, as long as the fault lasts
    assert before.differs(Standing.of(pair, side)) == []
    other.create().through()
    assert pair.problems(side) == []
    expected = {"revision", "proxies", "version"} if side.in_files else {"revision"}
    assert set(before.differs(Standing.of(pair, side))) <= expected
