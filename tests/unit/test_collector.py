"""The collector of cycles is kept from looking, and looks again."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from l7.kit import collector


class Cycle:
    """Frees itself by the collector alone."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    gc.enable()
    gc.unfreeze()


def test_within_the_block_it_does_not_look_and_after_it_it_does() -> None:
    with collector.paused():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_block_within_another_leaves_the_pause_to_it() -> None:
    with collector.paused():
        with collector.paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_of_blocks_that_overlap_the_last_one_to_end_ends_the_pause() -> None:
    first, second = collector.paused(), collector.paused()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not gc.isenabled()
    second.__exit__(None, None, None)
    assert gc.isenabled()


def test_an_error_ends_the_pause() -> None:
    with pytest.raises(ValueError, match="within"), collector.paused():
        raise ValueError("within")
    assert gc.isenabled()


def test_what_was_exempt_and_is_given_up_goes_at_the_next_time() -> None:
    cycle = Cycle()
    seen = weakref.ref(cycle)
    collector.exempt()
    del cycle
    gc.collect()
    assert seen() is not None
    collector.exempt()
    assert seen() is None
