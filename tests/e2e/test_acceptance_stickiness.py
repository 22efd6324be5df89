"""Stickiness: acceptance items 69 to 73, on a real Swarm."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.conftest import Create
from tests.e2e.installation import Installation

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]

SESSIONS = [f"visitor-{number}" for number in range(100)]
ADDRESSES = [f"10.213.0.{last}" for last in range(200, 207)]
"""Of clients, besides the one that they have anyway."""


def session(value: str) -> dict[str, str]:
    return {"Cookie": f"before=1; session={value}; after=2"}


def places(l7: Installation, host: str) -> dict[str, str]:
    """The task of each session, the same at every proxy."""
    found = {}
    for value in SESSIONS:
        (found[value],) = {each.instance for each in l7.ask(host, headers=session(value))}
    return found


@pytest.mark.acceptance(69)
@pytest.mark.acceptance(70)
@pytest.mark.acceptance(71)
def test_the_applications_cookie_decides(l7: Installation, create: Create) -> None:
    create("sticky69", "sticky69.local", 5, labels={"sticky_session_cookie": "session"})
    tasks = l7.published("sticky69", "sticky69.local", 5)
    l7.settled_on("sticky69.local", tasks)
    (first, *_) = l7.ask("sticky69.local", "/session")
    cookie = first.headers["set-cookie"].partition(";")[0]
    answers = l7.ask("sticky69.local", times=50, headers={"Cookie": cookie})
    assert len({each.upstream for each in answers}) == 1
    assert not [each for each in answers if "set-cookie" in each.headers], "the proxies set none of their own"
    before = places(l7, "sticky69.local")
    assert set(before.values()) == tasks
    for found in l7.by_series(l7.ask("sticky69.local", times=60)).values():
        counts = [sum(each.instance == task for each in found) for task in tasks]
        assert min(counts) > 0, "without the cookie"
    l7.scale("sticky69", 6)
    l7.running("sticky69", 6)
    (new,) = l7.task_ids("sticky69") - tasks
    l7.settled_on("sticky69.local", tasks | {new})
    after = places(l7, "sticky69.local")
    moved = {value for value in SESSIONS if after[value] != before[value]}
    assert 0 < len(moved) <= len(SESSIONS) / 3
    assert {after[value] for value in moved} == {new}, "between tasks that stay, nothing moves"


@pytest.mark.acceptance(71)
def test_a_newcomer_takes_its_share_of_the_sessions(l7: Installation, create: Create) -> None:
    """Another service on the same host does, and gives them back when it goes; so does a task that goes."""
    host, labels = "shared71.local", {"sticky_session_cookie": "session"}
    create("shared71", host, 6, labels=labels)
    there = l7.published("shared71", host, 6)
    l7.settled_on(host, there)
    before = places(l7, host)
    create("canary71", host, labels=labels)
    (new,) = l7.published("canary71", host)
    l7.settled_on(host, there | {new})
    shared = places(l7, host)
    assert {shared[value] for value in SESSIONS if shared[value] != before[value]} == {new}
    l7.remove("canary71")
    l7.settled_on(host, there)
    assert places(l7, host) == before
    l7.scale("shared71", 5)
    l7.running("shared71", 5)
    stay = l7.task_ids("shared71")
    l7.settled_on(host, stay)
    after = places(l7, host)
    assert [value for value in SESSIONS if before[value] in stay and after[value] != before[value]] == []


@pytest.fixture
def addresses(l7: Installation) -> Iterator[list[str]]:
    with several_addresses(l7) as found:
        yield found


@contextmanager
def several_addresses(l7: Installation) -> Iterator[list[str]]:
    """Those that a client outside all nodes has meanwhile."""
    _change_addresses(l7, "add")
    try:
        yield ADDRESSES
    finally:
        _change_addresses(l7, "del")


def _change_addresses(l7: Installation, verb: str) -> None:
    assert l7.swarm.bridge is not None
    for address in ADDRESSES:
        command = ["ip", "addr", verb, f"{address}/24", "dev", "br0"]
        subprocess.run(l7.swarm.bridge.command(command), check=True)


@pytest.mark.acceptance(72)
def test_the_clients_address_decides(l7: Installation, create: Create, addresses: list[str]) -> None:
    create("hashed72", "hashed72.local", 4, labels={"ip_hash": "true"})
    l7.published("hashed72", "hashed72.local", 4)
    l7.converged()
    used = set()
    for address in addresses:
        answers = l7.ask("hashed72.local", "/echo", times=10, source=address)
        assert {f'["x-real-ip","{address}"]' in each.body.lower() for each in answers} == {True}
        (task,) = {each.instance for each in answers}
        used.add(task)
    assert len(used) > 1


@pytest.mark.acceptance(73)
def test_two_ways_to_stick_at_once(l7: Installation, create: Create) -> None:
    """The cookie wins over the address; with a virtual address there are no tasks to choose from. Each time the
    label without effect is reported, and the service is routed."""
    create("both73", "both73.local", 3, labels={"sticky_session_cookie": "session", "ip_hash": "true"})
    tasks = l7.published("both73", "both73.local", 3)
    assert not l7.problem("both73", "ip_hash")["fatal"]
    l7.settled_on("both73.local", tasks)
    (task,) = {each.instance for each in l7.ask("both73.local", times=20, headers=session("one"))}
    assert task in tasks
    for label in ("sticky_session_cookie", "ip_hash"):
        create(f"vip73{label[:2]}", f"vip73{label[:2]}.local", labels={"backend_mode": "vip", label: "true"})
    for label in ("sticky_session_cookie", "ip_hash"):
        problem = l7.problem(f"vip73{label[:2]}", label)
        assert not problem["fatal"]
        assert "vip" in problem["message"] + problem["remedy"]
        assert len(l7.addresses(f"vip73{label[:2]}")) == 1
    l7.converged()
