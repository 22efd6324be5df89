"""The README's figures are those of benchmarks/results/."""

from __future__ import annotations

import pytest

from benchmarks.figures import BEGIN, END, README, figures, inserted


def test_the_readme_says_what_the_results_say() -> None:
    assert inserted(README.read_text(), figures()) == README.read_text(), "run `make figures`"


def test_only_what_is_between_the_marks_is_replaced() -> None:
    assert inserted(f"a\n{BEGIN}\nold\n{END}\nb\n", "new\n") == f"a\n{BEGIN}\nnew\n{END}\nb\n"


def test_a_text_without_marks_is_refused() -> None:
    with pytest.raises(IndexError):
        inserted("nothing", "new")
