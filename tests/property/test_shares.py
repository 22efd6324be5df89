"""Whatever the shares and the numbers of tasks: each service gets its part of the traffic."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import assume, given
from hypothesis import strategies as st

from l7.shares import EVEN, LARGEST, UNSAID, Share, weights

shares = st.builds(Share, st.none() | st.integers(1, 1000), st.integers(0, 200))


@given(st.lists(shares, min_size=1, max_size=6))
def test_every_weight_is_one_that_haproxy_takes(given: list[Share]) -> None:
    found = weights(given)
    assert len(found) == len(given)
    assert all(1 <= each <= LARGEST for each in found)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6))
def test_without_shares_each_task_counts_the_same(tasks: list[int]) -> None:
    assert set(weights([Share(None, number) for number in tasks])) == {EVEN}


@given(st.lists(shares, min_size=2, max_size=6))
def test_each_services_part_is_its_share_as_far_as_whole_weights_allow(given: list[Share]) -> None:
    assume(any(share.weight is not None for share in given))
    found = weights(given)
    totals = [weight * share.tasks for weight, share in zip(found, given, strict=True)]
    present = [share.weight or UNSAID for share in given if share.tasks]
    assume(sum(totals))
    # A weight is at most 1 off its exact value (a half by rounding, more where it had to be raised to 1).
    slack = Fraction(sum(share.tasks for share in given), sum(totals))
    for share, total in zip(given, totals, strict=True):
        if share.tasks:
            wanted = Fraction(share.weight or UNSAID, sum(present))
            assert abs(Fraction(total, sum(totals)) - wanted) <= 2 * slack
