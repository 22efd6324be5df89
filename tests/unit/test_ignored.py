"""Which services are ignored, why, and when that is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from l7.compiled import NOTHING, Compiled
from l7.ignored import Ignored, without_problems
from l7.labels.table import EXTENSION_TYPE, PROXY_TYPE
from l7.model import Problem, Service, ServiceSpec
from l7.swarm.cache import Cache, Kind, Remove, Touched, Upsert


def service(*labels: tuple[str, str], containers: tuple[tuple[str, str], ...] = (), id: str = "s1") -> Service:
    return Service(id, 1, f"name-{id}", 1, ServiceSpec(labels=labels, container_labels=containers))


BAD = Problem("web", "com.docker.lb.port", "x", "is no port", "fix it")
OLD = ("interlock.hostname", "a")


@pytest.mark.parametrize(
    ("one", "legacy", "reason"),
    [
        (service(), False, "has no label that begins with com.docker.lb."),
        (service(("com.docker.lbx", "1")), False, "has no label that begins with com.docker.lb."),
        (service(("com.docker.lb.port", "1")), False, "do not ask for routes"),
        (service(PROXY_TYPE), False, "is a part of l7"),
        (service(EXTENSION_TYPE), False, "is a part of l7"),
        (service(OLD), False, "LegacyLabels is not set"),
        (service(containers=(OLD,)), False, "LegacyLabels is not set"),
        (service(("com.docker.ucp.mesh.http.80", "x")), False, "LegacyLabels is not set"),
        (service(OLD), True, "has no label that begins with com.docker.lb."),
    ],
)
def test_the_reason(one: Service, legacy: bool, reason: str) -> None:
    assert reason in without_problems(one, legacy)


def test_it_is_said_once_until_it_changes() -> None:
    compiled: dict[str, Compiled] = {}
    cache = Cache()
    ignored = Ignored(lambda id: compiled.get(id, NOTHING), legacy=False)
    cache.apply(Upsert(service()))
    cache.apply(Upsert(service(id="s2")))
    one, all_of_them = Touched(services={"s1"}), Touched(all=True)

    def said(touched: Touched) -> list[str]:
        return [name for name, _ in ignored.news(cache, touched)]

    assert said(one) == ["name-s1"]
    assert said(one) == []
    assert said(all_of_them) == ["name-s2"]
    compiled["s1"] = replace(NOTHING, problems=(BAD,))
    assert list(ignored.news(cache, one)) == [("name-s1", "com.docker.lb.port is no port")]
    del compiled["s1"]
    cache.apply(Remove(Kind.SERVICE, "s1"))
    assert said(all_of_them) == []
    cache.apply(Upsert(service()))
    assert said(one) == ["name-s1"], "a service of before is forgotten"
