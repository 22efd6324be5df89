"""What attaching does to a specification."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from l7.deploy.attachment import attach, attached
from l7.model import Secret

CERT, KEY, CA = Secret("x1", "shop.cert"), Secret("x2", "shop.key"), Secret("x3", "ca", config=True)


def reference(secret: Secret) -> dict[str, Any]:
    word, target = ("Config", "/run/secrets/l7/") if secret.config else ("Secret", "l7/")
    file = {"Name": target + secret.id, "UID": "1000", "GID": "1000", "Mode": 256}
    return {"File": file, f"{word}ID": secret.id, f"{word}Name": secret.name}


FOREIGN_SECRET = {
    "File": {"Name": "l7-ca", "UID": "0", "GID": "0", "Mode": 292},
    "SecretID": "f1",
    "SecretName": "ca",
}
FOREIGN_CONFIG = {"Runtime": {}, "ConfigID": "f2", "ConfigName": "credentials"}


def specification(secrets: list[Any] | None = None, configs: list[Any] | None = None) -> dict[str, Any]:
    container: dict[str, Any] = {"Image": "l7:dev", "Unknown": {"deep": [1]}}
    if secrets is not None:
        container["Secrets"] = secrets
    if configs is not None:
        container["Configs"] = configs
    return {
        "Name": "extension",
        "Labels": {"a": "b"},
        "TaskTemplate": {"ContainerSpec": container, "ForceUpdate": 3},
        "UpdateConfig": {"Parallelism": 1, "Order": "stop-first"},
        "Unknown": [1, 2],
    }


def test_references_are_added_beside_the_others_and_the_rest_stays() -> None:
    spec = specification([FOREIGN_SECRET], [FOREIGN_CONFIG])
    before = copy.deepcopy(spec)
    made = attach(spec, frozenset({KEY, CERT, CA}))
    assert made is not None
    expected = specification([FOREIGN_SECRET, reference(CERT), reference(KEY)], [FOREIGN_CONFIG, reference(CA)]) | {
        "UpdateConfig": {"Parallelism": 1, "Order": "start-first"}
    }
    assert made.spec == expected
    assert spec == before
    assert (made.attached, made.detached) == ((CERT, KEY, CA), ())


def test_a_specification_without_any_gets_only_what_it_needs() -> None:
    made = attach({"Name": "x", "TaskTemplate": {"ContainerSpec": {}}}, frozenset({CERT}))
    assert made is not None
    assert made.spec == {
        "Name": "x",
        "TaskTemplate": {"ContainerSpec": {"Secrets": [reference(CERT)]}},
        "UpdateConfig": {"Order": "start-first"},
    }


def test_what_is_not_wanted_any_more_goes() -> None:
    made = attach(specification([reference(CERT), FOREIGN_SECRET], [reference(CA)]), frozenset())
    assert made is not None
    container = made.spec["TaskTemplate"]["ContainerSpec"]
    assert (container["Secrets"], container["Configs"]) == ([FOREIGN_SECRET], [])
    assert (made.attached, made.detached) == ((), (CERT, CA))


def test_the_same_in_another_order_is_the_same() -> None:
    spec = specification([reference(KEY), FOREIGN_SECRET, reference(CERT)])
    assert attach(spec, frozenset({CERT, KEY})) is None
    assert attach(specification(), frozenset()) is None


def test_a_reference_of_ours_that_somebody_changed_is_made_right() -> None:
    wrong = reference(CERT) | {"File": reference(CERT)["File"] | {"Mode": 0o444}}
    made = attach(specification([wrong]), frozenset({CERT}))
    assert made is not None
    assert made.spec["TaskTemplate"]["ContainerSpec"]["Secrets"] == [reference(CERT)]
    assert (made.attached, made.detached) == ((), ())


secrets = st.builds(Secret, st.sampled_from(["x1", "x2", "x3"]), st.just("n"), st.booleans())


@given(st.frozensets(secrets), st.frozensets(secrets), st.booleans())
def test_whatever_was_there_afterwards_it_is_what_is_wanted(
    before: frozenset[Secret], wanted: frozenset[Secret], foreign: bool
) -> None:
    spec = specification([FOREIGN_SECRET] if foreign else None, [FOREIGN_CONFIG] if foreign else None)
    first = attach(spec, before)
    assert (first is None) == (not before)
    spec = dict(first.spec) if first else spec
    made = attach(spec, wanted)
    assert (made is None) == (before == wanted)
    after = made.spec if made else spec
    assert attached(after) == wanted
    assert attach(after, wanted) is None
    if made:
        assert (frozenset(made.attached), frozenset(made.detached)) == (wanted - before, before - wanted)
    if foreign:
        assert FOREIGN_SECRET in after["TaskTemplate"]["ContainerSpec"]["Secrets"]
        assert FOREIGN_CONFIG in after["TaskTemplate"]["ContainerSpec"]["Configs"]
