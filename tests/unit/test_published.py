"""Which config objects are made and removed, against objects that come and go."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from l7.deploy import published
from l7.deploy.published import (
    CONTENT,
    KEPT,
    LEAST_KEPT,
    LONGEST_PART,
    PUBLISHED,
    REVISION,
    Part,
    newest,
    parts_of,
    plan,
    too_large,
    versions,
)
from l7.model import StoredSecret
from l7.publication import Publication


def publication(revision: str = "a" * 32, tasks: str = "1", cluster: str = "") -> Publication:
    return Publication(cluster, f"state-{tasks}", revision, {"f": tasks.encode()}, {"routes": 2}, "0.1")


class Swarm:
    """Config objects, and a clock that goes on with each publication."""

    def __init__(self) -> None:
        self.configs: dict[str, StoredSecret] = {}
        self.in_use: set[str] = set()
        self.held: set[str] = set()
        self.time = 0
        self.made = 0

    def store(self, wanted: Publication, archive: bytes = b"x", pinned: str = "") -> published.Plan:
        """Carries out a plan."""
        self.time += 1
        found = versions(self.configs.values(), wanted.cluster)
        todo = plan(found, self.parts(wanted, archive), pinned, self.held)
        self._remove(todo.clear)
        for part in todo.make:
            assert part.name not in self.configs
            self.made += 1
            self.configs[part.name] = _stored(part, self.made)
        if todo.mark is not None:
            labels = {**dict(todo.mark.labels), PUBLISHED: self._now()}
            self.configs[todo.mark.name] = replace(todo.mark, labels=tuple(sorted(labels.items())))
        self._remove(todo.remove)
        return todo

    def _remove(self, configs: Iterable[StoredSecret]) -> None:
        for config in configs:
            if config.name not in self.in_use:
                del self.configs[config.name]

    def parts(self, wanted: Publication, archive: bytes) -> tuple[Part, ...]:
        return parts_of(wanted, archive, self._now())

    def _now(self) -> str:
        return f"2026-01-01T00:{self.time // 60:02d}:{self.time % 60:02d}+00:00"

    def revisions(self, cluster: str = "") -> list[str]:
        return [each.revision for each in versions(self.configs.values(), cluster)]


def _stored(part: Part, number: int) -> StoredSecret:
    return StoredSecret(f"id{number}", number, part.name, True, tuple(sorted(part.labels.items())))


def revision(number: int) -> str:
    return f"{number:032x}"


def test_a_version_is_one_object_that_says_what_it_is() -> None:
    swarm = Swarm()
    swarm.store(publication())
    (config,) = swarm.configs.values()
    assert config.name.startswith("com.docker.interlock.proxy.aaaaaaaaaaaa.")
    labels = dict(config.labels)
    assert labels["com.docker.l7.managed"] == "fleet"
    assert labels["com.docker.l7.cluster"] == ""
    assert labels["com.docker.l7.state"] == "state-1"
    assert labels["com.docker.l7.counts"] == "routes=2"
    assert labels["com.docker.l7.part"] == "1/1"


def test_what_is_long_is_cut_below_dockers_limit() -> None:
    swarm = Swarm()
    archive = bytes(2 * LONGEST_PART + 1)
    parts = swarm.parts(publication(), archive)
    assert b"".join(part.data for part in parts) == archive
    assert [len(part.data) for part in parts] == [1_023_999, 1_023_999, 1]
    swarm.store(publication(), archive)
    (version,) = versions(swarm.configs.values(), "")
    assert [part.name for part in version.parts] == [part.name for part in parts]
    assert (version.size, version.whole) == (len(archive), True)
    assert all(len(part.name) <= 64 for part in parts)


def test_what_is_too_long_is_refused() -> None:
    assert too_large(bytes(published.MOST_PARTS * LONGEST_PART)) == ""
    assert "at most 8,191,992" in too_large(bytes(published.MOST_PARTS * LONGEST_PART + 1))


def test_what_is_stored_is_not_stored_again() -> None:
    swarm = Swarm()
    swarm.store(publication())
    assert swarm.store(publication()) == published.Plan()


def test_what_comes_back_is_marked_as_the_newest() -> None:
    swarm = Swarm()
    for each in (publication(revision(1)), publication(revision(2))):
        swarm.store(each)
    assert swarm.revisions() == [revision(2), revision(1)]
    todo = swarm.store(publication(revision(1)))
    assert not todo.make
    assert todo.mark is not None
    assert swarm.revisions() == [revision(1), revision(2)]


def test_a_new_version_takes_the_place_of_the_one_before() -> None:
    swarm = Swarm()
    for tasks in "123":
        swarm.store(publication(tasks=tasks))
    assert len(swarm.configs) == 1


def test_what_a_service_refers_to_stays_until_it_does_not() -> None:
    swarm = Swarm()
    swarm.store(publication(tasks="1"))
    swarm.in_use = set(swarm.configs)
    swarm.store(publication(tasks="2"))
    swarm.store(publication(tasks="3"))
    assert len(swarm.configs) == 2
    swarm.in_use.clear()
    swarm.store(publication(tasks="4"))
    assert len(swarm.configs) == 1


def test_twenty_revisions_are_kept_and_the_pinned_one() -> None:
    swarm = Swarm()
    for number in range(50):
        swarm.store(publication(revision(number)), pinned=revision(3)[:31] + "3")
    assert swarm.revisions() == [revision(number) for number in (*range(49, 49 - KEPT, -1), 3)]


def test_of_large_ones_fewer_are_kept() -> None:
    swarm = Swarm()
    for number in range(9):
        swarm.store(publication(revision(number)), bytes(5_000_000))
    assert swarm.revisions() == [revision(number) for number in (8, 7, 6)]
    assert len(swarm.revisions()) == LEAST_KEPT


def test_what_somebody_left_half_done_is_made_anew() -> None:
    swarm = Swarm()
    archive = bytes(LONGEST_PART + 1)
    swarm.store(publication(), archive)
    del swarm.configs[next(iter(swarm.configs))]
    assert newest(versions(swarm.configs.values(), "")) is None
    todo = swarm.store(publication(), archive)
    assert (len(todo.clear), len(todo.make)) == (1, 2)
    assert newest(versions(swarm.configs.values(), "")) is not None


def test_what_is_left_of_another_version_goes_before_one_is_made() -> None:
    swarm = Swarm()
    swarm.store(publication(tasks="1"), bytes(LONGEST_PART + 1))
    swarm.configs.popitem()
    todo = swarm.store(publication(tasks="2"))
    assert (len(todo.clear), len(todo.make)) == (1, 1)
    assert len(swarm.configs) == 1


def test_clusters_do_not_touch_each_others() -> None:
    swarm = Swarm()
    for number in range(30):
        swarm.store(publication(revision(number), cluster="east"))
        swarm.store(publication(revision(number), cluster="west"))
    assert swarm.revisions("east") == swarm.revisions("west")
    assert len(swarm.configs) == 2 * KEPT


def test_what_is_not_ours_is_not_touched() -> None:
    swarm = Swarm()
    swarm.store(publication())
    config = next(iter(swarm.configs.values()))
    foreign = [
        replace(config, id="f1", name="com.docker.interlock.proxy.1", labels=()),
        replace(config, id="f2", name="mine"),
        replace(config, id="f3", labels=(*config.labels, ("com.docker.l7.part", "2/1"))),
    ]
    assert versions(foreign, "") == ()


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3), st.booleans()), max_size=80), st.integers(0, 30))
def test_whatever_comes_the_newest_is_there_and_their_number_is_bounded(
    wanted: list[tuple[int, int, bool]], pin: int
) -> None:
    swarm, pinned = Swarm(), revision(pin)
    for number, tasks, used in wanted:
        one = publication(revision(number), str(tasks))
        swarm.store(one, pinned=pinned)
        found = versions(swarm.configs.values(), "")
        first = newest(found)
        assert first is not None
        assert (dict(first.parts[0].labels)[REVISION], dict(first.parts[0].labels)[CONTENT]) == (
            one.revision, one.content,
        )  # fmt: skip
        assert swarm.store(one, pinned=pinned) == published.Plan() or swarm.in_use
        loose = [each for each in found if each.parts[0].name not in swarm.in_use]
        assert len({each.revision for each in loose}) == len(loose) <= KEPT + 1
        swarm.in_use = {first.parts[0].name} if used else swarm.in_use
    known = {revision(number) for number, _, _ in wanted}
    assert pinned not in known or pinned in swarm.revisions()
