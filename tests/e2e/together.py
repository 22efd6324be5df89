"""Tests that run at the same time, a thread for each: where a change takes a roll of the proxies, one roll does for
the changes of all of them.

They are functions as pytest knows them, with their marks. What they ask for by the names of their parameters is
made for each of them, and taken away when the last one has ended.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

KEPT = ("acceptance", "specification")
"""Marks that say what a test shows."""

Given = Callable[[str, ExitStack], Mapping[str, Callable[[], object]]]
"""Of a test's name: what makes each of the things that it may ask for. What is to be closed is entered there."""


@dataclass(frozen=True)
class Case:
    """A test, and those of its arguments that are said. `name`: unique among those that run together."""

    test: Callable[..., None]
    arguments: tuple[tuple[str, object], ...] = ()
    suffix: str = ""

    @property
    def name(self) -> str:
        return self.test.__name__.removeprefix("test_") + self.suffix

    def run(self, given: Given, stack: ExitStack) -> None:
        said = dict(self.arguments)
        makers = given(self.name, stack)
        asked = [each for each in inspect.signature(self.test).parameters if each not in said]
        self.test(**{name: makers[name]() for name in asked}, **said)


def parameters(cases: Iterable[Case]) -> list[Any]:
    """For `pytest.mark.parametrize`: each with its name, and the marks of its test that say what it shows."""
    return [pytest.param(each, id=each.name, marks=_marks(each)) for each in cases]


def _marks(case: Case) -> list[pytest.Mark]:
    return [each for each in getattr(case.test, "pytestmark", []) if each.name in KEPT]


def chosen(request: pytest.FixtureRequest) -> list[Case]:
    """Those of a module that are to run."""
    ours = (each for each in request.session.items if getattr(each, "module", None) is request.module)
    calls = (getattr(each, "callspec", None) for each in ours)
    return [each.params["case"] for each in calls if each is not None and "case" in each.params]


def together(cases: Collection[Case], given: Given) -> dict[str, BaseException | None]:
    """By name, why each failed; None: it did not."""
    if not cases:
        return {}
    with ExitStack() as stack:
        with ThreadPoolExecutor(len(cases)) as pool:
            running = {each.name: pool.submit(each.run, given, stack) for each in cases}
        return {name: each.exception() for name, each in running.items()}
