"""The plan of orders, against what must hold of it whatever is stored and was tried."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from l7.acme.orders import DAY, MINUTE, SERVER, Attempt, Orders, orders
from l7.issued import Issued

HOSTS = ("a.test", "b.test", "c.test", "*.d.test")
NOW = 1_000_000.0
times = st.integers(0, 2_000_000).map(float)
attempt = st.builds(Attempt, st.integers(1, 40), times, times | st.just(0.0))
issued = st.builds(
    lambda number, host, begin, life: Issued(f"i{number}", f"n{number}", host, begin, begin + life),
    st.integers(0, 99),
    st.sampled_from(HOSTS[:3]),
    st.integers(0, 1_500_000),
    st.integers(1, 500_000),
)
stored = st.lists(issued, max_size=8, unique_by=lambda each: each.id)
wanted = st.dictionaries(st.sampled_from(("", "blue")), st.sets(st.sampled_from(HOSTS)), max_size=2)
attempts = st.dictionaries(st.sampled_from((*HOSTS, SERVER)), attempt, max_size=4)
refusals = st.dictionaries(st.integers(0, 99).map(lambda number: f"i{number}"), attempt, max_size=3)


@given(wanted, stored, attempts, refusals)
def test_what_holds_of_every_plan(
    wanted: dict[str, set[str]],
    stored: list[Issued],
    attempts: dict[str, Attempt],
    refusals: dict[str, Attempt],
) -> None:
    found = orders(wanted, stored, attempts, refusals, NOW)
    hosts = {host for each in wanted.values() for host in each}
    assert set(found.get) <= hosts - {"*.d.test"}
    for host in found.get:
        assert all(3 * (each.not_after - NOW) <= each.not_after - each.not_before for each in best(stored, host))
        for tried in (attempts.get(host), attempts.get(SERVER)):
            assert tried is None or max(tried.last + MINUTE, tried.until) <= NOW
    for each in found.remove:
        assert each not in best(stored, each.host) or (each.host not in hosts and each.not_after <= NOW)
    assert found.wake is None or found.wake > NOW
    assert orders(wanted, stored[::-1], attempts, refusals, NOW) == found


@given(wanted, stored, attempts, refusals)
def test_nothing_happens_before_the_time_to_wake(
    wanted: dict[str, set[str]],
    stored: list[Issued],
    attempts: dict[str, Attempt],
    refusals: dict[str, Attempt],
) -> None:
    found = orders(wanted, stored, attempts, refusals, NOW)
    until = NOW + 10 * DAY if found.wake is None else found.wake
    before = orders(wanted, stored, attempts, refusals, (NOW + until) / 2)
    assert (before.get, before.due, before.remove) == (found.get, found.due, found.remove)
    if found.wake is not None:
        after = orders(wanted, stored, attempts, refusals, found.wake)
        assert work(after) > work(found)


def best(stored: list[Issued], host: str) -> list[Issued]:
    own = [each for each in stored if each.host == host]
    return sorted(own, key=lambda each: (each.not_after, each.not_before, each.id))[-1:]


def work(found: Orders) -> int:
    """What there is to do, or to be told: a host whose turn is only later may be due already."""
    return len(found.get) + len(found.due) + len(found.remove)
