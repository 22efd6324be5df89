"""The compiled diff against its plain twin, and against what a diff is for: getting from one state to another."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l7._fastpath import Diff, diff
from tests.unit import fastpath_oracle

Rows = dict[str, tuple[Any, ...]]

keys = st.text(max_size=3)
values = st.tuples(st.integers(0, 2), st.sampled_from(["", "10.0.0.1", "é"])) | st.just(())
rows = st.dictionaries(keys, values, max_size=12)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Rows, Rows]:
    """Two states that share much, as real ones do."""
    have = draw(rows)
    kept = {key: value for key, value in have.items() if draw(st.booleans())}
    return {**kept, **draw(rows)}, have


@settings(deadline=None)
@given(pairs())
def test_agrees_with_the_oracle(states: tuple[Rows, Rows]) -> None:
    want, have = states
    assert tuple(diff(want, have)) == fastpath_oracle.diff(want, have)


@settings(deadline=None)
@given(pairs())
def test_applied_to_what_is_there_it_gives_what_is_wanted(states: tuple[Rows, Rows]) -> None:
    want, have = states
    found = diff(want, have)
    result = {key: value for key, value in have.items() if key not in found.removed}
    result.update({key: want[key] for key in [*found.added, *found.changed]})
    assert result == want
    assert diff(want, result) == Diff([], [], [])


@settings(deadline=None)
@given(pairs(), st.randoms())
def test_does_not_depend_on_the_order_or_kind_of_the_mappings(states: tuple[Rows, Rows], random: Any) -> None:
    want, have = states
    shuffled = list(want.items())
    random.shuffle(shuffled)
    assert diff(MappingProxyType(dict(shuffled)), MappingProxyType(have)) == diff(want, have)


@settings(deadline=None)
@given(pairs())
def test_leaves_its_arguments_alone(states: tuple[Rows, Rows]) -> None:
    want, have = states
    copies = dict(want), dict(have)
    diff(want, have)
    assert (want, have) == copies


@pytest.mark.parametrize("wrong", [None, [], "ab", {1: ()}, {"a": []}, {"a": None}, {b"a": ()}])
def test_refuses_what_is_not_rows_on_either_side(wrong: Any) -> None:
    for implementation in (diff, fastpath_oracle.diff):
        with pytest.raises(TypeError):
            implementation(wrong, {})
        with pytest.raises(TypeError):
            implementation({}, wrong)


def test_an_error_while_comparing_is_passed_on() -> None:
    class Sour:
        def __eq__(self, other: object) -> bool:
            raise ValueError("sour")

        __hash__ = None  # type: ignore[assignment]

    with pytest.raises(ValueError, match="sour"):
        diff({"a": (Sour(),)}, {"a": (Sour(),)})
